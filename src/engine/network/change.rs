//! Which network policy a taskspace has, and what becomes of it when that is changed.

use super::super::driver::{Context, Job};
use super::super::{Engine, Inner, problems};
use crate::config::Settings;
use crate::model::{
    Asker, Code, Desired, NetworkChange, NetworkPolicy, NetworkRequest, Operation, Problem, Record,
    TaskspaceId,
};
use crate::plan::assess::Life;
use crate::policy::network::{HostFacts, Wanted};
use crate::policy::resources::DEFAULT_TIER;

impl Engine {
    /// Returns the network policy of a taskspace.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn network(&self, id: &TaskspaceId) -> Result<NetworkPolicy, Problem> {
        Ok(self.inner.record(id).await?.network)
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
        let record = self.inner.record(id).await?;
        if change == NetworkChange::default() {
            let detail = "nothing is given that is to be changed";
            return Err(Problem::new(Code::MessageFormatInvalid, detail)
                .hint("give `policy`, `allow`, `deny`, `reset` or `observe`"));
        }
        self.inner.changed_network(id, &record, &change)?;
        self.ask(id, Job::Network(change), asker).await
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
        self.guard(&podman, id, &pod.infra_id, policy).await?;
        Ok(true)
    }

    fn changed_network(
        &self,
        id: &TaskspaceId,
        record: &Record,
        change: &NetworkChange,
    ) -> Result<NetworkPolicy, Problem> {
        if record.desired == Desired::Absent || record.is_half_made() {
            let detail = format!("'{id}' is {}", record.status);
            return Err(Problem::new(Code::StateConflict, detail));
        }
        let wanted = record.network.changed(change).into();
        let project = &record.spec.project.name;
        choose(&self.settings, project, record.tier.as_deref(), wanted)
    }
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
    let tier = tier.unwrap_or(DEFAULT_TIER);
    // The settings may have lost its tier since.
    let bounds = settings
        .network_bounds(project, tier)
        .or_else(|_| settings.network_bounds(project, DEFAULT_TIER))
        .map_err(problems::internal)?;
    let NetworkRequest { policy, allow, deny, observe } = wanted;
    let asked = Wanted { name: policy.as_ref(), allow: &allow, observe };
    let name =
        settings.networks.choose(asked, &bounds).map_err(|error| problems::bounds(&error))?;
    let policy = NetworkPolicy { name: name.clone(), allow, deny, observe };
    // Groups and services that there are not are told now, and not when it is to be in force.
    let resolved = settings.networks.resolve(&policy, &HostFacts::default());
    resolved.map_err(|error| problems::unresolved(&error))?;
    Ok(policy)
}

/// Changes the network policy: where the taskspace runs it is in force first, and recorded then, so that
/// nobody is told of a policy that is not.
pub(in super::super) async fn change(
    context: &Context,
    change: NetworkChange,
) -> Result<(), Problem> {
    let (engine, id) = (&context.engine, &context.id);
    let record = engine.record(id).await?;
    let policy = engine.changed_network(id, &record, &change)?;
    let is_up = engine.put_in_force(id, &policy).await?;
    let change = engine.change(id, move |record| {
        record.network = policy;
        Ok(())
    });
    match change.await {
        Ok(_) => Ok(()),
        Err(problem) => {
            if is_up {
                // What is recorded is what is in force.
                engine.put_in_force(id, &record.network).await?;
            }
            Err(problem)
        }
    }
}
