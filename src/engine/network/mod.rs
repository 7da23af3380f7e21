//! Puts network policies in force: the rules in the network of a taskspace's pod, and the answers to what is
//! asked there for names.
//!
//! The rules are the pod's and stay as long as its network does. Names are answered by the service alone:
//! while it does not run, no name is answered, and no address is let through that was not before.

mod blocked;
mod change;
mod names;
mod refusals;
mod tell;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) use self::change::{change, choose};
use self::names::{Gate, Names};
pub(super) use self::refusals::Refusals;
use super::ports::{Forwards, Pod};
use super::ssh::blocking;
use super::{Inner, problems};
use crate::dns::{Filter, HostResolver, Sockets};
use crate::host::addresses;
use crate::host::pod_network::PodNetwork;
use crate::host::processes::Process;
use crate::host::registries::Registries;
use crate::model::{Code, Destination, NetworkPolicy, Problem, Record, TaskspaceId};
use crate::plan::ruleset::{NamedAddress, Ruleset};
use crate::podman::Podman;
use crate::policy::network::HostFacts;
use crate::render::nft_ruleset;

/// Whom the host asks for names (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The networks that are guarded.
pub(super) struct Networks {
    resolver: Arc<HostResolver>,
    guarded: Mutex<HashMap<TaskspaceId, Guarded>>,
    /// The addresses of this host that all rules know.
    addresses: Mutex<Vec<IpAddr>>,
}

/// A network whose policy is in force.
#[derive(Clone)]
struct Guarded {
    /// The first process of the pod's infra container.
    process: Process,
    filter: Arc<Filter<Names>>,
    refusals: Arc<Refusals>,
    /// What of it is published.
    forwards: Arc<Forwards<Pod>>,
    /// Held while it is changed.
    in_force: Arc<tokio::sync::Mutex<InForce>>,
}

/// What is in force in a network.
struct InForce {
    policy: NetworkPolicy,
    rules: Arc<Ruleset>,
}

impl Networks {
    pub(super) fn new(nameservers: &[SocketAddr]) -> Result<Self, Problem> {
        let resolver = match nameservers {
            [] => HostResolver::new(RESOLV_CONF.into()),
            servers => HostResolver::asking(servers).map_err(problems::internal)?,
        };
        Ok(Self {
            resolver: Arc::new(resolver),
            guarded: Mutex::default(),
            addresses: Mutex::default(),
        })
    }

    /// Lets go of a network that goes: as long as anybody has its sockets, it would stay.
    pub(super) async fn forget(&self, id: &TaskspaceId) {
        let forgotten = self.lock().remove(id);
        if let Some(guarded) = forgotten {
            guarded.forwards.close().await;
        }
    }

    /// Returns what is forwarded into the network of a taskspace, if it is guarded.
    pub(super) fn forwards(&self, id: &TaskspaceId) -> Option<Arc<Forwards<Pod>>> {
        self.get(id).map(|guarded| guarded.forwards)
    }

    /// Whether this run of the service guards the network of a taskspace.
    pub(super) fn is_guarded(&self, id: &TaskspaceId) -> bool {
        self.get(id).is_some_and(|guarded| guarded.process.runs())
    }

