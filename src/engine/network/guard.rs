//! Guards networks: puts rules in force in them, and answers what is asked there for names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::granted::Granted;
use super::host_services::HostServices;
use super::names::{self, Gate, Names};
use super::{Refusals, blocked};
use crate::dns::{Change, Filter, Remembered, Sockets, grants};
use crate::engine::ports::{Forwards, Pod};
use crate::engine::ssh::blocking;
use crate::engine::{Inner, problems};
use crate::host::pod_network::PodNetwork;
use crate::host::processes::Process;
use crate::host::registries::Registries;
use crate::host::{addresses, files};
use crate::model::{Code, Destination, NetworkPolicy, Problem, Record, TaskspaceId};
use crate::plan::ruleset::{NamedAddress, Ruleset};
use crate::podman::Podman;
use crate::policy::network::HostFacts;
use crate::render::nft_ruleset;

/// A network whose policy is in force.
#[derive(Clone)]
pub(super) struct Guarded {
    /// The first process of the pod's infra container.
    pub(super) process: Process,
    /// What answers; none where somebody inside has the port at which names are asked for.
    pub(super) filter: Option<Arc<Filter<Names>>>,
    pub(super) refusals: Arc<Refusals>,
    granted: Granted,
    /// What of this host is reached from it.
    pub(super) services: Arc<HostServices>,
    /// What of it is published.
    pub(super) forwards: Arc<Forwards<Pod>>,
    /// Held while it is changed.
    pub(super) in_force: Arc<tokio::sync::Mutex<InForce>>,
}

/// What is in force in a network.
pub(super) struct InForce {
    policy: NetworkPolicy,
    pub(super) rules: Arc<Ruleset>,
}

impl Inner {
    /// Puts a policy in force in the network of a pod in which nothing of the taskspace runs yet.
    ///
    /// # Errors
    /// [`Code::PolicyUnenforceable`]: then nothing of it may be started.
    pub(in super::super) async fn guard(
        &self,
        podman: &Podman,
        id: &TaskspaceId,
        infra: &str,
        policy: &NetworkPolicy,
    ) -> Result<(), Problem> {
        match self.guard_rules(podman, id, infra, policy).await? {
            Some(unanswered) => Err(unanswered),
            None => self.align_ports(id).await,
        }
    }

    /// Guards the network of a taskspace that runs, of which this run of the service knows nothing yet.
    ///
    /// Where somebody inside has the port at which names are asked for, the rules are in force all the
    /// same; the user is told that no name is answered.
    pub(in super::super) async fn guard_running(
        &self,
        podman: &Podman,
        id: &TaskspaceId,
        infra: &str,
        policy: &NetworkPolicy,
    ) -> Result<(), Problem> {
        if let Some(unanswered) = self.guard_rules(podman, id, infra, policy).await? {
            let detail = unanswered.detail;
            let warning =
                format!("no name is answered in it until `taskspace restart {id}`: {detail}");
            self.note_warning(id, warning).await?;
        }
        self.align_ports(id).await
    }

    /// Guards the network of a taskspace that ran before the service did.
    pub(in super::super) async fn guard_again(
        &self,
        podman: &Podman,
        id: &TaskspaceId,
        record: &Record,
    ) -> Result<(), Problem> {
        let Some(pod) = self.own_pod(podman, id).await? else { return Ok(()) };
        let policy = self.have_policy(id, record).await?;
        self.guard_running(podman, id, &pod.infra_id, &policy).await
    }

    /// Puts another policy in force where this run of the service guards the network already; returns
    /// whether it does.
    ///
    /// # Errors
    /// [`Code::PolicyUnenforceable`]: then what was in force before still is.
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

    /// Puts the recorded policy in force, as it is by now, where this run of the service guards the network.
    pub(super) async fn guard_as_recorded(&self, id: &TaskspaceId) -> Result<(), Problem> {
        match self.networks.get(id).filter(|it| it.process.runs()) {
            Some(guarded) => self.enforce(id, &guarded, None).await,
            None => Ok(()),
        }
    }

