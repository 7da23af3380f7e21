//! Makes taskspaces, and takes back what an interrupted making left.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::driver::Context;
use super::execute::{Failure, OnFailure};
use super::fork::Origin;
use super::limits::Limits;
use super::network::choose;
use super::ports::{ATTEMPTS, pick_ports};
use super::project_quotas::Prepared;
use super::projects::{Resolved, enter_project};
use super::{Inner, lifecycle, problems};
use crate::config::Settings;
use crate::fault;
use crate::model::{
    AgentSpec, Code, CreateRequest, Desired, Document, EventBody, OperationKind, Problem,
    ProjectSpec, Record, Spec, Status, StepOutcome, Storage, TaskspaceId, Underway,
};
use crate::plan::capability::Capabilities;
use crate::plan::create::{self, Inputs, Places};
use crate::plan::{Plan, delete, names};

/// How often an interrupted making is gone on with. A service that dies of it each time must not do so
/// forever.
const RESUMPTIONS: u32 = 3;

/// Makes a taskspace.
pub(super) async fn create(context: &Context, request: CreateRequest) -> Result<(), Problem> {
    // Nothing is fetched in vain.
    context.engine.check_reserve(None).await?;
    context.engine.check_headroom().await?;
    // Until the taskspace is in the registry, and as long as it is not: that of its project goes on.
    let _mirrors = context.engine.projects.use_mirrors().await;
    fault::point(|| "create: fetch the project: before".to_owned());
    let resolved = resolve(context, &request).await?;
    fault::point(|| "create: fetch the project: after".to_owned());
    let limits = context.engine.limits(&request)?;
    make(context, &Wanted { request, resolved, origin: None, limits }).await
}

/// What a taskspace is to be made of.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// What is asked for.
    pub(super) request: CreateRequest,
    /// Its project.
    pub(super) resolved: Resolved,
    /// Where it begins, if that is where another one is.
    pub(super) origin: Option<Origin>,
    /// How much it may use.
    pub(super) limits: Limits,
}

/// Makes a taskspace whose project is known.
pub(super) async fn make(context: &Context, wanted: &Wanted) -> Result<(), Problem> {
    let engine = &context.engine;
    let (_, capabilities) = engine.link.get().await?;
    let request = &wanted.request;
    let mut attempt = 1;
    loop {
        let record = enter(context, wanted, &capabilities).await?;
        engine.announce(&context.id, None, Some(Status::Creating));
        let on_failure =
            if request.keep_on_failure { OnFailure::Keep } else { OnFailure::TakeBack };
        let plan = with_inputs(context, |inputs| create::plan(inputs, false)).await?;
        let Err(failure) = context.execute(&plan, on_failure).await else {
            return engine.now_running(&context.id).await;
        };
        let Failure { problem, taken_back } = failure;
        if !taken_back && engine.closing.is_cancelled() {
            return Err(problem.hint("the next start of the service goes on with it"));
        }
        if request.keep_on_failure {
            return Err(keep(context, problem).await?);
        }
        if !taken_back {
            engine.now_unfinished(&context.id, Desired::Absent, problem.clone()).await?;
            return Err(problem.hint("what is left of it is removed as soon as that is possible"));
        }
        // The state that it was to continue with goes back to where it was.
        engine.forget(&context.id, record.agent_state_from.clone()).await?;
        if problem.code != Code::NetworkPortUnavailable || attempt == ATTEMPTS {
            return Err(problem);
        }
        attempt += 1;
    }
}

/// Leaves what was made of a taskspace for whoever wants to look at it.
async fn keep(context: &Context, problem: Problem) -> Result<Problem, Problem> {
    let id = &context.id;
    let kept = format!(
        "what was made is kept: `taskspace start {id}` goes on with it, `taskspace delete {id}` \
         removes it"
    );
    let hint = match &problem.hint {
        Some(hint) => format!("{hint}; {kept}"),
        None => kept,
    };
    let problem = problem.hint(hint);
    // One that was handed over is like any other that has failed.
    if context.engine.record(id).await?.is_half_made() {
        context.engine.now_unfinished(id, Desired::Running, problem.clone()).await?;
    } else {
        context.engine.now_failed(id, problem.clone()).await?;
    }
    Ok(problem)
}

