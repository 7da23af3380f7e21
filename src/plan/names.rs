//! Names and labels of everything that Podman keeps for us.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::model::{Role, SnapshotName, TaskspaceId};

/// The label with the id of the taskspace that an object belongs to.
pub const TASKSPACE_LABEL: &str = "io.symposium.taskspace";
/// The label with an object's part in its taskspace.
pub const ROLE_LABEL: &str = "io.symposium.role";
/// The label with the registry that an object belongs to.
pub const REGISTRY_LABEL: &str = "io.symposium.registry";
/// The label with the digest of what an image was built from.
pub const BUILD_LABEL: &str = "io.symposium.image.build";
/// The label of a base volume with the project's name.
pub const PROJECT_LABEL: &str = "io.symposium.project";
/// The label of a base volume with the commit.
pub const COMMIT_LABEL: &str = "io.symposium.commit";
/// The label of a container outside of all taskspaces, whose operations are to be coordinated.
pub const COORDINATE_LABEL: &str = "io.symposium.coordinate";
/// The label with the name by which such a container is registered, if not its own.
pub const NAME_LABEL: &str = "io.symposium.name";
/// The label with what such a container depends on, with commas in between.
pub const DEPENDS_ON_LABEL: &str = "io.symposium.depends-on";

/// The role of a container that is made beside a taskspace for a moment, and is no part of it.
pub const ASIDE: &str = "aside";

/// The role of a base volume.
pub const BASE: &str = "base";

/// The role of the volume of a project's build cache.
pub const CACHE: &str = "cache";

/// The role of the pods with which images are prepared.
pub const WARM: &str = "warm";

/// What the names of a taskspace's pod and volumes begin with.
pub const PREFIX: &str = "taskspace-";

/// What the names of taskspaces' branches begin with.
pub const BRANCHES: &str = "taskspace";

/// Labels of one object.
pub type Labels = BTreeMap<String, String>;

/// Returns the labels of an object of a taskspace.
pub fn labels(registry: Uuid, id: &TaskspaceId, role: &str) -> Labels {
    [
        (TASKSPACE_LABEL, id.to_string()),
        (ROLE_LABEL, role.to_owned()),
        (REGISTRY_LABEL, registry.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// Returns the labels of a project's build cache.
pub fn cache_labels(registry: Uuid, project: &str) -> Labels {
    [
        (ROLE_LABEL, CACHE.to_owned()),
        (REGISTRY_LABEL, registry.to_string()),
        (PROJECT_LABEL, project.to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// Returns the labels of a project's base volume.
pub fn base_labels(registry: Uuid, project: &str, commit: &str) -> Labels {
    [
        (ROLE_LABEL, BASE.to_owned()),
        (REGISTRY_LABEL, registry.to_string()),
        (PROJECT_LABEL, project.to_owned()),
        (COMMIT_LABEL, commit.to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// Returns the directory that has to be there for a container to start.
pub fn permit(permits: &Path, id: &TaskspaceId, role: Role) -> PathBuf {
    permits.join(format!("{id}.{role}"))
}

/// Returns the pod's name.
pub fn pod(id: &TaskspaceId) -> String {
    format!("{PREFIX}{id}")
}

/// Returns a container's name.
pub fn container(id: &TaskspaceId, role: Role) -> String {
    format!("{PREFIX}{id}-{role}")
}

/// Returns the name of a container that is made beside a taskspace for a moment; `mark` tells it from
/// others of that taskspace.
pub fn aside(id: &TaskspaceId, mark: &str) -> String {
    format!("{PREFIX}{id}-{ASIDE}-{mark}")
}

/// Returns the name of the overlay that is mounted at `/workspace`.
pub fn project_volume(id: &TaskspaceId) -> String {
    format!("{PREFIX}{id}-project")
}

/// Returns the name of the volume that holds the overlay's `upper/` and `work/`.
pub fn changes_volume(id: &TaskspaceId) -> String {
    format!("{PREFIX}{id}-changes")
}

/// Returns the name of the build cache's volume.
pub fn build_cache_volume(id: &TaskspaceId) -> String {
    format!("{PREFIX}{id}-build-cache")
}

/// Returns the name of a snapshot's volume. An id has no dot, so no two taskspaces mean the same one.
pub fn snapshot_volume(id: &TaskspaceId, name: &SnapshotName) -> String {
    format!("{PREFIX}{id}-snapshot.{name}")
}

/// Whether a volume of ours is that of a snapshot.
pub fn is_snapshot_volume(volume: &str) -> bool {
    volume.contains("-snapshot.")
}

/// Returns the first name for the volume with a new agent state that is not `taken`: another
/// taskspace may go on with the state of a former taskspace of the same id.
pub fn agent_state_volume(id: &TaskspaceId, taken: impl Fn(&str) -> bool) -> String {
    let first = format!("{PREFIX}{id}-agent-state");
    let further = (2u32..).map(|n| format!("{first}-{n}"));
    std::iter::once(first.clone()).chain(further).find(|name| !taken(name)).unwrap_or(first)
}

/// Returns the name of the volume of a project's base.
pub fn base_volume(project: &str, key: &str) -> String {
    format!("project-base-{project}-{key}")
}

/// Returns a name for the volume of a build cache that later taskspaces of a project begin with.
pub fn cache_volume(project: &str, unique: Uuid) -> String {
    let unique = unique.simple().to_string();
    format!("project-cache-{project}-{}", &unique[..8])
}

/// Returns the branch that a taskspace works on: one beside which the branches of the project that begin
/// with its prefix can be. Git has refs as files and directories, so `a` and `a/b` exclude each other.
pub fn branch(id: &TaskspaceId, project: &[String]) -> String {
    let usual = format!("{BRANCHES}/{id}");
    let excludes =
        |one: &str, other: &str| other.strip_prefix(one).is_some_and(|rest| rest.starts_with('/'));
    match project.iter().any(|there| excludes(there, &usual) || excludes(&usual, there)) {
        true => format!("{BRANCHES}-{id}"),
        false => usual,
    }
}

/// Returns the branches of a project that have a taskspace be on a branch such as this one.
pub fn excluded_by(branch: &str) -> Vec<String> {
    let is_usual = branch.starts_with(&format!("{BRANCHES}/"));
    if is_usual { Vec::new() } else { vec![BRANCHES.to_owned()] }
}

/// Returns the name by which ssh knows a container.
pub fn ssh_host(id: &TaskspaceId, role: Role) -> String {
    format!("{id}-{role}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branch_of_a_taskspace_can_be_beside_those_of_its_project() {
        let id: TaskspaceId = "fix".parse().unwrap();
        let beside = |there: &[&str]| {
            branch(&id, &there.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        for fine in [&[][..], &["taskspace/fix", "taskspace/fix-2", "taskspaces", "taskspace/a/b"]]
        {
            assert_eq!(beside(fine), "taskspace/fix");
        }
        assert_eq!(beside(&["taskspace"]), "taskspace-fix");
        assert_eq!(beside(&["taskspace/fix/part"]), "taskspace-fix");
        assert_eq!(branch(&id, &excluded_by("taskspace-other")), "taskspace-fix");
        assert_eq!(branch(&id, &excluded_by("taskspace/other")), "taskspace/fix");
    }

    #[test]
    fn an_agent_state_in_use_elsewhere_keeps_its_name() {
        let id: TaskspaceId = "fix".parse().unwrap();
        assert_eq!(agent_state_volume(&id, |_| false), "taskspace-fix-agent-state");
        let taken = |name: &str| !name.ends_with("-3");
        assert_eq!(agent_state_volume(&id, taken), "taskspace-fix-agent-state-3");
    }
}
