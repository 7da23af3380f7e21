//! What is asked for about the network of a taskspace, and what is told.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Destination, DomainName, NetworkPolicy, OBSERVE_SECONDS, PolicyName};

/// The network policy that a new taskspace is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkRequest {
    /// The policy; that of its project or tier when it is not given.
    pub policy: Option<PolicyName>,
    /// What it may reach as well.
    #[schema(max_items = 500)]
    pub allow: Vec<Destination>,
    /// What it must not reach.
    #[schema(max_items = 500)]
    pub deny: Vec<Destination>,
    /// Let through, and list, what the policy would refuse: for a while.
    pub observe: bool,
    /// For how many seconds; an hour when it is not given, a week at most. To give it is to observe.
    #[schema(minimum = 1, maximum = 604_800)]
    pub observe_seconds: Option<u64>,
}

impl From<NetworkPolicy> for NetworkRequest {
    /// Asks for what somebody else has; to observe is for that one alone.
    fn from(policy: NetworkPolicy) -> Self {
        let NetworkPolicy { name, allow, deny, .. } = policy;
        Self { policy: Some(name), allow, deny, observe: false, observe_seconds: None }
    }
}

/// The network policy that a taskspace is to have in the place of its own. One that was left out by mistake
/// would be that of the project or the tier, perhaps a wider one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkReplacement {
    /// The policy.
    pub policy: PolicyName,
    /// What it may reach as well.
    #[serde(default)]
    #[schema(max_items = 500)]
    pub allow: Vec<Destination>,
    /// What it must not reach.
    #[serde(default)]
    #[schema(max_items = 500)]
    pub deny: Vec<Destination>,
    /// Let through, and list, what the policy would refuse: for a while.
    #[serde(default)]
    pub observe: bool,
    /// For how many seconds; an hour when it is not given, a week at most. To give it is to observe.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 604_800)]
    pub observe_seconds: Option<u64>,
}

impl From<NetworkReplacement> for NetworkRequest {
    fn from(replacement: NetworkReplacement) -> Self {
        let NetworkReplacement { policy, allow, deny, observe, observe_seconds } = replacement;
        Self { policy: Some(policy), allow, deny, observe, observe_seconds }
    }
}

/// What is to be changed about the network policy of a taskspace; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkChange {
    /// The policy; naming one ends that it is only observed.
    pub policy: Option<PolicyName>,
    /// What it may reach as well; no longer denied where it was.
    #[schema(max_items = 500)]
    pub allow: Vec<Destination>,
    /// What it must not reach; no longer allowed where it was.
    #[schema(max_items = 500)]
    pub deny: Vec<Destination>,
    /// What is to be as the policy says again.
    pub reset: Vec<Destination>,
    /// Whether what the policy would refuse is let through, and listed: for a while.
    pub observe: Option<bool>,
    /// For how many seconds; an hour when it is not given, a week at most. To give it is to observe, unless
    /// `observe` is false.
    #[schema(minimum = 1, maximum = 604_800)]
    pub observe_seconds: Option<u64>,
}

impl NetworkPolicy {
    /// Returns it as it is after a change at this time.
    #[must_use]
    pub fn changed(&self, change: &NetworkChange, now: Timestamp) -> Self {
        let NetworkChange { policy, allow, deny, reset, observe, observe_seconds } = change;
        let list = |own: &[Destination], more: &[Destination], others: &[Destination]| {
            let is_kept = |it: &&Destination| !others.contains(it) && !reset.contains(it);
            let mut list: Vec<Destination> =
                own.iter().filter(is_kept).chain(more).cloned().collect();
            list.sort_unstable();
            list.dedup();
            list
        };
        let changed = Self {
            name: policy.clone().unwrap_or_else(|| self.name.clone()),
            allow: list(&self.allow, allow, deny),
            deny: list(&self.deny, deny, allow),
            ..self.clone()
        };
        match observe.or(observe_seconds.map(|_| true)) {
            Some(observe) => changed.observing(observe, *observe_seconds, now),
            None if policy.is_some() => changed.observing(false, None, now),
            None => changed,
        }
    }

    /// Returns it observing from this time on, or enforced.
    #[must_use]
    pub fn observing(self, observe: bool, seconds: Option<u64>, now: Timestamp) -> Self {
        let lasting = Duration::from_secs(seconds.unwrap_or(OBSERVE_SECONDS));
        let observe_until = observe.then(|| now.saturating_add(lasting).unwrap_or(Timestamp::MAX));
        Self { observe, observe_until, ..self }
    }
}

/// Something that a taskspace was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Blocked {
    /// A name, or an address with protocol and port, as text: who is refused decides what is in it.
    pub destination: String,
    /// The name, if it is one of a host that the policy does not allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DomainName>,
    /// Whether it was let through all the same, because the policy was only observed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub let_through: bool,
    /// Why.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// When it was so the last time.
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
            observe_until: None,
        };
        let now = Timestamp::UNIX_EPOCH;
        let change = NetworkChange {
            allow: list(&["c.example.org:443", "c.example.org", "e.example.org"]),
            deny: list(&["a.example.org"]),
            reset: list(&["d.example.org"]),
            observe: Some(true),
            ..NetworkChange::default()
        };
        let after = before.changed(&change, now);
        let allow = ["b.example.org", "c.example.org", "c.example.org:443", "e.example.org"];
        let mut expected = list(&allow);
        expected.sort_unstable();
        assert_eq!((&after.allow, &after.deny), (&expected, &list(&["a.example.org"])));
        assert!(after.observe && after.name == before.name);
        assert_eq!(before.changed(&NetworkChange::default(), now), before);
    }

    #[test]
    fn observing_ends_by_itself_by_naming_a_policy_and_by_enforcing() {
        let now = Timestamp::UNIX_EPOCH;
        let second = Duration::from_secs(1);
        let restricted = NetworkPolicy::new("restricted".parse().unwrap());
        let observe = |observe, observe_seconds| NetworkChange {
            observe,
            observe_seconds,
            ..NetworkChange::default()
        };
        assert_eq!(
            restricted.changed(&observe(None, Some(90)), now).observes(now),
            Some(90 * second)
        );
        assert_eq!(restricted.changed(&observe(Some(false), Some(90)), now), restricted);
        let hour = restricted.changed(&observe(Some(true), None), now);
        assert_eq!(hour.observes(now), Some(3600 * second));
        let observing = restricted.changed(&observe(Some(true), Some(90)), now);
        assert_eq!(observing.observes(now + 89 * second), Some(second));
        assert_eq!(observing.observes(now + 90 * second), None);
        assert_eq!(observing.clone().at(now + 90 * second), restricted);
        // Something else that changes has no part in it.
        let allow = vec!["example.org".parse().unwrap()];
        let change = NetworkChange { allow, ..NetworkChange::default() };
        let later = observing.changed(&change, now + second);
        assert_eq!(later.observes(now + second), Some(89 * second));
        // The same policy, too, is what it says from now on.
        let named = NetworkChange {
            policy: Some("restricted".parse().unwrap()),
            ..NetworkChange::default()
        };
        assert_eq!(observing.changed(&named, now), restricted);
        assert_eq!(observing.changed(&observe(Some(false), None), now), restricted);
        // One that was said to observe without an end, by an earlier version, does so no longer.
        let text = r#"{"name": "restricted", "observe": true}"#;
        let earlier: NetworkPolicy = serde_json::from_str(text).unwrap();
        assert_eq!(earlier.at(now), restricted);
        assert!(!NetworkRequest::from(observing).observe);
    }
}
