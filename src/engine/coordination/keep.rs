//! What of the coordination outlives the service: kept in the registry, and taken up from there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::super::driver::Job;
use super::super::network::Update;
use super::super::restore::Restoration;
use super::super::{Inner, problems};
use super::Coordination;
use crate::model::{Document, KeptJob, KeptOperation, Operation, Problem, Totals};
use crate::plan::snapshot::Taking;

/// How many tokens are set aside in the registry at a time, so that a later run of the service gives
/// greater ones.
const BLOCK: u64 = 1_000;

impl Coordination {
    /// Returns what the registry is to keep.
    fn record(&self) -> (Vec<KeptOperation>, u64, Totals) {
        let state = self.lock();
        let keep = |(operation, period): (&Operation, Option<Duration>)| {
            let job = state.jobs.get(&operation.id).and_then(Job::kept);
            let lease_seconds = period.unwrap_or_default().as_secs();
            let outlives = period.is_some() || job.is_some();
            // Its lease begins anew in the next run of the service.
            let operation = Operation { lease: None, ..operation.clone() };
            outlives.then_some(KeptOperation { operation, job, lease_seconds })
        };
        let operations = state.coordinator.all().filter_map(keep).collect();
        let (tokens, today) = state.coordinator.remembered();
        (operations, tokens, today.clone())
    }

    /// Waits until the registry has the latest change.
    pub(super) async fn is_kept(&self) -> Result<(), Problem> {
        let wanted = *self.changed.borrow();
        let mut kept = self.kept.subscribe();
        // The sender lives as long as this.
        match kept.wait_for(|(version, _)| *version >= wanted).await {
            Ok(kept) => kept.1.clone().map_or(Ok(()), Err),
            Err(_) => Ok(()),
        }
    }
}

impl Inner {
    /// Enters what an earlier run of the service kept.
    pub(in crate::engine) fn restore(self: &Arc<Self>, document: &Document) {
        // What the service had begun is taken up from the taskspace's own entry.
        let begun = |number: u64| {
            let mut underway = document.taskspaces.values().filter_map(|it| it.underway.as_ref());
            underway.any(|underway| underway.operation == number)
        };
        let mut operations = document.coordination.operations.clone();
        operations.retain(|kept| kept.job.is_none() || !begun(kept.operation.id));
        for kept in &operations {
            self.operations.put(kept.operation.clone());
            if let Some(job) = kept.job.clone() {
                self.coordination.lock().jobs.insert(kept.operation.id, job.into());
            }
        }
        self.coordinate(|coordinator, now| ((), coordinator.restore(&operations, now)));
    }

    /// Writes into the registry what outlives the service, as often as it changes.
    pub(in crate::engine) async fn keep_operations(self: Arc<Self>) {
        let mut changed = self.coordination.changed.subscribe();
        // Something may have changed before this began.
        changed.mark_changed();
        let mut kept: Option<(Vec<KeptOperation>, u64)> = None;
        // The sender lives as long as the engine.
        while changed.changed().await.is_ok() {
            let version = *changed.borrow_and_update();
            let (operations, tokens, today) = self.coordination.record();
            let is_kept = kept.as_ref().is_some_and(|(last, set_aside)| {
                *last == operations && tokens + BLOCK / 2 < *set_aside
            });
            let ends = self.closing.is_cancelled();
            let mut problem = None;
            if !is_kept || ends {
                let set_aside = tokens + BLOCK;
                let written = operations.clone();
                let write = self.registry.update(move |document| {
                    document.coordination.operations = written;
                    document.coordination.tokens = set_aside;
                    document.coordination.today = today;
                    Ok::<_, Infallible>(())
                });
                match write.await {
                    Ok(_) => {
                        self.coordination.lock().coordinator.set_tokens_aside(set_aside);
                        kept = Some((operations, set_aside));
                    }
                    Err(error) => {
                        tracing::warn!(
                            "the operations that outlive the service are not kept: {error}"
                        );
                        kept = None;
                        problem = Some(problems::registry(error));
                    }
                }
            }
            self.coordination.kept.send_replace((version, problem));
        }
    }

    /// Checks that what an agent is to hold can be kept.
    pub(super) async fn keeps(&self) -> Result<(), Problem> {
        let fails = self.coordination.kept.borrow().1.is_some();
        if fails || !self.coordination.lock().coordinator.has_tokens() {
            return self.keep_all().await;
        }
        Ok(())
    }

    /// Has the registry take what outlives the service, and the totals.
    pub(in crate::engine) async fn keep_all(&self) -> Result<(), Problem> {
        self.coordination.changed.send_modify(|version| *version += 1);
        self.coordination.is_kept().await
    }
}

impl Job {
    /// Returns what the registry keeps of it; nothing of what never waits.
    fn kept(&self) -> Option<KeptJob> {
        Some(match self {
            Self::Start => KeptJob::Start,
            Self::Stop => KeptJob::Stop,
            Self::Restart => KeptJob::Restart,
            Self::Delete { purge } => KeptJob::Delete { purge: *purge },
            Self::Promote => KeptJob::Promote,
            Self::Snapshot(Taking { name, note, agent_state }) => KeptJob::Snapshot {
                name: name.clone(),
                note: note.clone(),
                agent_state: *agent_state,
            },
            Self::DeleteSnapshot(name) => KeptJob::DeleteSnapshot { name: name.clone() },
            Self::Restore(Restoration { name, agent_state, save }) => KeptJob::Restore {
                name: name.clone(),
                agent_state: *agent_state,
                save: save.clone(),
            },
            Self::Resize(request) => KeptJob::Resize(*request),
            Self::Network(Update::Change(change)) => KeptJob::Network(change.clone()),
            Self::Network(Update::Replace(request)) => KeptJob::ReplaceNetwork(request.clone()),
            Self::Create(_)
            | Self::Resume
            | Self::TakeBack
            | Self::Fork(_)
            | Self::Copy(_)
            | Self::Freeze
            | Self::LetGo => return None,
        })
    }
}

impl From<KeptJob> for Job {
    fn from(job: KeptJob) -> Self {
        match job {
            KeptJob::Start => Self::Start,
            KeptJob::Stop => Self::Stop,
            KeptJob::Restart => Self::Restart,
            KeptJob::Delete { purge } => Self::Delete { purge },
            KeptJob::Promote => Self::Promote,
            KeptJob::Snapshot { name, note, agent_state } => {
                Self::Snapshot(Taking { name, note, agent_state })
            }
            KeptJob::DeleteSnapshot { name } => Self::DeleteSnapshot(name),
            KeptJob::Restore { name, agent_state, save } => {
                Self::Restore(Restoration { name, agent_state, save })
            }
            KeptJob::Resize(request) => Self::Resize(request),
            KeptJob::Network(change) => Self::Network(Update::Change(change)),
            KeptJob::ReplaceNetwork(request) => Self::Network(Update::Replace(request)),
        }
    }
}
