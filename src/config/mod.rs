//! Places and settings. This is the only room, beside the command line, that reads the environment.

pub mod paths;
pub mod settings;

pub use paths::{Paths, PathsError};
pub use settings::{Settings, SettingsError};
