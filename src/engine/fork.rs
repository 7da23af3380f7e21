//! Taskspaces that begin where another one is.

use std::time::Duration;

use super::driver::{Context, Job};
use super::make::{self, Wanted};
use super::perform::Acting;
use super::projects::Resolved;
use super::{Engine, checkout, lifecycle, problems, restore, snapshots};
use crate::model::{
    AgentSpec, Asker, Code, CreateRequest, Desired, ForkRequest, Forked, GitEnvironment, Hold,
    Operation, Problem, Record, Role, SnapshotName, TaskspaceId,
};
use crate::plan::{CopyPath, CopyPlan, fork as plan, names};

/// Renames the branch that the work began on, whichever is checked out now.
const RENAME_BRANCH: &str = "git branch --move -- \"$1\" \"$2\"";

/// How long that may take: much less than this, but for what a repository can have git do.
const RENAMING: Duration = Duration::from_secs(20);

/// A fork that is asked for.
#[derive(Debug)]
pub(super) struct Forking {
    /// The taskspace that is copied.
    from: TaskspaceId,
    request: ForkRequest,
    /// What whoever asks holds: perhaps that taskspace.
    lock: Option<Hold>,
}

/// What is taken over from the other taskspace.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Where it began.
    pub(super) forked: Forked,
    /// The project's build cache that lies below.
    pub(super) cache: Option<String>,
    /// The agent, unless another one is asked for.
    pub(super) agent: AgentSpec,
}

impl Engine {
    /// Begins to make a taskspace that begins where another one is.
    ///
    /// # Errors
    /// When there is no such taskspace, or the id is taken. What comes later is the operation's.
    pub async fn fork(
        &self,
        from: &TaskspaceId,
        mut request: ForkRequest,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        AgentSpec::check(request.agent.as_deref(), request.prompt.as_deref())?;
        let record = self.inner.record(from).await?;
        check_origin(from, &record, request.snapshot.as_ref(), request.agent_state)?;
        self.inner.limits_of_fork(&request, &record)?;
        let project = &record.spec.project.name;
        let id = self.choose_id(request.id.take(), project, None).await?;
        request.id = Some(id.clone());
        let forking = Forking { from: from.clone(), request, lock: asker.lock };
        self.ask_for_new(&id, Job::Fork(Box::new(forking)), asker)
    }
}

/// Makes a taskspace that begins where another one is.
pub(super) async fn fork(context: &Context, forking: Forking) -> Result<(), Problem> {
    let Forking { from, request, .. } = forking;
    let record = context.engine.record(&from).await?;
    check_origin(&from, &record, request.snapshot.as_ref(), request.agent_state)?;
    context.engine.check_reserve(Some(&from)).await?;
    let limits = context.engine.limits_of_fork(&request, &record)?;
    let project = record.spec.project;
    let origin = Origin {
        forked: Forked {
            from,
            agent_state: request.agent_state.then_some(record.agent_state_volume),
            snapshot: request.snapshot,
        },
        cache: record.cache,
        agent: AgentSpec { prompt: None, ..record.spec.agent },
    };
    let base_key = project.base().to_owned();
    let resolved = Resolved {
        source: project.source.clone(),
        origin: project.origin,
        push_url: project.push_url,
        wanted_name: project.name,
        base_key,
        commit: project.commit,
        submodules: project.submodules,
        warnings: project.warnings,
        detected: record.spec.project_type,
        commits: project.commits,
        branches: names::excluded_by(&project.branch),
    };
    let request = CreateRequest {
        id: Some(context.id.clone()),
        project: project.source,
        git_ref: project.git_ref,
        project_type: Some(record.spec.project_type),
        agent: request.agent,
        prompt: request.prompt,
        agent_state_of: None,
        tier: request.tier,
        storage: request.storage,
        on_full: request.on_full,
        hard: request.hard,
        network: request.network.unwrap_or_else(|| record.network.into()),
        offline: true,
        dirty: false,
        keep_on_failure: request.keep_on_failure,
        git: GitEnvironment::default(),
    };
    let wanted = Wanted { request, resolved, origin: Some(origin), limits };
    make::make(context, &wanted).await
}

/// Checks whether a taskspace has something that can be copied.
pub(super) fn check(id: &TaskspaceId, record: &Record) -> Result<(), Problem> {
    if record.is_half_made() {
        let detail = format!("the creation of '{id}' has not been finished");
        return Err(Problem::new(Code::StateConflict, detail).hint("wait until it is ready"));
    }
    if record.desired == Desired::Absent {
        return Err(Problem::new(Code::StateConflict, format!("'{id}' is being removed")));
    }
    restore::refuse_half(id, record)
}

/// Checks whether a taskspace has what is to be copied, of now or of a snapshot.
fn check_origin(
    id: &TaskspaceId,
    record: &Record,
    snapshot: Option<&SnapshotName>,
    agent_state: bool,
) -> Result<(), Problem> {
    match snapshot {
        None => check(id, record),
        Some(name) => snapshots::find_with(id, record, name, agent_state).map(drop),
    }
}

/// Copies what a taskspace has, for another one.
pub(super) async fn copy_out(context: &Context, copy: CopyPlan) -> Result<(), Problem> {
    let CopyPlan { paths, snapshot, .. } = copy;
    let record = context.engine.record(&context.id).await?;
    check_origin(&context.id, &record, snapshot.as_ref(), false)?;
    let plan = match snapshot {
        None => plan::copy_out(paths, record.is_frozen()),
        Some(_) => plan::copy_of_snapshot(paths),
    };
    lifecycle::run(context, &plan).await
}

impl Forking {
    /// Returns what whoever asks for it holds.
    pub(super) fn lock(&self) -> Option<Hold> {
        self.lock
    }
}

impl Acting {
    /// Has the other taskspace's driver copy what that has: in between nobody stops or removes it.
    pub(super) async fn copy_from(&self, copy: &CopyPlan) -> Result<(), Problem> {
        let asker = Asker { lock: self.lock, ..Asker::default() };
        let asked = self.engine.request(&copy.of, Job::Copy(copy.clone()), &asker)?;
        let ended = self.engine.operations.wait(asked.id).await?;
        ended.problem.map_or(Ok(()), Err)
    }

    pub(super) async fn copy_out(&self, paths: &[CopyPath]) -> Result<(), Problem> {
        let unshared = self.engine.unshared().await?;
        for CopyPath { from, to } in paths {
            unshared.copy(from, to, Vec::new()).await.map_err(problems::unshared)?;
        }
        Ok(())
    }

    /// Renames the branch. Where that cannot be, because the work was in the middle of something, it
    /// goes on under its name of before.
    pub(super) async fn rename_branch(&self, from: &str, to: &str) -> Result<(), Problem> {
        let spec = checkout::command(Role::Dev.user(), RENAME_BRANCH, &[from, to]);
        let name = names::container(&self.id, Role::Dev);
        let session = self.podman.exec(&name, spec).await.map_err(problems::podman)?;
        let said = match tokio::time::timeout(RENAMING, session.finish()).await {
            Ok(result) => {
                let result = result.map_err(problems::podman)?;
                if result.exit_code == 0 {
                    return Ok(());
                }
                String::from_utf8_lossy(&result.stderr).trim().to_owned()
            }
            Err(_) => format!("git has not renamed it within {RENAMING:?}"),
        };
        let warning = format!("its branch could not be renamed to {to}: {said}");
        self.engine.note_warning(&self.id, warning).await
    }
}
