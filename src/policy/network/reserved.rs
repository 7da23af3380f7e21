//! Addresses that are not a part of everywhere.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::PrivateRanges;
use crate::model::AddressRange;

/// What never leaves a machine or a link, or is no single place: only an address that is allowed by
/// itself leads there. The metadata services of clouds are link-local.
const LOCAL_V4: [AddressRange; 5] = [
    v4([0, 0, 0, 0], 8),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// The same of IPv6, and what carries addresses of IPv4 within it: mapped and compatible ones, Teredo,
/// 6to4 and translation within a site.
const LOCAL_V6: [AddressRange; 7] = [
    v6([0, 0, 0, 0], 96),
    v6([0xfe80, 0, 0, 0], 10),
    v6([0xff00, 0, 0, 0], 8),
    v6([0x2001, 0, 0, 0], 32),
    v6([0x2002, 0, 0, 0], 16),
    v6([0x64, 0xff9b, 1, 0], 48),
    AddressRange::v6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
];

/// Networks that anybody may have for themselves: RFC 1918, RFC 6598 and benchmarking (RFC 2544).
const PRIVATE_V4: [AddressRange; 5] = [
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
];

/// The same of IPv6: RFC 4193, and what was there before it.
const PRIVATE_V6: [AddressRange; 2] = [v6([0xfc00, 0, 0, 0], 7), v6([0xfec0, 0, 0, 0], 10)];

const fn v4(bytes: [u8; 4], prefix: u8) -> AddressRange {
    let [a, b, c, d] = bytes;
    AddressRange::v4(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: [u16; 4], prefix: u8) -> AddressRange {
    let [a, b, c, d] = first;
    AddressRange::v6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

/// Returns the ranges that are reached only where they are allowed by themselves, in order.
pub(super) fn closed(private: PrivateRanges) -> Vec<AddressRange> {
    let mut ranges = local();
    if private == PrivateRanges::Refuse {
        ranges.extend(PRIVATE_V4.iter().copied().flat_map(with_translated).chain(PRIVATE_V6));
    }
    ranges.sort_unstable();
    ranges
}

/// Returns the ranges to which no name leads.
pub(super) fn local() -> Vec<AddressRange> {
    LOCAL_V4.iter().copied().flat_map(with_translated).chain(LOCAL_V6).collect()
}

/// Adds what a translator of the network makes of a range (RFC 6052).
fn with_translated(range: AddressRange) -> [AddressRange; 2] {
    const TRANSLATED: u128 = 0x0064_ff9b << 96;
    let translated = match range.first() {
        std::net::IpAddr::V4(first) => AddressRange::v6(
            Ipv6Addr::from_bits(TRANSLATED | u128::from(first.to_bits())),
            96 + range.prefix(),
        ),
        std::net::IpAddr::V6(_) => range,
    };
    [range, translated]
}
