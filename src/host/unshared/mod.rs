//! Work on files that containers wrote.
//!
//! They belong to ids that only the user namespace of rootless Podman maps, so the host's user can
//! neither read them nor make others like them. `podman unshare` would do, but takes 50 ms and more
//! to start; this takes a few. A process that runs threads cannot enter a user namespace
//! (unshare(2)), so a child does: this same program, with a verb that is no part of the command line.
//!
//! ```text
//! outside.rs                            inside.rs
//!   start the program with VERB   ──►   unshare a user namespace
//!   newuidmap, newgidmap          ◄──   `Ready`
//!   one `Request`                 ──►   become root, do it (tree/)
//!   the answer                    ◄──   `Done` or `Failed`
//! ```
//!
//! Each arrow is a line of JSON (`wire.rs`). The child ends when its standard input does: however
//! the parent goes, the kernel closes that.

mod error;
mod ids;
mod inside;
mod outside;
mod tree;
mod wire;

pub use error::UnsharedError;
pub use ids::IdRange;
pub use inside::run;
pub use outside::Unshared;
pub use tree::{Copied, Measured, Only, TreeError};
pub use wire::VERB;
