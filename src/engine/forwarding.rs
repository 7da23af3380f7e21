//! Ends what still forwards the ports of a taskspace whose network is gone.
//!
//! Podman does not end pasta: that ends by itself when it sees that the network's namespace is removed.
//! It stays, with the ports, when Podman is ended after it has started pasta and before it has noted
//! the namespace, or when pasta does not see the removal.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::ssh::blocking;
use super::volumes::is_ours;
use super::{Inner, problems};
use crate::host::forwarders::Forwarder;
use crate::host::ports;
use crate::model::{Ports, Problem, Record, Status, TaskspaceId};
use crate::plan::assess::Life;
use crate::plan::names;
use crate::podman::{ContainerSummary, Podman};

/// How long pasta may take to see that its network is gone.
const LET_GO: Duration = Duration::from_millis(500);

/// How often to look meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Whether the network of a taskspace that is stopped may be left: somebody holds one of its ports.
pub(super) fn is_left(record: &Record) -> bool {
    record.status == Status::Stopped && are_held(record.ports())
}

fn are_held(ports: Ports) -> bool {
    !(ports::is_free(ports.dev) && ports::is_free(ports.agent))
}

impl Inner {
    /// Ends what forwards the ports of a taskspace that does not run, unless it forwards them to the
    /// network of any container: a taskspace of another registry may have the same ports.
    pub(super) async fn free_ports(
        &self,
        podman: &Podman,
        id: &TaskspaceId,
        ports: Ports,
    ) -> Result<(), Problem> {
        let deadline = Instant::now() + LET_GO;
        if !are_held(ports) {
            return Ok(());
        }
        let mut found = blocking(move || Forwarder::of(ports).map_err(problems::internal)).await?;
        while !found.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_AGAIN).await;
            found.retain(|forwarder| forwarder.process.runs());
        }
        if found.is_empty() {
            return Ok(());
        }
        // Asked after they were found: none of them can be of a container that is not listed.
        let used = self.networks(podman, id).await?;
        for orphan in found.iter().filter(|forwarder| !used.contains(&forwarder.namespace)) {
            tracing::warn!(%id, ?orphan, "ending what forwards its ports to a network that is gone");
            orphan.process.end().map_err(problems::internal)?;
        }
        Ok(())
    }

    /// Returns the networks of all containers, but for what is left of that of a taskspace that does
    /// not run.
    async fn networks(
        &self,
        podman: &Podman,
        id: &TaskspaceId,
    ) -> Result<BTreeSet<PathBuf>, Problem> {
        let registry = self.document().await?.registry;
        let is_left = |container: &ContainerSummary| {
            is_ours(&container.labels, registry)
                && container.labels.get(names::TASKSPACE_LABEL).is_some_and(|it| it == id.as_str())
                && Life::of(&container.state) == Life::Down
        };
        let mut used = BTreeSet::new();
        for container in podman.containers(&[], true).await.map_err(problems::podman)? {
            // The others of a pod share what its infra container has.
            if is_left(&container) || !(container.is_infra || container.pod_id.is_empty()) {
                continue;
            }
            match podman.inspect_container(&container.id).await {
                Ok(container) => used.insert(container.network_namespace),
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(problems::podman(error)),
            };
        }
        Ok(used)
    }
}
