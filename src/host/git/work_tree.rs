//! What a user's work tree has that is in no commit.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::sibling::{is_plain, split};
use super::source::is_full_id;
use super::{Git, GitError};

/// The modes of a git index.
const EXECUTABLE: &[u8] = b"100755";
const PLAIN_FILE: &[u8] = b"100644";

/// The build cache is mounted here, so nothing else can be.
const BUILD_CACHE: &str = ".build-cache";

/// A path at which a work tree differs from its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is to be what it is in the work tree; nothing, if it is gone there.
    Tracked {
        /// Whether it is executable, if git knows.
        executable: Option<bool>,
    },
    /// It is in no commit; one that is gone is of no interest.
    Untracked,
    /// It is no longer to be there, whatever lies at its place.
    Removed,
}

/// What a work tree has that its commit has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uncommitted {
    pub(super) changes: BTreeMap<PathBuf, Change>,
    /// What cannot come along.
    pub warnings: Vec<String>,
}

impl Uncommitted {
    /// Returns how many files and links differ.
    pub fn count(&self) -> usize {
        self.changes.len()
    }
}

impl Git {
    /// Returns where the files of a repository on this host are.
    ///
    /// # Errors
    /// When it has no work tree.
    pub(super) async fn work_tree(&self, place: &Path) -> Result<PathBuf, GitError> {
        let found = self.local_repository(place).await?.and_then(|found| found.work_tree);
        found.ok_or_else(|| GitError::NoWorkTree { repository: place.display().to_string() })
    }

    /// Returns the commit that is checked out in the work tree of a repository on this host.
    pub async fn work_tree_head(&self, place: &Path) -> Result<String, GitError> {
        self.work_tree(place).await?;
        let head = ["rev-parse", "--quiet", "--verify", "HEAD^{commit}"];
        let head = self.as_the_user().dir(place).args(head).output("look at the work tree").await;
        let head = head.map(|id| String::from_utf8_lossy(&id).trim_end().to_owned());
        head.ok()
            .filter(|id| is_full_id(id))
            .ok_or_else(|| GitError::Empty { repository: place.display().to_string() })
    }

    /// Lists what a work tree has that is in no commit, without what is ignored.
    ///
    /// It is the user's own repository, so the user's configuration counts: it says what is ignored.
    pub async fn uncommitted(&self, dir: &Path) -> Result<Uncommitted, GitError> {
        let (output, lines) = self
            .as_the_user()
            .dir(dir)
            .args(["--no-optional-locks", "status", "--porcelain=v2", "-z", "--no-renames"])
            .args(["--untracked-files=all", "--ignored=no", "--ignore-submodules=none"])
            .output_and_warnings("list the uncommitted changes")
            .await?;
        let mut found = parse(&output);
        found.warnings.extend(closed(&lines));
        Ok(found)
    }
}

/// Says which directories git could not look into: of these it lists nothing.
fn closed(lines: &[String]) -> Option<String> {
    let directory = |line: &String| {
        let rest = line.strip_prefix("warning: could not open directory '")?;
        Some(rest.split("/':").next().unwrap_or(rest).to_owned())
    };
    let closed: Vec<String> = lines.iter().filter_map(directory).collect();
    let what = "these directories cannot be read, so nothing in them comes along";
    (!closed.is_empty()).then(|| format!("{what}: {}", some_of(&closed)))
}

