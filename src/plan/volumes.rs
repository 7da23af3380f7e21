//! The volumes of a taskspace.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::capability::Capabilities;
use super::names::{self, labels};
use crate::model::TaskspaceId;
use crate::podman::VolumeSpec;

/// What the seed lays out in the agent's state.
pub(crate) const AGENT_STATE_DIRECTORIES: &[&str] = &["tmux", "logs", "history"];

/// A fresh volume belongs to whoever mounts it first, unless there is something in it: with this in
/// it, the cache stays the user's although the dev container starts as root.
pub(crate) const BUILD_CACHE_DIRECTORIES: &[&str] = &["tmp"];

/// Returns a volume without any options.
pub(crate) fn plain(registry: Uuid, id: &TaskspaceId, name: String, role: &str) -> VolumeSpec {
    VolumeSpec { name, options: BTreeMap::new(), labels: labels(registry, id, role) }
}

/// Returns the overlay of a base and a taskspace's changes: one kernel mount that both containers
/// share. Without `userxattr`, deleting a directory of the base fails with EIO.
pub(crate) fn overlay(
    registry: Uuid,
    id: &TaskspaceId,
    base: &str,
    capabilities: &Capabilities,
) -> VolumeSpec {
    let lower = capabilities.volume_directory(base);
    let changes = capabilities.volume_directory(&names::changes_volume(id));
    let option = format!(
        "lowerdir={},upperdir={},workdir={},userxattr",
        lower.display(),
        changes.join("upper").display(),
        changes.join("work").display()
    );
    let options = [("type", "overlay"), ("device", "overlay"), ("o", &option)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    VolumeSpec {
        name: names::project_volume(id),
        options: options.into(),
        labels: labels(registry, id, "project"),
    }
}
