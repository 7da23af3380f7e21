//! Which fetch of a mirror serves which request. Fetches are counted: a clock may have been set back
//! since the last one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::files::FileError;
use super::GitError;
use super::mirror::beside;

/// The file in a mirror with the number of the fetch that last succeeded.
const SUCCEEDED: &str = "symposium-updated";

/// How many fetches of a mirror had begun when one was asked for; none if that is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked(Option<u64>);

impl Asked {
    /// Notes that a fetch of a mirror is asked for now.
    pub(super) fn now(mirror: &Path) -> Self {
        Self(begun(mirror))
    }

    /// Whether a fetch that began later has succeeded. The caller holds the mirror's lock.
    pub(super) fn is_served(self, mirror: &Path) -> bool {
        let (Some(before), Some(begun)) = (self.0, begun(mirror)) else { return false };
        let succeeded = fs::read_to_string(mirror.join(SUCCEEDED)).ok();
        let succeeded = succeeded.and_then(|text| text.trim().parse::<u64>().ok());
        // The number of a fetch that has not begun yet is invalid.
        succeeded.is_some_and(|number| before < number && number <= begun)
    }
}

/// Returns how many fetches have begun. The lock file has the number, since it outlives the mirror.
fn begun(mirror: &Path) -> Option<u64> {
    match fs::read_to_string(beside(mirror, ".lock")) {
        Ok(text) if text.is_empty() => Some(0),
        Ok(text) => text.trim().parse().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(0),
        Err(_) => None,
    }
}

/// Counts a fetch that begins, and returns its number. The caller holds the lock exclusively.
pub(super) fn begin(mirror: &Path, lock: &File) -> Result<u64, GitError> {
    let number = begun(mirror).unwrap_or_default() + 1;
    // Always the same length, so that a reader finds one number or the other.
    let written = lock.write_all_at(format!("{number:020}\n").as_bytes(), 0);
    written.map_err(|error| FileError::io("write", &beside(mirror, ".lock"))(error))?;
    Ok(number)
}

/// Notes that a fetch has succeeded.
pub(super) fn succeeded(mirror: &Path, number: u64) -> Result<(), GitError> {
    let path = mirror.join(SUCCEEDED);
    Ok(fs::write(&path, number.to_string()).map_err(FileError::io("write", &path))?)
}

#[cfg(test)]
mod tests {
    use super::super::mirror::lock;
    use super::*;

    #[tokio::test]
    async fn only_a_later_fetch_that_succeeded_serves_a_request() {
        let directory = tempfile::tempdir().unwrap();
        let mirror = directory.path().join("app-1.git");
        fs::create_dir(&mirror).unwrap();
        let before = Asked::now(&mirror);
        let lock = lock(&mirror, true).await.unwrap();
        let number = begin(&mirror, &lock).unwrap();
        let meanwhile = Asked::now(&mirror);
        assert!(!before.is_served(&mirror));
        succeeded(&mirror, number).unwrap();
        assert!(before.is_served(&mirror));
        assert!(!meanwhile.is_served(&mirror), "that fetch had begun before");
        // An earlier version noted the time, perhaps of a clock that was ahead.
        for text in ["4102444800000000000", "", "nonsense"] {
            fs::write(mirror.join(SUCCEEDED), text).unwrap();
            assert!(!before.is_served(&mirror), "{text}");
        }
        let number = begin(&mirror, &lock).unwrap();
        succeeded(&mirror, number).unwrap();
        assert!(meanwhile.is_served(&mirror) && !Asked::now(&mirror).is_served(&mirror));
    }
}
