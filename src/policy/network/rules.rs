//! Ranges of addresses and ports that lie apart from each other, as sets of the kernel need them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use crate::model::{AddressRange, PortRange, PortSet, Protocol, joined};

/// Some addresses, a protocol and some of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct AddressRule {
    /// The first address.
    pub first: IpAddr,
    /// The last address, of the same kind.
    pub last: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The ports.
    pub ports: PortRange,
}

impl AddressRule {
    /// Whether it is about a port of an address.
    pub fn covers(&self, address: IpAddr, protocol: Protocol, port: u16) -> bool {
        address.is_ipv4() == self.first.is_ipv4()
            && (self.first..=self.last).contains(&address)
            && protocol == self.protocol
            && self.ports.contains(port)
    }
}

/// Ports of both protocols; the ranges of each are in order, and apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortsByProtocol {
    /// Ports of TCP.
    pub tcp: Vec<PortRange>,
    /// Ports of UDP.
    pub udp: Vec<PortRange>,
}

impl PortsByProtocol {
    /// Puts sets of ports together.
    pub fn union<'a>(sets: impl IntoIterator<Item = &'a PortSet> + Clone) -> Self {
        let of = |protocol| {
            let sets = sets.clone().into_iter();
            joined(sets.flat_map(|set: &PortSet| set.ranges_of(protocol).iter().copied()).collect())
        };
        Self { tcp: of(Protocol::Tcp), udp: of(Protocol::Udp) }
    }

    /// Returns its ranges of a protocol.
    pub fn of(&self, protocol: Protocol) -> &[PortRange] {
        match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
        }
    }

    /// Whether a port of a protocol is in it.
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.of(protocol).iter().any(|range| range.contains(port))
    }

    /// Whether no port is in it.
    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty()
    }

    /// Whether all ports are in it.
    pub fn is_all(&self) -> bool {
        self.tcp == [PortRange::ALL] && self.udp == [PortRange::ALL]
    }

    /// Returns it with the ports of another one.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let of = |protocol| joined([self.of(protocol), other.of(protocol)].concat());
        Self { tcp: of(Protocol::Tcp), udp: of(Protocol::Udp) }
    }

    /// Returns it without the ports of another one.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self { tcp: without(&self.tcp, &other.tcp), udp: without(&self.udp, &other.udp) }
    }
}

impl From<AddressRule> for PortsByProtocol {
    fn from(rule: AddressRule) -> Self {
        let of = |protocol| match protocol == rule.protocol {
            true => vec![rule.ports],
            false => Vec::new(),
        };
        Self { tcp: of(Protocol::Tcp), udp: of(Protocol::Udp) }
    }
}

/// Takes ranges of ports out of others; both are in order, and apart from each other.
fn without(ranges: &[PortRange], taken: &[PortRange]) -> Vec<PortRange> {
    let mut left = Vec::new();
    for range in ranges {
        // What is before this is done with; it may be one beyond the last port.
        let mut first = u32::from(range.first);
        let end = u32::from(range.last) + 1;
        for gap in taken.iter().filter(|gap| gap.first <= range.last && gap.last >= range.first) {
            left.extend(between(first, gap.first.into()));
            first = u32::from(gap.last) + 1;
        }
        left.extend(between(first, end));
    }
    left
}

/// Returns the ports from `first` on and before `end`, if there are any.
fn between(first: u32, end: u32) -> Option<PortRange> {
    let last = end.checked_sub(1).filter(|last| first <= *last)?;
    Some(PortRange { first: first.try_into().ok()?, last: last.try_into().ok()? })
}

/// A range of addresses as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    is_v4: bool,
    first: u128,
    last: u128,
}

impl From<AddressRange> for Span {
    fn from(range: AddressRange) -> Self {
        let number = |address| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        Self {
            is_v4: range.first().is_ipv4(),
            first: number(range.first()),
            last: number(range.last()),
        }
    }
}

impl Span {
    /// Returns what is left of it without another one.
    fn without(self, gap: Self) -> impl Iterator<Item = Self> {
        let apart = self.is_v4 != gap.is_v4 || gap.last < self.first || self.last < gap.first;
        let before = gap.first.checked_sub(1).filter(|last| !apart && self.first <= *last);
        let after = gap.last.checked_add(1).filter(|first| !apart && *first <= self.last);
        [
            apart.then_some(self),
            before.map(|last| Self { last, ..self }),
            after.map(|first| Self { first, ..self }),
        ]
        .into_iter()
        .flatten()
    }

    fn address(self, number: u128) -> IpAddr {
        match self.is_v4.then(|| u32::try_from(number).unwrap_or(u32::MAX)) {
            Some(bits) => Ipv4Addr::from_bits(bits).into(),
            None => Ipv6Addr::from_bits(number).into(),
        }
    }
}

/// Makes rules of ranges with ports, which may overlap.
///
/// What lies in a `closed` range stays out of a range that is not in it as a whole: who writes
/// `0.0.0.0/0` means everywhere, and who writes `10.1.0.0/16` means just that.
pub(super) fn address_rules<'a>(
    ranges: impl Iterator<Item = (AddressRange, &'a PortSet)>,
    closed: &[AddressRange],
) -> Vec<AddressRule> {
    let mut given: Vec<(Span, &PortSet)> = Vec::new();
    for (range, ports) in ranges {
        let mut spans = vec![Span::from(range)];
        if !closed.iter().any(|closed| closed.covers(range)) {
            for gap in closed.iter().filter(|closed| range.covers(**closed)) {
                spans = spans.into_iter().flat_map(|span| span.without((*gap).into())).collect();
            }
        }
        given.extend(spans.into_iter().map(|span| (span, ports)));
    }
    let mut rules = Vec::new();
    for is_v4 in [true, false] {
        let given: Vec<_> = given.iter().filter(|(span, _)| span.is_v4 == is_v4).collect();
        for protocol in Protocol::ALL {
            rules.extend(apart(&given, protocol));
        }
    }
    rules.sort_unstable();
    rules
}

/// Cuts ranges of one kind of address at each place where one of them begins or ends: in between, the
/// same ports hold. Neighbours with the same ports are put together again.
fn apart(given: &[&(Span, &PortSet)], protocol: Protocol) -> Vec<AddressRule> {
    let Some((first, _)) = given.first() else { return Vec::new() };
    let begins = given.iter().map(|(span, _)| span.first);
    let ends = given.iter().filter_map(|(span, _)| span.last.checked_add(1));
    let cuts: BTreeSet<u128> = begins.chain(ends).collect();
    let mut pieces: Vec<(Span, Vec<PortRange>)> = Vec::new();
    let nexts = cuts.iter().skip(1).map(|next| next - 1).chain([u128::MAX]);
    for (&begin, last) in cuts.iter().zip(nexts) {
        let here = given.iter().filter(|(span, _)| span.first <= begin && begin <= span.last);
        let ports =
            joined(here.flat_map(|(_, ports)| ports.ranges_of(protocol)).copied().collect());
        match pieces.last_mut() {
            Some((before, same)) if *same == ports && before.last.checked_add(1) == Some(begin) => {
                before.last = last;
            }
            _ => pieces.push((Span { first: begin, last, ..*first }, ports)),
        }
    }
    let rules = pieces.into_iter().flat_map(|(span, ports)| {
        let (first, last) = (span.address(span.first), span.address(span.last));
        ports.into_iter().map(move |ports| AddressRule { first, last, protocol, ports })
    });
    rules.collect()
}
