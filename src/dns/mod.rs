//! Answers what is asked in a taskspace's network, as far as its rules let it.
//!
//! ```text
//! query ─ read ─ judge ─ look up ─ leave out ─ grant ─ reply
//!                  │                  │          │
//!               refused         nothing left   failed: told to the warden
//! ```
//!
//! The sockets are opened by somebody else, in the taskspace's network; names are looked up with
//! the host's own resolver, in the host's. An address is told only when the [`Warden`] has let it
//! through, so that who hears of it can connect, and who does not, cannot.
//!
//! - [`Rules`] say which names are answered and where they may lead; [`Filter::change`] replaces
//!   them with nothing granted in between. What was granted is remembered after its end, so that
//!   connections that were made by it can be judged by other rules; [`Filter::hold`] has it last
//!   for as long as such a connection does.
//! - `filter` is pure: what is read, what is told, what is left out, and for how long.
//! - `server`, `udp` and `tcp` are the shell around it, with a limit to everything that who asks
//!   could have without end.

mod filter;
mod granting;
mod resolver;
mod rules;
mod server;
mod tcp;
mod udp;
mod upstream;

pub use granting::{Change, grants};
pub use resolver::HostResolver;
pub use rules::{Grant, Reason, RecordType, Refusal, Remembered, Rules, Verdict, Warden};
pub use server::{Filter, Sockets};
pub use upstream::{Found, LookupError, Upstream};

#[cfg(test)]
mod tests;