/// Reads the output of `git status --porcelain=v2 -z --no-renames`.
fn parse(output: &[u8]) -> Uncommitted {
    let mut all = Uncommitted::default();
    let (mut submodules, mut repositories, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
    for entry in split(output) {
        // Only the last field, the path, may hold spaces.
        let fields = match entry.first() {
            Some(b'1') => 9,
            Some(b'u') => 11,
            Some(b'?') => 2,
            _ => continue,
        };
        let fields: Vec<&[u8]> = entry.splitn(fields, |&byte| byte == b' ').collect();
        let path = fields.last().map_or(Path::new(""), |path| Path::new(OsStr::from_bytes(path)));
        if !is_plain(path) {
            continue;
        }
        let untracked = entry[0] == b'?';
        let change = if untracked && entry.ends_with(b"/") {
            repositories.push(path);
            continue;
        } else if path.starts_with(BUILD_CACHE) {
            hidden.push(path);
            continue;
        } else if untracked {
            Change::Untracked
        } else {
            let (state, submodule) = (fields[1], fields[2].starts_with(b"S"));
            match state {
                // Out of the index; if it is still there, it is listed as untracked, or ignored.
                b"D." => Change::Removed,
                _ if submodule && state.contains(&b'D') => Change::Removed,
                _ if submodule => {
                    submodules.push(path);
                    continue;
                }
                _ => Change::Tracked { executable: executable(&fields) },
            }
        };
        // Untracked files come last, and count.
        all.changes.insert(path.to_owned(), change);
    }
    let kinds: [(&[&Path], &str); 3] = [
        (&submodules, "the submodules' own changes do not come along"),
        (&repositories, "repositories within the work tree do not come along"),
        (&hidden, "the build cache is mounted over them, so they do not come along"),
    ];
    all.warnings = kinds
        .into_iter()
        .filter(|(paths, _)| !paths.is_empty())
        .map(|(paths, what)| format!("{what}: {}", some_of(paths)))
        .collect();
    all
}

/// Whether git takes the file in the work tree for executable.
fn executable(fields: &[&[u8]]) -> Option<bool> {
    let mode = if fields[0] == b"u" { fields[6] } else { fields[5] };
    match mode {
        EXECUTABLE => Some(true),
        PLAIN_FILE => Some(false),
        _ => None,
    }
}

/// Names the first of several paths.
pub(super) fn some_of<P: AsRef<Path>>(paths: &[P]) -> String {
    const SHOWN: usize = 3;
    let shown = paths.iter().take(SHOWN).map(|path| path.as_ref().display().to_string());
    let mut text = shown.collect::<Vec<_>>().join(", ").replace(char::is_control, "?");
    if paths.len() > SHOWN {
        text += &format!(" and {} more", paths.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn each_kind_of_entry_is_understood() {
        let output = b"1 .M N... 100644 100644 100755 1 1 a b\n\xff\0\
            1 .D N... 100644 100644 000000 1 1 gone\0\
            1 D. N... 100644 000000 000000 1 0 unstaged\0\
            1 D. N... 100644 000000 000000 1 0 again\0\
            1 D. S... 160000 000000 000000 1 0 sub/old\0\
            1 .M S.M. 160000 160000 160000 1 1 sub/new\0\
            1 .T N... 100644 100644 120000 1 1 link\0\
            u UU N... 100644 100644 100644 100644 1 2 3 con flict\0\
            # some header\0\
            ? again\0? nested/\0? .build-cache/x\0! ignored\0? ../x\0";
        let found = parse(output);
        let tracked = |executable| Change::Tracked { executable };
        let expected = [
            (&b"a b\n\xff"[..], tracked(Some(true))),
            (b"again", Change::Untracked),
            (b"con flict", tracked(Some(false))),
            (b"gone", tracked(None)),
            (b"link", tracked(None)),
            (b"sub/old", Change::Removed),
            (b"unstaged", Change::Removed),
        ];
        let expected =
            expected.map(|(path, change)| (PathBuf::from(OsStr::from_bytes(path)), change));
        assert_eq!(found.changes.into_iter().collect::<Vec<_>>(), expected);
        insta::assert_snapshot!(found.warnings.join("\n"), @r"
        the submodules' own changes do not come along: sub/new
        repositories within the work tree do not come along: nested/
        the build cache is mounted over them, so they do not come along: .build-cache/x
        ");
    }

    #[test]
    fn closed_directories_are_told() {
        let lines =
            ["a/b: Permission denied", "warning: could not open directory 'a/': Permission denied"];
        let lines = lines.map(str::to_owned);
        let told = "these directories cannot be read, so nothing in them comes along: a";
        assert_eq!(closed(&lines).as_deref(), Some(told));
        assert_eq!(closed(&lines[..1]), None);
    }

    #[test]
    fn many_paths_are_named_in_part() {
        assert_eq!(some_of(&["a", "b\n", "c", "d", "e"]), "a, b?, c and 2 more");
    }
}
