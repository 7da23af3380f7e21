//! How much a taskspace may write, and what comes of its writing more.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Quantity;

/// How much a taskspace may write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Storage {
    /// So much may its changes and its own build cache occupy together.
    pub limit: Quantity,
    /// Where the limit comes from.
    pub source: LimitSource,
    /// What is done when it is reached.
    pub on_full: OnFull,
    /// The project quota by which the file system itself holds it to the limit; absent where it is
    /// only measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard: Option<u32>,
    /// Whether it must not be made where that cannot be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_hard: bool,
    /// How full it was found last.
    #[serde(default)]
    pub level: StorageLevel,
    /// What was done because it was full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<StorageHold>,
}

impl Storage {
    /// Makes one that has nothing in it.
    pub const fn new(limit: Quantity, source: LimitSource, on_full: OnFull) -> Self {
        Self {
            limit,
            source,
            on_full,
            hard: None,
            only_hard: false,
            level: StorageLevel::Ample,
            held: None,
        }
    }

    /// Returns it with another limit or action, where one is given.
    #[must_use]
    pub fn changed(&self, limit: Option<Quantity>, on_full: Option<OnFull>) -> Self {
        Self {
            limit: limit.unwrap_or(self.limit),
            source: limit.map_or(self.source, |_| LimitSource::Request),
            on_full: on_full.unwrap_or(self.on_full),
            ..self.clone()
        }
    }

    /// Whether its taskspace is to be paused.
    pub fn is_frozen(&self) -> bool {
        self.is_held_by(StorageAction::Frozen)
    }

    /// Whether its taskspace was stopped, and must not start before there is room again.
    pub fn is_stopped(&self) -> bool {
        self.is_held_by(StorageAction::Stopped)
    }

    fn is_held_by(&self, action: StorageAction) -> bool {
        self.held.as_ref().is_some_and(|held| held.action == action)
    }
}

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LimitSource {
    /// From the taskspace's tier.
    Tier,
    /// It was asked for.
    Request,
}

/// What is done when a taskspace has written as much as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// It is told.
    Warn,
    /// It is paused until there is room.
    Freeze,
    /// It is stopped, and does not start before there is room.
    Stop,
}

impl OnFull {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Warn, Self::Freeze, Self::Stop];

    /// Returns the name as it stands on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Freeze => "freeze",
            Self::Stop => "stop",
        }
    }
}

impl fmt::Display for OnFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for OnFull {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|action| action.name() == text)
            .ok_or_else(|| format!("{text:?} is none of warn, freeze and stop"))
    }
}

/// How full it is.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum StorageLevel {
    /// There is room.
    #[default]
    Ample,
    /// 80 % or more of the limit are in use.
    High,
    /// 95 % or more.
    Critical,
    /// All of it, or more.
    Full,
}

/// What was done to a taskspace because it was full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StorageHold {
    /// What.
    pub action: StorageAction,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// So much was in use then.
    pub used: Quantity,
}

/// What can be done to a taskspace that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StorageAction {
    /// Its containers are paused.
    Frozen,
    /// It is stopped.
    Stopped,
}

/// How much of what it may write a taskspace has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StorageUsage {
    /// So much do its changes and its own build cache occupy, in bytes.
    pub used: Quantity,
    /// When that was measured.
    #[schema(value_type = String, format = DateTime)]
    pub measured: Timestamp,
}

/// How the limits of a taskspace are to be changed; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeRequest {
    /// How much it may write.
    #[serde(default)]
    #[schema(schema_with = Quantity::limit_schema)]
    pub storage: Option<Quantity>,
    /// What is done when it has written as much.
    #[serde(default)]
    pub on_full: Option<OnFull>,
}
