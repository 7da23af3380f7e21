//! Removes what is in trees.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, RenameFlags, renameat_with, unlinkat};
use rustix::io::Errno;

use super::TreeError;
use super::find::{list, name_of, open_directory, open_top, unless_gone};

/// Removes all that is in each of the trees, and leaves the directories at their tops.
///
/// A directory in a directory is moved to the top before the other goes: so no more than two are open
/// at a time, however deep the tree is. What broke off is gone on with by the next call.
pub(in super::super) fn empty(trees: &[PathBuf]) -> Result<(), TreeError> {
    trees.iter().try_for_each(|tree| empty_one(tree))
}

fn empty_one(tree: &Path) -> Result<(), TreeError> {
    let top = open_top(tree).map_err(TreeError::at("open", tree))?;
    let mut moved = 0;
    let mut pending = list(&top).map_err(TreeError::at("read", tree))?;
    while let Some((name, is_directory)) = pending.pop() {
        let failed = |errno| TreeError::new("remove", tree.join(name_of(&name)), errno);
        if !is_directory {
            remove(&top, &name, AtFlags::empty()).map_err(failed)?;
            continue;
        }
        let opened = unless_gone(open_directory(&top, &name)).map_err(failed)?;
        let Some(directory) = opened else { continue };
        for (inner, is_directory) in list(&directory).map_err(failed)? {
            if is_directory {
                let name = move_up(&directory, &inner, &top, &mut moved).map_err(failed)?;
                pending.push((name, true));
            } else {
                remove(&directory, &inner, AtFlags::empty()).map_err(failed)?;
            }
        }
        remove(&top, &name, AtFlags::REMOVEDIR).map_err(failed)?;
    }
    Ok(())
}

/// Moves a directory to the top, under a name that nothing has there yet.
fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> Result<CString, Errno> {
    loop {
        let free = CString::new(moved.to_string()).map_err(|_| Errno::INVAL)?;
        *moved += 1;
        match renameat_with(from, name, top, &free, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            renamed => return renamed.map(|()| free),
        }
    }
}

fn remove(directory: &OwnedFd, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match unlinkat(directory, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}
