//! What the API shows and takes beside the registry's own types.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    CoordinationView, Ending, ImageRef, NetworkState, Operation, Problem, Recorded, Role, Status,
    TaskspaceId,
};

/// The program's version and the API's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct VersionView {
    /// Always `taskspace`.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// The API's version, the first part of every path.
    pub api: String,
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SettingsView {
    /// The directories that their files are in; later ones go before earlier ones.
    pub directories: Vec<String>,
    /// When they were read.
    #[schema(value_type = String, format = DateTime)]
    pub read: Timestamp,
    /// Why the files as they are now are not in force; absent where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// What of them is not in force yet, and when it will be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
}

/// That the service is alive, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LivenessView {
    /// The service's process.
    pub pid: u32,
    /// What Podman has not answered for the longest time; absent where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub podman: Option<UnansweredView>,
}

/// A request that Podman has not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UnansweredView {
    /// What was asked for.
    pub request: String,
    /// For how long the answer has been overdue, in seconds.
    pub seconds: u64,
}

/// How the service is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StatusView {
    /// The service's process.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// When the service started.
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// For how long it has been running, in seconds.
    pub uptime_seconds: u64,
    /// How many taskspaces there are.
    pub taskspaces: usize,
    /// How many of them run.
    pub running: usize,
    /// How many operations are under way or wait.
    pub operations: usize,
    /// How many clients are connected, the asking one included.
    pub clients: usize,
    /// After how many seconds without anything to do the service exits.
    pub idle_timeout_seconds: u64,
    /// The registry's file.
    pub registry: String,
    /// The `ssh_config` that names every taskspace.
    pub ssh_config: String,
    /// What in Podman is of this registry and of no taskspace in it.
    pub strays: Vec<String>,
    /// The settings in force.
    pub settings: SettingsView,
    /// How the coordination of operations goes.
    #[serde(default)]
    pub coordination: CoordinationView,
    /// Podman, as far as it answers.
    pub podman: PodmanView,
}

/// Podman, as the service sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum PodmanView {
    /// It answers.
    Available {
        /// Its socket.
        socket: String,
        /// Its version.
        version: String,
        /// What about it limits this program.
        warnings: Vec<String>,
    },
    /// It does not.
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// One container of a taskspace, as Podman sees it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContainerView {
    /// Which one.
    pub role: Role,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Podman's word for its state, or `missing`.
    pub state: String,
    /// How it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for lack of memory.
    pub oom_killed: bool,
}

/// How the sshd of a container is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SshHealth {
    /// Whether it answers; one that has been silent less often than it may is still healthy.
    pub healthy: bool,
    /// When it was asked last.
    #[schema(value_type = String, format = DateTime)]
    pub checked: Timestamp,
    /// How often in a row it has been silent.
    pub failures: u32,
    /// What was seen instead of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the two containers of a taskspace use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// When it was measured.
    #[schema(value_type = String, format = DateTime)]
    pub measured: Timestamp,
    /// The memory in use, in bytes; absent where the host does not measure it: then its memory
    /// controller is not delegated to the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The load since the measurement before, in percent of one processor; absent after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// How many processes and threads there are; absent where the host does not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
}

/// One volume of a taskspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct VolumeView {
    /// Its name.
    pub name: String,
    /// What it is for: `project`, `changes`, `agent-state`, `build-cache`, `base` or `snapshot`.
    pub role: String,
}

/// A taskspace in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DetailView {
    /// Its entry in the registry.
    #[serde(flatten)]
    pub recorded: Recorded,
    /// The SSH host of its dev container.
    pub ssh_dev: String,
    /// The SSH host of its agent.
    pub ssh_agent: String,
    /// Its pod.
    pub pod: String,
    /// Its containers; empty when Podman does not answer.
    pub containers: Vec<ContainerView>,
    /// How its sshds are; empty when it does not run, or was not asked yet.
    pub health: BTreeMap<Role, SshHealth>,
    /// What it uses; absent when it does not run, or was not measured yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Its volumes.
    pub volumes: Vec<VolumeView>,
    /// What belongs to its network policy.
    #[serde(default)]
    pub network_state: NetworkState,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ImageView {
    /// Its short name.
    pub name: String,
    /// Its name in Podman's storage.
    pub reference: String,
    /// What it is built on.
    pub base: String,
    /// How it is.
    pub state: ImageState,
    /// Its size in bytes, once it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created: Option<Timestamp>,
}

