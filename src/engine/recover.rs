//! Takes up what an earlier run of the service left: finishes or takes back what was under way, and
//! compares what is recorded as running with what runs.

use std::sync::Arc;

use futures_util::future::join_all;

use super::driver::Job;
use super::{Inner, problems};
use crate::model::{BaseState, Desired, Document, OperationKind, Problem, Record, TaskspaceId};
use crate::plan::names;
use crate::podman::{ErrorKind, Podman};

impl Inner {
    /// Begins, aside, to take up what is recorded as unfinished.
    pub(super) fn take_up(self: &Arc<Self>, document: &Document) {
        let mut recorded_as_up = Vec::new();
        for (id, record) in &document.taskspaces {
            match unfinished(record) {
                Some(job) => self.take_up_job(id, job),
                None if record.status.is_up() => recorded_as_up.push(id.clone()),
                None => {}
            }
        }
        let unfinished_bases: Vec<(String, String)> = document
            .projects
            .iter()
            .flat_map(|(name, project)| {
                let making = project.bases.iter().filter(|(_, b)| b.state == BaseState::Making);
                making.map(|(commit, _)| (name.clone(), commit.clone()))
            })
            .collect();
        if recorded_as_up.is_empty() && unfinished_bases.is_empty() {
            return;
        }
        let inner = self.clone();
        tokio::spawn(async move {
            if let Err(problem) = inner.compare(recorded_as_up, unfinished_bases).await {
                tracing::warn!("cannot compare the registry with Podman: {problem}");
            }
        });
    }

    fn take_up_job(self: &Arc<Self>, id: &TaskspaceId, job: Job) {
        tracing::info!(%id, kind = %job.kind(), "taking up what was under way");
        let operation = self.operations.enter(job.kind(), Some(id.clone()));
        self.hand_over(id, operation.id, job);
    }

    async fn compare(
        self: &Arc<Self>,
        recorded_as_up: Vec<TaskspaceId>,
        unfinished_bases: Vec<(String, String)>,
    ) -> Result<(), Problem> {
        let (podman, _) = self.link.get().await?;
        let up = join_all(recorded_as_up.iter().map(|id| is_up(&podman, id))).await;
        for (id, up) in recorded_as_up.iter().zip(up) {
            if !up? {
                self.leave_state(id, |record| {
                    record.status = record.status.stopped()?;
                    record.restarts += 1;
                    Ok(())
                })
                .await?;
                self.take_up_job(id, Job::Start);
            }
        }
        for (project, commit) in unfinished_bases {
            let document = self.document().await?;
            let wanted = document.taskspaces.values().any(|record| {
                record.spec.project.name == project && record.spec.project.commit == commit
            });
            // A creation that is being taken back drops its base itself.
            if !wanted {
                let nobody = TaskspaceId::derive("nobody", "0");
                self.projects.drop_base(&podman, &project, &commit, &nobody).await?;
            }
        }
        Ok(())
    }
}

/// Returns what is to be done about a taskspace whose operation was interrupted.
fn unfinished(record: &Record) -> Option<Job> {
    let underway = record.underway.as_ref()?;
    Some(match underway.kind {
        OperationKind::Create => Job::TakeBack,
        OperationKind::Delete => Job::Delete { purge: underway.purge },
        _ if record.desired == Desired::Running => Job::Restart,
        OperationKind::Start
        | OperationKind::Stop
        | OperationKind::Restart
        | OperationKind::BuildImages => Job::Stop,
    })
}

async fn is_up(podman: &Podman, id: &TaskspaceId) -> Result<bool, Problem> {
    match podman.inspect_pod(&names::pod(id)).await {
        Ok(pod) => {
            let running = pod.containers.iter().filter(|container| container.state == "running");
            Ok(running.count() == 3)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(problems::podman(error)),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::{AgentSpec, ProjectSpec, ProjectType, Spec, Status, Underway};

    fn record(desired: Desired, kind: Option<OperationKind>) -> Record {
        let now = Timestamp::UNIX_EPOCH;
        Record {
            status: Status::Starting,
            desired,
            dev_port: 1,
            agent_port: 2,
            created: now,
            last_updated: now,
            last_activity: now,
            spec: Spec {
                project: ProjectSpec {
                    name: "p".to_owned(),
                    source: "/p".to_owned(),
                    git_ref: None,
                    commit: "c".to_owned(),
                    branch: "b".to_owned(),
                },
                project_type: ProjectType::Generic,
                agent: AgentSpec::resolve(None, None),
            },
            agent_state_volume: "v".to_owned(),
            agent_state_from: None,
            underway: kind.map(|kind| Underway { kind, since: now, done: vec![], purge: true }),
            failure: None,
            warnings: Vec::new(),
            restarts: 0,
        }
    }

    #[test]
    fn what_was_under_way_decides_what_is_taken_up() {
        use OperationKind::{Create, Delete, Restart, Start, Stop};
        let taken_up = |desired, kind| unfinished(&record(desired, kind));
        assert!(taken_up(Desired::Running, None).is_none());
        assert!(matches!(taken_up(Desired::Running, Some(Create)), Some(Job::TakeBack)));
        let delete = taken_up(Desired::Absent, Some(Delete));
        assert!(matches!(delete, Some(Job::Delete { purge: true })));
        assert!(matches!(taken_up(Desired::Running, Some(Start)), Some(Job::Restart)));
        assert!(matches!(taken_up(Desired::Stopped, Some(Stop)), Some(Job::Stop)));
        assert!(matches!(taken_up(Desired::Stopped, Some(Restart)), Some(Job::Stop)));
    }
}
