//! Reads and changes the registry's entry of a taskspace.

use std::sync::Arc;

use jiff::Timestamp;

use super::driver::Context;
use super::{Inner, problems};
use crate::host::memory;
use crate::model::{
    ContainerDefaults, Desired, Document, EventBody, OperationKind, Problem, Quantity, Record,
    Status, TaskspaceId, Underway,
};

impl Inner {
    /// Returns the registry's document.
    pub(super) async fn document(&self) -> Result<Arc<Document>, Problem> {
        self.registry.read().await.map_err(problems::registry)
    }

    /// Returns a taskspace's entry.
    pub(super) async fn record(&self, id: &TaskspaceId) -> Result<Record, Problem> {
        let document = self.document().await?;
        let record = document.taskspaces.get(id).ok_or_else(|| problems::not_found(id))?;
        Ok(Record::clone(record))
    }

    /// Returns how long a container may take to stop, in seconds.
    pub(super) fn stop_seconds(&self) -> u32 {
        self.settings().stop_timeout.as_secs().try_into().unwrap_or(u32::MAX)
    }

    /// Returns what is the same in all containers that are made now.
    pub(super) fn container_defaults(&self) -> Result<ContainerDefaults, Problem> {
        let settings = &self.settings().containers;
        let shm_size = match settings.shm_size {
            Some(size) => size,
            // As tmpfs(5) has it where nothing is said.
            None => Quantity(memory::total().map_err(problems::internal)? / 2),
        };
        let (timezone, environment) = (settings.timezone.clone(), settings.environment.clone());
        Ok(ContainerDefaults { shm_size, timezone, environment })
    }

    /// Changes a taskspace's entry and tells of a changed state.
    pub(super) async fn change(
        &self,
        id: &TaskspaceId,
        change: impl FnOnce(&mut Record) -> Result<(), Problem> + Send + 'static,
    ) -> Result<Record, Problem> {
        let wanted = id.clone();
        let updated = self.registry.update(move |document| {
            let record =
                document.taskspaces.get_mut(&wanted).ok_or_else(|| problems::not_found(&wanted))?;
            let from = record.status;
            change(record)?;
            record.last_updated = Timestamp::now();
            Ok::<_, Problem>((from, Record::clone(record)))
        });
        let (from, record) = updated.await.map_err(problems::registry)??;
        if from != record.status {
            self.announce(id, Some(from), Some(record.status));
        }
        self.refresh_idle().await;
        Ok(record)
    }

    /// Tells of a changed state.
    pub(super) fn announce(&self, id: &TaskspaceId, from: Option<Status>, to: Option<Status>) {
        self.bus.publish(None, Some(id.clone()), EventBody::StatusChanged { from, to });
    }

    /// Records what is about to be done, with a change of state.
    pub(super) async fn enter_state(
        &self,
        context: &Context,
        kind: OperationKind,
        change: impl FnOnce(&mut Record) -> Result<(), Problem> + Send + 'static,
    ) -> Result<Record, Problem> {
        let operation = context.operation;
        self.change(&context.id, move |record| {
            let now = Timestamp::now();
            let before = record.underway.replace(Underway::new(kind, operation, now));
            if let (Some(before), Some(underway)) = (before, &mut record.underway)
                && before.operation == operation
            {
                underway.resumed = before.resumed + 1;
            }
            if kind != OperationKind::Recover {
                record.last_activity = now;
                record.attempts.clear();
            }
            change(record)
        })
        .await
    }

    /// Records that what was under way is over, with a change of state.
    pub(super) async fn leave_state(
        &self,
        id: &TaskspaceId,
        change: impl FnOnce(&mut Record) -> Result<(), Problem> + Send + 'static,
    ) -> Result<(), Problem> {
        let changed = self.change(id, |record| {
            record.underway = None;
            change(record)
        });
        changed.await.map(drop)
    }

