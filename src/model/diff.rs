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
    /// The files, by name.
    pub files: Vec<ChangedFile>,
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
    fn no_name_is_lost() {
        assert_eq!(name_as_text("ä\n".as_bytes()), ("ä\n".to_owned(), None));
        assert_eq!(name_as_text(b"a\xff"), ("a\u{fffd}".to_owned(), Some("61ff".to_owned())));
    }
}
