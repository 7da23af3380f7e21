//! What a taskspace has changed.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// How what was changed is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiffFormat {
    /// As a patch with renames and binary files, for `git apply`.
    #[default]
    Patch,
    /// The files, with how many lines of each.
    Stat,
    /// The files, with what was done to each.
    NameStatus,
    /// The commits; without what is not committed.
    Commits,
}

impl DiffFormat {
    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Patch => "patch",
            Self::Stat => "stat",
            Self::NameStatus => "name-status",
            Self::Commits => "commits",
        }
    }
}

impl fmt::Display for DiffFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a taskspace has changed: what is committed, staged, changed and untracked, taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DiffView {
    /// The commit that the taskspace began with.
    pub base: String,
    /// The commit that is checked out, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The branch that is checked out, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// How many commits were made since.
    pub commits: u64,
    /// How many files differ from what is committed.
    pub uncommitted: u64,
    /// How many lines were added.
    pub added: u64,
    /// How many lines were deleted.
    pub deleted: u64,
    /// The files, by name; before them, the submodules with another commit.
    pub files: Vec<ChangedFile>,
    /// What is not among the files although it may have been changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// A file or directory that a comparison does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LeftOut {
    /// Its name from the top of the repository; what is not UTF-8 is replaced.
    pub path: String,
    /// The bytes of the name in hexadecimal digits, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// Why it is left out.
    pub reason: String,
}

/// What is left out of a comparison that is answered as text: as much of it as a header may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutHeader {
    /// How many paths there are.
    pub count: usize,
    /// The first of them.
    pub first: Vec<LeftOut>,
}

impl LeftOutHeader {
    /// The name of the header.
    pub const NAME: &str = "taskspace-left-out";

    /// How many bytes of names and reasons it has at most.
    const SIZE: usize = 4096;

    /// Chooses what of a list the header has.
    pub fn of(all: &[LeftOut]) -> Self {
        let mut room = Self::SIZE;
        let fits = |one: &&LeftOut| {
            let size =
                one.path.len() + one.reason.len() + one.path_hex.as_ref().map_or(0, String::len);
            let left = room.checked_sub(size);
            room = left.unwrap_or(0);
            left.is_some()
        };
        Self { count: all.len(), first: all.iter().take_while(fits).cloned().collect() }
    }

    /// Writes the header's value: JSON in printable ASCII.
    pub fn value(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        let mut value = String::with_capacity(text.len());
        for unit in text.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte @ b' '..=b'~') => value.push(byte.into()),
                // Writing to a string does not fail.
                _ => drop(write!(value, "\\u{unit:04x}")),
            }
        }
        value
    }
}

/// A file that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChangedFile {
    /// Its name from the top of the repository; what is not UTF-8 is replaced.
    pub path: String,
    /// The bytes of the name in hexadecimal digits, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// The name that it had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// The bytes of the name that it had before, if that is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from_hex: Option<String>,
    /// What was done to it.
    pub change: Change,
    /// Its mode before, in octal digits, if it was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_mode: Option<String>,
    /// Its mode now, if it is there: `100644`, `100755`, `120000` for a symbolic link, `160000` for
    /// another repository, of which only the commit is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Whether it is not text.
    pub binary: bool,
    /// How many lines were added to it, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<u64>,
    /// How many lines were deleted from it, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
}

/// What was done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// Its content or mode is another.
    Modified,
    /// It had another name before.
    Renamed,
    /// It is of another kind, such as a link instead of a file.
    TypeChanged,
}

/// Returns a name as text, and its bytes in hexadecimal digits if the text does not say them.
pub fn name_as_text(name: &[u8]) -> (String, Option<String>) {
    match str::from_utf8(name) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => {
            let mut hex = String::with_capacity(name.len() * 2);
            for byte in name {
                // Writing to a string does not fail.
                let _infallible = write!(hex, "{byte:02x}");
            }
            (String::from_utf8_lossy(name).into_owned(), Some(hex))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_called_the_same_everywhere() {
        use DiffFormat::{Commits, NameStatus, Patch, Stat};
        for format in [Patch, Stat, NameStatus, Commits] {
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
    }

    #[test]
    fn left_out_header_takes_any_name_and_stays_small() {
        let one = |path: &str| LeftOut {
            path: path.to_owned(),
            path_hex: None,
            reason: "a\u{7f}\nb".to_owned(),
        };
        let all = [one("ü \u{1f600}\u{1b}[31m"), one(&"x".repeat(5000)), one("y")];
        let header = LeftOutHeader::of(&all);
        assert_eq!((header.count, header.first.len()), (3, 1));
        let value = header.value();
        assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{value}");
        assert_eq!(serde_json::from_str::<LeftOutHeader>(&value).unwrap(), header);
    }

    #[test]
    fn no_name_is_lost() {
        assert_eq!(name_as_text("ä\n".as_bytes()), ("ä\n".to_owned(), None));
        assert_eq!(name_as_text(b"a\xff"), ("a\u{fffd}".to_owned(), Some("61ff".to_owned())));
    }
}
