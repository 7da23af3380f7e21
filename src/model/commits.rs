//! How commits look that are made in a taskspace.

use serde::{Deserialize, Serialize};

/// The person that a commit names as its author or committer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Identity {
    /// The name.
    pub name: String,
    /// The address; git permits an empty one.
    pub email: String,
}

/// The user's git settings that decide how commits look, as they apply in the source when a taskspace
/// is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CommitSettings {
    /// The author, if git can tell one (`git var GIT_AUTHOR_IDENT`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Identity>,
    /// The committer, if git can tell one (`git var GIT_COMMITTER_IDENT`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committer: Option<Identity>,
    /// Whether commits get LF in the place of CRLF: `core.autocrlf` is `true` or `input`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub crlf_to_lf: bool,
}

impl CommitSettings {
    /// Whether there are no settings.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
