//! The id of a taskspace.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::schema::described;

/// The longest id; with `-agent` appended it still is a valid DNS label (63, RFC 1035).
const MAX_LENGTH: usize = 40;

/// The id of a taskspace: `[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?`.
///
/// It is a host name, a part of Podman object names, a directory name and a part of a git branch
/// name, so nothing else is let in. Ids may contain dashes: never parse one back out of an object's
/// name, use its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskspaceId(String);

/// Why a text is not a taskspace id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("a taskspace id must not be empty")]
    Empty,
    /// More characters than a host name leaves room for.
    #[error("the taskspace id '{0}' is longer than {MAX_LENGTH} characters")]
    TooLong(String),
    /// A character outside `a-z`, `0-9` and `-`.
    #[error("the taskspace id {0:?} has the character {1:?}; use a-z, 0-9 and dashes")]
    BadCharacter(String, char),
    /// A dash at the beginning or the end.
    #[error("the taskspace id '{0}' must not begin or end with a dash")]
    OuterDash(String),
}

impl TaskspaceId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes an id from a project's name and a short random `suffix` (`[a-z0-9]+`).
    pub fn derive(project: &str, suffix: &str) -> Self {
        let room = MAX_LENGTH - suffix.len() - 1;
        let mut stem = String::new();
        for c in project.chars().map(|c| c.to_ascii_lowercase()) {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                stem.push(c);
            } else if !stem.is_empty() && !stem.ends_with('-') {
                stem.push('-');
            }
        }
        stem.truncate(room);
        let stem = stem.trim_end_matches('-');
        let stem = if stem.is_empty() { "task" } else { stem };
        Self(format!("{stem}-{suffix}"))
    }
}

impl FromStr for TaskspaceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let shown = || text.chars().take(2 * MAX_LENGTH).collect::<String>();
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if let Some(bad) = text.chars().find(|&c| !allowed(c)) {
            return Err(IdError::BadCharacter(shown(), bad));
        }
        if text.len() > MAX_LENGTH {
            return Err(IdError::TooLong(shown()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(IdError::OuterDash(shown()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TaskspaceId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<TaskspaceId> for String {
    fn from(id: TaskspaceId) -> Self {
        id.0
    }
}

impl fmt::Display for TaskspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

described! {
    TaskspaceId: "The id of a taskspace.", r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_are_told() {
        let cases = [
            ("", "a taskspace id must not be empty"),
            ("Fix", "the taskspace id \"Fix\" has the character 'F'; use a-z, 0-9 and dashes"),
            ("a b", "the taskspace id \"a b\" has the character ' '; use a-z, 0-9 and dashes"),
            ("../x", "the taskspace id \"../x\" has the character '.'; use a-z, 0-9 and dashes"),
            ("-a", "the taskspace id '-a' must not begin or end with a dash"),
            ("a-", "the taskspace id 'a-' must not begin or end with a dash"),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<TaskspaceId>().unwrap_err().to_string(), message);
        }
        assert!(matches!("a".repeat(41).parse::<TaskspaceId>(), Err(IdError::TooLong(_))));
        assert!("a".repeat(40).parse::<TaskspaceId>().is_ok());
        assert!("7".parse::<TaskspaceId>().is_ok());
    }

    proptest! {
        #[test]
        fn accepts_exactly_the_documented_form(text in "[a-zA-Z0-9./ -]{0,45}") {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let expected = (1..=40).contains(&text.len())
                && text.chars().all(|c| inner(c) || c == '-')
                && text.starts_with(inner)
                && text.ends_with(inner);
            prop_assert_eq!(text.parse::<TaskspaceId>().is_ok(), expected);
        }

        #[test]
        fn derived_ids_are_valid(project in ".{0,60}", suffix in "[a-z0-9]{4}") {
            let id = TaskspaceId::derive(&project, &suffix);
            prop_assert_eq!(id.as_str().parse::<TaskspaceId>().unwrap(), id.clone());
            prop_assert!(id.as_str().ends_with(&suffix));
        }
    }
}
