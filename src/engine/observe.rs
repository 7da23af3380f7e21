//! Looks at what Podman has of the taskspaces.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::problems;
use super::projects::is_ours;
use crate::model::{Problem, Record, Role, TaskspaceId};
use crate::plan::assess::{Life, Seen, SeenPod};
use crate::plan::names;
use crate::podman::{PodContainer, Podman};

/// Everything in Podman that is of this registry.
#[derive(Debug)]
pub(super) struct World {
    pods: HashMap<String, SeenPod>,
    volumes: HashSet<String>,
    /// What belongs to a taskspace by its label: object, taskspace.
    owned: Vec<(String, String)>,
}

impl World {
    /// Looks at all of it: two calls, however many taskspaces there are.
    pub(super) async fn look(podman: &Podman, registry: Uuid) -> Result<Self, Problem> {
        let registry = registry.to_string();
        let labels = [(names::REGISTRY_LABEL, registry.as_str())];
        let (pods, volumes) = tokio::try_join!(podman.pods(&labels), podman.volumes(&labels))
            .map_err(problems::podman)?;
        let owner = |labels: &names::Labels| labels.get(names::TASKSPACE_LABEL).cloned();
        let owned_pods =
            pods.iter().filter_map(|pod| Some((format!("pod {}", pod.name), owner(&pod.labels)?)));
        let owned_volumes = volumes
            .iter()
            .filter_map(|volume| Some((format!("volume {}", volume.name), owner(&volume.labels)?)));
        let owned = owned_pods.chain(owned_volumes).collect();
        let pods = pods
            .into_iter()
            .map(|pod| {
                let seen = seen_pod(&pod.name, &pod.infra_id, &pod.containers);
                (pod.name, seen)
            })
            .collect();
        let volumes = volumes.into_iter().map(|volume| volume.name).collect();
        Ok(Self { pods, volumes, owned })
    }

    /// Returns what there is of one taskspace.
    pub(super) fn of(&self, id: &TaskspaceId, record: &Record) -> Seen {
        let lost = irreplaceable(id, record).filter(|name| !self.volumes.contains(name));
        Seen { pod: self.pods.get(&names::pod(id)).cloned(), lost: lost.collect() }
    }

    /// Returns what belongs to taskspaces that are not `known`: each object with its taskspace.
    pub(super) fn strays(
        &self,
        known: impl Fn(&str, &str) -> bool,
    ) -> impl Iterator<Item = &(String, String)> {
        self.owned.iter().filter(move |(object, taskspace)| !known(object, taskspace))
    }
}

/// Looks at one taskspace.
pub(super) async fn one(
    podman: &Podman,
    registry: Uuid,
    id: &TaskspaceId,
    record: &Record,
) -> Result<Seen, Problem> {
    let pod = match podman.inspect_pod(&names::pod(id)).await {
        Ok(pod) if is_ours(&pod.labels, registry) => {
            Some(seen_pod(&pod.name, &pod.infra_id, &pod.containers))
        }
        Ok(_) => None,
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(problems::podman(error)),
    };
    let mut lost = Vec::new();
    for name in irreplaceable(id, record) {
        match podman.inspect_volume(&name).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => lost.push(name),
            Err(error) => return Err(problems::podman(error)),
        }
    }
    Ok(Seen { pod, lost })
}

/// The volumes with what cannot be made anew: the work, and what the agent remembers.
fn irreplaceable(id: &TaskspaceId, record: &Record) -> impl Iterator<Item = String> {
    [names::changes_volume(id), record.agent_state_volume.clone()].into_iter()
}

fn seen_pod(pod: &str, infra: &str, containers: &[PodContainer]) -> SeenPod {
    let life = |wanted: &dyn Fn(&PodContainer) -> bool| {
        containers.iter().find(|c| wanted(c)).map(|c| Life::of(&c.state))
    };
    let parts: BTreeMap<Role, Life> = Role::ALL
        .into_iter()
        .filter_map(|role| Some((role, life(&|c| c.name == format!("{pod}-{role}"))?)))
        .collect();
    SeenPod { infra: life(&|c| c.id == infra).unwrap_or_default(), parts }
}
