//! What happened, as it is told to those who watch.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ending, OperationKind, Problem, Role, Status, TaskspaceId};

/// How a step of an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    /// As it should.
    Done,
    /// Not as it should.
    Failed,
    /// Undone, because a later one failed.
    Undone,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Event {
    /// Its number; rises by one with each event while the service runs, and by more when it starts
    /// again.
    pub id: u64,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// The operation that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
    /// The taskspace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub taskspace: Option<TaskspaceId>,
    /// What happened.
    pub body: EventBody,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum EventBody {
    /// An operation was asked for.
    OperationStarted {
        /// What it does.
        kind: OperationKind,
    },
    /// A step of an operation began.
    StepStarted {
        /// What it does.
        step: String,
    },
    /// A step of an operation ended.
    StepEnded {
        /// What it did.
        step: String,
        /// How it ended.
        outcome: StepOutcome,
        /// How long it took, in milliseconds.
        milliseconds: u64,
    },
    /// A program that a step runs wrote a line.
    Output {
        /// The line.
        line: String,
    },
    /// Something that the user should know.
    Warning {
        /// What.
        message: String,
    },
    /// A taskspace changed its state.
    StatusChanged {
        /// From; absent for a new one.
        from: Option<Status>,
        /// To; absent for one that is gone.
        to: Option<Status>,
    },
    /// A container ended without having been asked to.
    ContainerEnded(Ending),
    /// A container's sshd began to answer, or no longer does.
    HealthChanged {
        /// Which container's.
        role: Role,
        /// Whether it answers.
        healthy: bool,
        /// What was seen instead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Events after the one from which on was asked are no longer kept: look at the whole again.
    Missed,
    /// An operation is over.
    OperationFinished {
        /// Why it failed, if it did.
        problem: Option<Problem>,
    },
}

impl EventBody {
    /// Returns the name of the kind of event, as in the SSE field `event`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OperationStarted { .. } => "operation-started",
            Self::StepStarted { .. } => "step-started",
            Self::StepEnded { .. } => "step-ended",
            Self::Output { .. } => "output",
            Self::Warning { .. } => "warning",
            Self::StatusChanged { .. } => "status-changed",
            Self::ContainerEnded(_) => "container-ended",
            Self::HealthChanged { .. } => "health-changed",
            Self::Missed => "missed",
            Self::OperationFinished { .. } => "operation-finished",
        }
    }
}
