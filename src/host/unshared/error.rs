//! Why something could not be done in a user namespace.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::super::files::is_no_space;
use super::tree::TreeError;

/// Why something could not be done in a user namespace like Podman's.
#[derive(Debug, thiserror::Error)]
pub enum UnsharedError {
    /// Podman has no ids but the user's own.
    #[error("this user has no subordinate ids, so there are no other users in containers")]
    NoSubIds,
    /// A program that maps ids is not installed.
    #[error("{helper} is not installed")]
    HelperMissing {
        /// `newuidmap` or `newgidmap`.
        helper: &'static str,
    },
    /// It could not be run.
    #[error("cannot run {helper}: {source}")]
    HelperFailed {
        /// `newuidmap` or `newgidmap`.
        helper: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It does not want to map these ids.
    #[error("the ids of containers cannot be mapped: {said}")]
    IdsRefused {
        /// `newuidmap` or `newgidmap`.
        helper: &'static str,
        /// What it said.
        said: String,
    },
    /// The kernel does not want to map these ids.
    #[error("the ids of containers cannot be mapped: cannot write {path}: {source}", path = path.display())]
    NotMapped {
        /// The kernel's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not let this program have a user namespace.
    #[error("cannot {doing}: {source}")]
    Refused {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The child could not be started, or not be talked to.
    #[error("cannot run {program} in a user namespace: {source}", program = program.display())]
    NotRun {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The child was killed, or ended before its time.
    #[error("the process in the user namespace ended ({status}){said}", said = after(said))]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it wrote last.
        said: String,
    },
    /// The child said something that it never says.
    #[error("the process in the user namespace is not this program: it said {0:?}")]
    Nonsense(String),
    /// What was to be done with the files failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl UnsharedError {
    /// Whether the disk or the quota is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Tree(error) if is_no_space(&error.source))
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoSubIds | Self::IdsRefused { .. } | Self::NotMapped { .. } => {
                "give the user ranges in /etc/subuid and /etc/subgid (usermod --add-subuids \
                 100000-165535 --add-subgids 100000-165535), then run `podman system migrate`"
                    .to_owned()
            }
            Self::HelperMissing { .. } | Self::HelperFailed { .. } => {
                "install newuidmap and newgidmap, for example: sudo apt install uidmap".to_owned()
            }
            Self::Refused { .. } => {
                "let this program have user namespaces: see user.max_user_namespaces, and on Ubuntu \
                 kernel.apparmor_restrict_unprivileged_userns, in sysctl(8)"
                    .to_owned()
            }
            Self::Tree(error) if is_no_space(&error.source) => {
                "make room on that file system and try again".to_owned()
            }
            Self::NotRun { .. } | Self::Ended { .. } | Self::Nonsense(_) | Self::Tree(_) => {
                return None;
            }
        })
    }
}

/// Puts what was said behind a colon.
fn after(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}
