//! What a taskspace may reach, as it is shown.

use serde::{Deserialize, Serialize};

use super::{HOST_NAME, NetworkPolicy, ServiceName};

/// What a taskspace may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NetworkView {
    /// The policy that is in force, or is to be when it runs.
    #[serde(flatten)]
    pub policy: NetworkPolicy,
    /// What belongs to it.
    #[serde(flatten)]
    pub state: NetworkState,
}

/// What belongs to the network policy of a taskspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct NetworkState {
    /// The services of this host that it reaches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_services: Vec<HostServiceView>,
    /// The policy that it has, where that cannot be in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<NetworkPolicy>,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A service of this host that a taskspace reaches, over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HostServiceView {
    /// Its name.
    pub name: ServiceName,
    /// Where it is reached in the taskspace: a name and a port.
    pub address: String,
}

impl HostServiceView {
    /// Returns where a service with this port is reached.
    pub fn new(name: ServiceName, port: u16) -> Self {
        Self { name, address: format!("{HOST_NAME}:{port}") }
    }
}
