//! Objects of one repository for another one, by hard links.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::files::FileError;
use super::mirror::beside;

/// How deep alternates may lead to alternates, as git has it.
const DEPTH: usize = 5;

/// How often the packs are listed again that a garbage collection replaces meanwhile.
const ATTEMPTS: usize = 5;

/// The files of a pack; the index is the last one, since it makes git use the others.
const PACK_FILES: [&str; 4] = ["pack", "rev", "promisor", "idx"];

/// Gives an object database all objects of another one, those of its alternates included
/// (gitrepository-layout(5), `objects/info/alternates`). Where linking is not possible, they are copied.
pub(super) fn link_all(from: &Path, to: &Path) -> Result<(), FileError> {
    let mut databases = vec![from.to_owned()];
    let mut level = databases.clone();
    for _ in 0..DEPTH {
        level = level.iter().flat_map(|database| alternates(database)).collect();
        level.retain(|database| !databases.contains(database));
        databases.extend(level.iter().cloned());
    }
    for database in databases {
        let mut attempts = 1..=ATTEMPTS;
        loop {
            let last = attempts.next() == Some(ATTEMPTS);
            match link_from(&database, to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !last => {}
                linked => break linked.map_err(FileError::io("link the objects of", &database))?,
            }
        }
    }
    Ok(())
}

/// Returns the alternates of an object database.
fn alternates(database: &Path) -> Vec<PathBuf> {
    let listed = fs::read_to_string(database.join("info/alternates")).unwrap_or_default();
    let paths = listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    paths.map(|path| database.join(path)).collect()
}

fn link_from(database: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(database)? {
        let name = entry?.file_name();
        if name.len() == 2 && name.to_str().is_some_and(is_hex) {
            link_loose(&database.join(&name), &to.join(&name))?;
        }
    }
    let packs = match fs::read_dir(database.join("pack")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        packs => packs?,
    };
    fs::create_dir_all(to.join("pack"))?;
    for entry in packs {
        let index = entry?.path();
        let Some(name) = index.file_name().filter(|_| index.extension() == Some("idx".as_ref()))
        else {
            continue;
        };
        let target = to.join("pack").join(name);
        for kind in PACK_FILES {
            let (file, target) = (index.with_extension(kind), target.with_extension(kind));
            match link(&file, &target) {
                Err(error) if is_optional(kind) && error.kind() == io::ErrorKind::NotFound => {}
                linked => linked?,
            }
        }
    }
    Ok(())
}

fn is_optional(kind: &str) -> bool {
    kind == "rev" || kind == "promisor"
}

fn link_loose(from: &Path, to: &Path) -> io::Result<()> {
    let objects = match fs::read_dir(from) {
        // Git removes a directory with its last object.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        objects => objects?,
    };
    fs::create_dir_all(to)?;
    for entry in objects {
        let entry = entry?;
        // Others are just being written.
        if entry.file_name().to_str().is_some_and(is_hex) {
            match link(&entry.path(), &to.join(entry.file_name())) {
                // It is in a pack by now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                linked => linked?,
            }
        }
    }
    Ok(())
}

/// Links a file, or copies it.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // On another file system, of another user, or with too many links.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let part = beside(to, ".tmp-copy");
            fs::copy(from, &part)?;
            fs::rename(&part, to)
        }
        linked => linked,
    }
}

fn is_hex(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_alternates_come_too_and_what_is_half_written_does_not() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str, content: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        make("a/ab/cdef", "loose");
        make("a/ab/tmp_obj_1", "half");
        make("a/info/alternates", "# others\n../b\n");
        for kind in ["pack", "promisor", "idx"] {
            make(&format!("b/pack/pack-1.{kind}"), kind);
        }
        make("b/pack/pack-2.pack", "half");
        // The two are alternates of each other.
        make("b/info/alternates", "../a\n");
        let to = root.path().join("c");
        for _ in 0..2 {
            link_all(&root.path().join("a"), &to).unwrap();
        }
        let names = |directory: &str| {
            let entries = fs::read_dir(to.join(directory)).unwrap();
            let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names("ab"), ["cdef"]);
        assert_eq!(names("pack"), ["pack-1.idx", "pack-1.pack", "pack-1.promisor"]);
        assert!(link_all(&root.path().join("none"), &to).is_err());
    }
}
