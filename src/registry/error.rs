//! Why the registry could not be read or written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::FORMAT_VERSION;

/// Why the registry could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryError {
    /// The system refused.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: Arc<io::Error>,
    },
    /// The file is not a registry (any more).
    #[error("the registry {path} is damaged (line {line}, column {column}): {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line where reading stopped.
        line: usize,
        /// The column where reading stopped.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The file was written by a newer program.
    #[error(
        "the registry {path} has format {found}, and this program knows {FORMAT_VERSION} at most",
        path = path.display()
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The file was there and is no longer.
    #[error("the registry {path} is gone", path = path.display())]
    Gone {
        /// Where it was.
        path: PathBuf,
    },
    /// Another process holds the lock for too long.
    #[error("another process holds the lock {path}", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A change panicked, or the program is ending.
    #[error("the change of the registry was interrupted")]
    Interrupted,
}

impl RegistryError {
    /// Wraps an error of the system.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Whether the disk or the quota is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ))
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Io { path, .. } if self.is_no_space() => {
                format!("make room on the file system of {} and try again", path.display())
            }
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("check who owns {} and its permissions", path.display())
            }
            Self::Io { .. } | Self::Interrupted => return None,
            Self::Damaged { path, .. } => format!(
                "it was left as it is. Repair it by hand or put a copy back; to begin with an empty \
                 registry instead, move {0} away (mv {0} {0}.damaged) and remove what is left in \
                 Podman",
                path.display()
            ),
            Self::NewerVersion { .. } => "use the newer program that wrote it".to_owned(),
            Self::Gone { path } => format!(
                "put {} back, or restart the service to begin with an empty one",
                path.display()
            ),
            Self::Locked { path } => {
                format!("see which process it is with `fuser -v {}`", path.display())
            }
        })
    }
}
