//! Permits to start a container.
//!
//! A container into which something is to be mounted that is not there does not start: the OCI runtime
//! refuses it, whoever starts it. So one into which a file is mounted that is there only while its start is
//! permitted can be started by nobody else, and not by a restart at an hour at which nobody sees to what has
//! to be done before. (That Podman's monitor could not write its number, `--conmon-pidfile`, would not do:
//! then Podman takes the container's file system away while the runtime still starts it, and what that makes
//! there meanwhile cannot be removed.)
//!
//! A permit that outlives whoever gave it must not permit more than was meant. So it is a link to a file that
//! the kernel has for a process (`comm`, proc_pid_comm(5)), the one that keeps the network that was seen to:
//! once that process has ended, the link leads nowhere.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::files::{self, FileError};

/// A link that is there as long as this is, and leads somewhere as long as a process runs.
#[derive(Debug)]
pub struct Permit {
    link: PathBuf,
}

impl Permit {
    /// Makes the link, to a process of this number.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn give(link: &Path, process: i32) -> Result<Self, FileError> {
        if let Some(directory) = link.parent() {
            files::private_dir(directory)?;
        }
        files::remove_tree(link)?;
        symlink(format!("/proc/{process}/comm"), link)
            .map_err(FileError::io("make the link", link))?;
        Ok(Self { link: link.to_owned() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Err(error) = files::remove_tree(&self.link) {
            tracing::warn!("a container may be started by anybody: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn it_ends_with_whoever_has_it() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("permits/example.dev");
        let own = i32::try_from(std::process::id()).unwrap();
        let permit = Permit::give(&link, own).unwrap();
        assert!(link.is_file());
        // One that an earlier run has left is as good.
        let again = Permit::give(&link, own).unwrap();
        drop(permit);
        assert!(!link.exists());
        drop(again);
        fs::write(root.path().join("file"), "").unwrap();
        assert!(Permit::give(&root.path().join("file/dev"), own).is_err());
    }

    #[test]
    fn it_permits_nothing_once_the_process_has_ended() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("example.dev");
        let mut process = Command::new("sleep").arg("1000").spawn().unwrap();
        let _permit = Permit::give(&link, i32::try_from(process.id()).unwrap()).unwrap();
        assert!(link.exists());
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(!link.exists() && link.is_symlink());
    }
}
