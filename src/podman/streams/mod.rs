//! The calls that last: builds, pulls, logs, commands in containers.
//!
//! podman-api speaks them, except builds: it reads the context from a directory only, gives the
//! image one name only, and takes every item that is not output for a failure.

mod api;
mod build;
mod exec;
mod logs;

use hyper::body::Bytes;

pub use build::{BuildSpec, PullPolicy};
pub use exec::{ExecControl, ExecInput, ExecOutput, ExecResult, ExecSession, ExecSpec};
pub use logs::LogOptions;

/// A piece of a container's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Where it was written.
    pub stream: LogStream,
    /// The bytes; they need not be whole lines, nor whole characters.
    pub bytes: Bytes,
}

/// Where a container wrote something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output, and all of a terminal's.
    Stdout,
    /// Standard error.
    Stderr,
}
