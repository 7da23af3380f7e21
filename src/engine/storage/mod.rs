//! Measures how much the taskspaces have written, and does what their policy says when it is too much.
//!
//! What is to be done is recorded first (`Storage::held`): reconciliation brings it about, and keeps it
//! so, also in a later run of the service.

mod holding;
mod reserve;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::ssh::blocking;
use super::{Inner, problems};
use crate::host::disk::{self, Room};
use crate::model::{
    Document, EventBody, Problem, Quantity, Record, Status, Storage, StorageUsage, TaskspaceId,
};
use crate::plan::capability::Capabilities;
use crate::plan::volumes;
use crate::policy::quota::{self, Judgement};

pub(super) use holding::{freeze, let_go, may_start, resize};

/// So many times as long as it has measured it pauses: it takes no more than a hundredth of a processor
/// and of the disk.
const PAUSE: u32 = 100;

/// But not longer than this: whoever writes very many files must not have nobody's limit looked after.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is known of how much the taskspaces have written.
#[derive(Debug, Default)]
pub(super) struct Written {
    known: Mutex<HashMap<TaskspaceId, Known>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    usage: StorageUsage,
    /// What was free just before it was measured.
    free: (u64, u64),
    /// Whether it ran then, and may have written afterwards.
    was_up: bool,
}

impl Known {
    /// Whether it may have changed since: only what runs writes, and writing takes blocks or inodes.
    fn is_stale(&self, is_up: bool, free: (u64, u64)) -> bool {
        if is_up { self.free != free } else { self.was_up }
    }
}

impl Written {
    /// Returns how much a taskspace has written, if that was measured.
    pub(super) fn of(&self, id: &TaskspaceId) -> Option<StorageUsage> {
        self.lock().get(id).map(|known| known.usage)
    }

