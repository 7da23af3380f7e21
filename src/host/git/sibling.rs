//! A base from another one of the same project: what did not change is linked, not written again.
//!
//! Bases never change, so two of them can share files. A shared file keeps its time of modification,
//! by which build tools tell what has to be built again; and a base of a large project that differs
//! in a few files takes next to no time and space.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::super::files::remove_tree;
use super::lfs;
use super::mirror::interrupted;
use super::{Git, GitError};

/// The file whose change can give other files other contents without changing their blobs.
const ATTRIBUTES: &[u8] = b".gitattributes";

/// A whole checkout of another commit, which may vanish at any time but does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    /// Its directory.
    pub dir: PathBuf,
    /// Where its git keeps the index.
    pub(super) git_dir: PathBuf,
    /// Its commit.
    pub commit: String,
}

impl Sibling {
    /// Names a base.
    pub fn new(dir: PathBuf, commit: String) -> Self {
        Self { git_dir: dir.join(".git"), dir, commit }
    }
}

impl Git {
    /// Puts what `commit` and the sibling have in common into `dir`, with the sibling's index, and
    /// returns whether that is so; if not, nothing is there but `.git`.
    pub(super) async fn share(
        &self,
        mirror: &Path,
        commit: &str,
        dir: &Path,
        git_dir: &Path,
        sibling: &Sibling,
    ) -> Result<bool, GitError> {
        let doing = "share files with another base";
        let shared = async {
            let same = self.same_files(mirror, &sibling.commit, commit).await?;
            let (from, to) = (sibling.clone(), dir.to_owned());
            let index = git_dir.join("index");
            let linking = move || link(&from, &same, &to, &index);
            let linked = tokio::task::spawn_blocking(linking).await;
            linked.map_err(|error| interrupted(doing, &error))?.map_err(|error| GitError::Other {
                doing: doing.to_owned(),
                reason: error.to_string(),
                log: Vec::new(),
            })
        };
        let Err(error) = shared.await else { return Ok(true) };
        // It went, lies on another file system, or is not what it should be.
        tracing::debug!(%error, sibling = %sibling.dir.display(), "checked out as a whole");
        self.unshare(dir, git_dir).await?;
        Ok(false)
    }

    /// Takes back all of [`Git::share`].
    pub(super) async fn unshare(&self, dir: &Path, git_dir: &Path) -> Result<(), GitError> {
        let (dir, index) = (dir.to_owned(), git_dir.join("index"));
        let removing = tokio::task::spawn_blocking(move || {
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
            let mut paths = entries.map(|entry| entry.path());
            remove_tree(&index)?;
            paths.try_for_each(|path| match path.file_name() == Some(OsStr::new(".git")) {
                true => Ok(()),
                false => remove_tree(&path),
            })
        });
        Ok(removing.await.map_err(|error| interrupted("empty a base", &error))??)
    }

    /// Lists the files and symbolic links that are the same in two commits, with the sizes of their blobs.
    async fn same_files(
        &self,
        mirror: &Path,
        old: &str,
        new: &str,
    ) -> Result<Vec<(PathBuf, u64)>, GitError> {
        let doing = "compare two commits";
        let differ = ["diff-tree", "-r", "-z", "--no-renames", "--name-only", old, new, "--"];
        let differ = self.on_this_machine().dir(mirror).args(differ).output(doing).await?;
        let list = ["ls-tree", "-r", "-l", "-z", "--end-of-options", new];
        let list = self.on_this_machine().dir(mirror).args(list).output(doing).await?;
        Ok(common(&list, &differ))
    }
}

