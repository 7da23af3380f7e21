//! Permits to start a container.
//!
//! A container into which something is to be mounted that is not there does not start: the OCI runtime
//! refuses it, whoever starts it. So one into which a directory is mounted that is there only while its
//! start is permitted can be started by nobody else, and not by a restart at an hour at which nobody sees
//! to what has to be done before. (That Podman's monitor could not write its number, `--conmon-pidfile`,
//! would not do: then Podman takes the container's file system away while the runtime still starts it, and
//! what that makes there meanwhile cannot be removed.)

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
        assert!(directory.is_dir());
        // One that an earlier run has left is as good.
        let again = Permit::give(&directory).unwrap();
        drop(permit);
        assert!(!directory.exists());
        drop(again);
        fs::write(root.path().join("file"), "").unwrap();
        assert!(Permit::give(&root.path().join("file/dev")).is_err());
    }
}
