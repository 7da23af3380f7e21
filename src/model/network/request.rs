//! What is asked for about the network of a taskspace, and what is told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Destination, DomainName, NetworkPolicy, PolicyName};

/// The network policy that a new taskspace is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkRequest {
    /// The policy; that of its project or tier when it is not given.
    #[schema(value_type = Option<String>)]
    pub policy: Option<PolicyName>,
    /// What it may reach as well.
    #[schema(value_type = Vec<String>)]
    pub allow: Vec<Destination>,
    /// What it must not reach.
    #[schema(value_type = Vec<String>)]
    pub deny: Vec<Destination>,
    /// Let through, and list, what the policy would refuse.
    pub observe: bool,
}

impl From<NetworkPolicy> for NetworkRequest {
    fn from(policy: NetworkPolicy) -> Self {
        let NetworkPolicy { name, allow, deny, observe } = policy;
        Self { policy: Some(name), allow, deny, observe }
    }
}

/// What is to be changed about the network policy of a taskspace; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkChange {
    /// The policy.
    #[schema(value_type = Option<String>)]
    pub policy: Option<PolicyName>,
    /// What it may reach as well; no longer denied where it was.
    #[schema(value_type = Vec<String>)]
    pub allow: Vec<Destination>,
    /// What it must not reach; no longer allowed where it was.
    #[schema(value_type = Vec<String>)]
    pub deny: Vec<Destination>,
    /// What is to be as the policy says again.
    #[schema(value_type = Vec<String>)]
    pub reset: Vec<Destination>,
    /// Whether what the policy would refuse is let through, and listed.
    pub observe: Option<bool>,
}

impl NetworkPolicy {
    /// Returns it as it is after a change.
    #[must_use]
    pub fn changed(&self, change: &NetworkChange) -> Self {
        let NetworkChange { policy, allow, deny, reset, observe } = change;
        let list = |own: &[Destination], more: &[Destination], others: &[Destination]| {
            let is_kept = |it: &&Destination| !others.contains(it) && !reset.contains(it);
            let mut list: Vec<Destination> =
                own.iter().filter(is_kept).chain(more).cloned().collect();
            list.sort_unstable();
            list.dedup();
            list
        };
        Self {
            name: policy.clone().unwrap_or_else(|| self.name.clone()),
            allow: list(&self.allow, allow, deny),
            deny: list(&self.deny, deny, allow),
            observe: observe.unwrap_or(self.observe),
        }
    }
}

/// Something that a taskspace was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Blocked {
    /// A name, or an address with protocol and port, as text: who is refused decides what is in it.
    pub destination: String,
    /// The name, if it is one of a host that the policy does not allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<DomainName>,
    /// Why.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// When it was refused the last time.
    #[schema(value_type = String, format = DateTime)]
    pub last: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_no_longer_denied_and_the_other_way_round() {
        let list = |names: &[&str]| -> Vec<Destination> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        let before = NetworkPolicy {
            name: "restricted".parse().unwrap(),
            allow: list(&["a.example.org", "b.example.org"]),
            deny: list(&["c.example.org", "d.example.org"]),
            observe: false,
        };
        let change = NetworkChange {
            allow: list(&["c.example.org:443", "c.example.org", "e.example.org"]),
            deny: list(&["a.example.org"]),
            reset: list(&["d.example.org"]),
            observe: Some(true),
            ..NetworkChange::default()
        };
        let after = before.changed(&change);
        let allow = ["b.example.org", "c.example.org", "c.example.org:443", "e.example.org"];
        let mut expected = list(&allow);
        expected.sort_unstable();
        assert_eq!((after.allow, after.deny), (expected, list(&["a.example.org"])));
        assert!(after.observe && after.name == before.name);
        assert_eq!(before.changed(&NetworkChange::default()), before);
    }
}
