//! Ports on the host's loopback.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use nix::libc;
use rand::Rng;
use rand::seq::SliceRandom;

/// Listens on a port of the loopback, IPv4 and (where there is any) IPv6.
///
/// # Errors
/// When somebody listens there already, on either.
pub fn listen(port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = vec![TcpListener::bind((Ipv4Addr::LOCALHOST, port))?];
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))) {
        Ok(listener) => listeners.push(listener),
        // A host without IPv6 has no such address; nobody can listen there.
        Err(error)
            if error.kind() == io::ErrorKind::AddrNotAvailable
                || error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
        Err(error) => return Err(error),
    }
    Ok(listeners)
}

/// Whether nobody listens on a port of the loopback, IPv4 and (where there is any) IPv6.
pub fn is_free(port: u16) -> bool {
    listen(port).is_ok()
}

/// Picks a free port of a range at random, leaving out those that are `taken`; where there is none, the
/// first free one of the `last` ones.
///
/// Returned with what holds it. Who lets go of that must be ready to pick again.
pub fn pick(
    range: RangeInclusive<u16>,
    taken: &dyn Fn(u16) -> bool,
    last: &[u16],
    rng: &mut impl Rng,
) -> Option<(u16, Vec<TcpListener>)> {
    let mut candidates: Vec<u16> =
        range.clone().filter(|port| !taken(*port) && !last.contains(port)).collect();
    candidates.shuffle(rng);
    let last = last.iter().copied().filter(|port| range.contains(port) && !taken(*port));
    let mut candidates = candidates.into_iter().chain(last);
    candidates.find_map(|port| listen(port).ok().map(|listeners| (port, listeners)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn picked(
        range: RangeInclusive<u16>,
        taken: &dyn Fn(u16) -> bool,
        last: &[u16],
    ) -> Option<u16> {
        pick(range, taken, last, &mut rand::rng()).map(|(port, _)| port)
    }

    #[test]
    fn a_port_with_a_listener_is_not_free_on_either_family() {
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            assert!(!is_free(port), "{address}");
            assert_eq!(picked(port..=port, &|_| false, &[]), None);
        }
    }

    #[test]
    fn a_taken_port_is_left_out_and_an_exhausted_range_gives_none() {
        let range = 28_100..=28_103;
        let taken = |port| port != 28_102;
        assert_eq!(picked(range.clone(), &taken, &[]), Some(28_102));
        assert_eq!(picked(range, &|_| true, &[28_101]), None);
    }

    #[test]
    fn what_is_to_come_last_is_picked_in_its_order_when_nothing_else_is_left() {
        let range = 28_104..=28_106;
        let last = [28_106, 9, 28_104];
        assert_eq!(picked(range.clone(), &|_| false, &last), Some(28_105));
        assert_eq!(picked(range.clone(), &|port| port == 28_105, &last), Some(28_106));
        let _held = TcpListener::bind(("127.0.0.1", 28_106)).unwrap();
        assert_eq!(picked(range, &|port| port == 28_105, &last), Some(28_104));
    }

    #[test]
    fn what_is_picked_is_held() {
        let (port, _held) = pick(28_107..=28_110, &|_| false, &[], &mut rand::rng()).unwrap();
        assert!(!is_free(port));
    }

    #[test]
    fn picks_are_spread_over_the_range() {
        let picks: BTreeSet<_> =
            (0..20).filter_map(|_| picked(20_001..=30_000, &|_| false, &[])).collect();
        assert!(picks.len() > 10, "{picks:?}");
    }
}
