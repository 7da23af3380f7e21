//! The addresses of this host.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use nix::ifaddrs::getifaddrs;

/// The address by which a pod reaches its host, which pasta maps to the host's own (`host.containers.internal`
/// in Podman's pods).
const AS_SEEN_BY_PODS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 2));

/// Returns the addresses by which a pod could reach this host, in order.
///
/// # Errors
/// When the kernel does not tell.
pub fn of_this_host() -> io::Result<Vec<IpAddr>> {
    let own = getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
    });
    let mut addresses: Vec<IpAddr> = own.filter(|it| !it.is_loopback()).collect();
    addresses.push(AS_SEEN_BY_PODS);
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pods_see_is_an_address_and_loopback_is_none() {
        let addresses = of_this_host().unwrap();
        assert!(addresses.contains(&AS_SEEN_BY_PODS));
        assert!(!addresses.contains(&Ipv4Addr::LOCALHOST.into()));
    }
}
