//! Carries what a work tree has, and no commit, into the upper directory of an overlay.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::super::files::FileError;
use super::base::copy_mode;
use super::mirror::interrupted;
use super::work_tree::{Change, Uncommitted, some_of};
use super::{Git, GitError};

/// What came along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// How many files and links were copied.
    pub copied: usize,
    /// How many that the commit has were removed.
    pub removed: usize,
    /// What did not come along.
    pub warnings: Vec<String>,
}

impl Git {
    /// Copies what a work tree at `commit` has, and the commit has not, so that the overlay of `base`
    /// and `upper` shows it; what the work tree lacks is hidden.
    ///
    /// The user may go on working meanwhile: a file that is gone by now is passed over, and it is an
    /// error when another commit is checked out.
    pub async fn carry_changes(
        &self,
        work_tree: &Path,
        commit: &str,
        base: &Path,
        upper: &Path,
    ) -> Result<Carried, GitError> {
        self.still_at(work_tree, commit).await?;
        let Uncommitted { changes, warnings } = self.uncommitted(work_tree).await?;
        let mut carrying = Carrying {
            work_tree: self.work_tree(work_tree).await?,
            base: base.to_owned(),
            upper: upper.to_owned(),
            directories: HashSet::new(),
            unreadable: Vec::new(),
            carried: Carried { warnings, ..Carried::default() },
        };
        let carried = tokio::task::spawn_blocking(move || {
            carrying.all(&changes)?;
            Ok::<_, FileError>(carrying.carried)
        });
        let carried =
            carried.await.map_err(|error| interrupted("copy the work tree", &error))??;
        self.still_at(work_tree, commit).await?;
        Ok(carried)
    }

    /// Checks that a work tree is at a commit.
    async fn still_at(&self, work_tree: &Path, commit: &str) -> Result<(), GitError> {
        let found = self.work_tree_head(work_tree).await?;
        if found == commit {
            return Ok(());
        }
        let (work_tree, expected) = (work_tree.display().to_string(), commit.to_owned());
        Err(GitError::Moved { work_tree, expected, found })
    }
}

struct Carrying {
    work_tree: PathBuf,
    base: PathBuf,
    upper: PathBuf,
    /// Directories that are in the upper directory.
    directories: HashSet<PathBuf>,
    unreadable: Vec<PathBuf>,
    carried: Carried,
}

impl Carrying {
    fn all(&mut self, changes: &BTreeMap<PathBuf, Change>) -> Result<(), FileError> {
        let mut gone = HashSet::new();
        for (path, change) in changes {
            let there = match change {
                Change::Removed => false,
                Change::Untracked => self.copy(path, None)? != Copy::Missing,
                Change::Tracked { executable } => self.copy(path, *executable)? != Copy::Missing,
            };
            if !there && *change != Change::Untracked {
                gone.insert(path.as_path());
            }
        }
        self.carried.removed = gone.len();
        let mut known = HashMap::new();
        for path in &gone {
            let hidden = self.emptied(path, &gone, &mut known).unwrap_or(path);
            self.hide(hidden)?;
        }
        if !self.unreadable.is_empty() {
            let names = some_of(&self.unreadable);
            let warning = format!("they cannot be read, so they do not come along: {names}");
            self.carried.warnings.push(warning);
        }
        // One sync for all: there may be thousands.
        File::open(&self.upper)
            .and_then(|dir| nix::unistd::syncfs(dir).map_err(io::Error::from))
            .map_err(FileError::io("sync", &self.upper))
    }

