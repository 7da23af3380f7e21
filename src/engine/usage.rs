//! Measures what the taskspaces use.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Inner;
use crate::model::{Role, Status, TaskspaceId, Usage};
use crate::plan::names;
use crate::podman::{ContainerStats, Podman};

/// What was measured last.
#[derive(Debug, Default)]
pub(super) struct Meter {
    measured: Mutex<HashMap<TaskspaceId, Measured>>,
}

#[derive(Debug)]
struct Measured {
    containers: Vec<ContainerStats>,
    usage: Usage,
}

impl Meter {
    /// Returns what a taskspace uses.
    pub(super) fn of(&self, id: &TaskspaceId) -> Option<Usage> {
        let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.get(id).map(|measured| measured.usage.clone())
    }

    /// Takes in new measurements of all that run.
    fn take(&self, containers: HashMap<TaskspaceId, Vec<ContainerStats>>) {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *measured);
        *measured = containers
            .into_iter()
            .filter_map(|(id, containers)| {
                let earlier = before.get(&id).map_or(&[][..], |before| &before.containers);
                let usage = together(&containers, earlier)?;
                Some((id, Measured { containers, usage }))
            })
            .collect();
    }
}

/// Adds up the containers of a taskspace; what is not measured of one is not known of the whole.
fn together(containers: &[ContainerStats], earlier: &[ContainerStats]) -> Option<Usage> {
    let load = |container: &ContainerStats| {
        let before = earlier.iter().find(|earlier| earlier.id == container.id)?;
        container.cpu_percent_since(before)
    };
    Some(Usage {
        measured: containers.iter().map(|container| container.taken_at).max()?,
        memory_bytes: containers.iter().map(|container| container.memory_bytes).sum(),
        cpu_percent: containers.iter().map(load).sum(),
        pids: containers.iter().map(|container| container.pids).sum(),
    })
}

impl Inner {
    /// Measures every taskspace that runs.
    pub(super) async fn measure_all(&self) {
        let Ok(document) = self.document().await else { return };
        let running = document.taskspaces.iter().filter(|(id, record)| {
            matches!(record.status, Status::Running | Status::Degraded) && !self.is_driven(id)
        });
        let ids: Vec<&TaskspaceId> = running.map(|(id, _)| id).collect();
        if ids.is_empty() {
            return self.usage.take(HashMap::new());
        }
        let Ok((podman, _)) = self.link.get().await else { return };
        let mut measured = HashMap::new();
        match stats(&podman, &ids).await {
            Some(all) => {
                for id in ids {
                    let own = Role::ALL.map(|role| names::container(id, role));
                    let own = all.iter().filter(|container| own.contains(&container.name));
                    measured.insert(id.clone(), own.cloned().collect());
                }
            }
            // One that has gone meanwhile spoils it for all.
            None => {
                for id in ids {
                    if let Some(own) = stats(&podman, &[id]).await {
                        measured.insert(id.clone(), own);
                    }
                }
            }
        }
        self.usage.take(measured);
    }
}

async fn stats(podman: &Podman, ids: &[&TaskspaceId]) -> Option<Vec<ContainerStats>> {
    let containers = |id: &&TaskspaceId| Role::ALL.map(|role| names::container(id, role));
    let containers: Vec<String> = ids.iter().flat_map(containers).collect();
    let measured = podman.stats(&containers).await;
    measured.inspect_err(|error| tracing::debug!("cannot measure: {error}")).ok()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn stats(id: &str, second: i64, cpu: u64, memory: Option<u64>) -> ContainerStats {
        ContainerStats {
            id: id.to_owned(),
            name: id.to_owned(),
            taken_at: Timestamp::from_second(second).unwrap(),
            cpu_nanos: cpu,
            mean_cpu_percent: 0.0,
            memory_bytes: memory,
            memory_limit_bytes: None,
            pids: Some(2),
        }
    }

    #[test]
    fn containers_are_added_up_and_what_is_unknown_of_one_is_unknown() {
        let meter = Meter::default();
        let id: TaskspaceId = "a".parse().unwrap();
        let take = |stats: Vec<ContainerStats>| {
            meter.take(HashMap::from([(id.clone(), stats)]));
            meter.of(&id)
        };
        let first = take(vec![stats("x", 10, 0, Some(5)), stats("y", 10, 0, Some(6))]).unwrap();
        assert_eq!((first.memory_bytes, first.pids, first.cpu_percent), (Some(11), Some(4), None));
        // One of them used half a second of two, the other all of them.
        let second = 1_000_000_000;
        let now = vec![stats("x", 12, second, None), stats("y", 12, 2 * second, Some(6))];
        let next = take(now).unwrap();
        assert_eq!((next.memory_bytes, next.cpu_percent), (None, Some(150.0)));
        assert_eq!(take(Vec::new()), None);
    }
}
