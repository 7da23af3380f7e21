//! The addresses of this host.

use std::io;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

use crate::model::HOST_ADDRESSES;

/// Returns the addresses by which a pod could reach this host, in order.
///
/// # Errors
/// When the kernel does not tell.
pub fn of_this_host() -> io::Result<Vec<IpAddr>> {
    let mut addresses = own()?;
    addresses.extend(HOST_ADDRESSES);
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Returns the addresses of this host's interfaces without those of the loopback.
///
/// # Errors
/// When the kernel does not tell.
pub fn own() -> io::Result<Vec<IpAddr>> {
    let own = getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
    });
    Ok(own.filter(|it| !it.is_loopback()).collect())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn what_pods_see_is_an_address_and_loopback_is_none() {
        let addresses = of_this_host().unwrap();
        assert!(HOST_ADDRESSES.iter().all(|it| addresses.contains(it)));
        assert!(!addresses.contains(&Ipv4Addr::LOCALHOST.into()));
    }
}