/// Picks from the output of `ls-tree -l` what is in none of the paths of `diff-tree`, nor converted
/// otherwise than before.
fn common(list: &[u8], differ: &[u8]) -> Vec<(PathBuf, u64)> {
    let differ: HashSet<&[u8]> = split(differ).collect();
    // Below the directory of attributes that changed, the same blob may be another file.
    let converted: Vec<&[u8]> = differ
        .iter()
        .filter_map(|path| path.strip_suffix(ATTRIBUTES))
        .filter(|above| above.is_empty() || above.ends_with(b"/"))
        .collect();
    split(list)
        .filter_map(|entry| {
            let tab = entry.iter().position(|&byte| byte == b'\t')?;
            let (what, path) = (&entry[..tab], &entry[tab + 1..]);
            let is_file = what.starts_with(b"100") || what.starts_with(b"120");
            let is_same =
                !differ.contains(path) && !converted.iter().any(|above| path.starts_with(above));
            let size = what.rsplit(|&byte| byte == b' ').next()?;
            let size = std::str::from_utf8(size).ok()?.parse().ok()?;
            (is_file && is_same).then(|| (PathBuf::from(OsStr::from_bytes(path)), size))
        })
        .collect()
}

/// Splits what git wrote with `-z`.
pub(super) fn split(output: &[u8]) -> impl Iterator<Item = &[u8]> {
    output.split(|&byte| byte == 0).filter(|path| !path.is_empty())
}

/// Links files of the sibling into `dir`, and copies its index.
///
/// A link changes the time of change of the file, so git in taskspaces of the sibling reads it once more.
/// Contents of Git LFS are not what git expects there and would be taken for changed: they are left out.
fn link(sibling: &Sibling, files: &[(PathBuf, u64)], dir: &Path, index: &Path) -> io::Result<()> {
    let mut made = HashSet::new();
    for (file, size) in files {
        if !is_plain(file) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a path that git refuses"));
        }
        let is_replaced = lfs::LENGTHS.contains(size)
            && fs::symlink_metadata(sibling.dir.join(file))?.len() != *size;
        if is_replaced {
            continue;
        }
        make_parents(dir, file, &mut made)?;
        match fs::hard_link(sibling.dir.join(file), dir.join(file)) {
            // Git writes what is missing.
            Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {}
            linked => linked?,
        }
    }
    // Last: a sibling that goes meanwhile has lost it, too.
    fs::copy(sibling.git_dir.join("index"), index).map(drop)
}

/// Makes the directories above a file, as git makes them; `made` are those that it knows to be some.
fn make_parents(dir: &Path, file: &Path, made: &mut HashSet<PathBuf>) -> io::Result<()> {
    let Some(parent) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    if made.contains(parent) {
        return Ok(());
    }
    make_parents(dir, parent, made)?;
    // It fails where something else stands: a tree with a link and a directory of one name is bad.
    let path = dir.join(parent);
    fs::create_dir(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    made.insert(parent.to_owned());
    Ok(())
}

/// Whether a path stays in the checkout, and out of `.git`.
pub(super) fn is_plain(path: &Path) -> bool {
    path.components().all(|part| match part {
        Component::Normal(name) => !name.eq_ignore_ascii_case(".git"),
        _ => false,
    }) && path.components().next().is_some()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn what_differs_or_is_converted_otherwise_is_not_shared() {
        let list = b"100644 blob 1      10\ta\x00100755 blob 2       2\tb/c\0\
                     120000 blob 3       3\tb/l\nk\x00160000 commit 4       -\tsub\0\
                     100644 blob 5       5\td/e\x00100644 blob 6       6\td/.gitattributes\0\
                     100644 blob 7       7\tde\0";
        let paths = |differ: &[u8]| -> Vec<String> {
            common(list, differ).iter().map(|(path, _)| path.display().to_string()).collect()
        };
        assert_eq!(paths(b"a\0gone\0"), ["b/c", "b/l\nk", "d/e", "d/.gitattributes", "de"]);
        assert_eq!(paths(b"d/.gitattributes\0"), ["a", "b/c", "b/l\nk", "de"]);
        assert_eq!(paths(b"d/x.gitattributes\0").len(), 6);
        assert!(paths(b".gitattributes\0").is_empty());
    }

    #[test]
    fn paths_that_lead_elsewhere_are_none() {
        for path in ["a", "a/b", ".github/x", "a/..b"] {
            assert!(is_plain(Path::new(path)), "{path}");
        }
        for path in ["", "/a", "../a", "a/../b", ".git/config", "a/.GIT/x"] {
            assert!(!is_plain(Path::new(path)), "{path}");
        }
    }
}
