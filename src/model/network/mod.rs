//! What a taskspace may reach: destinations as people write them, and the policy of a taskspace.

mod destination;
mod domain;
mod names;
mod ports;
mod range;
mod request;

use serde::{Deserialize, Serialize};

pub use destination::Destination;
pub use domain::{DomainName, NamePattern};
pub use names::{GroupName, PolicyName, ServiceName};
pub(crate) use ports::joined;
pub use ports::{PortRange, PortSet, Protocol};
pub use range::AddressRange;
pub use request::{Blocked, NetworkChange, NetworkRequest};

/// The network policy of a taskspace, with what was added to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkPolicy {
    /// The policy's name.
    #[schema(value_type = String)]
    pub name: PolicyName,
    /// What this taskspace may reach as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub allow: Vec<Destination>,
    /// What this taskspace must not reach; goes before all that is allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub deny: Vec<Destination>,
    /// Let through, and list, what the policy would refuse.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observe: bool,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self::new(PolicyName::open())
    }
}

impl NetworkPolicy {
    /// Makes one that adds nothing.
    pub const fn new(name: PolicyName) -> Self {
        Self { name, allow: Vec::new(), deny: Vec::new(), observe: false }
    }
}
