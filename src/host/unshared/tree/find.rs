//! What is found in a directory that somebody else may be writing to.

use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, RawDir, RawMode, StatxFlags, Timespec,
    Timestamps, Uid, makedev, openat, statx,
};
use rustix::io::Errno;

/// How much of a directory is read at once.
const LISTING: usize = 32 * 1024;

/// What a name stands for, at the time it was looked at.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) kind: FileType,
    pub(super) mode: Mode,
    pub(super) user: Uid,
    pub(super) group: Gid,
    /// The same for all names of one file.
    pub(super) identity: Identity,
    /// How many names it has, in the tree and elsewhere.
    pub(super) names: u32,
    pub(super) size: u64,
    /// The room that it takes, in bytes.
    pub(super) allocated: u64,
    pub(super) times: Timestamps,
    /// Which device it is, if it is one.
    pub(super) represents: Dev,
}

/// Which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) file_system: Dev,
    number: u64,
}

impl Found {
    /// Looks at what is open.
    pub(super) fn of(open: impl AsFd) -> Result<Self, Errno> {
        Self::look(open, c"", AtFlags::EMPTY_PATH)
    }

    /// Looks at what has a name.
    pub(super) fn named(directory: impl AsFd, name: &CStr) -> Result<Self, Errno> {
        Self::look(directory, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn look(directory: impl AsFd, name: &CStr, flags: AtFlags) -> Result<Self, Errno> {
        let found = statx(directory, name, flags, StatxFlags::BASIC_STATS)?;
        let mode = RawMode::from(found.stx_mode);
        let time =
            |seconds, nanoseconds: u32| Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
        Ok(Self {
            kind: FileType::from_raw_mode(mode),
            mode: Mode::from_raw_mode(mode),
            user: Uid::from_raw(found.stx_uid),
            group: Gid::from_raw(found.stx_gid),
            identity: Identity {
                file_system: makedev(found.stx_dev_major, found.stx_dev_minor),
                number: found.stx_ino,
            },
            names: found.stx_nlink,
            size: found.stx_size,
            // Of 512 bytes, whatever the file system's own are (statx(2)).
            allocated: found.stx_blocks * 512,
            times: Timestamps {
                last_access: time(found.stx_atime.tv_sec, found.stx_atime.tv_nsec),
                last_modification: time(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
            },
            represents: makedev(found.stx_rdev_major, found.stx_rdev_minor),
        })
    }

    /// Whether it says, in the upper directory of an overlay, that there is nothing: a character
    /// device 0:0 (overlayfs.rst, "whiteouts and opaque directories").
    ///
    /// A file with the attribute `overlay.whiteout` is not one in an upper directory: the kernel
    /// heeds it in lower ones only, and nobody makes any here.
    pub(super) fn is_whiteout(&self) -> bool {
        self.kind == FileType::CharacterDevice && self.represents == 0
    }
}

/// Opens the directory at the top of a tree, by a path that is trusted but for its last name.
pub(super) fn open_top(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, directory(), Mode::empty())
}

/// Opens a directory in another.
pub(super) fn open_directory(parent: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    openat(parent, name, directory(), Mode::empty())
}

fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Opens what was a regular file when it was looked at. It may be something else now, so this waits
/// for no writer of a fifo, and takes no terminal.
pub(super) fn open_file(parent: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Turns errors that say that something has vanished, or become something else, into `None`.
pub(super) fn unless_gone<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        // No such name; no directory; a symbolic link; a socket or a device.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Lists the names in an open directory, and whether each is a directory's.
pub(super) fn list(directory: impl AsFd) -> Result<Vec<(CString, bool)>, Errno> {
    let mut buffer = [MaybeUninit::uninit(); LISTING];
    let mut entries = RawDir::new(directory.as_fd(), &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // The directory itself was removed, and was empty then.
            Err(Errno::NOENT) => break,
            Err(errno) => return Err(errno),
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let is_directory = match entry.file_type() {
            // Some file systems keep the kind elsewhere.
            FileType::Unknown => match unless_gone(Found::named(&directory, name))? {
                Some(found) => found.kind == FileType::Directory,
                None => continue,
            },
            kind => kind == FileType::Directory,
        };
        names.push((name.to_owned(), is_directory));
    }
    Ok(names)
}

/// Returns a name as part of a path.
pub(super) fn name_of(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::mknodat;

    use super::*;

    #[test]
    fn nothing_but_a_name_of_the_directory_itself_is_opened() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        fs::create_dir_all(at("tree/directory")).unwrap();
        fs::create_dir(at("outside")).unwrap();
        fs::write(at("outside/secret"), "").unwrap();
        symlink("../outside", at("tree/to-directory")).unwrap();
        symlink("../outside/secret", at("tree/to-file")).unwrap();
        mknodat(CWD, at("tree/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _socket = UnixListener::bind(at("tree/socket")).unwrap();
        let tree = open_top(&at("tree")).unwrap();
        for name in [c"to-directory", c"to-file", c"missing", c"fifo"] {
            assert!(unless_gone(open_directory(&tree, name)).unwrap().is_none(), "{name:?}");
        }
        for name in [c"to-directory", c"to-file", c"missing", c"socket"] {
            assert!(unless_gone(open_file(&tree, name)).unwrap().is_none(), "{name:?}");
        }
        // Nobody writes to it, and that is not waited for.
        let fifo = open_file(&tree, c"fifo").unwrap();
        assert_eq!(Found::of(&fifo).unwrap().kind, FileType::Fifo);
        let names = list(&tree).unwrap();
        let directories: Vec<_> = names.iter().filter(|(_, is_directory)| *is_directory).collect();
        assert_eq!((names.len(), directories), (5, vec![&(c"directory".to_owned(), true)]));
    }
}
