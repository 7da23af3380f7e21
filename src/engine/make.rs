//! Makes taskspaces, and takes back what an interrupted making left.

use std::ops::RangeInclusive;
use std::time::Instant;

use jiff::Timestamp;

use super::driver::Context;
use super::execute::Failure;
use super::problems;
use super::projects::{Resolved, enter_project};
use crate::config::settings::PortSettings;
use crate::host::ports;
use crate::model::{
    AgentSpec, Code, CreateRequest, Desired, Document, EventBody, OperationKind, Ports, Problem,
    ProjectSpec, Record, Spec, Status, StepOutcome, TaskspaceId, Underway,
};
use crate::plan::capability::Capabilities;
use crate::plan::create::{self, Inputs, Places};
use crate::plan::{delete, names};

/// How often new ports are tried when another program was quicker.
const PORT_ATTEMPTS: usize = 3;

/// Makes a taskspace.
pub(super) async fn create(context: &Context, request: CreateRequest) -> Result<(), Problem> {
    let engine = &context.engine;
    let (_, capabilities) = engine.link.get().await?;
    let resolved = resolve(context, &request).await?;
    let mut attempt = 1;
    loop {
        let record = enter(context, &request, &resolved, &capabilities).await?;
        engine.announce(&context.id, None, Some(Status::Creating));
        let registry = engine.document().await?.registry;
        let inputs = Inputs {
            registry,
            id: &context.id,
            record: &record,
            capabilities: &capabilities,
            mirror: &resolved.mirror,
            places: &places(context),
            stop_seconds: engine.stop_seconds(),
        };
        let made = context.execute(&create::plan(&inputs)).await;
        let Err(Failure { problem, taken_back }) = made else {
            return engine.now_running(&context.id).await;
        };
        let quicker = problem.code == Code::NetworkPortUnavailable && attempt < PORT_ATTEMPTS;
        if !taken_back {
            engine.now_failed(&context.id, problem.clone()).await?;
            return Err(problem);
        }
        // The state that it was to continue with goes back to where it was.
        engine.forget(&context.id, record.agent_state_from.clone()).await?;
        if !quicker {
            return Err(problem);
        }
        attempt += 1;
    }
}

/// Removes what an interrupted making left.
pub(super) async fn take_back(context: &Context) -> Result<(), Problem> {
    // Without Podman there is nothing to be done now: it stays recorded for the next start.
    context.engine.link.get().await?;
    let record = context.engine.record(&context.id).await?;
    // The state that it was to continue with goes back to where it was.
    let plan = delete::plan(&context.id, &record, record.agent_state_from.clone());
    if let Err(Failure { problem, .. }) = context.execute(&plan).await {
        context.engine.now_failed(&context.id, problem.clone()).await?;
        return Err(problem);
    }
    Ok(())
}

/// Returns the places on the host that a taskspace's containers see.
pub(super) fn places(context: &Context) -> Places {
    let paths = &context.engine.paths;
    Places {
        files: paths.taskspace(&context.id),
        auth: paths.auth.clone(),
        context: paths.context.clone(),
    }
}

async fn resolve(context: &Context, request: &CreateRequest) -> Result<Resolved, Problem> {
    let engine = &context.engine;
    let tell = |body| engine.bus.publish(Some(context.operation), Some(context.id.clone()), body);
    let step = "fetch the project".to_owned();
    engine.operations.step(context.operation, &step);
    tell(EventBody::StepStarted { step: step.clone() });
    let begun = Instant::now();
    let resolved = engine.projects.resolve(request, |line| tell(EventBody::Output { line })).await;
    let outcome = if resolved.is_ok() { StepOutcome::Done } else { StepOutcome::Failed };
    let milliseconds = begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
    tell(EventBody::StepEnded { step, outcome, milliseconds });
    resolved
}

/// Enters the taskspace into the registry, with ports of its own: from here on the next start of
/// the service finds it.
async fn enter(
    context: &Context,
    request: &CreateRequest,
    resolved: &Resolved,
    capabilities: &Capabilities,
) -> Result<Record, Problem> {
    let (id, request, resolved) = (context.id.clone(), request.clone(), resolved.clone());
    let warnings = capabilities.warnings.clone();
    let ranges = context.engine.settings.ports.clone();
    let entered = context.engine.registry.update(move |document| {
        check_free(document, &id, request.agent_state_of.as_ref())?;
        let ports = pick_ports(document, &ranges)?;
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
        let project = ProjectSpec {
            name: enter_project(document, &resolved),
            source: resolved.source.clone(),
            git_ref: request.git_ref.clone(),
            commit: resolved.commit.clone(),
            branch: names::branch(&id),
        };
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
                agent: AgentSpec::resolve(request.agent.as_deref(), request.prompt.clone()),
            },
            agent_state_volume,
            agent_state_from: request.agent_state_of.clone(),
            underway: Some(Underway {
                kind: OperationKind::Create,
                since: now,
                done: Vec::new(),
                purge: false,
            }),
            failure: None,
            warnings,
            restarts: 0,
        };
        document.taskspaces.insert(id, record.clone());
        Ok::<Record, Problem>(record)
    });
    entered.await.map_err(problems::registry)?
}

/// Picks a pair of ports that no taskspace has and no program listens on.
pub(super) fn pick_ports(document: &Document, ranges: &PortSettings) -> Result<Ports, Problem> {
    let taken = |port: u16| {
        document.taskspaces.values().any(|t| t.dev_port == port || t.agent_port == port)
    };
    let pick = |range: &RangeInclusive<u16>| {
        ports::pick(range.clone(), &taken, &mut rand::rng()).ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            Problem::new(
                Code::NetworkPortUnavailable,
                format!("no port between {first} and {last} is free"),
            )
            .hint("delete taskspaces, or set wider ranges in settings.yaml (`ports`)")
        })
    };
    Ok(Ports { dev: pick(&ranges.dev)?, agent: pick(&ranges.agent)? })
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
        && !document.agent_states.contains_key(former)
    {
        return Err(no_agent_state(document, former));
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
        let kept = AgentStateRecord { volume: "v".to_owned(), since: Timestamp::UNIX_EPOCH };
        document.agent_states.insert(id.clone(), kept);
        assert_eq!(check_free(&document, &id, None).unwrap_err().code, Code::AgentStateExists);
        assert_eq!(check_free(&document, &id, Some(&id)), Ok(()));
    }
}
