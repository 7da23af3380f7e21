//! Why a tree could not be read or made.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a tree could not be read or made.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("cannot {doing} {path}: {source}", path = path.display())]
pub struct TreeError {
    /// What was being done.
    pub doing: Cow<'static, str>,
    /// To what.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// Why it failed.
    #[serde(rename = "errno", serialize_with = "as_number", deserialize_with = "from_number")]
    pub source: io::Error,
}

impl TreeError {
    /// Wraps an error of the system.
    pub(super) fn new(doing: &'static str, path: impl Into<PathBuf>, errno: Errno) -> Self {
        Self { doing: doing.into(), path: shortened(path.into()), source: errno.into() }
    }

    /// Does so for a path that is at hand.
    pub(super) fn at(doing: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::new(doing, path, errno)
    }
}

/// A path is told by this much of it: containers make trees that are deeper than anybody can read.
const LONGEST_PATH: usize = 1024;

fn shortened(path: PathBuf) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    match bytes.len() > LONGEST_PATH {
        true => OsStr::from_bytes(&[&bytes[..LONGEST_PATH], "…".as_bytes()].concat()).into(),
        false => path,
    }
}

/// Containers give names that are no text; JSON has no others.
fn as_text<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

fn as_number<S: Serializer>(error: &io::Error, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_i32(error.raw_os_error().unwrap_or_default())
}

fn from_number<'a, D: Deserializer<'a>>(from: D) -> Result<io::Error, D::Error> {
    i32::deserialize(from).map(io::Error::from_raw_os_error)
}
