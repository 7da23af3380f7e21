//! Permits to start a container.
//!
//! Podman has a container's monitor write its number into a file (conmon(8), `--conmon-pidfile`), and where
//! that cannot be written the container does not start. So a container whose file is to be in a directory
//! that is not there can only be started while somebody makes that: by nobody else, and not by a restart
//! at an hour at which nobody sees to what has to be done before.

use std::path::{Path, PathBuf};

use super::files::{self, FileError};

/// A directory that is there as long as this is.
#[derive(Debug)]
pub struct Permit {
    directory: PathBuf,
}

impl Permit {
    /// Makes the directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn give(directory: &Path) -> Result<Self, FileError> {
        files::private_dir(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Err(error) = files::remove_tree(&self.directory) {
            tracing::warn!("a container may be started by anybody: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_ends_with_whoever_has_it() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("example.dev");
        let permit = Permit::give(&directory).unwrap();
        fs::write(directory.join("pid"), "7").unwrap();
        // One that an earlier run has left is as good.
        let again = Permit::give(&directory).unwrap();
        drop(permit);
        assert!(!directory.exists());
        drop(again);
        fs::write(root.path().join("file"), "").unwrap();
        assert!(Permit::give(&root.path().join("file/dev")).is_err());
    }
}
