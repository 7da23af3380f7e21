//! Has addresses that names have led to let through for as long as somebody is connected to them.
//!
//! An answer has a time to live; what was connected to by it may stay so for days, and pools of
//! connections connect once more to the address that they know.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Guarded;
use crate::engine::Inner;
use crate::host::pod_network::PodNetwork;
use crate::model::{Protocol, TaskspaceId};

/// How often it is looked at most: grants last for minutes, and the kernel goes through the
/// connections of all networks to tell those of one.
const INTERVAL: Duration = Duration::from_secs(20);

impl Inner {
    /// Has addresses last that are in use, in all networks, now and then.
    pub(in crate::engine) async fn hold_used_addresses(&self) {
        {
            let mut held = self.networks.held();
            if held.is_some_and(|held| held.elapsed() < INTERVAL) {
                return;
            }
            *held = Some(Instant::now());
        }
        for (id, guarded) in self.networks.all() {
            guarded.hold_used_addresses(&id).await;
        }
    }
}

impl Guarded {
    /// Renews the grants of addresses with an open connection.
    ///
    /// This allows nothing new: the taskspace is connected to these addresses already.
    pub(super) async fn hold_used_addresses(&self, id: &TaskspaceId) {
        let Some(filter) = &self.filter else { return };
        let connected = match PodNetwork::of(self.process).connected().await {
            Ok(connected) => connected,
            Err(error) => return tracing::debug!(%id, "its connections are not known: {error}"),
        };
        if connected.is_empty() {
            return;
        }
        let rules = self.in_force.lock().await.rules.clone();
        let used: HashSet<SocketAddr> = connected.into_iter().collect();
        let is_used = |scopes: &_, address| {
            let ports = used.iter().filter(|it| it.ip() == address).map(SocketAddr::port);
            ports.into_iter().any(|port| rules.lets_through(scopes, Protocol::Tcp, port))
        };
        filter.hold(is_used).await;
    }
}