    /// Has the rules know this host's addresses when it has got others.
    pub(in super::super) async fn follow_addresses(&self) {
        let addresses = match addresses::of_this_host() {
            Ok(addresses) => addresses,
            Err(error) => return tracing::warn!("this host's addresses are not known: {error}"),
        };
        if *self.networks.addresses() == addresses {
            return;
        }
        if self.follow_policies().await {
            *self.networks.addresses() = addresses;
        }
    }

    /// Puts the recorded policies in force, as they are by now, in all networks that are guarded; returns
    /// whether they are.
    pub(in super::super) async fn follow_policies(&self) -> bool {
        let mut all = true;
        for (id, guarded) in self.networks.all() {
            if let Err(problem) = self.enforce(&id, &guarded, None).await
                // One that has gone meanwhile needs no rules; another one is tried again.
                && guarded.process.runs()
            {
                tracing::warn!(%id, "its network policy is not in force as it is by now: {problem}");
                all = false;
            }
        }
        all
    }

    /// Puts rules in force, and answers for names; returns why it cannot answer, if it cannot.
    async fn guard_rules(
        &self,
        podman: &Podman,
        id: &TaskspaceId,
        infra: &str,
        policy: &NetworkPolicy,
    ) -> Result<Option<Problem>, Problem> {
        let process = first_process(podman, infra).await?;
        if let Some(guarded) = self.networks.get(id).filter(|it| it.process == process) {
            let enforced = self.enforce(id, &guarded, Some(policy)).await;
            return enforced.map(|()| {
                self.networks.note_checked(id);
                None
            });
        }
        let rules = Arc::new(self.ruleset(policy).await?);
        let network = PodNetwork::of(process);
        // What an earlier run of the service has let through in it.
        let log = self.paths.granted.join(id.as_str());
        let earlier = Granted::earlier(log.clone(), process).await;
        // Whoever had it before has the sockets.
        self.networks.forget(id).await;
        let names = Names(rules.clone());
        let refusals = Arc::new(Refusals::default());
        let services = Arc::new(HostServices::new(id, network, refusals.clone()));
        let forwarded = services.open(&rules.services()).await;
        let forwarded = forwarded.map_err(|error| problems::network(&error))?;
        let granted = names::addresses(grants(&earlier, &names));
        let observing = policy.observes(Timestamp::now()).unwrap_or_default();
        load(network, &rules, &granted, &forwarded, observing).await?;
        let granted = Granted::begin(log, process, &earlier).await;
        let gate = Gate { network, refusals: refusals.clone(), granted: granted.clone() };
        let answered = self.answer(network, names, gate, earlier).await;
        check_same(podman, infra, process).await?;
        let (filter, unanswered) = match answered {
            Ok(filter) => (Some(Arc::new(filter)), None),
            Err(problem) => (None, Some(problem)),
        };
        let in_force = InForce { policy: policy.clone(), rules };
        let guarded = Guarded {
            process,
            filter,
            refusals,
            granted,
            services,
            forwards: Arc::new(Forwards::new(id.clone(), Pod(process))),
            in_force: Arc::new(tokio::sync::Mutex::new(in_force)),
        };
        self.networks.lock().insert(id.clone(), guarded.clone());
        guarded.hold_used_addresses(id).await;
        Ok(unanswered)
    }

    /// Lets go of a network that goes, and of what names led to in it.
    pub(in super::super) async fn forget_network(&self, id: &TaskspaceId) {
        self.networks.forget(id).await;
        let log = self.paths.granted.join(id.as_str());
        let removed =
            blocking(move || files::remove_tree(&log).map_err(|error| problems::file(&error)));
        if let Err(problem) = removed.await {
            tracing::warn!(%id, "{problem}");
        }
    }

