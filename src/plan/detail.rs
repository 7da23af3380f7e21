//! A taskspace in full, as far as its entry in the registry tells.

use super::names;
use crate::model::{DetailView, Recorded, Role, VolumeView};

/// Returns a taskspace in full, without what only Podman and the service know: its containers, its health
/// and what it uses.
pub fn detail(recorded: Recorded) -> DetailView {
    let Recorded { id, record, .. } = &recorded;
    let volume = |name: String, role: &str| VolumeView { name, role: role.to_owned() };
    let project = &record.spec.project;
    let mut volumes = vec![
        volume(names::project_volume(id), "project"),
        volume(names::changes_volume(id), "changes"),
        volume(names::build_cache_volume(id), "build-cache"),
        volume(record.agent_state_volume.clone(), "agent-state"),
        volume(names::base_volume(&project.name, project.base()), "base"),
    ];
    let snapshots = record.snapshots.keys();
    volumes.extend(snapshots.map(|name| volume(names::snapshot_volume(id, name), "snapshot")));
    DetailView {
        ssh_dev: names::ssh_host(id, Role::Dev),
        ssh_agent: names::ssh_host(id, Role::Agent),
        pod: names::pod(id),
        containers: Vec::new(),
        health: std::collections::BTreeMap::new(),
        usage: None,
        network_state: crate::model::NetworkState::default(),
        volumes,
        recorded,
    }
}
