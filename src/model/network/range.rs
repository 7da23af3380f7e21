//! Ranges of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Serialize;

/// An address, or all that begin with the same bits: `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct AddressRange {
    first: IpAddr,
    prefix: u8,
}

impl AddressRange {
    /// Makes the range of IPv4 addresses that begin with `prefix` bits of one (32 at most).
    pub const fn v4(first: Ipv4Addr, prefix: u8) -> Self {
        let bits = first.to_bits() & mask_v4(prefix);
        Self { first: IpAddr::V4(Ipv4Addr::from_bits(bits)), prefix }
    }

    /// Makes the range of IPv6 addresses that begin with `prefix` bits of one (128 at most).
    pub const fn v6(first: Ipv6Addr, prefix: u8) -> Self {
        let bits = first.to_bits() & mask_v6(prefix);
        Self { first: IpAddr::V6(Ipv6Addr::from_bits(bits)), prefix }
    }

    /// Returns the first address.
    pub const fn first(self) -> IpAddr {
        self.first
    }

    /// Returns how many bits its addresses have in common.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Returns the last address.
    pub const fn last(self) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() | !mask_v4(self.prefix)))
            }
            IpAddr::V6(first) => {
                IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | !mask_v6(self.prefix)))
            }
        }
    }

    /// Whether an address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last()
    }

    /// Whether all addresses of another one are in it.
    pub fn covers(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.first)
    }
}

impl From<IpAddr> for AddressRange {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::v4(address, 32),
            IpAddr::V6(address) => Self::v6(address, 128),
        }
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

/// Returns the bits that addresses of a range have in common.
const fn mask_v4(prefix: u8) -> u32 {
    match prefix {
        0 => 0,
        bits => u32::MAX << (32 - bits),
    }
}

const fn mask_v6(prefix: u8) -> u128 {
    match prefix {
        0 => 0,
        bits => u128::MAX << (128 - bits),
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.prefix) {
            (IpAddr::V4(address), 32) => address.fmt(f),
            (IpAddr::V6(address), 128) => address.fmt(f),
            (first, prefix) => write!(f, "{first}/{prefix}"),
        }
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            format!("{address:?} is not an address such as 192.0.2.7 or 2001:db8::1")
        })?;
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            return Err(format!("{v6} stands for an IPv4 address: write {v4}"));
        }
        let Some(prefix) = prefix else { return Ok(address.into()) };
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = prefix.parse::<u8>().ok().filter(|bits| *bits <= longest);
        // Neither a sign nor zeros before it are how people write it.
        let Some(bits) = bits.filter(|bits| bits.to_string() == prefix) else {
            return Err(format!("/{prefix} is not a number of bits from /0 to /{longest}"));
        };
        let range = match address {
            IpAddr::V4(address) => Self::v4(address, bits),
            IpAddr::V6(address) => Self::v6(address, bits),
        };
        if range.first != address {
            return Err(format!(
                "{text} has bits beyond its /{bits}: write {range} for the range, or {address} for \
                 the address"
            ));
        }
        Ok(range)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_range_is_told() {
        insta::assert_snapshot!(
            ["192.0.2.7/24", "2001:db8::1/32", "192.0.2.0/33", "192.0.2.0/+8", "::ffff:192.0.2.7", "1.2.3/8"]
                .map(|text| text.parse::<AddressRange>().unwrap_err())
                .join("\n"),
            @r#"
        192.0.2.7/24 has bits beyond its /24: write 192.0.2.0/24 for the range, or 192.0.2.7 for the address
        2001:db8::1/32 has bits beyond its /32: write 2001:db8::/32 for the range, or 2001:db8::1 for the address
        /33 is not a number of bits from /0 to /32
        /+8 is not a number of bits from /0 to /32
        ::ffff:192.0.2.7 stands for an IPv4 address: write 192.0.2.7
        "1.2.3" is not an address such as 192.0.2.7 or 2001:db8::1
        "#
        );
    }

    fn ranges() -> impl Strategy<Value = AddressRange> {
        prop_oneof![
            (any::<u32>(), 0u8..=32)
                .prop_map(|(bits, prefix)| AddressRange::v4(bits.into(), prefix)),
            (any::<u128>(), 0u8..=128)
                .prop_filter("no IPv4 address in disguise", |(bits, _)| bits >> 32 != 0xffff)
                .prop_map(|(bits, prefix)| AddressRange::v6(bits.into(), prefix)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(range in ranges()) {
            prop_assert_eq!(range.to_string().parse::<AddressRange>(), Ok(range));
        }

        #[test]
        fn it_ends_where_it_ends(range in ranges(), other in ranges()) {
            prop_assert!(range.contains(range.first()) && range.contains(range.last()));
            let same_family = range.first().is_ipv4() == other.first().is_ipv4();
            let covers = same_family
                && range.first() <= other.first()
                && other.last() <= range.last();
            prop_assert_eq!(range.covers(other), covers);
        }
    }
}
