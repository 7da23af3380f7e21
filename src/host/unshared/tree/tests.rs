//! What measuring, copying, merging and emptying promise. They pass as root and as anyone else.

mod copying;
mod emptying;
mod measuring;
mod merging;
mod properties;
mod races;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lgetxattr, llistxattr, mknodat, setxattr};

/// What is somewhere in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    kind: char,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    /// What a file contains, or where a symbolic link points to.
    content: Vec<u8>,
    attributes: BTreeMap<String, Vec<u8>>,
}

/// Looks at a whole tree, itself included.
fn look(tree: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut pending = vec![tree.to_owned()];
    while let Some(path) = pending.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let kind = found.file_type();
        if kind.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let (kind, content) = match kind {
            kind if kind.is_dir() => ('d', Vec::new()),
            kind if kind.is_file() => ('f', fs::read(&path).unwrap()),
            kind if kind.is_symlink() => {
                ('l', fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            }
            kind if kind.is_char_device() => ('c', found.rdev().to_string().into_bytes()),
            kind if kind.is_fifo() => ('p', Vec::new()),
            _ => ('?', Vec::new()),
        };
        let one = Seen {
            kind,
            mode: found.mode() & 0o7777,
            owner: (found.uid(), found.gid()),
            modified: (found.mtime(), found.mtime_nsec()),
            content,
            attributes: attributes(&path),
        };
        seen.insert(path.strip_prefix(tree).unwrap().to_owned(), one);
    }
    seen
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 65_536];
    let length = llistxattr(path, &mut names[..]).unwrap();
    let names = String::from_utf8(names[..length].to_vec()).unwrap();
    let value = |name: &str| {
        let mut value = vec![0; 65_536];
        let length = lgetxattr(path, name, &mut value[..]).unwrap();
        value[..length].to_vec()
    };
    let names = names.split_terminator('\0').filter(|name| !name.starts_with("security.selinux"));
    names.map(|name| (name.to_owned(), value(name))).collect()
}

/// A directory for a test, with directories in it.
fn room(names: &[&str]) -> tempfile::TempDir {
    let room = tempfile::tempdir().unwrap();
    for name in names {
        fs::create_dir_all(room.path().join(name)).unwrap();
    }
    room
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// Anyone may make the device that says that there is nothing.
fn make_whiteout(path: &Path) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}
