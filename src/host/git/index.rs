//! What the index of a base knows of its files.
//!
//! Git takes a file for unchanged without reading it when size, times, owner and inode number are those in
//! the index. A base's index is written outside, and is read in a container, where owners have other
//! numbers; and where files are shared with another base, linking them has changed their times of
//! change. So that the first `git status` need not read every file, the index is given what is seen inside.
//! The format is that of `gitformat-index(5)`.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::files::{FileError, write_atomic};
use super::sibling::is_plain;

/// The uid and gid that the user has in the containers.
pub const OWNER_INSIDE: u32 = 1000;

/// The length of the head, and of what an entry has before its object id: ten numbers of four bytes.
const HEAD: usize = 12;
const STAT: usize = 40;

/// Where the numbers are in an entry.
const CHANGED: usize = 0;
const MODIFIED: usize = 8;
const INODE: usize = 20;
const UID: usize = 28;
const GID: usize = 32;
const SIZE: usize = 36;

/// The flag of an entry that has two more bytes of flags.
const EXTENDED: u8 = 0x40;

/// Brings the entries of an index up to what a container sees of the files in `dir`: of those that have
/// the size and the time of modification that the index knows. The checksum is left to git, which does
/// not look at it when it reads an index.
pub(super) fn enter_stats(dir: &Path, git_dir: &Path, id_length: usize) -> Result<(), FileError> {
    let path = git_dir.join("index");
    let mut index = match fs::read(&path) {
        Ok(index) => index,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileError::io("read", &path)(error)),
    };
    let look = |name: &[u8]| {
        let name = Path::new(OsStr::from_bytes(name));
        is_plain(name).then(|| fs::symlink_metadata(dir.join(name)).ok()).flatten()
    };
    match update(&mut index, id_length, look) {
        Some(()) => write_atomic(&path, &index, 0o644),
        // Of another version; git reads the files once.
        None => Ok(()),
    }
}

/// Changes the entries of an index of version 2 or 3; none if it is no such one.
fn update(
    index: &mut [u8],
    id_length: usize,
    look: impl Fn(&[u8]) -> Option<Metadata>,
) -> Option<()> {
    let version = number(index, 4)?;
    if !index.starts_with(b"DIRC") || !(2..=3).contains(&version) {
        return None;
    }
    let mut at = HEAD;
    for _ in 0..number(index, 8)? {
        let flags = at + STAT + id_length;
        let more = if index.get(flags)? & EXTENDED == 0 { 2 } else { 4 };
        let name = flags + more;
        let length = index.get(name..)?.iter().position(|byte| *byte == 0)?;
        if let Some(found) = look(&index[name..name + length]) {
            enter(index.get_mut(at..at + STAT)?, &found)?;
        }
        // One to eight zeros fill it up to a multiple of eight.
        at += (name - at + length + 8) & !7;
    }
    Some(())
}

/// Enters what is seen of a file that is as the index knows it.
fn enter(entry: &mut [u8], found: &Metadata) -> Option<()> {
    // Git keeps the lower bits.
    let low = |value: i64| value as u32;
    let is_known = number(entry, SIZE)? == found.size() as u32
        && number(entry, MODIFIED)? == low(found.mtime());
    if is_known {
        let stats = [
            (CHANGED, low(found.ctime())),
            (CHANGED + 4, low(found.ctime_nsec())),
            (INODE, found.ino() as u32),
            (UID, OWNER_INSIDE),
            (GID, OWNER_INSIDE),
        ];
        for (at, value) in stats {
            entry.get_mut(at..at + 4)?.copy_from_slice(&value.to_be_bytes());
        }
    }
    Some(())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_index_of_a_known_version_is_changed() {
        let nothing = |_: &[u8]| None;
        let head = |version: u32, count: u32| {
            [b"DIRC", &version.to_be_bytes()[..], &count.to_be_bytes()].concat()
        };
        assert_eq!(update(&mut head(2, 0), 20, nothing), Some(()));
        for mut bad in [Vec::new(), b"DIRC".to_vec(), head(4, 0), head(2, 1), head(2, u32::MAX)] {
            assert_eq!(update(&mut bad, 20, nothing), None);
        }
    }
}
