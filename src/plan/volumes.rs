//! The volumes of a taskspace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::capability::Capabilities;
use super::names::{self, Labels, labels};
use crate::model::{Record, TaskspaceId};
use crate::podman::VolumeSpec;

/// What the seed lays out in the agent's state.
pub(crate) const AGENT_STATE_DIRECTORIES: &[&str] = &["tmux", "logs", "history"];

/// The directory of an overlay's changes in their volume.
pub(crate) const UPPER: &str = "upper";

/// What is in a new volume for changes, before it is mounted.
pub(crate) const CHANGES_DIRECTORIES: &[&str] = &[UPPER, "work"];

/// The same where the build cache is an overlay, too.
pub(crate) const CHANGES_DIRECTORIES_WITH_CACHE: &[&str] =
    &[UPPER, "work", "cache/upper", "cache/work"];

/// The directory of the files in a project's build cache.
pub(crate) const CACHED_FILES: &str = "files";

/// The directory of what a project's build cache has of the checkout, such as `node_modules`.
pub(crate) const CACHED_CHECKOUT: &str = "checkout";

/// Where the build cache is mounted, in both containers.
pub(crate) const BUILD_CACHE: &str = "/workspace/.build-cache";

/// What is in a new build cache. cargo finds these through links in its home, which must lead
/// somewhere. And a fresh volume belongs to whoever mounts it first, unless there is something in it:
/// so the cache stays the user's although the dev container starts as root.
pub(crate) const BUILD_CACHE_DIRECTORIES: &[&str] =
    &["cargo/git", "cargo/registry", ".git/objects", ".git/refs"];

/// Files of a new build cache. They make it look like a repository of its own, which is what
/// `git clean -x` and `git stash --all` in the checkout leave alone; and like one of a format that no
/// git opens, so that nothing takes it for one.
pub(crate) const BUILD_CACHE_FILES: &[(&str, &str)] = &[
    (".git/HEAD", "ref: refs/heads/none\n"),
    (
        ".git/config",
        "# No repository: it keeps `git clean -x` from removing the build cache.\n\
         [core]\n\trepositoryformatversion = 99\n",
    ),
];

/// The variables that have tools keep what they build and download in the build cache.
///
/// cargo's home is not among them: it has credentials and settings, which are not for a cache that
/// others begin with. See `cargo help environment-variables`, `npm help config`, `pip help cache`,
/// `python --help-env`, `go help environment`.
const BUILD_CACHE_ENVIRONMENT: &[(&str, &str)] = &[
    ("CARGO_TARGET_DIR", "target"),
    ("npm_config_cache", "npm"),
    ("PIP_CACHE_DIR", "pip"),
    ("PYTHONPYCACHEPREFIX", "pycache"),
    ("GOMODCACHE", "go/mod"),
    ("GOCACHE", "go/build"),
];

/// Returns the variables that have tools keep what they build and download in the build cache.
pub(crate) fn build_cache_environment() -> impl Iterator<Item = (String, String)> {
    let variables = BUILD_CACHE_ENVIRONMENT.iter();
    variables.map(|(name, place)| ((*name).to_owned(), format!("{BUILD_CACHE}/{place}")))
}

/// Returns a volume without any options.
pub(crate) fn plain(registry: Uuid, id: &TaskspaceId, name: String, role: &str) -> VolumeSpec {
    VolumeSpec { name, options: BTreeMap::new(), labels: labels(registry, id, role) }
}

/// Returns the volume that is a taskspace's checkout: its changes over the base, and between them what
/// the project's build cache has of the checkout.
pub(crate) fn checkout(
    registry: Uuid,
    id: &TaskspaceId,
    record: &Record,
    capabilities: &Capabilities,
) -> VolumeSpec {
    let project = &record.spec.project;
    let base = names::base_volume(&project.name, project.base());
    let cached = record.cache.as_deref().map(|it| cached_checkout(it, capabilities));
    let lower = cached.into_iter().chain([capabilities.volume_directory(&base)]);
    let changes = capabilities.volume_directory(&names::changes_volume(id));
    overlay(
        names::project_volume(id),
        &lower.collect::<Vec<_>>(),
        &changes,
        labels(registry, id, "project"),
    )
}

/// Returns the volume that is a taskspace's build cache: one of its own, or its changes over that of
/// the project.
pub(crate) fn build_cache(
    registry: Uuid,
    id: &TaskspaceId,
    record: &Record,
    capabilities: &Capabilities,
) -> VolumeSpec {
    let name = names::build_cache_volume(id);
    match &record.cache {
        None => plain(registry, id, name, "build-cache"),
        Some(volume) => overlay(
            name,
            &[cached_files(volume, capabilities)],
            &cache_changes(id, capabilities),
            labels(registry, id, "build-cache"),
        ),
    }
}

/// Returns the directory into which what a taskspace puts into its build cache is written.
pub(crate) fn own_cache(id: &TaskspaceId, record: &Record, capabilities: &Capabilities) -> PathBuf {
    match record.cache {
        None => capabilities.volume_directory(&names::build_cache_volume(id)),
        Some(_) => cache_changes(id, capabilities).join(UPPER),
    }
}

/// Returns the directories into which a taskspace writes what counts as its own: the changes to its
/// checkout and its own build cache.
pub(crate) fn written(
    id: &TaskspaceId,
    record: &Record,
    capabilities: &Capabilities,
) -> Vec<PathBuf> {
    let changes = capabilities.volume_directory(&names::changes_volume(id)).join(UPPER);
    vec![changes, own_cache(id, record, capabilities)]
}

/// Returns the directory of the files in a project's build cache.
pub(crate) fn cached_files(volume: &str, capabilities: &Capabilities) -> PathBuf {
    capabilities.volume_directory(volume).join(CACHED_FILES)
}

/// Returns the directory of what a project's build cache has of the checkout.
pub(crate) fn cached_checkout(volume: &str, capabilities: &Capabilities) -> PathBuf {
    capabilities.volume_directory(volume).join(CACHED_CHECKOUT)
}

fn cache_changes(id: &TaskspaceId, capabilities: &Capabilities) -> PathBuf {
    capabilities.volume_directory(&names::changes_volume(id)).join("cache")
}

fn overlay(name: String, lower: &[PathBuf], changes: &Path, labels: Labels) -> VolumeSpec {
    let lower: Vec<_> = lower.iter().map(|layer| layer.to_string_lossy()).collect();
    let option = format!(
        "lowerdir={},upperdir={},workdir={},userxattr",
        lower.join(":"),
        changes.join(UPPER).display(),
        changes.join("work").display()
    );
    let options = [("type", "overlay"), ("device", "overlay"), ("o", &option)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    VolumeSpec { name, options: options.into(), labels }
}