    /// Begins to answer what is asked for names in a network.
    async fn answer(
        &self,
        network: PodNetwork,
        names: Names,
        gate: Gate,
        earlier: Vec<Remembered>,
    ) -> Result<Filter<Names>, Problem> {
        let sockets = network.dns_sockets().await.map_err(|error| problems::network(&error))?;
        let sockets = Sockets { udp: sockets.datagrams, tcp: sockets.connections };
        let resolver = self.networks.resolver.clone();
        let served = Filter::serve(sockets, names, Arc::new(gate), resolver, earlier);
        served.map_err(problems::internal)
    }

    /// Puts another policy in force in a network that is guarded; none for the recorded one, as it now is on
    /// this host.
    async fn enforce(
        &self,
        id: &TaskspaceId,
        guarded: &Guarded,
        policy: Option<&NetworkPolicy>,
    ) -> Result<(), Problem> {
        let mut in_force = guarded.in_force.lock().await;
        let policy = match policy {
            Some(policy) => policy.clone(),
            None => self.have_policy(id, &self.record(id).await?).await?,
        };
        let rules = Arc::new(self.ruleset(&policy).await?);
        // For how long it observes is no part of the rules.
        if rules != in_force.rules || policy.observe_until != in_force.policy.observe_until {
            let observing = policy.observes(Timestamp::now()).unwrap_or_default();
            let changed = guarded.change(id, rules.clone(), observing).await;
            // What is not in force is not forwarded either.
            let services = if changed.is_ok() { &rules } else { &in_force.rules }.services();
            guarded.services.keep(&services).await;
            changed?;
        }
        *in_force = InForce { policy, rules };
        Ok(())
    }

    /// Returns what a policy comes to on this host, as it is now.
    async fn ruleset(&self, policy: &NetworkPolicy) -> Result<Ruleset, Problem> {
        let settings = self.settings();
        let networks = &settings.networks;
        let names_registries =
            networks.names_registries(policy).map_err(|error| problems::unresolved(&error))?;
        let registries = if names_registries { self.registries().await } else { Vec::new() };
        let addresses = blocking(|| addresses::of_this_host().map_err(problems::internal)).await?;
        let facts = HostFacts { addresses, registries };
        let resolved =
            networks.resolve(policy, &facts).map_err(|error| problems::unresolved(&error))?;
        Ok(Ruleset::new(resolved))
    }

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
    async fn change(
        &self,
        id: &TaskspaceId,
        rules: Arc<Ruleset>,
        observing: Duration,
    ) -> Result<(), Problem> {
        let network = PodNetwork::of(self.process);
        let names = Names(rules);
        // Nothing is let through meanwhile that the new policy would not know of.
        let change = match &self.filter {
            Some(filter) => Some(filter.change().await),
            None => None,
        };
        let remembered = change.as_ref().map(Change::remembered).unwrap_or_default();
        let granted = grants(&remembered, &names);
        let left: Vec<Remembered> = granted.iter().cloned().map(Remembered::from).collect();
        // The counts go with the rules.
        let refused = blocked::in_table(self).await;
        let packets = network.packets().await;
        let forwarded = self.services.open(&names.0.services()).await;
        let forwarded = forwarded.map_err(|error| problems::network(&error))?;
        load(network, &names.0, &names::addresses(granted), &forwarded, observing).await?;
        match packets {
            // New rules have refused nothing.
            Ok(packets) => self.refusals.note_listed(packets, Vec::new()),
            Err(_) => self.refusals.list_anew(),
        }
        match refused {
            Ok(refused) => self.refusals.carry(refused),
            Err(problem) => tracing::debug!(%id, "what was refused is not known: {problem}"),
        }
        // As long as it runs, nothing else has its number.
        if !self.process.runs() {
            return Err(no_network());
        }
        if let Some(change) = change {
            self.granted.replace(&left).await;
            change.commit(names);
        }
        Ok(())
    }
}

async fn load(
    network: PodNetwork,
    rules: &Ruleset,
    granted: &[NamedAddress],
    forwarded: &BTreeMap<u16, u16>,
    observing: Duration,
) -> Result<(), Problem> {
    let text =
        nft_ruleset(&rules.view(granted, forwarded, observing)).map_err(problems::internal)?;
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
