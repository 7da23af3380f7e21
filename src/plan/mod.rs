//! What has to be done, as data: computed purely from the specification, the registry and what the
//! host can do; run by `engine::execute`, printed by who only wants to see it.

pub mod aside;
pub mod assess;
pub mod cache;
pub mod capability;
pub mod collect;
pub mod create;
pub mod delete;
mod describe;
pub mod detail;
pub mod fork;
mod hold;
pub mod isolation;
pub mod lifecycle;
pub mod names;
pub mod pod;
pub mod ruleset;
pub mod snapshot;
pub mod volumes;

use std::path::PathBuf;

use crate::model::{
    CommitSettings, ImageRef, Quantity, Role, SnapshotName, SubmoduleSpec, TaskspaceId,
};
use crate::podman::{ContainerSpec, PodSpec, VolumeSpec};

/// One act on Podman or the host. Each can be done again without harm.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Build an image, unless it is there and current.
    EnsureImage(ImageRef),
    /// Check a commit out into its base volume, unless it is there.
    EnsureBase(BasePlan),
    /// Make sure that a build cache of the project's is there; one that somebody removed is empty.
    EnsureCache {
        /// The project's name.
        project: String,
        /// The cache's volume.
        volume: String,
    },
    /// Record that a build cache of the project's is being made.
    EnterCache {
        /// The project's name.
        project: String,
        /// The cache's volume.
        volume: String,
    },
    /// Copy a taskspace's build cache into that of the project.
    FillCache(FillPlan),
    /// Record that a build cache is whole: new taskspaces begin with it.
    PublishCache {
        /// The project's name.
        project: String,
        /// The cache's volume.
        volume: String,
    },
    /// Remove a build cache of the project's, unless a taskspace uses it.
    DropCache {
        /// The project's name.
        project: String,
        /// The cache's volume.
        volume: String,
    },
    /// Remove the build caches of a project that are not worth keeping.
    TrimCaches(String),
    /// Make keys, certificates and the agent's configuration.
    WriteFiles,
    /// Remove the taskspace's files.
    RemoveFiles,
    /// Make a volume.
    CreateVolume(VolumeSpec),
    /// Make sure that a volume is there: what is in it cannot be made anew.
    RequireVolume(String),
    /// Remove a volume, if it is there.
    RemoveVolume(String),
    /// Make directories in a volume.
    MakeDirectories {
        /// The volume's directory.
        root: PathBuf,
        /// The directories, relative to it.
        directories: &'static [&'static str],
    },
    /// Put into a build cache what is in each, as far as that is not there.
    LayOutCache(PathBuf),
    /// Have the file system hold what is put into a volume to the taskspace's storage.
    Hold(HoldPlan),
    /// Put what differs from the base into the overlay's upper directory: branch, origin, identity.
    SeedChanges(SeedPlan),
    /// Copy what another taskspace has into the volumes of this one.
    CopyFrom(CopyPlan),
    /// Copy directories while the containers are paused.
    CopyOut(Vec<CopyPath>),
    /// Record that a snapshot is being made.
    EnterSnapshot(snapshot::Taking),
    /// Record that a snapshot is whole.
    PublishSnapshot(SnapshotName),
    /// Remove a snapshot, if it is there.
    DropSnapshot(SnapshotName),
    /// Refuse to go on when a container that runs, and is none of the taskspace's, uses these volumes.
    RefuseOtherUsers(Vec<String>),
    /// Wait until no container that runs uses these volumes, and none of them is mounted.
    AwaitUnused(Vec<String>),
    /// Record that what the taskspace has is about to be replaced: from here on it is whole only when
    /// that is done.
    BeginRefill,
    /// Replace what is in directories.
    Refill {
        /// What is copied into those that are emptied before.
        copies: Vec<CopyPath>,
        /// Those that are only emptied.
        emptied: Vec<PathBuf>,
    },
    /// Give the branch that came along with a copy the name of this taskspace's.
    RenameBranch {
        /// What it is called.
        from: String,
        /// What it is to be called.
        to: String,
    },
    /// Make the pod.
    CreatePod(PodSpec),
    /// Remove the pod and its containers, if it is there.
    RemovePod,
    /// Make a container.
    CreateContainer(Role, Box<ContainerSpec>),
    /// Compare a container with what was asked for: Podman ignores what it does not know.
    VerifyContainer(Role, Box<ContainerSpec>),
    /// Record that the taskspace is whole and about to be used: from here on there may be work in it,
    /// and nothing of it is made anew or taken back by a later run of the service.
    HandOver,
    /// Start the pod's network: its infra container alone.
    StartInfra,
    /// Put the network policy in force.
    GuardNetwork,
    /// Start a container.
    StartContainer(Role),
    /// Pause the containers that run.
    Pause,
    /// Let those containers of the pod go on that somebody paused.
    Unpause,
    /// Stop a container.
    StopContainer(Role),
    /// Stop the pod and its containers.
    StopPod,
    /// Wait until the sshd of a container has answered.
    AwaitSsh(Role),
    /// Write `ssh_config` and `known_hosts` from the registry.
    PublishSsh,
    /// Take the taskspace out of the registry, and out of `ssh_config`.
    Forget {
        /// The id under which the volume with the agent's state is kept, if it is.
        keep_state_as: Option<TaskspaceId>,
    },
    /// Remove a base, unless another taskspace uses it.
    DropBase {
        /// The project's name.
        project: String,
        /// The base's key.
        key: String,
    },
    /// Remove the bases of a project that are not worth keeping.
    TrimBases(String),
}

