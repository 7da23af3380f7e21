//! Ends the monitors, with what they have started, of containers that do not run.
//!
//! Podman leaves one behind when it is ended while it starts a container: it does not know of it then,
//! and starts another one the next time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ssh::blocking;
use super::volumes::is_ours;
use super::{Inner, problems};
use crate::host::monitors::Monitor;
use crate::host::processes::Process;
use crate::model::Problem;
use crate::plan::assess::Life;
use crate::plan::names;
use crate::podman::Podman;

/// How long a monitor must have been seen to be of no use: somebody may be starting its container, and
/// Podman knows of it when that is done.
const LEFT: Duration = Duration::from_secs(10);

/// When to look again at those that are seen to be of no use.
const SOON: Duration = Duration::from_secs(1);

/// Podman's word for a container that it has made and not started, and that it knows of.
const INITIALIZED: &str = "initialized";

/// Since when monitors are seen to be of no use.
type Suspects = BTreeMap<Process, Instant>;

impl Inner {
    /// Looks for such monitors every now and then, until the service ends.
    pub(super) async fn watch_monitors(self: Arc<Self>) {
        let mut suspects = Suspects::new();
        loop {
            if let Err(problem) = self.end_left_monitors(&mut suspects).await {
                tracing::debug!("cannot look for monitors: {problem}");
            }
            let interval = self.settings().reconcile_interval;
            let pause = if suspects.is_empty() { interval } else { interval.min(SOON) };
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn end_left_monitors(&self, suspects: &mut Suspects) -> Result<(), Problem> {
        let now = Instant::now();
        let left = self.left_monitors().await?;
        suspects.retain(|process, _| left.iter().any(|monitor| monitor.process == *process));
        for monitor in left {
            let since = *suspects.entry(monitor.process).or_insert(now);
            if now.duration_since(since) >= LEFT {
                end(&monitor)?;
            }
        }
        Ok(())
    }

    /// Ends at once what an earlier start has left of a container that Podman has just failed to start.
    pub(super) async fn end_monitors_of(&self, container: &str) -> Result<(), Problem> {
        let of_it = |monitor: &Monitor| monitor.container == container || monitor.name == container;
        let found = find(of_it).await?;
        self.left_of(found).await?.iter().try_for_each(end)
    }

    async fn left_monitors(&self) -> Result<Vec<Monitor>, Problem> {
        let may_be_left = |monitor: &Monitor| {
            let rest = monitor.name.strip_prefix(names::PREFIX);
            let id = rest.and_then(|rest| rest.rsplit_once('-')?.0.parse().ok());
            // Whoever starts a container sees to it.
            id.is_some_and(|id| !self.is_driven(&id))
        };
        self.left_of(find(may_be_left).await?).await
    }

    /// Returns those that are of no use. The others are of a container that runs, of another registry, or
    /// in another storage.
    async fn left_of(&self, mut found: Vec<Monitor>) -> Result<Vec<Monitor>, Problem> {
        if found.is_empty() {
            // No reason to start Podman.
            return Ok(found);
        }
        let (podman, capabilities) = self.link.get().await?;
        found.retain(|monitor| monitor.is_in(&capabilities.graph_root));
        let registry = self.document().await?.registry;
        // Asked after they were found: the container of none of them can be missing in it.
        let containers = podman.containers(&[], true).await.map_err(problems::podman)?;
        let mut left = Vec::new();
        for monitor in &found {
            let is_left = match containers.iter().find(|it| it.id == monitor.container) {
                None => true,
                Some(container) if !is_ours(&container.labels, registry) => false,
                Some(container) if container.state == INITIALIZED => false,
                Some(container) if Life::of(&container.state) == Life::Down => true,
                // One of several may be the one that Podman has started since.
                Some(container) => {
                    found.iter().filter(|it| it.container == container.id).count() > 1
                        && !is_known(&podman, monitor).await?
                }
            };
            if is_left {
                left.push(monitor.clone());
            }
        }
        Ok(left)
    }
}

/// Returns the monitors of containers that have not ended, for which `is_wanted` holds.
async fn find(is_wanted: impl Fn(&Monitor) -> bool) -> Result<Vec<Monitor>, Problem> {
    let mut found = blocking(|| Monitor::all().map_err(problems::internal)).await?;
    found.retain(|monitor| !monitor.is_ending && is_wanted(monitor));
    Ok(found)
}

/// Whether Podman says that this is the container's monitor, or does not know.
async fn is_known(podman: &Podman, monitor: &Monitor) -> Result<bool, Problem> {
    match podman.inspect_container(&monitor.container).await {
        Ok(container) => {
            let known = container.state.conmon_pid;
            Ok(known == 0 || known == monitor.process.number)
        }
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) => Err(problems::podman(error)),
    }
}

fn end(monitor: &Monitor) -> Result<(), Problem> {
    let Monitor { name, container, .. } = monitor;
    tracing::warn!(name, container, "ending the monitor of a container that does not run");
    monitor.end().map_err(problems::internal)
}
