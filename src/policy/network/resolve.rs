//! What a taskspace's policy comes to on this host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use super::expand::{ExpandError, Groups};
use super::reserved;
use super::rules::{AddressRule, PortsByProtocol, address_rules};
use super::{Networks, NoPolicy, Openness, Policy, REGISTRIES};
use crate::model::{
    AddressRange, Destination, DomainName, NamePattern, NetworkPolicy, PolicyName, PortSet,
    Protocol, ServiceName,
};

/// What a policy depends on that is not in files of policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The addresses by which a taskspace would reach this host.
    pub addresses: Vec<IpAddr>,
    /// What this host's own clients fetch packages from.
    pub registries: Vec<Destination>,
}

/// What may go out, as data: in order, and the same whenever the same is asked for.
///
/// A connection to an address is judged by the first of these that is about it:
///
/// 1. `denied`: refused.
/// 2. `host`: let through to the TCP port of one of `services`, refused otherwise.
/// 3. `allowed`: let through.
/// 4. what names gave (`name`, `leads_to`): let through, or refused.
/// 5. `closed`: refused.
/// 6. what is `like` open: let through; anything else is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// The policy's name.
    pub policy: PolicyName,
    /// How open it is.
    pub like: Openness,
    /// Whether what is refused is let through and listed.
    pub observe: bool,
    /// The addresses of this host.
    pub host: Vec<IpAddr>,
    /// The services of this host that may be reached.
    pub services: Vec<HostService>,
    /// Addresses that are denied; the rules lie apart from each other.
    pub denied: Vec<AddressRule>,
    /// Addresses that are allowed; the rules lie apart from each other.
    pub allowed: Vec<AddressRule>,
    /// Names that are denied.
    pub denied_names: Vec<NameRule>,
    /// Names that are allowed.
    pub allowed_names: Vec<NameRule>,
    /// Ranges that are no part of everywhere.
    pub closed: Vec<AddressRange>,
}

/// A service of this host, on TCP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HostService {
    /// Its name.
    pub name: ServiceName,
    /// Its port.
    pub port: u16,
}

/// Names and ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NameRule {
    /// The names.
    pub pattern: NamePattern,
    /// The ports.
    pub ports: PortsByProtocol,
}

/// What holds for the addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAnswer {
    /// The ports that are let through.
    pub allowed: PortsByProtocol,
    /// The ports that are refused although the policy is open; none for other policies, where what is
    /// not allowed is refused anyway, and other names may have the same addresses.
    pub denied: PortsByProtocol,
}

