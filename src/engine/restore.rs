//! Gives a taskspace back what it had when a snapshot was made.
//!
//! That it is to be restored is recorded before its containers are stopped. Until files are replaced it
//! can go on as it was, and does when something fails. From then on only the end of the restoration
//! makes it whole: nothing starts it before (`lifecycle::bring_up` goes on with it), nothing looks at
//! its files or copies them, and a restoration that broke off is begun anew.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::driver::{Context, Job};
use super::perform::Acting;
use super::snapshots::{check_free, find_with};
use super::ssh::blocking;
use super::{Engine, fork, lifecycle, make, problems, snapshots};
use crate::fault;
use crate::host::files;
use crate::model::{
    Asker, Code, Desired, Operation, OperationKind, PlanView, Problem, Record, RestoreRequest,
    Restoring, SnapshotName, Status, TaskspaceId,
};
use crate::plan::assess::Life;
use crate::plan::create::Inputs;
use crate::plan::snapshot::{self as plan, Taking};
use crate::plan::{CopyPath, names};
use crate::podman::ContainerSummary;

/// How long the files of a taskspace that was just stopped may still be in use: Podman unmounts them
/// when it tidies up after the containers, and whoever looks at them is done soon.
const LET_GO: Duration = Duration::from_secs(20);

/// How often to look meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A restoration that is asked for.
#[derive(Clone, Debug)]
pub(super) struct Restoration {
    /// The snapshot.
    pub(super) name: SnapshotName,
    /// Whether the agent gets its state of then.
    pub(super) agent_state: bool,
    /// As what to keep what there is now.
    pub(super) save: Option<SnapshotName>,
}

impl Engine {
    /// Begins to give a taskspace back what a snapshot has.
    ///
    /// # Errors
    /// When there is no such taskspace or snapshot, or what there is now would be lost and that is not
    /// wished for.
    pub async fn restore(
        &self,
        id: &TaskspaceId,
        name: SnapshotName,
        request: RestoreRequest,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        let record = self.inner.record(id).await?;
        let restoration = Restoration::admit(id, &record, name, request)?;
        self.ask(id, Job::Restore(restoration), asker).await
    }

    /// Tells how a taskspace would be given back what a snapshot has.
    ///
    /// # Errors
    /// Those of the real request and, as far as they can be foreseen, of its operation.
    pub async fn plan_restoration(
        &self,
        id: &TaskspaceId,
        name: SnapshotName,
        request: RestoreRequest,
    ) -> Result<PlanView, Problem> {
        let record = self.inner.record(id).await?;
        let restoration =
            Restoration::admit(id, &record, name, RestoreRequest { force: true, ..request })?;
        check_state(id, &record)?;
        let Restoration { name: snapshot, agent_state, .. } = restoration;
        let restoring = Restoring { snapshot, agent_state, begun: false };
        let plan = |inputs: &Inputs<'_>| plan::restore(inputs, &restoring);
        Ok(make::plan_for(&self.inner, id, &record, plan).await?.view(id))
    }
}

impl Restoration {
    /// Takes a request, if it can be met and what there is now may be lost.
    fn admit(
        id: &TaskspaceId,
        record: &Record,
        name: SnapshotName,
        request: RestoreRequest,
    ) -> Result<Self, Problem> {
        let RestoreRequest { agent_state, save, force } = request;
        let is_kept = save.is_some();
        let restoration = Self { name, agent_state, save };
        restoration.check(id, record)?;
        let is_half = record.restoring.as_ref().is_some_and(|restoring| restoring.begun);
        if !force && !is_kept && !is_half {
            let detail = format!("what '{id}' has now would be lost");
            return Err(Problem::new(Code::UnsavedWork, detail)
                .hint("--save NAME keeps it as a snapshot, --force loses it"));
        }
        Ok(restoration)
    }

    /// Goes on with one that broke off.
    pub(super) fn go_on(restoring: &Restoring) -> Self {
        let Restoring { snapshot, agent_state, .. } = restoring.clone();
        Self { name: snapshot, agent_state, save: None }
    }

