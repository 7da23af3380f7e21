//! The exclusive lock that guards every read-modify-write.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fs4::{FileExt, TryLockError};

use super::RegistryError;

/// How long another process may hold the lock. A change takes milliseconds; whoever holds it for
/// this long hangs or is stopped.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first pause before the lock is tried again; pauses double up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// The lock; it is released when this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    /// Closing it releases the lock.
    _file: File,
}

impl Lock {
    /// Waits for the lock and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, RegistryError> {
        Self::take_within(path, PATIENCE)
    }

    fn take_within(path: &Path, patience: Duration) -> Result<Self, RegistryError> {
        let give_up = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)
                .map_err(RegistryError::io("open", path))?;
            match FileExt::try_lock(&file) {
                // Someone may have removed or replaced the file in between: a lock on a file that
                // is no longer at this path excludes nobody.
                Ok(()) if is_at(&file, path) => return Ok(Self { _file: file }),
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(RegistryError::io("lock", path)(error));
                }
            }
            if Instant::now() >= give_up {
                return Err(RegistryError::Locked { path: path.to_owned() });
            }
            sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether `path` still leads to the open `file`.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_waits_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path).unwrap();
        let error = Lock::take_within(&path, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, RegistryError::Locked { .. }));
        assert!(error.hint().unwrap().contains("fuser -v"));
        drop(first);
        Lock::take_within(&path, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_lock_file_that_was_removed_excludes_nobody_and_so_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let stale = Lock::take(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&stale._file, &path));
        let fresh = Lock::take(&path).unwrap();
        assert!(is_at(&fresh._file, &path));
    }
}
