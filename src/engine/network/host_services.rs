//! Forwards connections from a pod to services of this host.
//!
//! The service listens in the pod's network, where the rules lead what is sent to this host, and connects to
//! the host's loopback: most servers listen only there. So nothing of the loopback is within the pod's reach
//! but the ports that are named, and nothing at all while the service does not run.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;

use super::Refusals;
use crate::engine::ports::{Forward, Places, Relay};
use crate::host::addresses;
use crate::host::pod_network::{PodNetwork, PodNetworkError};
use crate::model::TaskspaceId;

/// The services of this host that are forwarded to from one pod's network. They are closed before the
/// network is released.
pub(super) struct HostServices {
    network: PodNetwork,
    places: Arc<Places>,
    refusals: Arc<Refusals>,
    open: Mutex<BTreeMap<u16, Open>>,
}

/// A service's port that is open.
struct Open {
    /// The port on the pod's loopback.
    inside: u16,
    forward: Forward,
}

impl HostServices {
    pub(super) fn new(id: &TaskspaceId, network: PodNetwork, refusals: Arc<Refusals>) -> Self {
        let places = Arc::new(Places::new(id.clone(), "services of this host"));
        Self { network, places, refusals, open: Mutex::default() }
    }

    /// Forwards to these ports of this host as well; returns the ports on the pod's loopback.
    pub(super) async fn open(
        &self,
        ports: &BTreeSet<u16>,
    ) -> Result<BTreeMap<u16, u16>, PodNetworkError> {
        let is_lacking = |port: &&u16| !self.lock().contains_key(port);
        let lacking: Vec<u16> = ports.iter().filter(is_lacking).copied().collect();
        if !lacking.is_empty() {
            let sockets = self.network.host_sockets(lacking.len()).await?;
            for (port, socket) in lacking.into_iter().zip(sockets) {
                let (places, refusals) = (self.places.clone(), self.refusals.clone());
                let service = HostService { port, places, refusals };
                let forward = Forward::begin(socket.listeners, service)?;
                self.lock().insert(port, Open { inside: socket.port, forward });
            }
        }
        let open = self.lock();
        let inside = |port: &u16| Some((*port, open.get(port)?.inside));
        Ok(ports.iter().filter_map(inside).collect())
    }

    /// Ends all but these, with their connections.
    pub(super) async fn keep(&self, ports: &BTreeSet<u16>) {
        let unwanted = {
            let mut open = self.lock();
            let all = std::mem::take(&mut *open).into_iter();
            let (kept, unwanted): (BTreeMap<_, _>, BTreeMap<_, _>) =
                all.partition(|(port, _)| ports.contains(port));
            *open = kept;
            unwanted
        };
        for open in unwanted.into_values() {
            open.forward.end().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One service of this host.
#[derive(Clone)]
struct HostService {
    port: u16,
    places: Arc<Places>,
    refusals: Arc<Refusals>,
}

impl Relay for HostService {
    fn places(&self) -> &Places {
        &self.places
    }

    /// Connects to the loopback, over IPv4 first; if that is refused, to the other addresses of this host.
    async fn connect(&self) -> io::Result<TcpStream> {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let mut last = io::ErrorKind::ConnectionRefused.into();
        for address in loopback.into_iter().chain(addresses::own().unwrap_or_default()) {
            match TcpStream::connect((address, self.port)).await {
                Ok(connected) => return Ok(connected),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn unanswered(&self, error: &io::Error) {
        self.refusals.note_unanswered(self.port, error);
    }
}