    fn check(&self, id: &TaskspaceId, record: &Record) -> Result<(), Problem> {
        find_with(id, record, &self.name, self.agent_state)?;
        match &self.save {
            Some(save) => check_free(id, record, save),
            None => Ok(()),
        }
    }
}

/// Gives a taskspace back what a snapshot has; then it runs again, if it is to run.
pub(super) async fn restore(context: &Context, restoration: Restoration) -> Result<(), Problem> {
    let (engine, id) = (&context.engine, &context.id);
    engine.link.get().await?;
    let record = engine.record(id).await?;
    check_state(id, &record)?;
    restoration.check(id, &record)?;
    let Restoration { name, agent_state, save } = restoration;
    if let Some(save) = save {
        let note = Some(format!("before {name} was restored"));
        snapshots::take(context, &Taking { name: save, note, agent_state }).await?;
    }
    let enter = move |record: &mut Record| {
        // One that broke off is made good by any other.
        let begun = record.restoring.as_ref().is_some_and(|restoring| restoring.begun);
        record.restoring = Some(Restoring { snapshot: name, agent_state, begun });
        if record.status != Status::Stopping {
            record.status = record.status.stopping()?;
        }
        Ok(())
    };
    engine.enter_state(context, OperationKind::Restore, enter).await?;
    match finish(context).await {
        Ok(()) => settle(context).await.map_err(|problem| {
            // It need not be done again, whatever is in the way of the start.
            let detail = format!("it is restored, but does not start: {}", problem.detail);
            Problem { detail, ..problem }
        }),
        Err(problem) => Err(give_up(context, problem).await?),
    }
}

/// Goes on with a restoration that is not over, if there is one.
pub(super) async fn finish(context: &Context) -> Result<(), Problem> {
    let engine = &context.engine;
    let Some(restoring) = engine.record(&context.id).await?.restoring else { return Ok(()) };
    let plan = make::with_inputs(context, |inputs| plan::restore(inputs, &restoring)).await?;
    lifecycle::run(context, &plan).await?;
    let done = engine.change(&context.id, |record| {
        record.restoring = None;
        Ok(())
    });
    done.await.map(drop)
}

/// Has what is whole run again, if it is to run.
async fn settle(context: &Context) -> Result<(), Problem> {
    let engine = &context.engine;
    let stopped = |record: &mut Record| {
        record.status = record.status.stopped()?;
        record.failure = None;
        Ok(())
    };
    engine.leave_state(&context.id, stopped).await?;
    match engine.record(&context.id).await?.desired {
        Desired::Running => lifecycle::start(context, OperationKind::Restore).await,
        _ => Ok(()),
    }
}

/// Leaves a restoration that failed: as it was before if that is possible, else for somebody to go on
/// with it.
async fn give_up(context: &Context, mut problem: Problem) -> Result<Problem, Problem> {
    let (engine, id) = (&context.engine, &context.id);
    if engine.closing.is_cancelled() {
        return Ok(problem.hint("the next start of the service goes on with it"));
    }
    let begun = engine.record(id).await?.restoring.is_some_and(|restoring| restoring.begun);
    if begun {
        let hint = format!(
            "its files are in part replaced: `taskspace start {id}` goes on with it, and \
             `taskspace restore` can do so with another snapshot"
        );
        problem = match &problem.hint {
            Some(before) => Problem { hint: Some(format!("{before}; {hint}")), ..problem },
            None => problem.hint(hint),
        };
        engine.now_failed(id, problem.clone()).await?;
        return Ok(problem);
    }
    let untouched = |record: &mut Record| {
        record.restoring = None;
        Ok(())
    };
    engine.change(id, untouched).await?;
    if let Err(also) = settle(context).await {
        problem.log.push(format!("also: {}", also.detail));
    }
    Ok(problem)
}

fn check_state(id: &TaskspaceId, record: &Record) -> Result<(), Problem> {
    // What is half restored can be restored.
    fork::check(id, &Record { restoring: None, ..record.clone() })
}

/// Refuses to look at, or to copy, what is neither the one nor the other.
pub(super) fn refuse_half(id: &TaskspaceId, record: &Record) -> Result<(), Problem> {
    let Some(restoring) = &record.restoring else { return Ok(()) };
    let name = &restoring.snapshot;
    Err(Problem::new(Code::StateConflict, format!("'{id}' is being restored from '{name}'"))
        .hint(format!("wait until that is done; `taskspace start {id}` goes on if it broke off")))
}

