//! The calls that last: builds, pulls, logs, commands in containers, events.
//!
//! podman-api speaks them, except two. It reads a build's context from a directory only, gives the
//! image one name only, and takes every item that is not output for a failure. Of the events it does
//! not tell that Podman listens before there is one, and it keeps a line however long it grows.

mod api;
mod build;
mod events;
mod exec;
mod lines;
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
