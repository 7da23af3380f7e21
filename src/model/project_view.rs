//! Projects as they are shown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BaseState, GitEnvironment, TaskspaceId};

/// A project: one source of taskspaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProjectView {
    /// Its name.
    pub name: String,
    /// Where it comes from, without any password.
    pub source: String,
    /// Its bases, the newest first.
    pub bases: Vec<BaseView>,
    /// Its build caches, the newest first.
    pub caches: Vec<CacheView>,
}

/// An immutable checkout that taskspaces share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BaseView {
    /// What is checked out.
    pub commit: String,
    /// Its volume.
    pub volume: String,
    /// How far it is.
    pub state: BaseState,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// How many bytes it occupies, with what it shares with other bases; absent when it cannot be
    /// measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The taskspaces that are on it.
    pub taskspaces: Vec<TaskspaceId>,
}

/// An immutable build cache that taskspaces share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CacheView {
    /// Its volume.
    pub volume: String,
    /// How far it is.
    pub state: BaseState,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// The taskspace that it was made of.
    pub from: TaskspaceId,
    /// Whether new taskspaces begin with it.
    pub current: bool,
    /// How many bytes it occupies; absent when it cannot be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The taskspaces that began with it.
    pub taskspaces: Vec<TaskspaceId>,
}

/// How a project is to be brought up to date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// Make the base of the newest commit, so that the next taskspace is quick.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub base: bool,
    /// What git needs of the caller's environment.
    #[serde(default)]
    pub git: GitEnvironment,
}

const fn yes() -> bool {
    true
}
