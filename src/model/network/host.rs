//! This host, as a taskspace knows it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The name under which a taskspace reaches services of this host, as in Podman's containers.
pub const HOST_NAME: &str = "host.containers.internal";

/// The same name as others know it.
pub const HOST_ALIAS: &str = "host.docker.internal";

/// The addresses that the name leads to, in every taskspace: the one that Podman writes into `/etc/hosts`
/// of containers whose network is pasta's, and one of a range of our own (RFC 4193).
pub const HOST_ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 1, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd7a, 0x5b3c, 0x9e21, 0, 0, 0, 0, 2)),
];
