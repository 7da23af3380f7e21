//! What is done to a taskspace, or to the images, on request.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Problem, TaskspaceId};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Make a taskspace.
    Create,
    /// Start its containers.
    Start,
    /// Stop its containers.
    Stop,
    /// Stop and start its containers.
    Restart,
    /// Remove it.
    Delete,
    /// Bring back what ended by itself or was removed by somebody else.
    Recover,
    /// Build images.
    BuildImages,
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Delete => "delete",
            Self::Recover => "recover",
            Self::BuildImages => "build-images",
        })
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// Waits for an earlier operation on the same taskspace.
    Queued,
    /// Under way.
    Running,
    /// Done.
    Done,
    /// Failed; `problem` says why.
    Failed,
}

impl OperationState {
    /// Whether nothing more will happen.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Operation {
    /// Its number, unique while the service runs.
    pub id: u64,
    /// What is done.
    pub kind: OperationKind,
    /// The taskspace that it is done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub taskspace: Option<TaskspaceId>,
    /// How far it is.
    pub state: OperationState,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished: Option<Timestamp>,
    /// What is being done right now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}
