//! The HTTP API on a Unix socket: `/v1/…`, JSON, problems as RFC 9457 documents.
//!
//! - `listen.rs` takes the socket, from systemd or by itself; `door.rs` lets only the user in;
//! - `serve.rs` serves until it is told to stop or has nothing to do, and reports to systemd;
//! - `router.rs` lists the routes, which lie in `system.rs`, `taskspaces.rs`, `streams.rs`,
//!   `diff.rs`, `operations.rs`, `events.rs`, `containers.rs`, `images.rs` and `exec.rs`;
//! - `openapi.rs` generates the document that describes them.

mod app;
mod collection;
mod connection;
mod containers;
mod diff;
mod door;
mod events;
mod exec;
mod extract;
mod images;
mod limits;
mod listen;
mod networks;
mod notify;
mod openapi;
mod operations;
mod ports;
mod problem;
mod projects;
mod router;
mod serve;
mod snapshots;
mod streams;
mod system;
mod taskspaces;

pub use listen::{Claim, ListenError, Socket, claim, instance};
pub use openapi::document;
pub use serve::{BROKEN_TIMEOUT, Ended, ServeError, Service};

/// The API's version, the first part of every path.
pub const VERSION: &str = "v1";
