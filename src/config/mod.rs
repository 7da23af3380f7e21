//! Places and settings. This is the only room, beside the command line, that reads the environment.

mod client_files;
mod git_environment;
pub mod paths;
pub mod settings;

pub use client_files::ClientFiles;
pub use git_environment::git_environment;
pub use paths::{Paths, PathsError};
pub use settings::{ContainerSettings, Settings, SettingsError};