    /// Copies a file or a symbolic link.
    fn copy(&mut self, path: &Path, executable: Option<bool>) -> Result<Copy, FileError> {
        let (from, to) = (self.work_tree.join(path), self.upper.join(path));
        let reading = match fs::symlink_metadata(&from) {
            Ok(found) if found.is_symlink() => fs::read_link(&from).map(Reading::Link),
            Ok(found) if found.is_file() => open(&from).map(Reading::File),
            Ok(_) => return Ok(Copy::Missing),
            Err(error) => Err(error),
        };
        let reading = match reading {
            Ok(reading) => reading,
            Err(error) if is_missing(&error) => return Ok(Copy::Missing),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.unreadable.push(path.to_owned());
                return Ok(Copy::Unreadable);
            }
            Err(error) => return Err(FileError::io("read", &from)(error)),
        };
        if !self.make_parents(path)? {
            return Ok(Copy::Missing);
        }
        let written = match reading {
            Reading::Link(target) => symlink(target, &to),
            Reading::File(file) => write(file, &to, executable),
        };
        written.map_err(FileError::io("write", &to))?;
        self.carried.copied += 1;
        Ok(Copy::Done)
    }

    /// Makes the directories above a path in the upper directory, like those of the base; returns
    /// whether they are directories.
    fn make_parents(&mut self, path: &Path) -> Result<bool, FileError> {
        let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
            return Ok(true);
        };
        if self.directories.contains(parent) {
            return Ok(true);
        }
        if !self.make_parents(parent)? {
            return Ok(false);
        }
        let (like, made) = (self.base.join(parent), self.upper.join(parent));
        match fs::create_dir(&made) {
            Ok(()) => copy_mode(&like, &made)?,
            // A link that stands there must not be followed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !is_directory(&made) {
                    return Ok(false);
                }
            }
            Err(error) => return Err(FileError::io("make the directory", &made)(error)),
        }
        self.directories.insert(parent.to_owned());
        Ok(true)
    }

    /// Returns the highest directory above a path that the work tree no longer has, if the base has
    /// nothing in it but what is gone.
    fn emptied<'a>(
        &self,
        path: &'a Path,
        gone: &HashSet<&Path>,
        known: &mut HashMap<&'a Path, bool>,
    ) -> Option<&'a Path> {
        let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        let missing = above.take_while(|above| {
            fs::symlink_metadata(self.work_tree.join(above)).is_err_and(|error| is_missing(&error))
        });
        let highest = missing.last()?;
        let all = || holds_only(&self.base, highest, gone);
        known.entry(highest).or_insert_with(all).then_some(highest)
    }

    /// Hides what the base has at a path, unless something is laid over it.
    fn hide(&mut self, path: &Path) -> Result<(), FileError> {
        let (below, above) = (self.base.join(path), self.upper.join(path));
        if fs::symlink_metadata(&below).is_err() || !self.make_parents(path)? {
            return Ok(());
        }
        // An overlay takes a device of the numbers 0 and 0 for nothing.
        match mknod(&above, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)) {
            Err(nix::errno::Errno::EEXIST) => {}
            made => {
                return made
                    .map_err(|error| FileError::io("mark as deleted", &above)(error.into()));
            }
        }
        if is_directory(&above) && is_directory(&below) {
            for entry in fs::read_dir(&below).map_err(FileError::io("read", &below))? {
                let entry = entry.map_err(FileError::io("read", &below))?;
                self.hide(&path.join(entry.file_name()))?;
            }
        }
        Ok(())
    }
}

/// What became of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copy {
    Done,
    Missing,
    Unreadable,
}

enum Reading {
    Link(PathBuf),
    File(File),
}

/// Opens a file, and nothing that took its place meanwhile.
fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Writes a copy; the file system shares the blocks if it can.
fn write(mut from: File, to: &Path, executable: Option<bool>) -> io::Result<()> {
    let mode = from.metadata()?.permissions().mode() & 0o777;
    // Where the file system cannot tell, git goes by what is in the index.
    let mode = match executable {
        Some(false) => mode & 0o666,
        Some(true) => mode | (mode & 0o444) >> 2,
        None => mode,
    };
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut from, &mut copy)?;
    copy.set_permissions(Permissions::from_mode(mode))
}

/// Whether nothing is at a path; `ELOOP` is a link that took a file's place.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(nix::libc::ELOOP)
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Whether a directory of the base holds nothing but what is `gone`.
fn holds_only(base: &Path, dir: &Path, gone: &HashSet<&Path>) -> bool {
    let Ok(entries) = fs::read_dir(base.join(dir)) else { return false };
    entries.flatten().all(|entry| {
        let path = dir.join(entry.file_name());
        gone.contains(path.as_path())
            || entry.file_type().is_ok_and(|kind| kind.is_dir()) && holds_only(base, &path, gone)
    })
}

/// Whether an overlay takes a file for nothing.
#[cfg(test)]
pub(super) fn is_whiteout(path: &Path) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let found = fs::symlink_metadata(path);
    found.is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == 0)
}
