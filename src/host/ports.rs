//! Ports on the host's loopback.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use nix::libc;
use rand::Rng;
use rand::seq::SliceRandom;

/// Whether nobody listens on a port of the loopback, IPv4 and (where there is any) IPv6.
pub fn is_free(port: u16) -> bool {
    let can_bind = |address: SocketAddr| match TcpListener::bind(address) {
        Ok(_) => true,
        // A host without IPv6 has no such address; nobody can listen there.
        Err(error) => {
            address.is_ipv6()
                && (error.kind() == io::ErrorKind::AddrNotAvailable
                    || error.raw_os_error() == Some(libc::EAFNOSUPPORT))
        }
    };
    can_bind((Ipv4Addr::LOCALHOST, port).into()) && can_bind((Ipv6Addr::LOCALHOST, port).into())
}

/// Picks a free port of a range at random, leaving out those that are `taken`.
///
/// Nothing holds the port for the caller, who records it and must be ready to pick again.
pub fn pick(
    range: RangeInclusive<u16>,
    taken: &dyn Fn(u16) -> bool,
    rng: &mut impl Rng,
) -> Option<u16> {
    let mut candidates: Vec<u16> = range.filter(|&port| !taken(port)).collect();
    candidates.shuffle(rng);
    candidates.into_iter().find(|&port| is_free(port))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_port_with_a_listener_is_not_free_on_either_family() {
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            assert!(!is_free(port), "{address}");
            assert_eq!(pick(port..=port, &|_| false, &mut rand::rng()), None);
        }
    }

    #[test]
    fn a_taken_port_is_left_out_and_an_exhausted_range_gives_none() {
        let range = 28_100..=28_103;
        let taken = |port| port != 28_102;
        assert_eq!(pick(range.clone(), &taken, &mut rand::rng()), Some(28_102));
        assert_eq!(pick(range, &|_| true, &mut rand::rng()), None);
    }

    #[test]
    fn picks_are_spread_over_the_range() {
        let mut rng = rand::rng();
        let picks: BTreeSet<_> =
            (0..20).filter_map(|_| pick(20_001..=30_000, &|_| false, &mut rng)).collect();
        assert!(picks.len() > 10, "{picks:?}");
    }
}
