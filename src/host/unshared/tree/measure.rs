//! How much room trees take.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::TreeError;
use super::find::{Found, list, name_of, open_directory, open_top, unless_gone};
use super::queue;

/// How much room a tree takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The room on the disk, the directory itself included; a file with several names counts once,
    /// and what is mounted in the tree not at all.
    pub bytes: u64,
    /// How many names are in it, at any depth.
    pub entries: u64,
}

/// A path of this length, which no program can use any more, is not made longer: errors name what is
/// further down by it. Else a deep tree would take the square of its depth, in time and in memory.
const LONGEST_PATH: usize = 4096;

/// A directory that is to be looked through.
struct Pending {
    parent: Arc<OwnedFd>,
    name: CString,
    path: Arc<Path>,
}

/// Measures each of the trees.
pub(in super::super) fn measure(trees: &[PathBuf]) -> Result<Vec<Measured>, TreeError> {
    let measured = Mutex::new(vec![Measured::default(); trees.len()]);
    // Taken from the end.
    queue::work((0..trees.len()).rev().collect(), |number, _, _| {
        let one = measure_one(&trees[number])?;
        measured.lock().unwrap_or_else(PoisonError::into_inner)[number] = one;
        Ok(())
    })?;
    Ok(measured.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn measure_one(tree: &Path) -> Result<Measured, TreeError> {
    let top = open_top(tree).map_err(TreeError::at("open", tree))?;
    let found = Found::of(&top).map_err(TreeError::at("look at", tree))?;
    let file_system = found.identity.file_system;
    let mut measured = Measured { bytes: found.allocated, entries: 0 };
    let mut known = HashSet::new();
    let mut pending = Vec::new();
    let mut look_through = |directory: OwnedFd, path: &Arc<Path>, pending: &mut Vec<Pending>| {
        let names = list(&directory).map_err(TreeError::at("read", path))?;
        let directory = Arc::new(directory);
        for (name, is_directory) in names {
            let found = unless_gone(Found::named(&directory, &name))
                .map_err(|errno| TreeError::new("look at", path.join(name_of(&name)), errno))?;
            let Some(found) = found.filter(|found| found.identity.file_system == file_system)
            else {
                continue;
            };
            measured.entries += 1;
            if is_directory || found.names == 1 || known.insert(found.identity) {
                measured.bytes += found.allocated;
            }
            if is_directory {
                let (parent, path) = (Arc::clone(&directory), below(path, &name));
                pending.push(Pending { parent, name, path });
            }
        }
        Ok::<_, TreeError>(())
    };
    look_through(top, &tree.into(), &mut pending)?;
    while let Some(Pending { parent, name, path }) = pending.pop() {
        let opened = unless_gone(open_directory(&parent, &name));
        let Some(directory) = opened.map_err(TreeError::at("open", &path))? else { continue };
        drop(parent);
        let found = Found::of(&directory).map_err(TreeError::at("look at", &path))?;
        if found.identity.file_system == file_system {
            look_through(directory, &path, &mut pending)?;
        }
    }
    Ok(measured)
}

fn below(path: &Arc<Path>, name: &CStr) -> Arc<Path> {
    match path.as_os_str().len() < LONGEST_PATH {
        true => path.join(name_of(name)).into(),
        false => Arc::clone(path),
    }
}