/// How an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageState {
    /// Built from what the settings and templates say now.
    Current,
    /// Built from something else; rebuilt on next use.
    Outdated,
    /// Not built.
    Missing,
}

/// Which images to build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildRequest {
    /// Short names; every image when empty.
    #[serde(default)]
    #[schema(value_type = Vec<ImageRef>)]
    pub images: Vec<String>,
    /// Build also what is current.
    #[serde(default)]
    pub force: bool,
}

impl BuildRequest {
    /// Returns the images that are asked for, with what they are built on before them.
    ///
    /// # Errors
    /// Names the first one that does not exist.
    pub fn resolve(&self) -> Result<Vec<ImageRef>, String> {
        let asked: Vec<ImageRef> =
            self.images.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        let wanted = |image: ImageRef| {
            asked.is_empty()
                || asked.contains(&image)
                || asked.iter().any(|asked| asked.parent() == Some(image))
        };
        Ok(ImageRef::ALL.into_iter().filter(|image| wanted(*image)).collect())
    }
}

/// How to delete a taskspace.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams,
)]
pub struct DeleteOptions {
    /// Remove the agent's state too.
    #[serde(default)]
    pub purge: bool,
    /// Remove it although it has work that is saved nowhere else.
    #[serde(default)]
    pub force: bool,
}

/// How something would be brought about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlanView {
    /// What the steps bring about together: `create` or `delete`.
    pub name: String,
    /// The taskspace that it is for.
    pub taskspace: TaskspaceId,
    /// The steps, each after those that it needs.
    pub steps: Vec<StepView>,
    /// How many changed and untracked files would come along, if that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncommitted: Option<usize>,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StepView {
    /// What it does; the events of a real run call it so.
    pub title: String,
    /// What exactly is done.
    pub act: String,
    /// What takes it back when a later one fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// The steps, counted from 0, that must be done before.
    pub needs: Vec<usize>,
}

/// What answers a request that can be asked for its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum OperationOrPlan {
    /// It is done.
    Operation(Box<Operation>),
    /// With `dry_run`: nothing is done.
    Plan(PlanView),
}

/// How a taskspace is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HealthView {
    /// What it is.
    pub status: Status,
    /// Why it is `failed` or `degraded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Problem>,
    /// Its containers; empty when Podman does not answer.
    pub containers: Vec<ContainerView>,
    /// How its sshds are; empty when it does not run, or was not asked yet.
    pub health: BTreeMap<Role, SshHealth>,
    /// How often it was recovered.
    pub restarts: u32,
    /// How its containers ended lately without having been asked to.
    pub endings: Vec<Ending>,
}

/// A command to run in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The container.
    pub role: Role,
    /// The command and its arguments.
    #[schema(min_items = 1)]
    pub command: Vec<String>,
    /// With a terminal.
    #[serde(default)]
    pub tty: bool,
    /// With the caller's input.
    #[serde(default)]
    pub stdin: bool,
    /// As this user; the container's ordinary one when it is not given.
    #[serde(default)]
    pub user: Option<String>,
    /// In this directory; `/workspace` when it is not given.
    #[serde(default)]
    pub workdir: Option<String>,
    /// With these variables, beside the container's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_brings_along_what_the_image_stands_on() {
        let request = BuildRequest { images: vec!["dev-rust".to_owned()], force: false };
        let names: Vec<_> =
            request.resolve().unwrap().into_iter().map(ImageRef::short_name).collect();
        assert_eq!(names, ["dev-generic", "dev-rust"]);
        assert_eq!(BuildRequest::default().resolve().unwrap().len(), ImageRef::ALL.len());
        let unknown = BuildRequest { images: vec!["x".to_owned()], force: false };
        assert!(unknown.resolve().is_err());
    }
}
