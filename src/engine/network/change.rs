//! Which network policy a taskspace has, and what becomes of it when that is changed.

use jiff::Timestamp;

use super::super::driver::{Context, Job};
use super::super::{Engine, Inner, problems};
use crate::config::Settings;
use crate::model::{
    Asker, Code, Desired, HostServiceView, NetworkChange, NetworkPolicy, NetworkReplacement,
    NetworkRequest, NetworkState, NetworkView, OBSERVE_SECONDS_MOST, Operation, PolicyName,
    Problem, Record, TaskspaceId,
};
use crate::plan::assess::Life;
use crate::policy::network::{HostFacts, Wanted};
use crate::policy::resources::DEFAULT_TIER;

/// How many destinations a taskspace can have beside its policy: they are recorded and judged with each
/// change.
const MOST_DESTINATIONS: usize = 1000;

/// How a taskspace comes to another network policy.
#[derive(Clone, Debug)]
pub(in super::super) enum Update {
    /// Some of its policy changes.
    Change(NetworkChange),
    /// It has just this one.
    Replace(NetworkRequest),
}

impl Engine {
    /// Returns the network policy of a taskspace.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn network(&self, id: &TaskspaceId) -> Result<NetworkView, Problem> {
        let record = self.inner.record(id).await?;
        let (policy, state) = self.inner.network_state(&record);
        Ok(NetworkView { policy, state })
    }

    /// Begins to change the network policy of a taskspace.
    ///
    /// # Errors
    /// When the request is wrong or not allowed, there is none of this id, or another operation is in
    /// the way.
    pub async fn change_network(
        &self,
        id: &TaskspaceId,
        change: NetworkChange,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        check_seconds(change.observe_seconds)?;
        self.update_network(id, Update::Change(change), asker).await
    }

    /// Begins to give a taskspace a network policy as a new one would get it; nothing of the former stays.
    ///
    /// # Errors
    /// As those of [`Self::change_network`].
    pub async fn replace_network(
        &self,
        id: &TaskspaceId,
        replacement: NetworkReplacement,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        self.update_network(id, Update::Replace(replacement.into()), asker).await
    }

    async fn update_network(
        &self,
        id: &TaskspaceId,
        update: Update,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        let record = self.inner.record(id).await?;
        self.inner.updated_network(id, &record, &update)?;
        self.ask(id, Job::Network(update), asker).await
    }
}

impl Inner {
    /// Puts a policy in force where the taskspace's network is up; returns whether it is.
    async fn put_in_force(
        &self,
        id: &TaskspaceId,
        policy: &NetworkPolicy,
    ) -> Result<bool, Problem> {
        if self.guard_otherwise(id, policy).await? {
            return Ok(true);
        }
        let (podman, _) = self.link.get().await?;
        let Some(pod) = self.own_pod(&podman, id).await? else { return Ok(false) };
        let infra = pod.containers.iter().find(|container| container.id == pod.infra_id);
        if infra.is_none_or(|infra| Life::of(&infra.state) == Life::Down) {
            return Ok(false);
        }
        self.guard_running(&podman, id, &pod.infra_id, policy).await?;
        Ok(true)
    }

    fn updated_network(
        &self,
        id: &TaskspaceId,
        record: &Record,
        update: &Update,
    ) -> Result<NetworkPolicy, Problem> {
        if record.desired == Desired::Absent || record.is_half_made() {
            let detail = format!("'{id}' is {}", record.status);
            return Err(Problem::new(Code::StateConflict, detail));
        }
        let wanted = match update {
            Update::Change(change) => match self.due_policy(record) {
                // What is lacking for the recorded one is what may be changed about it.
                (_, Some(why)) if why.code != Code::PolicyForbids => record.network.clone(),
                (policy, _) => policy,
            }
            .changed(change, Timestamp::now()),
            Update::Replace(request) => return self.choose(record, request.clone()),
        };
        self.chosen(record, wanted)
    }

    /// Returns the policy that a taskspace has to have now, and tells its user when that is not the one
    /// that it had.
    pub(in super::super) async fn have_policy(
        &self,
        id: &TaskspaceId,
        record: &Record,
    ) -> Result<NetworkPolicy, Problem> {
        let (policy, why) = self.due_policy(record);
        let Some(why) = why else { return Ok(policy) };
        let warning = replaced(&policy, &why);
        if why.code != Code::PolicyForbids {
            // What is lacking may come back: it is shown as long as it is lacking.
            self.warn(id, &warning);
            return Ok(policy);
        }
        // What is not allowed is not to come back by itself.
        self.note_warning(id, warning).await?;
        let recorded = policy.clone();
        let change = self.change(id, move |record| {
            record.network = recorded;
            Ok(())
        });
        change.await?;
        Ok(policy)
    }

    /// Returns the policy of a taskspace that is in force, and what belongs to it.
    pub(in super::super) fn network_state(&self, record: &Record) -> (NetworkPolicy, NetworkState) {
        let (policy, why) = self.due_policy(record);
        let resolved = self.settings().networks.resolve(&policy, &HostFacts::default());
        let services = resolved.map(|resolved| resolved.services).unwrap_or_default();
        let host_services =
            services.into_iter().map(|it| HostServiceView::new(it.name, it.port)).collect();
        let instead_of = why.is_some().then(|| record.network.clone());
        let state = NetworkState { host_services, instead_of, reason: why.map(|why| why.detail) };
        (policy, state)
    }

