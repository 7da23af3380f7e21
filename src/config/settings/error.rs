//! Errors of the files of settings.

use std::io;
use std::path::PathBuf;

use crate::policy::coordination::CoordinationError;
use crate::policy::images::ImagesError;
use crate::policy::network::{BoundsError, NetworkError};
use crate::policy::resources::ResourcesError;
use crate::policy::retention::RetentionError;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}:{line}:{column}: {reason}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The files together give ports that cannot be used.
    #[error("the settings of the ports are wrong: {0}")]
    Ports(String),
    /// The files together give images that cannot work.
    #[error("the settings of the images are wrong: {0}")]
    Images(#[from] ImagesError),
    /// The files together give a coordination that cannot work.
    #[error("the settings of the coordination are wrong: {0}")]
    Coordination(#[from] CoordinationError),
    /// The files together do not say how long everything is kept.
    #[error("the settings of the retention are wrong: {0}")]
    Retention(#[from] RetentionError),
    /// The files together give tiers that cannot work.
    #[error("the settings of the resources are wrong: {0}")]
    Resources(#[from] ResourcesError),
    /// A tier or a project has a network policy that it cannot have.
    #[error("the settings of the networks are wrong: {0}")]
    Networks(#[from] BoundsError),
}

impl From<NetworkError> for SettingsError {
    fn from(error: NetworkError) -> Self {
        let NetworkError { path, flaw } = error;
        Self::Invalid { path, line: flaw.line, column: flaw.column, reason: flaw.reason }
    }
}

impl SettingsError {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        let file = match self {
            Self::Read { path, .. } => {
                return format!("check the permissions of {}", path.display());
            }
            Self::Invalid { path, .. } => {
                return format!("correct {}, or remove it", path.display());
            }
            Self::Ports(_) => {
                return "write two ranges such as 10000-20000 that do not overlap".to_owned();
            }
            Self::Networks(_) => {
                return "`taskspace policy list` shows the policies that there are".to_owned();
            }
            Self::Images(_) => "images.yaml",
            Self::Coordination(_) => "coordination.yaml",
            Self::Retention(_) => "retention.yaml",
            Self::Resources(_) => "resource-policies.yaml",
        };
        format!("correct {file}; see the built-in one for an example")
    }
}