impl Acting {
    /// Refuses to go on when somebody else's container uses volumes: nothing is stopped in vain.
    pub(super) async fn refuse_other_users(&self, volumes: &[String]) -> Result<(), Problem> {
        for volume in volumes {
            let users = self.users(volume).await?;
            if let Some(other) = users.iter().find(|it| !self.is_own(it)) {
                return Err(used_by(other, volume));
            }
        }
        Ok(())
    }

    /// Waits until nobody uses volumes any more: what is mounted must not be changed from below.
    pub(super) async fn await_unused(&self, volumes: &[String]) -> Result<(), Problem> {
        let deadline = Instant::now() + LET_GO;
        loop {
            let Some(used) = self.still_used(volumes).await? else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(used);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Tells how volumes are used, if they are.
    async fn still_used(&self, volumes: &[String]) -> Result<Option<Problem>, Problem> {
        let used = |detail: String| Problem::new(Code::StateConflict, detail);
        // One that begins to look from now on sees that it must not.
        if self.engine.is_looked_at(&self.id) {
            let detail = format!("somebody looks at the files of '{}' just now", self.id);
            return Ok(Some(used(detail).hint("try again")));
        }
        for volume in volumes {
            if let Some(user) = self.users(volume).await?.first() {
                return Ok(Some(used_by(user, volume)));
            }
            if self.engine.volumes().await?.find(volume).await?.is_some_and(|it| it.is_mounted()) {
                let detail = format!("Podman has the volume '{volume}' mounted");
                let pod = names::pod(&self.id);
                let hint = format!(
                    "no container that runs uses it: `podman pod rm --force {pod}` lets go of it, \
                     and the pod is made anew"
                );
                return Ok(Some(used(detail).hint(hint)));
            }
        }
        Ok(None)
    }

    /// Returns the containers that have a volume and do not rest.
    async fn users(&self, volume: &str) -> Result<Vec<ContainerSummary>, Problem> {
        let volumes = self.engine.volumes().await?;
        let mut users = volumes.containers_with(volume).await?;
        users.retain(|container| Life::of(&container.state) != Life::Down);
        Ok(users)
    }

    /// Whether a container is of the taskspace's pod, or was made to look at its files and goes soon.
    fn is_own(&self, container: &ContainerSummary) -> bool {
        let role = container.labels.get(names::ROLE_LABEL);
        container.pod_name == names::pod(&self.id) || role.is_some_and(|role| role == names::ASIDE)
    }

    pub(super) async fn begin_refill(&self) -> Result<(), Problem> {
        let begun = self.engine.change(&self.id, |record| {
            if let Some(restoring) = &mut record.restoring {
                restoring.begun = true;
            }
            Ok(())
        });
        begun.await.map(drop)
    }

    /// Replaces what is in directories, and waits until all of it is on the disk.
    pub(super) async fn refill(
        &self,
        copies: &[CopyPath],
        emptied: &[PathBuf],
    ) -> Result<(), Problem> {
        let unshared = self.engine.unshared().await?;
        let filled = copies.iter().map(|copy| copy.to.clone());
        let all = filled.chain(emptied.iter().cloned()).collect();
        unshared.empty(all).await.map_err(problems::unshared)?;
        fault::point(|| "restore: replace what it has: emptied".to_owned());
        for CopyPath { from, to } in copies {
            unshared.copy(from, to, Vec::new()).await.map_err(problems::unshared)?;
        }
        let (_, capabilities) = self.engine.link.get().await?;
        let changes = capabilities.volume_directory(&names::changes_volume(&self.id));
        let sync =
            move || files::sync_file_system(&changes).map_err(|error| problems::file(&error));
        blocking(sync).await
    }
}

fn used_by(container: &ContainerSummary, volume: &str) -> Problem {
    let name = container.name();
    let detail = format!("the container '{name}' runs and uses the volume '{volume}'");
    Problem::new(Code::StateConflict, detail).hint(format!("stop '{name}', and try again"))
}
