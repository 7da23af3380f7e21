//! What is done to a taskspace, to a container or to the images, on request.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AgentName, Conflict, Lease, OperationClass, Priority, Problem, Target, TaskspaceId};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Make a taskspace.
    Create,
    /// Start the containers.
    Start,
    /// Stop the containers.
    Stop,
    /// Stop and start the containers.
    Restart,
    /// Remove a taskspace.
    Delete,
    /// Make a taskspace that begins where another one is.
    Fork,
    /// Copy what a taskspace has, for another one.
    Copy,
    /// Make the build cache the one of the project.
    Promote,
    /// Make a snapshot of a taskspace.
    Snapshot,
    /// Remove a snapshot of a taskspace.
    DeleteSnapshot,
    /// Give a taskspace back what a snapshot has.
    Restore,
    /// Bring back what ended by itself or was removed by somebody else.
    Recover,
    /// Build images.
    BuildImages,
    /// Bring a project up to date.
    Refresh,
    /// Only look.
    Read,
    /// Change the configuration.
    Config,
    /// Put another version in its place.
    Deploy,
    /// Change how much of it there is, or how much it may use.
    Scale,
    /// Try whether it works.
    Health,
}

impl OperationKind {
    /// Returns what it is to others on the same container; none for what acts on no container.
    ///
    /// A recovery is a `start`, so that a restart that is asked for meanwhile waits and is not
    /// refused; a removal begins with a `stop`. While something is copied the containers are paused,
    /// which goes together with what goes together with a change of their configuration. What is
    /// restored is another version.
    pub const fn class(self) -> Option<OperationClass> {
        Some(match self {
            Self::Create | Self::Fork | Self::Restore | Self::Deploy => OperationClass::Deploy,
            Self::Start | Self::Recover => OperationClass::Start,
            Self::Stop | Self::Delete => OperationClass::Stop,
            Self::Restart => OperationClass::Restart,
            Self::Read => OperationClass::Read,
            Self::Config | Self::Copy | Self::Promote | Self::Snapshot | Self::DeleteSnapshot => {
                OperationClass::Config
            }
            Self::Scale => OperationClass::Scale,
            Self::Health => OperationClass::Health,
            Self::BuildImages | Self::Refresh => return None,
        })
    }
}

impl From<OperationClass> for OperationKind {
    fn from(class: OperationClass) -> Self {
        match class {
            OperationClass::Read => Self::Read,
            OperationClass::Config => Self::Config,
            OperationClass::Restart => Self::Restart,
            OperationClass::Stop => Self::Stop,
            OperationClass::Start => Self::Start,
            OperationClass::Deploy => Self::Deploy,
            OperationClass::Scale => Self::Scale,
            OperationClass::Health => Self::Health,
        }
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Delete => "delete",
            Self::Fork => "fork",
            Self::Copy => "copy",
            Self::Promote => "promote",
            Self::Snapshot => "snapshot",
            Self::DeleteSnapshot => "delete-snapshot",
            Self::Restore => "restore",
            Self::Recover => "recover",
            Self::BuildImages => "build-images",
            Self::Refresh => "refresh",
            Self::Read => "read",
            Self::Config => "config",
            Self::Deploy => "deploy",
            Self::Scale => "scale",
            Self::Health => "health",
        })
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// Waits for others.
    Queued,
    /// Under way.
    Running,
    /// Done.
    Done,
    /// Failed; `problem` says why.
    Failed,
    /// Ended, because it took longer than it may.
    TimedOut,
    /// Ended before its time, because that was asked for.
    Cancelled,
    /// Refused; `problem` says why.
    Rejected,
}

impl OperationState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::Rejected,
    ];

    /// Whether nothing more will happen.
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
        })
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Operation {
    /// Its number, given once.
    pub id: u64,
    /// What is done.
    pub kind: OperationKind,
    /// The taskspace that it is done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taskspace: Option<TaskspaceId>,
    /// What it acts on; absent for what acts on no container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Who asked for it.
    #[serde(default = "AgentName::user")]
    pub agent: AgentName,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long it will probably take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_seconds: Option<u64>,
    /// After how many seconds from its beginning it is ended; absent for the service's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// The operation under which it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<u64>,
    /// How far it is.
    pub state: OperationState,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When it was let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished: Option<Timestamp>,
    /// What is being done right now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<Conflict>,
    /// The container that has as many operations as it may, if it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<Target>,
    /// What it was let in beside although it may be disturbed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cautions: Vec<Conflict>,
    /// Its fencing token, once it has begun: greater than that of everything that began earlier.
    /// Whatever is acted on can refuse one with a smaller token than it has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// For how long its holder may be silent; absent for the service's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Why it failed or was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

impl Operation {
    /// Makes one that waits, by somebody who does not say who.
    pub fn new(id: u64, kind: OperationKind, created: Timestamp) -> Self {
        Self {
            id,
            kind,
            taskspace: None,
            target: None,
            agent: AgentName::user(),
            priority: Priority::default(),
            description: None,
            estimated_seconds: None,
            timeout_seconds: None,
            under: None,
            state: OperationState::Queued,
            created,
            started: None,
            finished: None,
            step: None,
            behind: Vec::new(),
            full: None,
            cautions: Vec::new(),
            token: None,
            lease: None,
            problem: None,
        }
    }

    /// Returns what it is, for messages: `restart of api`.
    pub fn name(&self) -> String {
        match (&self.target, &self.taskspace) {
            (Some(target), _) => format!("{} of {target}", self.kind),
            (None, Some(id)) => format!("{} of '{id}'", self.kind),
            (None, None) => self.kind.to_string(),
        }
    }
}
