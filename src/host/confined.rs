//! Makes things in a directory that somebody else may be writing to: whatever stands in the place of a
//! directory by then, no link is followed out of it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, renameat};
use rustix::io::Errno;

use super::files::FileError;

/// A directory that is open.
#[derive(Debug)]
pub struct Confined {
    open: OwnedFd,
    /// What it was called, for errors.
    path: PathBuf,
}

impl Confined {
    /// Opens a directory, by a path that is trusted but for its last name.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let open = openat(CWD, path, directory(), Mode::empty());
        let open = open.map_err(io::Error::from).map_err(FileError::io("open", path))?;
        Ok(Self { open, path: path.to_owned() })
    }

    /// Makes a directory at a relative path, and those above it, unless they are there, and opens it.
    ///
    /// # Errors
    /// When one cannot be made, or something else is there.
    pub fn enter(&self, path: &str) -> Result<Self, FileError> {
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let entered = self.enter_one(first)?;
        if rest.is_empty() { Ok(entered) } else { entered.enter(rest) }
    }

    fn enter_one(&self, name: &str) -> Result<Self, FileError> {
        let path = self.path.join(name);
        let entered = match mkdirat(&self.open, name, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
            Ok(()) | Err(Errno::EXIST) => openat(&self.open, name, directory(), Mode::empty()),
            Err(errno) => Err(errno),
        };
        let open = entered.map_err(io::Error::from);
        let open = open.map_err(FileError::io("make the directory", &path))?;
        Ok(Self { open, path })
    }

    /// Writes a file at a relative path, where there is none yet.
    ///
    /// # Errors
    /// When there is something of this name, or it cannot be written.
    pub fn write(&self, path: &str, text: &str) -> Result<(), FileError> {
        if let Some((above, name)) = path.rsplit_once('/') {
            return self.enter(above)?.write(name, text);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        openat(&self.open, path, flags, mode)
            .map_err(io::Error::from)
            .and_then(|file| File::from(file).write_all(text.as_bytes()))
            .map_err(FileError::io("write", &self.path.join(path)))
    }

    /// Moves something in it into another directory.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn move_to(&self, name: &str, to: &Self) -> Result<(), FileError> {
        renameat(&self.open, name, &to.open, name)
            .map_err(io::Error::from)
            .map_err(FileError::io("name", &to.path.join(name)))
    }
}

fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_not_followed() {
        let room = tempfile::tempdir().unwrap();
        let (inside, outside) = (room.path().join("inside"), room.path().join("outside"));
        fs::create_dir(&inside).unwrap();
        fs::create_dir(&outside).unwrap();
        for name in ["directory", "file"] {
            symlink(&outside, inside.join(name)).unwrap();
        }
        let confined = Confined::open(&inside).unwrap();
        assert!(Confined::open(&inside.join("directory")).is_err());
        assert!(confined.enter("directory").is_err() && confined.enter("directory/sub").is_err());
        assert!(
            confined.write("file", "x").is_err() && confined.write("directory/x", "x").is_err()
        );
        let new = confined.enter("new").unwrap();
        new.write("above/file", "x").unwrap();
        new.enter("sub/deep").unwrap();
        new.move_to("sub", &confined).unwrap();
        assert!(inside.join("sub/deep").is_dir() && inside.join("new/above/file").is_file());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}