/// Goes on with a making that broke off; one that cannot succeed is taken back.
pub(super) async fn resume(context: &Context) -> Result<(), Problem> {
    let engine = &context.engine;
    // Without Podman there is nothing to be done now: it stays recorded.
    engine.link.get().await?;
    let record = engine.record(&context.id).await?;
    let keeps = record.underway.as_ref().is_some_and(|underway| underway.keep);
    let asked_for = record.status == Status::Failed;
    let record = engine
        .enter_state(context, OperationKind::Create, move |record| {
            if record.status == Status::Failed {
                record.status = record.status.starting()?;
                record.failure = None;
            }
            if let Some(underway) = &mut record.underway {
                underway.keep = keeps;
            }
            Ok(())
        })
        .await?;
    let resumed = record.underway.map_or(0, |underway| underway.resumed);
    if record.forked.is_some() {
        // The other one has gone on since, and half a copy of it is worth nothing.
        take_back(context).await?;
        return Err(Problem::new(Code::Internal, "its creation broke off, and was taken back")
            .hint("fork again"));
    }
    if !asked_for && resumed > RESUMPTIONS {
        take_back(context).await?;
        let times = format!("its creation broke off {resumed} times, and was taken back");
        return Err(Problem::new(Code::Internal, times)
            .hint("the service's log may say why; please report it"));
    }
    let mut made = go_on(context).await;
    for _ in 0..ATTEMPTS {
        if !lifecycle::port_was_taken(&made) {
            break;
        }
        made = if engine.record(&context.id).await?.is_half_made() {
            engine.give_new_ports(&context.id).await?;
            go_on(context).await
        } else {
            lifecycle::bring_up(context).await
        };
    }
    match made {
        Ok(()) => engine.now_running(&context.id).await,
        // It may be Podman that is to blame, or the host that shuts down; what is recorded is tried
        // again.
        Err(problem)
            if problem.code == Code::PodmanUnavailable || engine.closing.is_cancelled() =>
        {
            Err(problem)
        }
        Err(problem) if keeps => Err(keep(context, problem).await?),
        Err(problem) if engine.record(&context.id).await?.is_half_made() => {
            take_back(context).await?;
            Err(problem)
        }
        // There may be work in it by now.
        Err(problem) => {
            engine.now_failed(&context.id, problem.clone()).await?;
            Err(problem)
        }
    }
}

async fn go_on(context: &Context) -> Result<(), Problem> {
    let plan = with_inputs(context, |inputs| create::plan(inputs, true)).await?;
    context.execute(&plan, OnFailure::Keep).await.map_err(|failure| failure.problem)
}

/// Removes what a making left.
pub(super) async fn take_back(context: &Context) -> Result<(), Problem> {
    let engine = &context.engine;
    engine.link.get().await?;
    let unwanted = |record: &mut Record| {
        record.desired = Desired::Absent;
        Ok(())
    };
    let record = engine.change(&context.id, unwanted).await?;
    let plan = delete::plan(&context.id, &record, false);
    if let Err(Failure { problem, .. }) = context.execute(&plan, OnFailure::Keep).await {
        if lifecycle::is_gone(context, &problem).await? {
            return Ok(());
        }
        engine.now_unfinished(&context.id, Desired::Absent, problem.clone()).await?;
        return Err(problem);
    }
    Ok(())
}

