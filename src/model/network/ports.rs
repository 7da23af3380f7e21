//! Protocols and ports of a destination.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A protocol that has ports.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// Returns the name as it stands in files and rules.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.name() == text)
            .ok_or_else(|| format!("{text:?} is no protocol that has ports: write tcp or udp"))
    }
}

/// Ports from the first to the last; port 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl PortRange {
    /// All ports.
    pub const ALL: Self = Self { first: 1, last: u16::MAX };

    /// Makes a range of one port.
    pub const fn of(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether a port is in it.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |part: &str| match part.parse::<u16>() {
            // A sign is no part of a port.
            Ok(port) if port > 0 && part.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
            Ok(0) => Err("there is no port 0: leave the ports out to mean all of them".to_owned()),
            _ if matches!(text, "*" | "") => {
                Err("leave the colon and the ports out to mean all of them".to_owned())
            }
            _ => Err(format!(
                "{part:?} is not a port from 1 to 65535: write ports as 443, 8000-8100 or 80,443"
            )),
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(format!("no port is in {text}: write {last}-{first}"));
        }
        Ok(Self { first, last })
    }
}

/// Some ports of one protocol, or of both.
///
/// As text: `443`, `80,443,8000-8100`, `53/udp`. The ranges are in order, and apart from each other;
/// there is one at least.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet {
    protocol: Option<Protocol>,
    ranges: Vec<PortRange>,
}

impl PortSet {
    /// Returns all ports of both protocols.
    pub fn all() -> Self {
        Self { protocol: None, ranges: vec![PortRange::ALL] }
    }

    /// Returns one port of a protocol.
    pub fn one(protocol: Protocol, port: u16) -> Self {
        Self { protocol: Some(protocol), ranges: vec![PortRange::of(port)] }
    }

    /// Whether it has all ports of both protocols.
    pub fn is_all(&self) -> bool {
        self.protocol.is_none() && self.ranges == [PortRange::ALL]
    }

    /// Whether a port of a protocol is in it.
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.ranges_of(protocol).iter().any(|range| range.contains(port))
    }

    /// Whether all ports of another one are in it.
    pub fn covers(&self, other: &Self) -> bool {
        Protocol::ALL.into_iter().all(|protocol| {
            let own = self.ranges_of(protocol);
            let is_in = |range: &PortRange| {
                own.iter().any(|own| own.contains(range.first) && own.contains(range.last))
            };
            other.ranges_of(protocol).iter().all(is_in)
        })
    }

    /// Returns its ranges of a protocol.
    pub fn ranges_of(&self, protocol: Protocol) -> &[PortRange] {
        match self.protocol {
            Some(only) if only != protocol => &[],
            _ => &self.ranges,
        }
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.ranges.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            range.fmt(f)?;
        }
        match self.protocol {
            Some(protocol) => write!(f, "/{protocol}"),
            None => Ok(()),
        }
    }
}

impl FromStr for PortSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ranges, protocol) = match text.split_once('/') {
            Some((ranges, protocol)) => (ranges, Some(protocol.parse()?)),
            None => (text, None),
        };
        let ranges = ranges.split(',').map(str::parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { protocol, ranges: joined(ranges) })
    }
}

/// Puts ranges in order, and makes one of those that overlap or touch each other.
pub(crate) fn joined(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut joined: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(before) if range.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(range.last);
            }
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ports_are_read_and_put_in_order() {
        let cases = [
            ("443", "443"),
            ("443,80", "80,443"),
            ("8000-8100,8101,8050", "8000-8101"),
            ("53/udp", "53/udp"),
            ("1-65535/tcp", "1-65535/tcp"),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<PortSet>().unwrap().to_string(), shown);
        }
        assert!("1-65535".parse::<PortSet>().unwrap().is_all());
        assert!(!"1-65535/tcp".parse::<PortSet>().unwrap().is_all());
    }

    #[test]
    fn what_are_no_ports_is_told() {
        insta::assert_snapshot!(
            ["0", "", "*", "80-", "https", "+80", "65536", "90-80", "80/sctp", "80,,81"]
                .map(|text| text.parse::<PortSet>().unwrap_err())
                .join("\n"),
            @r#"
        there is no port 0: leave the ports out to mean all of them
        leave the colon and the ports out to mean all of them
        leave the colon and the ports out to mean all of them
        "" is not a port from 1 to 65535: write ports as 443, 8000-8100 or 80,443
        "https" is not a port from 1 to 65535: write ports as 443, 8000-8100 or 80,443
        "+80" is not a port from 1 to 65535: write ports as 443, 8000-8100 or 80,443
        "65536" is not a port from 1 to 65535: write ports as 443, 8000-8100 or 80,443
        no port is in 90-80: write 80-90
        "sctp" is no protocol that has ports: write tcp or udp
        leave the colon and the ports out to mean all of them
        "#
        );
    }

    proptest! {
        #[test]
        fn a_port_is_in_the_set_when_it_is_in_a_range(
            given in prop::collection::vec((1u16..200, 0u16..20), 1..6),
            protocol in prop::option::of(prop::sample::select(Protocol::ALL.as_slice())),
            port in 1u16..230,
        ) {
            let ranges: Vec<PortRange> =
                given.iter().map(|(first, more)| PortRange { first: *first, last: first + more }).collect();
            let expected = ranges.iter().any(|range| range.contains(port));
            let set = PortSet { protocol, ranges: joined(ranges) };
            for asked in Protocol::ALL {
                let fits = protocol.is_none_or(|only| only == asked);
                prop_assert_eq!(set.contains(asked, port), expected && fits);
            }
            prop_assert_eq!(set.to_string().parse::<PortSet>().unwrap(), set);
        }
    }
}