    fn known(&self, id: &TaskspaceId) -> Option<Known> {
        self.lock().get(id).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskspaceId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Measures until the service ends.
    pub(super) async fn watch_storage(self: Arc<Self>) {
        let mut unmeasured = HashSet::new();
        loop {
            let took = match self.look_at_storage(&mut unmeasured).await {
                Ok(took) => took,
                Err(problem) => {
                    tracing::debug!("cannot look at what is written: {problem}");
                    Duration::ZERO
                }
            };
            let pause = pause(self.settings().storage.interval, took);
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Measures what may have changed, and returns how long the measuring took. What cannot be measured
    /// is told once.
    async fn look_at_storage(
        self: &Arc<Self>,
        unmeasured: &mut HashSet<TaskspaceId>,
    ) -> Result<Duration, Problem> {
        let document = self.document().await?;
        self.written.lock().retain(|id, _| document.taskspaces.contains_key(id));
        let wanted = self.wanted(&document);
        self.metrics.looked_at_storage();
        let mut took = Duration::ZERO;
        if wanted.is_empty() {
            return Ok(took);
        }
        let (_, capabilities) = self.link.get().await?;
        for id in wanted {
            if self.closing.is_cancelled() {
                break;
            }
            // Look again: measuring the others may have taken its time.
            let Ok(record) = self.record(&id).await else { continue };
            if self.is_driven(&id) {
                continue;
            }
            let free = room(&capabilities).await?.free;
            let known = self.written.known(&id);
            if known.is_none_or(|known| known.is_stale(is_up(&record), free)) {
                let begun = Instant::now();
                let measured = self.measure_written(&id, &record, &capabilities).await;
                took += begun.elapsed();
                match measured {
                    Ok(used) => {
                        unmeasured.remove(&id);
                        self.judge(&id, used).await?;
                    }
                    // It is just going, or being changed.
                    Err(problem) if self.is_driven(&id) || self.record(&id).await.is_err() => {
                        tracing::debug!(%id, "cannot be measured: {problem}");
                    }
                    Err(problem) if unmeasured.insert(id.clone()) => {
                        let message = format!("what it has written cannot be measured: {problem}");
                        self.warn(&id, &message);
                    }
                    Err(_) => {}
                }
            }
            self.let_go_if_there_is_room(&id).await?;
        }
        Ok(took)
    }

    /// Returns the taskspaces that may have written since they were measured, or wait for room.
    fn wanted(&self, document: &Document) -> Vec<TaskspaceId> {
        let known = self.written.lock();
        let is_wanted = |id: &TaskspaceId, record: &Record| {
            record.storage.is_some()
                && !record.is_half_made()
                && !record.status.is_transient()
                && !self.is_driven(id)
                && (is_up(record) || known.get(id).is_none_or(|known| known.was_up))
        };
        let taskspaces = document.taskspaces.iter();
        taskspaces.filter(|(id, record)| is_wanted(id, record)).map(|(id, _)| id.clone()).collect()
    }

    /// Measures what a taskspace has written; of one that the file system holds to its limit, it is the
    /// file system that knows.
    async fn measure_written(
        &self,
        id: &TaskspaceId,
        record: &Record,
        capabilities: &Capabilities,
    ) -> Result<Quantity, Problem> {
        // Before: what is written meanwhile has it measured again.
        let free = room(capabilities).await?.free;
        let used = match self.confirm_quota(id, record).await? {
            Some(used) => used,
            None => {
                self.metrics.measured_storage();
                Quantity(self.measure(volumes::written(id, record, capabilities)).await?)
            }
        };
        let usage = StorageUsage { used, measured: Timestamp::now() };
        self.written.lock().insert(id.clone(), Known { usage, free, was_up: is_up(record) });
        Ok(used)
    }

    /// Measures now what a taskspace has written.
    pub(super) async fn measure_now(
        &self,
        id: &TaskspaceId,
        record: &Record,
    ) -> Result<Quantity, Problem> {
        let (_, capabilities) = self.link.get().await?;
        self.measure_written(id, record, &capabilities).await
    }

    /// Records what follows from what is in use, and tells it.
    async fn judge(self: &Arc<Self>, id: &TaskspaceId, used: Quantity) -> Result<(), Problem> {
        let judge = move |record: &Record| quota::judge(record, used, Timestamp::now());
        if judge(&self.record(id).await?).is_none() {
            return Ok(());
        }
        let wanted = id.clone();
        let judged = self.registry.update(move |document| {
            let record =
                document.taskspaces.get_mut(&wanted).ok_or_else(|| problems::not_found(&wanted))?;
            let Some(Judgement { storage, desired }) = judge(record) else { return Ok(None) };
            record.storage = Some(storage.clone());
            record.desired = desired;
            record.last_updated = Timestamp::now();
            Ok::<_, Problem>(Some(storage))
        });
        if let Some(storage) = judged.await.map_err(problems::registry)?? {
            self.tell_storage(id, used, &storage);
            self.refresh_idle().await;
            self.look.notify_one();
        }
        Ok(())
    }

    fn tell_storage(&self, id: &TaskspaceId, used: Quantity, storage: &Storage) {
        let Storage { level, limit, on_full, .. } = *storage;
        let held = storage.held.as_ref().map(|held| held.action);
        tracing::info!(%id, ?level, %used, %limit, ?held, "what it may write");
        let body = EventBody::StorageChanged { level, used, limit, on_full, held };
        self.bus.publish(None, Some(id.clone()), body);
    }
}

/// Returns how long to pause after having measured for so long.
fn pause(interval: Duration, took: Duration) -> Duration {
    interval.max(took.saturating_mul(PAUSE).min(LONGEST_PAUSE))
}

/// Whether a taskspace may be writing.
fn is_up(record: &Record) -> bool {
    matches!(record.status, Status::Running | Status::Degraded)
}

/// Looks at the file system of Podman's volumes.
async fn room(capabilities: &Capabilities) -> Result<Room, Problem> {
    let directory = capabilities.volume_path.clone();
    let look = move || {
        let name = directory.display();
        disk::room(&directory)
            .map_err(|error| problems::internal(format!("cannot look at {name}: {error}")))
    };
    blocking(look).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_pauses_longer_the_longer_it_measures_but_not_for_ever() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        assert_eq!(pause(10 * second, Duration::from_millis(50)), 10 * second);
        assert_eq!(pause(10 * second, second), 100 * second);
        assert_eq!(pause(10 * second, 30 * second), LONGEST_PAUSE);
        assert_eq!((pause(hour, second), pause(second, Duration::MAX)), (hour, LONGEST_PAUSE));
    }

    #[test]
    fn only_what_may_have_changed_is_stale() {
        let usage = StorageUsage { used: Quantity(1), measured: Timestamp::UNIX_EPOCH };
        let ran = Known { usage, free: (10, 20), was_up: true };
        assert!(!ran.is_stale(true, (10, 20)));
        assert!(ran.is_stale(true, (9, 20)) && ran.is_stale(true, (10, 21)));
        // Once after it has stopped, whatever others do to the disk afterwards.
        assert!(ran.is_stale(false, (10, 20)));
        assert!(!Known { was_up: false, ..ran }.is_stale(false, (9, 20)));
        // What was measured while it did not run is as it was, unless the disk says otherwise.
        assert!(!Known { was_up: false, ..ran }.is_stale(true, (10, 20)));
    }
}
