//! Errors as clients see them: RFC 9457 documents with a stable code.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::TransitionError;

/// The stable name of a kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// No taskspace has this id.
    TaskspaceNotFound,
    /// The id is taken.
    TaskspaceExists,
    /// A former taskspace of this id left its agent's state behind.
    AgentStateExists,
    /// The agent state that was asked for does not exist or is in use.
    AgentStateUnavailable,
    /// The taskspace is in a state in which this cannot be done.
    StateConflict,
    /// The repository cannot be reached or is none.
    RepositoryUnavailable,
    /// The repository has no such ref.
    RefNotFound,
    /// An image could not be built.
    ImageBuildFailed,
    /// The host lacks disk space (or another resource).
    InsufficientResources,
    /// The taskspace has written more than it may.
    QuotaExceeded,
    /// No port could be had.
    NetworkPortUnavailable,
    /// A policy cannot be enforced on this host.
    PolicyUnenforceable,
    /// A policy of the administrator or the user does not allow it.
    PolicyForbids,
    /// Another operation is in the way.
    OperationConflict,
    /// As many operations wait as may.
    QueueFull,
    /// The operation is no longer held by who says that it holds it.
    LeaseLost,
    /// Whoever held the operation says that it failed.
    OperationFailed,
    /// The operation was cancelled.
    OperationCancelled,
    /// It took longer than it may.
    OperationTimeout,
    /// The dependencies would be a circle.
    DependencyCycle,
    /// The taskspace has work that would be lost.
    UnsavedWork,
    /// Podman does not answer, or not as Podman should.
    PodmanUnavailable,
    /// Podman refused or failed.
    PodmanFailed,
    /// The registry cannot be used.
    RegistryUnusable,
    /// The settings are wrong.
    SettingsInvalid,
    /// The request is wrong.
    MessageFormatInvalid,
    /// No such path, operation or container.
    NotFound,
    /// It did not become ready in time.
    NotReady,
    /// The service itself does not answer.
    ServiceUnavailable,
    /// Something that should not happen.
    Internal,
}

impl Code {
    /// Returns the HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::MessageFormatInvalid => 400,
            Self::PolicyUnenforceable | Self::PolicyForbids | Self::QuotaExceeded => 403,
            Self::TaskspaceNotFound
            | Self::NotFound
            | Self::RepositoryUnavailable
            | Self::RefNotFound => 404,
            Self::TaskspaceExists
            | Self::AgentStateExists
            | Self::AgentStateUnavailable
            | Self::StateConflict
            | Self::OperationConflict
            | Self::LeaseLost
            | Self::OperationCancelled
            | Self::NetworkPortUnavailable
            | Self::DependencyCycle
            | Self::UnsavedWork => 409,
            Self::QueueFull => 429,
            Self::PodmanFailed | Self::ImageBuildFailed | Self::OperationFailed => 502,
            Self::PodmanUnavailable | Self::ServiceUnavailable => 503,
            Self::NotReady | Self::OperationTimeout => 504,
            Self::InsufficientResources => 507,
            Self::RegistryUnusable | Self::SettingsInvalid | Self::Internal => 500,
        }
    }

    /// Returns the short text that is the same for every error of this code.
    pub const fn title(self) -> &'static str {
        match self {
            Self::TaskspaceNotFound => "no such taskspace",
            Self::TaskspaceExists => "the id is taken",
            Self::AgentStateExists => "agent state of that id is kept",
            Self::AgentStateUnavailable => "agent state not available",
            Self::StateConflict => "not possible in this state",
            Self::RepositoryUnavailable => "repository not available",
            Self::RefNotFound => "no such ref",
            Self::ImageBuildFailed => "image build failed",
            Self::InsufficientResources => "not enough resources",
            Self::QuotaExceeded => "quota exceeded",
            Self::NetworkPortUnavailable => "no port available",
            Self::PolicyUnenforceable => "policy cannot be enforced",
            Self::PolicyForbids => "a policy forbids it",
            Self::OperationConflict => "another operation is in the way",
            Self::QueueFull => "too many operations wait",
            Self::LeaseLost => "no longer held",
            Self::OperationFailed => "the operation failed",
            Self::OperationCancelled => "cancelled",
            Self::OperationTimeout => "took too long",
            Self::DependencyCycle => "dependencies in a circle",
            Self::UnsavedWork => "work would be lost",
            Self::PodmanUnavailable => "Podman is not available",
            Self::PodmanFailed => "Podman failed",
            Self::RegistryUnusable => "registry not usable",
            Self::SettingsInvalid => "settings are wrong",
            Self::MessageFormatInvalid => "bad request",
            Self::NotFound => "not found",
            Self::NotReady => "not ready in time",
            Self::ServiceUnavailable => "the service is not available",
            Self::Internal => "internal error",
        }
    }
}

/// One error as a client sees it (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the code tells the kinds apart.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The code's short text.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable name of the kind of error.
    pub code: Code,
    /// What went wrong, and why.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The last lines of output of what failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

impl Problem {
    /// Makes a problem without hint and log.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: about_blank(),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: detail.into(),
            hint: None,
            log: Vec::new(),
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the last lines of output of what failed.
    #[must_use]
    pub fn log(mut self, log: Vec<String>) -> Self {
        self.log = log;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Error for Problem {}

impl From<TransitionError> for Problem {
    fn from(error: TransitionError) -> Self {
        Self::new(Code::StateConflict, error.to_string())
            .hint("wait until what is under way is done; `taskspace show` tells")
    }
}
