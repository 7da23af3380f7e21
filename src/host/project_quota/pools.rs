//! The files that say what is prepared: one for each user, written by root.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::getuid;

use super::{ProjectQuotaError, refused};
use crate::host::files;
use crate::policy::project_quotas::Pool;

/// Who may write is who must have written.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Returns what is prepared for the user that this process belongs to; nothing where there is no file.
///
/// # Errors
/// When the file cannot be read, is not root's, or is wrong.
pub fn read_own(directory: &Path) -> Result<Option<Pool>, ProjectQuotaError> {
    read(directory, getuid().as_raw())
}

/// Returns what is prepared for a user; nothing where there is no file.
///
/// # Errors
/// When the file cannot be read, is not root's, or is wrong.
pub fn read(directory: &Path, uid: u32) -> Result<Option<Pool>, ProjectQuotaError> {
    read_file(&file(directory, uid))
}

/// Returns what is prepared for all users.
///
/// # Errors
/// When a file cannot be read, is not root's, or is wrong.
pub fn read_all(directory: &Path) -> Result<Vec<Pool>, ProjectQuotaError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refused("read", directory)(error)),
    };
    let mut pools = Vec::new();
    for entry in entries {
        let path = entry.map_err(refused("read", directory))?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            pools.extend(read_file(&path)?);
        }
    }
    pools.sort_by_key(|pool: &Pool| pool.uid);
    Ok(pools)
}

/// Writes what is prepared for a user.
///
/// # Errors
/// When it cannot be written.
pub fn write(directory: &Path, pool: &Pool) -> Result<(), ProjectQuotaError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(refused("make", directory))?;
    let path = file(directory, pool.uid);
    let wrong = |reason: String| ProjectQuotaError::Pool { path: path.clone(), reason };
    let text = pool.render().map_err(|error| wrong(error.to_string()))?;
    files::write_atomic(&path, text.as_bytes(), 0o644).map_err(|error| wrong(error.to_string()))
}

/// Removes what says what is prepared for a user.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(directory: &Path, uid: u32) -> Result<(), ProjectQuotaError> {
    let path = file(directory, uid);
    fs::remove_file(&path).map_err(refused("remove", &path))
}

fn file(directory: &Path, uid: u32) -> PathBuf {
    directory.join(format!("{uid}.yaml"))
}

fn read_file(path: &Path) -> Result<Option<Pool>, ProjectQuotaError> {
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused("look at", path)(error)),
    };
    let wrong = |reason: String| ProjectQuotaError::Pool { path: path.to_owned(), reason };
    if found.uid() != 0 || found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(wrong("others than root can write it".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(refused("read", path))?;
    Pool::parse(&text).map(Some).map_err(|error| wrong(error.to_string()))
}
