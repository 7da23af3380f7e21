//! What a taskspace may reach: destinations as people write them, and the policy of a taskspace.

mod destination;
mod domain;
mod host;
mod names;
mod ports;
mod range;
mod request;
mod view;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use destination::Destination;
pub use domain::{DomainName, NamePattern};
pub use host::{HOST_ADDRESSES, HOST_ALIAS, HOST_NAME};
pub use names::{GroupName, PolicyName, ServiceName};
pub(crate) use ports::joined;
pub use ports::{PortRange, PortSet, Protocol};
pub use range::AddressRange;
pub use request::{Blocked, NetworkChange, NetworkReplacement, NetworkRequest};
pub use view::{HostServiceView, NetworkState, NetworkView};

/// For how many seconds a policy only observes where nothing else is said.
pub const OBSERVE_SECONDS: u64 = 60 * 60;

/// For how many seconds it may at most: it is for finding out what is needed, and not for working.
pub const OBSERVE_SECONDS_MOST: u64 = 7 * 24 * 60 * 60;

/// The network policy of a taskspace, with what was added to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NetworkPolicy {
    /// The policy's name.
    pub name: PolicyName,
    /// What this taskspace may reach as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Destination>,
    /// What this taskspace must not reach; goes before all that is allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Destination>,
    /// Let through, and list, what the policy would refuse.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observe: bool,
    /// Until when; without it, what is said to observe does so no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub observe_until: Option<Timestamp>,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self::new(PolicyName::open())
    }
}

impl NetworkPolicy {
    /// Makes one that adds nothing.
    pub const fn new(name: PolicyName) -> Self {
        Self { name, allow: Vec::new(), deny: Vec::new(), observe: false, observe_until: None }
    }

    /// Returns for how long it observes still; none when it does not.
    pub fn observes(&self, now: Timestamp) -> Option<Duration> {
        let until = self.observe_until.filter(|_| self.observe)?;
        Duration::try_from(until - now).ok().filter(|left| !left.is_zero())
    }

    /// Returns it as it is now: enforced where the time to observe is over.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        match self.observes(now) {
            Some(_) => self,
            None => Self { observe: false, observe_until: None, ..self },
        }
    }
}