    fn addresses(&self) -> MutexGuard<'_, Vec<IpAddr>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<(TaskspaceId, Guarded)> {
        self.lock().iter().map(|(id, guarded)| (id.clone(), guarded.clone())).collect()
    }

    fn get(&self, id: &TaskspaceId) -> Option<Guarded> {
        self.lock().get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskspaceId, Guarded>> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Puts a policy in force in the network of a pod that runs, whatever was there before; with the
    /// policy that is there, nothing is cut.
    ///
    /// # Errors
    /// [`Code::PolicyUnenforceable`]: then what was in force before still is, and where that is nothing,
    /// nothing of the taskspace may be started.
    pub(super) async fn guard(
        &self,
        podman: &Podman,
        id: &TaskspaceId,
        infra: &str,
        policy: &NetworkPolicy,
    ) -> Result<(), Problem> {
        let process = first_process(podman, infra).await?;
        if let Some(guarded) = self.networks.get(id).filter(|it| it.process == process) {
            return self.enforce(id, &guarded, Some(policy)).await;
        }
        let rules = Arc::new(self.ruleset(policy).await?);
        let network = PodNetwork::of(process.number);
        // Whoever had it before has the sockets.
        self.networks.forget(id).await;
        load(network, &rules, &[]).await?;
        let sockets = network.dns_sockets().await.map_err(|error| problems::network(&error))?;
        check_same(podman, infra, process).await?;
        let sockets = Sockets { udp: sockets.datagrams, tcp: sockets.connections };
        let refusals = Arc::new(Refusals::default());
        let gate = Arc::new(Gate { network, refusals: refusals.clone() });
        let filter =
            Filter::serve(sockets, Names(rules.clone()), gate, self.networks.resolver.clone())
                .map_err(problems::internal)?;
        let in_force = InForce { policy: policy.clone(), rules };
        let in_force = Arc::new(tokio::sync::Mutex::new(in_force));
        let forwards = Arc::new(Forwards::new(id.clone(), Pod(process)));
        let filter = Arc::new(filter);
        let guarded = Guarded { process, filter, refusals, forwards, in_force };
        self.networks.lock().insert(id.clone(), guarded);
        self.align_ports(id).await
    }

    /// Puts a policy in force where this run of the service guards the network already; returns whether it
    /// does.
    ///
    /// # Errors
    /// As those of `guard`.
    pub(super) async fn guard_otherwise(
        &self,
        id: &TaskspaceId,
        policy: &NetworkPolicy,
    ) -> Result<bool, Problem> {
        let Some(guarded) = self.networks.get(id).filter(|it| it.process.runs()) else {
            return Ok(false);
        };
        self.enforce(id, &guarded, Some(policy)).await?;
        Ok(true)
    }

    /// Puts another policy in force in a network that is guarded, or the same as it now is on this host.
    async fn enforce(
        &self,
        id: &TaskspaceId,
        guarded: &Guarded,
        policy: Option<&NetworkPolicy>,
    ) -> Result<(), Problem> {
        let mut in_force = guarded.in_force.lock().await;
        let policy = policy.unwrap_or(&in_force.policy).clone();
        let rules = Arc::new(self.ruleset(&policy).await?);
        if rules != in_force.rules {
            guarded.change(id, rules.clone()).await?;
        }
        *in_force = InForce { policy, rules };
        Ok(())
    }

    /// Has the rules know this host's addresses when it has got others.
    pub(super) async fn follow_addresses(&self) {
        let addresses = match addresses::of_this_host() {
            Ok(addresses) => addresses,
            Err(error) => return tracing::warn!("this host's addresses are not known: {error}"),
        };
        if *self.networks.addresses() == addresses {
            return;
        }
        for (id, guarded) in self.networks.all() {
            if let Err(problem) = self.enforce(&id, &guarded, None).await {
                // One that has gone meanwhile needs no rules; another one is tried again.
                if guarded.process.runs() {
                    tracing::warn!(%id, "its rules do not know this host's new addresses: {problem}");
                    return;
                }
            }
        }
        *self.networks.addresses() = addresses;
    }

    /// Guards the network of a taskspace that ran before the service did: the rules are there, and nobody
    /// answers what is asked for names.
    pub(super) async fn guard_again(
        &self,
        podman: &Podman,
        id: &TaskspaceId,
        record: &Record,
    ) -> Result<(), Problem> {
        let Some(pod) = self.own_pod(podman, id).await? else { return Ok(()) };
        self.guard(podman, id, &pod.infra_id, &record.network).await
    }

    /// Returns what a policy comes to on this host, as it is now.
    async fn ruleset(&self, policy: &NetworkPolicy) -> Result<Ruleset, Problem> {
        let networks = &self.settings.networks;
        let names_registries =
            networks.names_registries(policy).map_err(|error| problems::unresolved(&error))?;
        let registries = if names_registries { self.registries().await } else { Vec::new() };
        let addresses = blocking(|| addresses::of_this_host().map_err(problems::internal)).await?;
        let facts = HostFacts { addresses, registries };
        let resolved =
            networks.resolve(policy, &facts).map_err(|error| problems::unresolved(&error))?;
        Ok(Ruleset::new(resolved))
    }
}

impl Inner {
    /// Returns where this host's own clients fetch packages from.
    async fn registries(&self) -> Vec<Destination> {
        let found = Registries::read(&self.paths.clients).await;
        for warning in &found.warnings {
            tracing::warn!("{warning}");
        }
        found.destinations()
    }
}

impl Guarded {
    /// Puts other rules in force.
    async fn change(&self, id: &TaskspaceId, rules: Arc<Ruleset>) -> Result<(), Problem> {
        let network = PodNetwork::of(self.process.number);
        let names = Names(rules);
        // Nothing is let through meanwhile that the new policy would not know of.
        let change = self.filter.change().await;
        let granted = names::addresses(change.grants(&names));
        // The counts go with the rules.
        match blocked::in_table(network).await {
            Ok(refused) => self.refusals.carry(refused),
            Err(problem) => tracing::debug!(%id, "what was refused is not known: {problem}"),
        }
        load(network, &names.0, &granted).await?;
        // As long as it runs, nothing else has its number.
        if !self.process.runs() {
            return Err(no_network());
        }
        change.commit(names);
        Ok(())
    }
}

async fn load(
    network: PodNetwork,
    rules: &Ruleset,
    granted: &[NamedAddress],
) -> Result<(), Problem> {
    let text = nft_ruleset(&rules.view(granted)).map_err(problems::internal)?;
    network.load(&text).await.map_err(|error| problems::network(&error))
}

/// Returns the first process of a pod's infra container, which is in its network.
async fn first_process(podman: &Podman, infra: &str) -> Result<Process, Problem> {
    let found = podman.inspect_container(infra).await.map_err(problems::podman)?;
    Process::of(found.state.pid).filter(|_| found.state.pid > 0).ok_or_else(no_network)
}

/// Makes sure that a process has been the first one of the pod's infra container all the time: another
/// one may have got its number.
async fn check_same(podman: &Podman, infra: &str, process: Process) -> Result<(), Problem> {
    if first_process(podman, infra).await? == process { Ok(()) } else { Err(no_network()) }
}

fn no_network() -> Problem {
    Problem::new(Code::PolicyUnenforceable, "the pod's network is not up")
        .hint("try again: something has just stopped it")
}
