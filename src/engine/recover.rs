//! Takes up what an earlier run of the service left: finishes or takes back what was under way, and
//! compares what is recorded as running with what runs.

use std::sync::Arc;

use super::Inner;
use super::driver::Job;
use crate::model::{BaseState, Desired, Document, OperationKind, Record};

impl Inner {
    /// Hands to the drivers what is recorded as unfinished, and what is recorded as running: their
    /// start looks whether it is so.
    pub(super) fn take_up(self: &Arc<Self>, document: &Document) {
        for (id, record) in &document.taskspaces {
            let job = unfinished(record).or_else(|| record.status.is_up().then_some(Job::Start));
            if let Some(job) = job {
                tracing::info!(%id, kind = %job.kind(), "taking up");
                let operation = self.operations.enter(job.kind(), Some(id.clone()));
                self.hand_over(id, operation.id, job);
            }
        }
        let half_made: Vec<(String, String)> = document
            .projects
            .iter()
            .flat_map(|(name, project)| {
                let making = project.bases.iter().filter(|(_, b)| b.state == BaseState::Making);
                making.map(|(commit, _)| (name.clone(), commit.clone()))
            })
            .filter(|(name, commit)| !document.uses_base(name, commit))
            .collect();
        if !half_made.is_empty() {
            tokio::spawn(drop_bases(self.clone(), half_made));
        }
    }
}

/// Removes bases that nobody uses.
async fn drop_bases(engine: Arc<Inner>, bases: Vec<(String, String)>) {
    let (podman, _) = match engine.link.get().await {
        Ok(link) => link,
        Err(problem) => return tracing::warn!("half-made bases stay for now: {problem}"),
    };
    for (project, commit) in bases {
        if let Err(problem) = engine.projects.drop_base(&podman, &project, &commit, None).await {
            tracing::warn!("cannot remove a half-made base of {project}: {problem}");
        }
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
