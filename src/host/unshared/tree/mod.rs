//! Trees that containers wrote: measured, copied, merged and emptied.
//!
//! Who wrote such a tree is not trusted and may be at work on it. So nothing is reached by a path:
//! each name is looked up in a directory that is already open, and a symbolic link is never
//! followed (`find.rs`). Whatever a directory is replaced with, nothing outside of the tree is seen.
//!
//! `make.rs` makes a tree of one or two others, a directory at a time; `queue.rs` has several threads
//! do so; `file.rs`, `metadata.rs` and `links.rs` know what a copy has to keep.

mod empty;
mod error;
mod file;
mod find;
mod links;
mod make;
mod measure;
mod metadata;
mod place;
mod queue;
#[cfg(test)]
mod tests;

pub(super) use empty::empty;
pub use error::TreeError;
pub use make::{Copied, Only};
pub(super) use make::{copy, merge};
pub use measure::Measured;
pub(super) use measure::measure;
