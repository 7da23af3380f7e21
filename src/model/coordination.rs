//! Asking for operations and holding them, and how that goes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AgentName, OperationClass, OperationKind, Priority, Target};

/// The longest description of an operation.
pub const MAX_DESCRIPTION: usize = 1_000;

/// For how long something is held without a word from its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Lease {
    /// Within how many seconds it has to be renewed.
    pub seconds: u64,
    /// When it ends unless it is renewed; absent as long as its holder is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
}

/// Asks to act on something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationRequest {
    /// What is to be done.
    pub kind: OperationClass,
    /// What it acts on: `api`, `taskspace:demo` or `taskspace:demo/dev`.
    pub target: Target,
    /// Who asks.
    pub agent: AgentName,
    /// How urgent it is: 1 to 10.
    #[serde(default)]
    pub priority: Priority,
    /// How long it will probably take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86400)]
    pub estimated_seconds: Option<u64>,
    /// After how many seconds from its beginning it is ended; as the settings say when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86400)]
    pub timeout_seconds: Option<u64>,
    /// Within how many seconds it has to be renewed, waiting or running; as the settings say when
    /// not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3600)]
    pub lease_seconds: Option<u64>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000)]
    pub description: Option<String>,
}

/// Renews or ends an operation that one holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationUpdate {
    /// The token of the lease; not needed as long as it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// How it ended; absent to renew the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000)]
    pub reason: Option<String>,
}

/// How an operation ended, in its holder's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should.
    Done,
    /// Not as it should.
    Failed,
}

/// One operation that holds something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LockView {
    /// What is held.
    pub target: Target,
    /// The operation that holds it.
    pub operation: u64,
    /// What that does.
    pub kind: OperationKind,
    /// Who holds it.
    pub agent: AgentName,
    /// The fencing token.
    pub token: u64,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it ends at the latest; absent for the service's own operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// The lease; absent for the service's own operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// The operations that wait for it.
    pub waiting: Vec<u64>,
}

/// How the coordination of operations goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CoordinationView {
    /// How many containers and services are registered.
    pub containers: usize,
    /// How many operations run.
    pub active: usize,
    /// How many wait.
    pub queued: usize,
    /// How many may wait.
    pub queue_limit: usize,
    /// What is held, and by whom.
    pub locks: Vec<LockView>,
    /// For how long the longest-waiting one has been waiting, in seconds.
    pub longest_wait_seconds: f64,
    /// What there was today.
    pub today: Totals,
}

/// What there was on one day of the host's calendar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Totals {
    /// The day, as `2026-11-21`.
    pub day: String,
    /// How many operations were asked for.
    pub requested: u64,
    /// How many of them had to wait.
    pub queued: u64,
    /// How many ended as they should.
    pub done: u64,
    /// How many failed.
    pub failed: u64,
    /// How many took too long.
    pub timed_out: u64,
    /// How many were cancelled.
    pub cancelled: u64,
    /// How many were refused.
    pub rejected: u64,
    /// For how long those that had to wait and then began have waited together, in seconds.
    pub waited_seconds: f64,
}
