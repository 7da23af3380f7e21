//! What is out of use, and what becomes of it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::TaskspaceId;

/// What kind of thing something is, in the order in which they are collected.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum CollectableKind {
    /// A container that belongs to nothing.
    Container,
    /// A pod that belongs to nothing.
    Pod,
    /// A volume that belongs to nothing.
    Volume,
    /// What the agent of a former taskspace remembers.
    AgentState,
    /// A build cache of a project.
    Cache,
    /// The checkout of a commit.
    Base,
    /// The copy of a repository.
    Mirror,
}

impl fmt::Display for CollectableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Volume => "volume",
            Self::AgentState => "agent-state",
            Self::Cache => "cache",
            Self::Base => "base",
            Self::Mirror => "mirror",
        })
    }
}

/// Why something may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CollectionReason {
    /// No taskspace uses it.
    Unused,
    /// Its making or its removal broke off.
    Unfinished,
    /// Its taskspace is gone.
    Left,
    /// It belongs to nothing in the registry.
    Stray,
    /// It belongs to nothing in the registry, and there may be work in it or in what is of the same
    /// taskspace: it only goes when it is named.
    Work,
}

/// Something that is out of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Collectable {
    /// What it is.
    pub kind: CollectableKind,
    /// Its name: that in Podman, of a mirror that of its directory, of an agent state that of the
    /// former taskspace.
    pub name: String,
    /// The project that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The taskspace that it says it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taskspace: Option<String>,
    /// Why it may go.
    pub reason: CollectionReason,
    /// Since when it is out of use, as far as that was noted.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Until when it is kept; absent when it does not go by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Whether it goes now.
    pub goes: bool,
    /// Why it is still there although it was to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Collectable {
    /// Returns its kind and its name, which no other has.
    pub fn key(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// Whether it belongs to nothing in the registry, which then remembers since when it is seen.
    pub const fn is_astray(&self) -> bool {
        matches!(self.reason, CollectionReason::Stray | CollectionReason::Work)
    }
}

/// Everything that is out of use, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CollectionView {
    /// Whether this only says what would go.
    pub dry_run: bool,
    /// What is out of use: what goes, and what is kept for some more time.
    pub items: Vec<Collectable>,
}

/// The state of an agent whose taskspace is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AgentStateView {
    /// The former taskspace.
    pub id: TaskspaceId,
    /// The project that it was of, if that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The agent, if that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Its volume.
    pub volume: String,
    /// Since when its taskspace is gone.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Until when it is kept; absent when it does not go by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Whether it is being removed: nobody can go on with it any more.
    pub going: bool,
    /// How many bytes it occupies; absent when it cannot be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}
