//! What is said to a question: pure, without sockets and clock.

mod answer;
mod ledger;
mod query;
mod reply;
mod terms;

pub(super) use answer::{Sifted, sift};
pub(super) use ledger::Ledger;
pub(super) use query::{Query, Reading, Treatment, read};
pub(super) use reply::{Outcome, Transport};
pub(super) use terms::{lasting, needed};

#[cfg(test)]
mod properties;