    /// Records that a taskspace is ready.
    pub(super) async fn now_running(&self, id: &TaskspaceId) -> Result<(), Problem> {
        // What its sshds were like before is no longer true.
        self.health.forget(id);
        self.leave_state(id, |record| {
            if !matches!(record.status, Status::Starting | Status::Degraded) {
                record.status = record.status.starting()?;
            }
            record.status = record.status.ready()?;
            record.failure = None;
            Ok(())
        })
        .await
    }

    /// Records that something could not be brought about, unless the service ends: then Podman may be
    /// ending as well, and what is under way stays so for the next start.
    pub(super) async fn now_failed(
        &self,
        id: &TaskspaceId,
        problem: Problem,
    ) -> Result<(), Problem> {
        if self.closing.is_cancelled() {
            return Ok(());
        }
        self.leave_state(id, |record| {
            // One that has failed may turn out to have failed for another reason.
            if record.status != Status::Failed {
                record.status = record.status.failed()?;
            }
            record.failure = Some(problem);
            Ok(())
        })
        .await
    }

    /// Records that something could not be brought about and is to be tried again: what is under way
    /// stays recorded, and `desired` with it.
    pub(super) async fn now_unfinished(
        &self,
        id: &TaskspaceId,
        desired: Desired,
        problem: Problem,
    ) -> Result<(), Problem> {
        let changed = self.change(id, move |record| {
            if record.status != Status::Failed {
                record.status = record.status.failed()?;
            }
            record.desired = desired;
            record.failure = Some(problem);
            Ok(())
        });
        changed.await.map(drop)
    }

    /// Records that a taskspace may be used from now on: what is under way is no longer its making
    /// but its start, and nothing of it is made anew or taken back after a crash.
    pub(super) async fn hand_over_to_user(&self, id: &TaskspaceId) -> Result<(), Problem> {
        let changed = self.change(id, |record| {
            if record.status == Status::Creating {
                record.status = record.status.starting()?;
            }
            if let Some(underway) = &mut record.underway {
                underway.kind = OperationKind::Start;
            }
            Ok(())
        });
        changed.await.map(drop)
    }

    /// Records that what was made of a taskspace is taken back, before it is: a crash in between must
    /// not go on with it, or take it for one that lost its work.
    pub(super) async fn condemn(&self, id: &TaskspaceId) -> Result<(), Problem> {
        let changed = self.change(id, |record| {
            record.desired = Desired::Absent;
            if let Some(underway) = &mut record.underway {
                underway.kind = OperationKind::Create;
            }
            Ok(())
        });
        changed.await.map(drop)
    }

    /// Records something about a taskspace that its user has to know.
    pub(super) async fn note_warning(
        &self,
        id: &TaskspaceId,
        warning: String,
    ) -> Result<(), Problem> {
        self.warn(id, &warning);
        let noted = self.change(id, |record| {
            if !record.warnings.contains(&warning) {
                record.warnings.push(warning);
            }
            Ok(())
        });
        noted.await.map(drop)
    }

    /// Records a step of what is under way, aside: nothing waits for it.
    pub(super) fn note_step(&self, id: &TaskspaceId, step: String) {
        let (registry, id) = (self.registry.clone(), id.clone());
        tokio::spawn(async move {
            let noted = registry.update(move |document| {
                let record = document.taskspaces.get_mut(&id);
                if let Some(underway) = record.and_then(|record| record.underway.as_mut()) {
                    underway.done.push(step);
                }
                Ok::<(), Problem>(())
            });
            if let Err(error) = noted.await {
                tracing::warn!("cannot note a step: {error}");
            }
        });
    }

    /// Counts the taskspaces that have to be looked after, for those who wait for idleness.
    pub(super) async fn refresh_idle(&self) {
        if let Ok(document) = self.document().await {
            let up = document.taskspaces.values().filter(|record| record.is_looked_after()).count();
            self.up.send_if_modified(|known| std::mem::replace(known, up) != up);
        }
    }
}
