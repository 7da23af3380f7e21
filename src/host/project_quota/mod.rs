//! Project quotas of XFS and ext4: directories have ids, and root gives ids limits.
//!
//! The owner of a directory may give it an id, which what is made in it then has, too; nobody in a
//! user namespace can change that. Only root can give ids limits and ask for them. But of a directory
//! with an id, `statfs(2)` shows the limit and the use of that id, to everybody: what is not seen
//! there is not limited.

mod kernel;
mod owner;
mod pools;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use rustix::fs::{CWD, Mode, OFlags, StatFs, openat};

pub use kernel::Enforcement;
pub use owner::{Owner, OwnerError};
pub use pools::{read, read_all, read_own, remove, write};

/// `EXT4_SUPER_MAGIC` and `XFS_SUPER_MAGIC`, see `statfs(2)`.
const EXT4: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;

/// Why something about project quotas cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ProjectQuotaError {
    /// The system refused.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file that says what is prepared is wrong.
    #[error("{path} is wrong: {reason}", path = path.display())]
    Pool {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn refused<E: Into<io::Error>>(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> ProjectQuotaError {
    move |source| ProjectQuotaError::Refused { doing, path: path.to_owned(), source: source.into() }
}

/// A file system, as far as quotas go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// It can limit projects.
    Ext4,
    /// It can limit projects.
    Xfs,
    /// One that cannot.
    Other,
}

/// What a directory's file system lets it have, and what is used of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// So many bytes at most.
    pub limit: u64,
    /// So many are in use.
    pub used: u64,
    /// The limit is a multiple of this.
    pub block: u64,
}

impl Space {
    /// Whether it is limited to this, as far as blocks can tell.
    pub const fn is_limited_to(&self, bytes: u64) -> bool {
        self.limit.abs_diff(bytes) < self.block
    }
}

/// What root is told of an id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Project {
    /// So many bytes at most; 0 for no limit.
    pub limit: u64,
    /// So many are in use.
    pub used: u64,
}

/// Returns the kind of a directory's file system.
///
/// # Errors
/// When the directory cannot be looked at.
pub fn file_system(directory: &Path) -> Result<FileSystem, ProjectQuotaError> {
    let found = statfs(directory)?;
    Ok(match u64::try_from(found.f_type) {
        Ok(EXT4) => FileSystem::Ext4,
        Ok(XFS) => FileSystem::Xfs,
        _ => FileSystem::Other,
    })
}

/// Returns the space that a directory has: that of its project where there is a limit for it, else
/// that of the file system.
///
/// # Errors
/// When the directory cannot be looked at.
pub fn space(directory: &Path) -> Result<Space, ProjectQuotaError> {
    let found = statfs(directory)?;
    let block = u64::try_from(found.f_bsize).unwrap_or(1);
    let bytes = |blocks: u64| blocks.saturating_mul(block);
    Ok(Space {
        limit: bytes(found.f_blocks),
        used: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
        block,
    })
}

fn statfs(directory: &Path) -> Result<StatFs, ProjectQuotaError> {
    rustix::fs::statfs(directory).map_err(refused("look at the file system of", directory))
}

/// Tells whether the file system of a directory counts by projects, and whether it limits them.
///
/// # Errors
/// When the kernel does not say.
pub fn enforcement(directory: &Path) -> Result<Enforcement, ProjectQuotaError> {
    let opened = open(directory)?;
    kernel::enforcement(&opened).map_err(refused("ask for the project quotas of", directory))
}

/// Gives a directory, and what is made in it from now on, an id; with 0 it has none.
///
/// # Errors
/// When the file system knows no ids, or the directory is somebody else's.
pub fn assign(directory: &Path, id: u32) -> Result<(), ProjectQuotaError> {
    // Root does it, too, in a directory of a user's: who puts a link in the place must not choose another.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(CWD, directory, flags, Mode::empty());
    let opened = File::from(opened.map_err(refused("open", directory))?);
    kernel::assign(&opened, id).map_err(refused("give a project id to", directory))
}

/// Returns the id of a directory; 0 for none.
///
/// # Errors
/// When the directory cannot be looked at, or its file system knows no ids.
pub fn id(directory: &Path) -> Result<u32, ProjectQuotaError> {
    let opened = open(directory)?;
    kernel::id(&opened).map_err(refused("ask for the project id of", directory))
}

/// Returns the ids that volumes in Podman's directory of volumes have.
///
/// # Errors
/// When the directory cannot be read.
pub fn ids_of_volumes(volumes: &Path) -> Result<BTreeSet<u32>, ProjectQuotaError> {
    let entries = fs::read_dir(volumes).map_err(refused("read", volumes))?;
    let id = |entry: io::Result<fs::DirEntry>| {
        // One that is just being removed, or that somebody closed to us, has none of ours.
        let opened = File::open(entry.ok()?.path().join("_data")).ok()?;
        kernel::id(&opened).ok().filter(|id| *id != 0)
    };
    Ok(entries.filter_map(id).collect())
}