/// A base to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePlan {
    /// The project's name.
    pub project: String,
    /// Where the project comes from.
    pub source: String,
    /// Where its mirror is, and those of its submodules.
    pub mirrors: PathBuf,
    /// The commit.
    pub commit: String,
    /// Its key among the project's bases.
    pub key: String,
    /// The submodules that it has, and those that it only knows.
    pub submodules: Vec<SubmoduleSpec>,
    /// Its volume.
    pub volume: String,
}

/// An empty volume that becomes part of a project, which the file system limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldPlan {
    /// The volume's directory.
    pub directory: PathBuf,
    /// The project.
    pub id: u32,
    /// What the project is limited to.
    pub limit: Quantity,
}

/// What a taskspace begins with that begins where another one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPlan {
    /// The other one.
    pub of: TaskspaceId,
    /// The snapshot of it that is copied; what it has now, if there is none.
    pub snapshot: Option<SnapshotName>,
    /// What is copied, all of it as it is at one moment.
    pub paths: Vec<CopyPath>,
}

/// A directory that is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPath {
    /// The directory.
    pub from: PathBuf,
    /// The directory that has nothing in it yet.
    pub to: PathBuf,
}

/// What a project's new build cache is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillPlan {
    /// The files of the build cache.
    pub files: Layers,
    /// What of the checkout is taken along.
    pub checkout: Layers,
    /// The names of the directories that are,
    pub directories: Vec<String>,
    /// unless they are in the base: what a project has under version control is of its commit.
    pub base: PathBuf,
}

/// Two layers of an overlay that become one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// The lower one, which is never changed.
    pub lower: Option<PathBuf>,
    /// The changes.
    pub upper: PathBuf,
    /// The directory that is made.
    pub to: PathBuf,
}

/// What goes into an overlay's upper directory before its first mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedPlan {
    /// The base's directory.
    pub base: PathBuf,
    /// The directory of the volume with `upper/` and `work/`.
    pub changes: PathBuf,
    /// The branch to be on.
    pub branch: String,
    /// The commit that it stands at.
    pub commit: String,
    /// Where `origin` points.
    pub origin: String,
    /// Where `origin` is pushed to, if that is elsewhere.
    pub push_url: Option<String>,
    /// How commits look that are made in it.
    pub commits: CommitSettings,
    /// The work tree whose uncommitted changes come along.
    pub work_tree: Option<PathBuf>,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it does, for people.
    pub title: String,
    /// What it does.
    pub act: Act,
    /// What takes it back, however far it came.
    pub undo: Option<Act>,
    /// The steps (by index) that must be done before.
    pub needs: Vec<usize>,
}

/// Steps, each after those that it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What the steps bring about together.
    pub name: &'static str,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Makes one without steps.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, steps: Vec::new() }
    }

    /// Appends a step that can be taken back and returns its index.
    pub(crate) fn push(
        &mut self,
        title: impl Into<String>,
        act: Act,
        undo: Option<Act>,
        needs: &[usize],
    ) -> usize {
        let index = self.steps.len();
        debug_assert!(needs.iter().all(|need| *need < index));
        self.steps.push(Step { title: title.into(), act, undo, needs: needs.to_vec() });
        index
    }
}