    /// Returns a record as it is shown: with the policy that is in force, and told where that is another one
    /// than the recorded.
    pub(in super::super) fn shown(&self, mut record: Record) -> Record {
        let (policy, why) = self.due_policy(&record);
        record.warnings.retain(|warning| !warning.starts_with(LACKING));
        record.warnings.extend(why.map(|why| replaced(&policy, &why)));
        record.network = policy;
        record
    }

    /// Returns the policy that a taskspace has to have: the recorded one; where its project or its tier
    /// does not allow that any more, what they say; where there is no such policy any more, nothing is
    /// let through. In both cases with the reason.
    fn due_policy(&self, record: &Record) -> (NetworkPolicy, Option<Problem>) {
        let recorded = record.network.clone().at(Timestamp::now());
        let problem = match self.chosen(record, recorded) {
            Ok(policy) => return (policy, None),
            Err(problem) => problem,
        };
        let deny = record.network.deny.clone();
        let closed = || NetworkPolicy::new(PolicyName::isolated());
        if problem.code != Code::PolicyForbids {
            return (closed(), Some(problem));
        }
        match self.choose(record, NetworkRequest { deny, ..NetworkRequest::default() }) {
            Ok(policy) => (policy, Some(problem)),
            Err(problem) => (closed(), Some(problem)),
        }
    }

    /// Returns a policy if it may be had.
    fn chosen(&self, record: &Record, wanted: NetworkPolicy) -> Result<NetworkPolicy, Problem> {
        let request = NetworkRequest { observe: wanted.observe, ..wanted.clone().into() };
        self.choose(record, request)?;
        Ok(wanted)
    }

    fn choose(&self, record: &Record, wanted: NetworkRequest) -> Result<NetworkPolicy, Problem> {
        choose(&self.settings(), &record.spec.project.name, record.tier.as_deref(), wanted)
    }
}

/// How the warning begins about a taskspace that is isolated because its policy is not there.
const LACKING: &str = "its network policy is 'isolated' now: ";

/// How the warning begins about a taskspace whose policy is another one than it asked for.
const REPLACED: &str = "its network policy is '";

/// Tells that a policy is in force in the place of another one.
fn replaced(policy: &NetworkPolicy, why: &Problem) -> String {
    format!("{REPLACED}{}' now: {}", policy.name, why.detail)
}

/// Checks for how long something is to be observed.
fn check_seconds(seconds: Option<u64>) -> Result<(), Problem> {
    if seconds.is_none_or(|seconds| (1..=OBSERVE_SECONDS_MOST).contains(&seconds)) {
        return Ok(());
    }
    let detail = "a network policy can be observed for a second at least, and a week at most";
    Err(Problem::new(Code::MessageFormatInvalid, detail))
}

/// Returns the network policy of a taskspace that asks for one; its project and its tier may have others.
///
/// # Errors
/// When they do not allow it, or it makes no sense.
pub(in super::super) fn choose(
    settings: &Settings,
    project: &str,
    tier: Option<&str>,
    wanted: NetworkRequest,
) -> Result<NetworkPolicy, Problem> {
    let destinations = wanted.allow.len() + wanted.deny.len();
    if destinations > MOST_DESTINATIONS {
        let detail = format!(
            "a taskspace cannot be allowed and denied {destinations} destinations of its own, but \
             {MOST_DESTINATIONS}"
        );
        return Err(Problem::new(Code::MessageFormatInvalid, detail)
            .hint("make a policy or a group of them"));
    }
    check_seconds(wanted.observe_seconds)?;
    let tier = tier.unwrap_or(DEFAULT_TIER);
    // The settings may have lost its tier since.
    let bounds = settings
        .network_bounds(project, tier)
        .or_else(|_| settings.network_bounds(project, DEFAULT_TIER))
        .map_err(problems::internal)?;
    let NetworkRequest { policy, allow, deny, observe, observe_seconds } = wanted;
    let observe = observe || observe_seconds.is_some();
    let asked = Wanted { name: policy.as_ref(), allow: &allow, observe };
    let name =
        settings.networks.choose(asked, &bounds).map_err(|error| problems::bounds(&error))?;
    let policy = NetworkPolicy { allow, deny, ..NetworkPolicy::new(name.clone()) };
    let policy = policy.observing(observe, observe_seconds, Timestamp::now());
    // Groups and services that there are not are told now, and not when it is to be in force.
    let resolved = settings.networks.resolve(&policy, &HostFacts::default());
    resolved.map_err(|error| problems::unresolved(&error))?;
    Ok(policy)
}

/// Has another network policy. It is recorded before it is in force, so that a stricter one comes into force
/// whatever happens meanwhile; what cannot be in force is not recorded either.
pub(in super::super) async fn update(context: &Context, update: Update) -> Result<(), Problem> {
    let (engine, id) = (&context.engine, &context.id);
    let record = engine.record(id).await?;
    let policy = engine.updated_network(id, &record, &update)?;
    let put_down = |policy: NetworkPolicy, warnings: Vec<String>| {
        engine.change(id, move |record| {
            record.network = policy;
            record.warnings = warnings;
            Ok(())
        })
    };
    // It is what was asked for again.
    let is_kept = |warning: &&String| !warning.starts_with(REPLACED);
    put_down(policy.clone(), record.warnings.iter().filter(is_kept).cloned().collect()).await?;
    if let Err(problem) = engine.put_in_force(id, &policy).await {
        put_down(record.network, record.warnings).await?;
        return Err(problem);
    }
    engine.networks.observing.notify_one();
    Ok(())
}
