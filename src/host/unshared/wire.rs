//! What parent and child say to each other, a line each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::tree::{Only, TreeError};

/// What the child is started with. It is looked for before the command line is read, and no part of
/// it.
pub const VERB: &str = "in-user-namespace";

/// What the parent asks for, once.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// See [`super::Unshared::measure`].
    Measure { directories: Vec<PathBuf> },
    /// See [`super::Unshared::empty`].
    Empty { directories: Vec<PathBuf> },
    /// See [`super::Unshared::copy`].
    Copy { from: PathBuf, to: PathBuf, excludes: Vec<PathBuf> },
    /// See [`super::Unshared::merge`].
    Merge {
        lower: Option<PathBuf>,
        upper: PathBuf,
        to: PathBuf,
        upper_excludes: Vec<PathBuf>,
        only: Option<Only>,
    },
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Said<T> {
    /// It is in a user namespace, whose ids are to be mapped.
    Ready,
    /// The kernel did not let it have one, or be root in it.
    Refused { doing: String, errno: i32 },
    /// What was asked for is done.
    Done(T),
    /// It could not be done.
    Failed(TreeError),
}
