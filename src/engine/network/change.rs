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
    let (podman, _) = engine.link.get().await?;
    let pod = engine.own_pod(&podman, id).await?;
    let infra = pod.as_ref().and_then(|pod| {
        let infra = pod.containers.iter().find(|container| container.id == pod.infra_id)?;
        (Life::of(&infra.state) != Life::Down).then_some(infra.id.as_str())
    });
    if let Some(infra) = infra {
        engine.guard(&podman, id, infra, &policy).await?;
    }
    let recorded = policy.clone();
    let change = engine.change(id, move |record| {
        record.network = recorded;
        Ok(())
    });
    match (change.await, infra) {
        (Ok(_), _) => Ok(()),
        (Err(problem), Some(infra)) => {
            // What is recorded is what is in force.
            engine.guard(&podman, id, infra, &record.network).await?;
            Err(problem)
        }
        (Err(problem), None) => Err(problem),
    }
}
