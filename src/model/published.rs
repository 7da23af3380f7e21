//! Ports of a taskspace that are published on the host's loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;

use serde::{Deserialize, Serialize};

/// How many ports of a taskspace can be published.
pub const MAX_PUBLISHED: usize = 64;

/// A TCP port of a taskspace's pod that is published on the host's loopback.
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
pub struct PublishedPort {
    /// The pod's port.
    #[schema(value_type = u16, minimum = 1)]
    pub port: NonZero<u16>,
    /// The host's port.
    pub host_port: u16,
}

impl PublishedPort {
    /// Returns where it is published; on the host's loopback of IPv6 it has the same port.
    pub fn address(self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.host_port).into()
    }
}

/// How a port is to be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PublishRequest {
    /// The host's port; one that nobody has when it is not given.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 65_535)]
    pub to: Option<NonZero<u16>>,
}

/// A published port, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PortView {
    /// The pod's port.
    #[schema(value_type = u16, minimum = 1)]
    pub port: NonZero<u16>,
    /// The host's port.
    pub host_port: u16,
    /// Where it is published, such as `127.0.0.1:10123`; where the host has IPv6, on `::1` as well.
    pub address: String,
    /// Whether the service listens there: not while the taskspace is stopped or paused.
    pub open: bool,
    /// Why it does not although it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl PortView {
    /// Makes one of a port whose state is known.
    pub fn new(published: PublishedPort, open: bool, problem: Option<String>) -> Self {
        let PublishedPort { port, host_port } = published;
        Self { port, host_port, address: published.address().to_string(), open, problem }
    }
}
