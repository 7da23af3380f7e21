//! What a filter asks of whoever runs it, and what it tells.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use hickory_proto::rr::RecordType;

/// Which names are answered, and what they may lead to.
///
/// Names come in lower case, of letters, digits, `-`, `_` and dots, without a dot at their end;
/// the root is the empty one. Those with other bytes are refused without being asked for.
pub trait Rules: Send + Sync + 'static {
    /// What an allowed name is allowed for, such as its ports; the filter only hands it on.
    type Scope: Clone + Send + Sync + 'static;

    /// Returns the addresses of a name with a fixed answer; they need no grant.
    fn fixed(&self, _name: &str) -> Option<Vec<IpAddr>> {
        None
    }

    /// Tells what is to be done about a name.
    fn judge(&self, name: &str) -> Verdict<Self::Scope>;

    /// Whether a name of such a scope may lead to an address.
    ///
    /// Whoever has a name may have it lead anywhere: into private ranges, to this host.
    fn may_lead_to(&self, scope: &Self::Scope, address: IpAddr) -> bool;
}

/// What is to be done about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<S> {
    /// It is answered.
    Allowed(S),
    /// It is answered, and told as one that would be refused.
    Observed(S),
    /// It is answered as one that does not exist.
    Refused,
}

/// That an address may be reached because a name led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<S> {
    /// The name that was asked for, also where it is an alias.
    pub name: Arc<str>,
    /// What that name is allowed for.
    pub scope: S,
    /// Where it led to.
    pub address: IpAddr,
    /// For how long from now on; not at all where that is over.
    pub lasting: Duration,
}

/// An address that a name has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The name that was asked for.
    pub name: Arc<str>,
    /// Where it led to.
    pub address: IpAddr,
    /// For how long that is in force still; zero where it is no longer.
    pub lasting: Duration,
}

impl<S> From<Grant<S>> for Remembered {
    fn from(Grant { name, address, lasting, .. }: Grant<S>) -> Self {
        Self { name, address, lasting }
    }
}

/// A question that was not answered as it would have been without rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The name that was asked for; one that is no host's name with its bytes escaped.
    pub name: String,
    /// What was asked of it.
    pub kind: RecordType,
    /// Why it was not answered.
    pub reason: Reason,
}

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The rules refuse the name.
    NotAllowed,
    /// The rules would refuse the name if they did not observe: it was answered.
    Observed,
    /// It has bytes that no name of a host has, so no rule can be meant for it.
    NotAHostname,
    /// It leads only to addresses that it may not lead to: some of these.
    Addresses(Vec<IpAddr>),
    /// The addresses that it leads to could not be granted.
    NotGranted(String),
}

/// Lets addresses through, and hears of what is refused.
pub trait Warden<S>: Send + Sync + 'static {
    /// Lets addresses through; only then are they told to who asked for them.
    ///
    /// One that is let through already is to last for as long as this says. There is one call at a
    /// time; it is dropped when it takes too long, and then counts as failed.
    fn grant(
        &self,
        grants: Vec<Grant<S>>,
    ) -> impl Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send;

    /// Hears of a refusal. Whoever is refused decides how often, so it takes little time and
    /// bounded memory.
    fn refused(&self, refusal: Refusal);
}
