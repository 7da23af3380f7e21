//! Snapshots: what a taskspace had at one moment, kept beside it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::BaseState;
use super::schema::described;

/// The longest name.
const MAX_LENGTH: usize = 40;

/// The longest note, in characters.
pub const MAX_NOTE: usize = 500;

/// The name of a snapshot, among those of its taskspace: `[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?`.
///
/// It is a part of a volume's name, so nothing else is let in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotName(String);

impl SnapshotName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a name of a day and a short random `suffix` (`[a-z0-9]+`).
    pub fn derive(day: jiff::civil::Date, suffix: &str) -> Self {
        Self(format!("{}-{suffix}", day.strftime("%Y%m%d")))
    }
}

impl FromStr for SnapshotName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = (1..=MAX_LENGTH).contains(&text.len())
            && text.chars().all(|c| is_plain(c) || c == '-')
            && text.starts_with(is_plain)
            && text.ends_with(is_plain);
        if fits {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(2 * MAX_LENGTH).collect();
        Err(format!(
            "{shown:?} is not the name of a snapshot: that has up to {MAX_LENGTH} of a-z, 0-9 and \
             dashes, with no dash at its ends"
        ))
    }
}

impl TryFrom<String> for SnapshotName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SnapshotName> for String {
    fn from(name: SnapshotName) -> Self {
        name.0
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A snapshot that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// Its name; made of the day when it is not given.
    #[serde(default)]
    pub name: Option<SnapshotName>,
    /// What it is about, in a line.
    #[serde(default)]
    #[schema(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", max_length = 500)]
    pub note: Option<String>,
    /// Whether it has the agent's state, too.
    #[serde(default)]
    pub agent_state: bool,
}

/// How a taskspace is to be given back what a snapshot has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// Give the agent its state of then, too, which the snapshot must have.
    #[serde(default)]
    pub agent_state: bool,
    /// Keep what there is now as a snapshot of this name.
    #[serde(default)]
    pub save: Option<SnapshotName>,
    /// Lose what there is now, if it is not kept.
    #[serde(default)]
    pub force: bool,
}

/// One snapshot, as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SnapshotRecord {
    /// How far it is; one that is not `ready` and that nobody makes is removed.
    pub state: BaseState,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether it has the agent's state.
    #[serde(default)]
    pub agent_state: bool,
    /// How many bytes it occupies, with what it shares with the taskspace; absent until it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A snapshot with its name, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SnapshotView {
    /// Its name.
    pub name: SnapshotName,
    /// Its entry.
    #[serde(flatten)]
    pub record: SnapshotRecord,
}

/// A restoration that is not over: recorded before anything is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Restoring {
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// Whether the agent's state is replaced as well.
    #[serde(default)]
    pub agent_state: bool,
    /// Whether files have been replaced: then what there is is neither the one nor the other, and
    /// nothing but this, or another restoration, makes it whole.
    #[serde(default)]
    pub begun: bool,
}

described! {
    SnapshotName: "The name of a snapshot, among those of its taskspace.", r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_part_of_another_one() {
        let longest = "x".repeat(MAX_LENGTH);
        for good in ["a", "1", "before-it", "20260102-ab2c", &longest] {
            assert_eq!(good.parse::<SnapshotName>().unwrap().as_str(), good);
        }
        let long = "x".repeat(MAX_LENGTH + 1);
        for bad in ["", "-", "a-", "-a", "A", "a.b", "a/b", "..", "a b", "ä", "a\n", &long] {
            let reason = bad.parse::<SnapshotName>().unwrap_err();
            assert!(reason.contains("is not the name of a snapshot"), "{reason}");
        }
    }

    #[test]
    fn a_derived_name_is_one() {
        let name = SnapshotName::derive(jiff::civil::date(2026, 1, 2), "ab2c");
        assert_eq!(name.as_str(), "20260102-ab2c");
        assert_eq!(name.to_string().parse(), Ok(name));
    }
}