/// Why a policy comes to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such policy.
    #[error(transparent)]
    Policy(#[from] NoPolicy),
    /// What is in a group cannot be told.
    #[error(transparent)]
    Group(#[from] ExpandError),
    /// The policy does not know this service of the host.
    #[error("the network policy {policy} has no service of the host {service}")]
    Service {
        /// The policy.
        policy: PolicyName,
        /// The service.
        service: ServiceName,
    },
}

impl Networks {
    /// Whether a taskspace's policy depends on what this host's own clients use.
    ///
    /// # Errors
    /// When there is no such policy or group.
    pub fn names_registries(&self, wanted: &NetworkPolicy) -> Result<bool, ResolveError> {
        let policy = self.policy(&wanted.name)?;
        let marks: Vec<Destination> =
            REGISTRIES.parse().map(Destination::Group).into_iter().collect();
        let groups = Groups { by_name: &self.groups, registries: &marks };
        for list in [&policy.allow, &policy.deny, &wanted.allow, &wanted.deny] {
            if groups.expand(list)?.iter().any(|destination| marks.contains(destination)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns what a taskspace's policy comes to on this host.
    ///
    /// # Errors
    /// When there is no such policy, group or service of the host. Then nothing may go out: what is
    /// not known might have been denied.
    pub fn resolve(
        &self,
        wanted: &NetworkPolicy,
        host: &HostFacts,
    ) -> Result<Resolved, ResolveError> {
        let policy = self.policy(&wanted.name)?;
        let groups = Groups { by_name: &self.groups, registries: &host.registries };
        let denied = Sorted::new(&groups.expand(&policy.deny)?, &groups.expand(&wanted.deny)?);
        let mut allowed =
            Sorted::new(&groups.expand(&policy.allow)?, &groups.expand(&wanted.allow)?);
        let mut services = Vec::new();
        // Where nothing is let through, nothing is lacking.
        let is_isolated = policy.like == Openness::Isolated;
        let named = allowed.services.union(&denied.services).filter(|_| !is_isolated);
        for service in named {
            let port = policy.host_services.get(service).ok_or_else(|| ResolveError::Service {
                policy: wanted.name.clone(),
                service: service.clone(),
            })?;
            if !denied.services.contains(service) {
                services.push(HostService { name: service.clone(), port: port.get() });
            }
        }
        if is_isolated {
            allowed = Sorted::default();
        }
        let addresses: BTreeSet<IpAddr> = host.addresses.iter().copied().collect();
        Ok(Resolved {
            policy: wanted.name.clone(),
            like: policy.like,
            observe: wanted.observe,
            host: addresses.into_iter().collect(),
            services,
            denied: denied.address_rules(&[]),
            allowed: allowed.address_rules(&reserved::closed(policy.private_ranges)),
            denied_names: denied.name_rules(),
            allowed_names: allowed.name_rules(),
            closed: closed_of(policy, wanted.observe),
        })
    }
}

/// What is neither open nor opened to be observed has nothing that could be closed.
fn closed_of(policy: &Policy, observe: bool) -> Vec<AddressRange> {
    match policy.like {
        Openness::Restricted | Openness::Isolated if !observe => Vec::new(),
        _ => reserved::closed(policy.private_ranges),
    }
}

/// Destinations by their kinds.
#[derive(Default)]
struct Sorted {
    names: BTreeMap<NamePattern, Vec<PortSet>>,
    addresses: Vec<(AddressRange, PortSet)>,
    services: BTreeSet<ServiceName>,
}

impl Sorted {
    fn new(policy: &BTreeSet<Destination>, own: &BTreeSet<Destination>) -> Self {
        let mut sorted = Self::default();
        for destination in policy.union(own) {
            match destination.clone() {
                Destination::Name(pattern, ports) => {
                    sorted.names.entry(pattern).or_default().push(ports);
                }
                Destination::Address(range, ports) => sorted.addresses.push((range, ports)),
                Destination::Service(name) => drop(sorted.services.insert(name)),
                // What is in it was put in its place.
                Destination::Group(_) => {}
            }
        }
        sorted
    }

    fn address_rules(&self, closed: &[AddressRange]) -> Vec<AddressRule> {
        address_rules(self.addresses.iter().map(|(range, ports)| (*range, ports)), closed)
    }

    fn name_rules(&self) -> Vec<NameRule> {
        let rule = |(pattern, sets): (&NamePattern, &Vec<PortSet>)| NameRule {
            pattern: pattern.clone(),
            ports: PortsByProtocol::union(sets),
        };
        self.names.iter().map(rule).collect()
    }
}

impl Resolved {
    /// Returns what holds for the addresses of a name; none when the name is not answered.
    pub fn name(&self, name: &DomainName) -> Option<NameAnswer> {
        if self.like == Openness::Isolated {
            return None;
        }
        let denied = ports_of(&self.denied_names, name);
        let allowed = ports_of(&self.allowed_names, name).without(&denied);
        match self.like {
            Openness::Open => (!denied.is_all()).then_some(NameAnswer { allowed, denied }),
            Openness::Isolated | Openness::Restricted => {
                let nothing = PortsByProtocol::default();
                (!allowed.is_empty()).then_some(NameAnswer { allowed, denied: nothing })
            }
        }
    }

    /// Whether an address that a name gave may be let through because of that. Whoever answers for a
    /// name must not open this host, a link or a machine by it.
    pub fn leads_to(&self, address: IpAddr) -> bool {
        !self.host.contains(&address)
            && !reserved::local().iter().any(|range| range.contains(address))
    }

    /// Whether a port of a name may be reached, as far as the name decides that.
    pub fn allows_name(&self, name: &DomainName, protocol: Protocol, port: u16) -> bool {
        self.name(name).is_some_and(|answer| match self.like {
            Openness::Open => !answer.denied.contains(protocol, port),
            Openness::Isolated | Openness::Restricted => answer.allowed.contains(protocol, port),
        })
    }

    /// Whether a port of an address may be reached that no name gave.
    pub fn allows_address(&self, address: IpAddr, protocol: Protocol, port: u16) -> bool {
        let is_in =
            |rules: &[AddressRule]| rules.iter().any(|it| it.covers(address, protocol, port));
        if self.like == Openness::Isolated || is_in(&self.denied) {
            return false;
        }
        if self.host.contains(&address) {
            let is_service = |service: &HostService| service.port == port;
            return protocol == Protocol::Tcp && self.services.iter().any(is_service);
        }
        let is_closed = self.closed.iter().any(|range| range.contains(address));
        is_in(&self.allowed) || self.like == Openness::Open && !is_closed
    }
}

/// Returns the ports of all rules that are about a name.
fn ports_of(rules: &[NameRule], name: &DomainName) -> PortsByProtocol {
    let matching = rules.iter().filter(|rule| rule.pattern.matches(name));
    matching.fold(PortsByProtocol::default(), |ports, rule| ports.with(&rule.ports))
}
