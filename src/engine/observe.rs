//! Looks at what Podman has of the taskspaces.

use std::collections::{BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use super::problems;
use super::volumes::Volumes;
use crate::model::{Problem, Record, Role, TaskspaceId};
use crate::plan::assess::{Life, Seen, SeenPod};
use crate::plan::names;
use crate::podman::{ContainerSummary, Podman};

/// Everything in Podman that is of this registry.
#[derive(Debug)]
pub(super) struct World {
    pods: HashMap<String, SeenPod>,
    volumes: HashSet<String>,
    /// Containers that are made beside taskspaces for a moment, and are no parts of them.
    asides: Vec<String>,
    /// What belongs to a taskspace by its label: object, taskspace.
    owned: BTreeSet<(String, String)>,
}

impl World {
    /// Looks at all of it: two calls, however many taskspaces there are.
    pub(super) async fn look(
        podman: &Podman,
        volumes: &Volumes,
        registry: Uuid,
    ) -> Result<Self, Problem> {
        let text = registry.to_string();
        let labels = [(names::REGISTRY_LABEL, text.as_str())];
        let (containers, volumes) = tokio::try_join!(
            async { podman.containers(&labels, true).await.map_err(problems::podman) },
            volumes.list(registry)
        )?;
        let (asides, containers): (Vec<_>, Vec<_>) = containers.into_iter().partition(is_aside);
        let asides = asides.iter().map(|container| container.name().to_owned()).collect();
        let owner = |labels: &names::Labels| labels.get(names::TASKSPACE_LABEL).cloned();
        let owned_pods = containers
            .iter()
            .filter_map(|c| Some((format!("pod {}", c.pod_name), owner(&c.labels)?)));
        let owned_volumes = volumes
            .iter()
            .filter_map(|(name, labels)| Some((format!("volume {name}"), owner(labels)?)));
        let owned = owned_pods.chain(owned_volumes).collect();
        let mut of_pod: HashMap<String, Vec<ContainerSummary>> = HashMap::new();
        for container in containers {
            of_pod.entry(container.pod_name.clone()).or_default().push(container);
        }
        let pods = of_pod.into_iter().map(|(pod, containers)| (pod, seen_pod(&containers)));
        let volumes = volumes.into_iter().map(|(name, _)| name).collect();
        Ok(Self { pods: pods.collect(), volumes, asides, owned })
    }

    /// Returns what there is of one taskspace.
    pub(super) fn of(&self, id: &TaskspaceId, record: &Record) -> Seen {
        let lost = irreplaceable(id, record).filter(|name| !self.volumes.contains(name));
        Seen { pod: self.pods.get(&names::pod(id)).cloned(), lost: lost.collect() }
    }

    /// Returns the names of the containers that were made beside taskspaces for a moment.
    pub(super) fn asides(&self) -> &[String] {
        &self.asides
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
    volumes: &Volumes,
    registry: Uuid,
    id: &TaskspaceId,
    record: &Record,
) -> Result<Seen, Problem> {
    let registry = registry.to_string();
    let labels =
        [(names::REGISTRY_LABEL, registry.as_str()), (names::TASKSPACE_LABEL, id.as_str())];
    let mut containers = podman.containers(&labels, true).await.map_err(problems::podman)?;
    containers.retain(|container| !is_aside(container));
    let pod = (!containers.is_empty()).then(|| seen_pod(&containers));
    let mut lost = Vec::new();
    for name in irreplaceable(id, record) {
        if volumes.find(&name).await?.is_none() {
            lost.push(name);
        }
    }
    Ok(Seen { pod, lost })
}

/// Whether a container was made beside a taskspace for a moment.
fn is_aside(container: &ContainerSummary) -> bool {
    container.labels.get(names::ROLE_LABEL).is_some_and(|role| role == names::ASIDE)
}

/// The volumes with what cannot be made anew: the work, and what the agent remembers.
fn irreplaceable(id: &TaskspaceId, record: &Record) -> impl Iterator<Item = String> {
    [names::changes_volume(id), record.agent_state_volume.clone()].into_iter()
}

/// Reads the containers of one pod; the infra container has the labels of the pod.
fn seen_pod(containers: &[ContainerSummary]) -> SeenPod {
    let infra = containers.iter().find(|container| container.is_infra);
    let part = |role: Role| {
        let is_it = |c: &&ContainerSummary| {
            c.labels.get(names::ROLE_LABEL).is_some_and(|label| label == role.name())
        };
        containers.iter().find(is_it).map(|container| (role, container))
    };
    let parts: Vec<(Role, &ContainerSummary)> = Role::ALL.into_iter().filter_map(part).collect();
    let network_since = infra.and_then(|infra| infra.started_at);
    SeenPod {
        infra: infra.map(|infra| Life::of(&infra.state)).unwrap_or_default(),
        cut_off: parts.iter().any(|(_, container)| {
            Life::of(&container.state) == Life::Up && container.started_at < network_since
        }),
        parts: parts.into_iter().map(|(role, c)| (role, Life::of(&c.state))).collect(),
    }
}