/// Computes a plan from what is recorded now.
pub(super) async fn with_inputs(
    context: &Context,
    plan: impl FnOnce(&Inputs<'_>) -> Plan,
) -> Result<Plan, Problem> {
    let record = context.engine.record(&context.id).await?;
    plan_for(&context.engine, &context.id, &record, plan).await
}

/// Computes a plan for a taskspace that is recorded so.
pub(super) async fn plan_for(
    engine: &Inner,
    id: &TaskspaceId,
    record: &Record,
    plan: impl FnOnce(&Inputs<'_>) -> Plan,
) -> Result<Plan, Problem> {
    let (_, capabilities) = engine.link.get().await?;
    let places = Places {
        files: engine.paths.taskspace(id),
        auth: engine.paths.auth.clone(),
        context: engine.paths.context.clone(),
        permits: engine.paths.permits.clone(),
    };
    Ok(plan(&Inputs {
        registry: engine.document().await?.registry,
        id,
        record,
        capabilities: &capabilities,
        mirrors: engine.projects.mirrors(),
        places: &places,
        stop_seconds: engine.stop_seconds(),
        defaults: &engine.container_defaults()?,
    }))
}

async fn resolve(context: &Context, request: &CreateRequest) -> Result<Resolved, Problem> {
    let engine = &context.engine;
    let _turn = engine.turns.look_at(&request.project).await?;
    let tell = |body| engine.bus.publish(Some(context.operation), Some(context.id.clone()), body);
    let step = "fetch the project".to_owned();
    engine.step(context.operation, &step);
    tell(EventBody::StepStarted { step: step.clone() });
    let begun = Instant::now();
    let resolved = engine.projects.resolve(request, |line| tell(EventBody::Output { line })).await;
    let outcome = if resolved.is_ok() { StepOutcome::Done } else { StepOutcome::Failed };
    let milliseconds = begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
    tell(EventBody::StepEnded { step, outcome, milliseconds });
    resolved
}

/// Enters the taskspace into the registry: from here on the next start of the service finds it.
async fn enter(
    context: &Context,
    wanted: &Wanted,
    capabilities: &Capabilities,
) -> Result<Record, Problem> {
    let draft = Draft {
        id: context.id.clone(),
        wanted: wanted.clone(),
        warnings: capabilities.warnings.clone(),
        settings: context.engine.settings(),
        quotas: context.engine.prepared_quotas(capabilities).await?,
        operation: context.operation,
    };
    let entered = context.engine.registry.update(move |document| draft.enter(document));
    entered.await.map_err(problems::registry)?
}

/// What the entry of a new taskspace is made of.
pub(super) struct Draft {
    pub(super) id: TaskspaceId,
    pub(super) wanted: Wanted,
    pub(super) warnings: Vec<String>,
    pub(super) settings: Arc<Settings>,
    pub(super) quotas: Prepared,
    pub(super) operation: u64,
}

impl Draft {
    /// Enters the taskspace into a document, with ports of its own.
    pub(super) fn enter(self, document: &mut Document) -> Result<Record, Problem> {
        let Self { id, wanted, mut warnings, settings, quotas, operation } = self;
        let Wanted { request, resolved, origin, limits } = wanted;
        check_free(document, &id, request.agent_state_of.as_ref())?;
        let ports = pick_ports(document, &settings.ports)?;
        let give_id = |storage: Storage| {
            let storage = Storage { only_hard: request.hard, ..storage };
            quotas.give_id(storage, document, &mut warnings)
        };
        let storage = limits.storage.map(give_id).transpose()?;
        let agent_state_volume = match &request.agent_state_of {
            Some(former) => document
                .agent_states
                .remove(former)
                .map(|kept| kept.volume)
                .ok_or_else(|| no_agent_state(document, former))?,
            None => names::agent_state_volume(&id, |name| {
                document.taskspaces.values().any(|t| t.agent_state_volume == name)
                    || document.agent_states.values().any(|kept| kept.volume == name)
            }),
        };
        let now = Timestamp::now();
        let name = enter_project(document, &resolved);
        let network = choose(&settings, &name, limits.tier.as_deref(), request.network)?;
        let mut agent = AgentSpec::resolve(request.agent.as_deref(), request.prompt);
        let (forked, cache) = match origin {
            None => {
                let cache = document.projects.get(&name).and_then(|project| project.cache());
                (None, cache.map(str::to_owned))
            }
            Some(Origin { forked, cache, agent: same }) => {
                if request.agent.is_none() {
                    agent = AgentSpec { prompt: agent.prompt, ..same };
                }
                (Some(forked), cache)
            }
        };
        let base_key = Some(resolved.base_key).filter(|key| *key != resolved.commit);
        let project = ProjectSpec {
            name,
            source: resolved.source,
            origin: resolved.origin,
            push_url: resolved.push_url,
            git_ref: request.git_ref,
            commit: resolved.commit,
            branch: names::branch(&id, &resolved.branches),
            dirty: request.dirty,
            commits: resolved.commits,
            base_key,
            submodules: resolved.submodules,
            warnings: resolved.warnings,
        };
        warnings.extend(project.warnings.iter().cloned());
        let record = Record {
            status: Status::Creating,
            desired: Desired::Running,
            dev_port: ports.dev,
            agent_port: ports.agent,
            created: now,
            last_updated: now,
            last_activity: now,
            spec: Spec {
                project,
                project_type: request.project_type.unwrap_or(resolved.detected),
                agent,
            },
            agent_state_volume,
            agent_state_from: request.agent_state_of,
            forked,
            cache,
            snapshots: Default::default(),
            restoring: None,
            tier: limits.tier,
            network,
            published: Vec::new(),
            storage,
            underway: Some(Underway {
                keep: request.keep_on_failure,
                ..Underway::new(OperationKind::Create, operation, now)
            }),
            failure: None,
            warnings,
            restarts: 0,
            attempts: Vec::new(),
            endings: Vec::new(),
        };
        document.note_uses(&record.spec.project.name, now, |document| {
            document.taskspaces.insert(id, record.clone().into());
        });
        Ok(record)
    }
}

/// Checks whether a taskspace of this id can be made.
pub(super) fn check_free(
    document: &Document,
    id: &TaskspaceId,
    agent_state_of: Option<&TaskspaceId>,
) -> Result<(), Problem> {
    if document.taskspaces.contains_key(id) {
        return Err(taken(id));
    }
    if let Some(former) = agent_state_of
        && document.agent_states.get(former).is_none_or(|state| state.going)
    {
        return Err(no_agent_state(document, former));
    }
    // A making that fails gives the state back under this id.
    let lent = document
        .taskspaces
        .iter()
        .find(|(_, record)| record.is_half_made() && record.agent_state_from.as_ref() == Some(id));
    if let Some((borrower, _)) = lent {
        return Err(Problem::new(
            Code::AgentStateExists,
            format!("the agent state of a former taskspace '{id}' is lent to '{borrower}'"),
        )
        .hint(format!("start or delete '{borrower}' first; its creation is not finished")));
    }
    if agent_state_of != Some(id) && document.agent_states.contains_key(id) {
        return Err(Problem::new(
            Code::AgentStateExists,
            format!("the agent state of a former taskspace '{id}' is kept"),
        )
        .hint(format!(
            "`--agent-state-of {id}` continues with it, `taskspace delete --purge {id}` removes it"
        )));
    }
    Ok(())
}

/// The id is taken.
pub(super) fn taken(id: &TaskspaceId) -> Problem {
    Problem::new(Code::TaskspaceExists, format!("there is a taskspace '{id}' already"))
        .hint("choose another id, or delete that one first")
}

fn no_agent_state(document: &Document, former: &TaskspaceId) -> Problem {
    if document.taskspaces.contains_key(former) {
        return Problem::new(
            Code::AgentStateUnavailable,
            format!("the agent state of '{former}' is in use: that taskspace still exists"),
        )
        .hint("delete it first, without --purge");
    }
    let kept: Vec<_> = document.agent_states.keys().map(TaskspaceId::as_str).collect();
    let hint = match kept.as_slice() {
        [] => "no agent state is kept at the moment".to_owned(),
        kept => format!("kept are those of: {}", kept.join(", ")),
    };
    Problem::new(
        Code::AgentStateUnavailable,
        format!("no agent state of a former taskspace '{former}' is kept"),
    )
    .hint(hint)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::AgentStateRecord;

    #[test]
    fn a_kept_agent_state_is_neither_lost_nor_taken_by_accident() {
        let id: TaskspaceId = "fix".parse().unwrap();
        let mut document = Document::new(Uuid::nil());
        assert_eq!(check_free(&document, &id, None), Ok(()));
        let problem = check_free(&document, &id, Some(&id)).unwrap_err();
        assert_eq!(problem.code, Code::AgentStateUnavailable);
        let kept = AgentStateRecord::of(&Record::example(), Timestamp::UNIX_EPOCH);
        document.agent_states.insert(id.clone(), kept);
        assert_eq!(check_free(&document, &id, None).unwrap_err().code, Code::AgentStateExists);
        assert_eq!(check_free(&document, &id, Some(&id)), Ok(()));
    }
}