/// Limits what has an id on the file system of a directory; 0 takes the limit away. Only root can.
///
/// # Errors
/// When this is not root, or the file system does not limit projects.
pub fn set_limit(directory: &Path, id: u32, bytes: u64) -> Result<(), ProjectQuotaError> {
    let opened = open(directory)?;
    kernel::set_limit(&opened, id, bytes).map_err(refused("limit a project of", directory))
}

/// Tells of an id on the file system of a directory. Only root can ask.
///
/// # Errors
/// When this is not root, or the file system does not count by projects.
pub fn project(directory: &Path, id: u32) -> Result<Project, ProjectQuotaError> {
    let opened = open(directory)?;
    match kernel::project(&opened, id) {
        Ok(project) => Ok(project),
        // Nothing has ever been of it.
        Err(Errno::ENOENT) => Ok(Project::default()),
        Err(error) => Err(refused("ask for a project of", directory)(error)),
    }
}

/// Tries out whether an id is limited to so many bytes: by what is seen of a directory that has it.
///
/// # Errors
/// When no such directory can be made beside the volumes.
pub fn is_in_force(volumes: &Path, id: u32, limit: u64) -> Result<bool, ProjectQuotaError> {
    let probe = tempfile::Builder::new()
        .prefix(".taskspace-quota-")
        .tempdir_in(volumes)
        .map_err(refused("make a directory in", volumes))?;
    assign(probe.path(), id)?;
    Ok(space(probe.path())?.is_limited_to(limit))
}

/// Returns where the file system of a directory is mounted, and what is mounted there.
///
/// # Errors
/// When the kernel's list of mounts cannot be read.
pub fn mount(directory: &Path) -> Result<Option<Mount>, ProjectQuotaError> {
    const LIST: &str = "/proc/self/mountinfo";
    let list = fs::read_to_string(LIST).map_err(refused("read", Path::new(LIST)))?;
    let whole = directory.canonicalize().map_err(refused("look at", directory))?;
    Ok(mount_in(&list, &whole))
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub point: PathBuf,
    /// Of which device.
    pub device: String,
}

/// Finds the mount that a path is on (`proc_pid_mountinfo(5)`): the last one of the longest that the
/// path begins with.
fn mount_in(list: &str, path: &Path) -> Option<Mount> {
    let mounts = list.lines().filter_map(|line| {
        let (own, device) = line.split_once(" - ")?;
        let point = PathBuf::from(unescape(own.split(' ').nth(4)?));
        let device = unescape(device.split(' ').nth(1)?);
        path.starts_with(&point).then_some(Mount { point, device })
    });
    mounts.max_by_key(|mount| mount.point.components().count())
}

/// Undoes the kernel's octal escapes of blanks and backslashes.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

fn open(directory: &Path) -> Result<File, ProjectQuotaError> {
    File::open(directory).map_err(refused("open", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_the_longest_mounts_counts() {
        let list = "\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
30 22 0:5 / /home rw shared:3 - xfs /dev/old rw
31 22 254:16 / /home rw,relatime shared:4 - xfs /dev/vdb rw,prjquota
32 22 254:32 / /home/a\\040b rw - ext4 /dev/vdc rw";
        let mount = |path: &str| {
            let Mount { point, device } = mount_in(list, Path::new(path)).unwrap();
            (point.display().to_string(), device)
        };
        assert_eq!(mount("/home/u/v"), ("/home".to_owned(), "/dev/vdb".to_owned()));
        assert_eq!(mount("/home/a b/v"), ("/home/a b".to_owned(), "/dev/vdc".to_owned()));
        assert_eq!(mount("/homes"), ("/".to_owned(), "/dev/root".to_owned()));
    }

    #[test]
    fn a_limit_is_the_same_up_to_a_block() {
        let space = Space { limit: 40_960, used: 0, block: 4_096 };
        assert!(space.is_limited_to(40_960) && space.is_limited_to(40_000));
        assert!(!space.is_limited_to(36_864) && !space.is_limited_to(45_056));
    }

    #[test]
    fn a_directory_without_an_id_has_the_space_of_its_file_system() {
        let here = tempfile::tempdir().unwrap();
        let space = space(here.path()).unwrap();
        assert!(space.limit >= space.used && space.block > 0);
        assert!(mount(here.path()).unwrap().is_some());
        assert!(assign(&here.path().join("none"), 7).is_err());
        let link = here.path().join("link");
        std::os::unix::fs::symlink(here.path(), &link).unwrap();
        let error = assign(&link, 7).unwrap_err().to_string();
        assert!(error.starts_with("cannot open "), "{error}");
    }
}
