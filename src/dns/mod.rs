//! Answers what is asked in a taskspace's network, as far as its rules let it.
//!
//! Names are looked up with the host's own resolver, in the host's network.

mod resolver;
mod upstream;

pub use resolver::HostResolver;
pub use upstream::{Found, LookupError, Upstream};
