//! Acts on a taskspace's pod and its containers.

use futures_util::future::join_all;
use jiff::Timestamp;
use uuid::Uuid;

use super::perform::Acting;
use super::ssh::blocking;
use super::volumes::is_ours;
use super::{isolated, problems, verify};
use crate::host::forwarders::Forwarder;
use crate::host::permits::Permit;
use crate::host::systemd::UserManager;
use crate::model::{Code, Problem, Role};
use crate::plan::assess::Life;
use crate::plan::capability::Pasta;
use crate::plan::names;
use crate::podman::{self, ContainerSpec, ErrorKind, PodSpec, Podman, PodmanError};

/// The state of a container that the OCI runtime has made, and in which nothing runs yet.
const PREPARED: &str = "initialized";

impl Acting {
    /// Makes the pod. What an earlier run of the service asked Podman for may be made only now, after
    /// all that was left of it has been removed: then it goes, too.
    pub(super) async fn create_pod(&self, spec: &PodSpec) -> Result<(), Problem> {
        let mut made = self.podman.create_pod(spec).await;
        if exists(&made) {
            let Some(late) = self.engine.own_pod(&self.podman, &self.id).await? else {
                return Err(foreign_pod(&spec.name));
            };
            let patience = self.engine.stop_seconds();
            absent_is_fine(self.podman.remove_pod(&late.id, true, patience).await)?;
            made = self.podman.create_pod(spec).await;
        }
        made.map(drop).map_err(problems::podman)
    }

    /// Asks Podman for a container; what an earlier run of the service asked for goes, as with pods. So
    /// does what a Podman left that was ended meanwhile: the container's storage, with its name.
    async fn ask_for_container(&self, spec: &ContainerSpec, registry: Uuid) -> Result<(), Problem> {
        let mut made = self.podman.create_container(spec).await;
        if exists(&made) {
            let is_superfluous = match self.podman.inspect_container(&spec.name).await {
                Ok(late) => is_ours(&late.labels, registry),
                Err(error) => error.is_not_found(),
            };
            if is_superfluous {
                absent_is_fine(self.podman.remove_container(&spec.name, true).await)?;
                made = self.podman.create_container(spec).await;
            }
        }
        made.map(drop).map_err(problems::podman)
    }

    /// Makes a container on the volumes that are there. Podman makes one that is missing by itself, an
    /// empty one, for whoever removes one at this moment: then neither that nor the container is kept.
    pub(super) async fn create_container(
        &self,
        role: Role,
        spec: &ContainerSpec,
    ) -> Result<(), Problem> {
        // Podman makes none for which something is missing that is to be mounted. There may be no network
        // yet: this permit ends with the service.
        let own = i32::try_from(std::process::id()).map_err(problems::internal)?;
        let _permit = self.permit(role, own).await?;
        let registry = self.engine.document().await?.registry;
        let begun = Timestamp::now();
        let spec = &isolated::with_environment(&self.podman, spec).await?;
        self.ask_for_container(spec, registry).await?;
        isolated::check_environment(&self.podman, spec).await?;
        stands_on_our_volumes(&self.podman, registry, spec, begun).await
    }

    /// Removes the pod; one of that name that is somebody else's is left alone.
    pub(super) async fn remove_pod(&self) -> Result<(), Problem> {
        self.engine.forget_network(&self.id).await;
        if let Some(pod) = self.engine.own_pod(&self.podman, &self.id).await? {
            let patience = self.engine.stop_seconds();
            absent_is_fine(twice(|| self.podman.remove_pod(&pod.id, true, patience)).await)?;
        }
        self.free_ports().await
    }

    /// Ends what still forwards the ports to a network that is gone.
    async fn free_ports(&self) -> Result<(), Problem> {
        self.engine.free_ports(&self.podman, &self.id, self.record.ports()).await
    }

    /// Stops the pod; one of that name that is somebody else's is left alone.
    pub(super) async fn stop_pod(&self) -> Result<(), Problem> {
        self.engine.forget_network(&self.id).await;
        let Some(pod) = self.engine.own_pod(&self.podman, &self.id).await? else {
            return self.free_ports().await;
        };
        let patience = self.engine.stop_seconds();
        // Podman refuses to stop what is paused.
        self.unpause().await?;
        absent_is_fine(twice(|| self.podman.stop_pod(&pod.id, patience)).await)?;
        // Podman takes a pod whose infra container has ended for stopped, whatever else runs in it, and
        // leaves a prepared container with its mounts and the network that is now gone.
        let left = self.engine.own_pod(&self.podman, &self.id).await?;
        for container in left.into_iter().flat_map(|pod| pod.containers) {
            if Life::of(&container.state) != Life::Down || container.state == PREPARED {
                self.stop_container(&container.id).await?;
            }
        }
        self.free_ports().await
    }

    /// Starts the container that keeps the pod's network, and with it the published ports.
    pub(super) async fn start_infra(&self) -> Result<(), Problem> {
        let own = self.engine.own_pod(&self.podman, &self.id).await?;
        let pod = own.ok_or_else(|| foreign_pod(&names::pod(&self.id)))?;
        let infra = pod.containers.iter().find(|container| container.id == pod.infra_id);
        if infra.is_none_or(|infra| Life::of(&infra.state) == Life::Down) {
            self.free_ports().await?;
        }
        self.start(&pod.infra_id).await?;
        self.check_connection(&pod.infra_id).await
    }

    /// Makes sure that the pod's network is connected as was asked for: what else it led to, no policy
    /// would refuse.
    async fn check_connection(&self, infra: &str) -> Result<(), Problem> {
        let (_, capabilities) = self.engine.link.get().await?;
        if capabilities.pasta == Pasta::Absent {
            return Ok(());
        }
        let infra = self.podman.inspect_container(infra).await.map_err(problems::podman)?;
        let mode = &infra.network_mode;
        if mode.split(':').next() != Some("pasta") {
            let detail = format!("Podman gave the pod another network than pasta's: '{mode}'");
            return Err(Problem::new(Code::PolicyUnenforceable, detail));
        }
        let namespace = infra.network_namespace;
        let found =
            blocking(move || Forwarder::arguments_into(&namespace).map_err(problems::internal));
        let ports = self.record.ports();
        found.await?.iter().try_for_each(|arguments| verify::pasta(arguments, ports))
    }

    /// Puts the network policy in force.
    pub(super) async fn guard_network(&self) -> Result<(), Problem> {
        let own = self.engine.own_pod(&self.podman, &self.id).await?;
        let pod = own.ok_or_else(|| foreign_pod(&names::pod(&self.id)))?;
        // As it is recorded now: it may have been changed since this operation began.
        let record = self.engine.record(&self.id).await?;
        let policy = self.engine.have_policy(&self.id, &record).await?;
        self.engine.guard(&self.podman, &self.id, &pod.infra_id, &policy).await
    }

    /// Starts a container: in the network that is guarded, or not at all.
    pub(super) async fn start_container(&self, role: Role) -> Result<(), Problem> {
        let guarded = self.engine.networks.process(&self.id).ok_or_else(|| {
            let detail = format!("the network of '{}' is not guarded", self.id);
            Problem::new(Code::PolicyUnenforceable, detail)
        })?;
        let _permit = self.permit(role, guarded.number).await?;
        let name = names::container(&self.id, role);
        let made = self.podman.inspect_container(&name).await.map_err(problems::podman)?;
        if Life::of(&made.state.status) == Life::Down {
            if made.state.status == PREPARED {
                // It is bound to the network that the pod had then.
                self.stop_container(&name).await?;
            }
            self.cleared(&name, || self.podman.init_container(&name)).await?;
            isolated::check_prepared(&self.podman, &name).await?;
        }
        self.start(&name).await
    }

    /// Permits a container's start as long as a process runs.
    async fn permit(&self, role: Role, process: i32) -> Result<Permit, Problem> {
        let link = names::permit(&self.engine.paths.permits, &self.id, role);
        blocking(move || Permit::give(&link, process).map_err(|error| problems::file(&error))).await
    }

    async fn start(&self, name: &str) -> Result<(), Problem> {
        self.cleared(name, || self.podman.start_container(name)).await
    }

    /// Does something about the start of a container: once more when what may be in the way of that has
    /// been cleared.
    async fn cleared<F>(&self, name: &str, act: impl Fn() -> F) -> Result<(), Problem>
    where
        F: Future<Output = podman::Result<()>>,
    {
        match act().await {
            Err(error) if error.kind() == ErrorKind::Other => {
                tracing::debug!("tried again: {error}");
            }
            result => return result.map_err(problems::podman),
        }
        // One whose process was killed between its making and its start cannot be started until it is
        // stopped.
        if let Err(error) = self.podman.stop_container(name, self.engine.stop_seconds()).await {
            tracing::debug!("cannot be stopped: {error}");
        }
        self.engine.end_monitors_of(name).await?;
        self.forget_failed_scopes().await?;
        act().await.map_err(problems::podman)
    }

    /// Has systemd forget the containers' scopes that have failed: Podman makes the pod's slice anew at
    /// each start, which systemd refuses as long as it knows the old one, which a scope in it that did
    /// not end in time keeps.
    async fn forget_failed_scopes(&self) -> Result<(), Problem> {
        let Some(manager) = UserManager::of_this_user().await else { return Ok(()) };
        let pod = self.engine.own_pod(&self.podman, &self.id).await?;
        for container in pod.into_iter().flat_map(|pod| pod.containers) {
            for scope in podman::scopes(&container.id) {
                if let Err(error) = manager.reset_failed(&scope).await {
                    tracing::debug!(%scope, "{error}");
                }
            }
        }
        Ok(())
    }

    /// Stops a container, if it is there.
    pub(super) async fn stop_container(&self, name: &str) -> Result<(), Problem> {
        let patience = self.engine.stop_seconds();
        absent_is_fine(twice(|| self.podman.stop_container(name, patience)).await)
    }

    /// Pauses the containers that run: what is copied meanwhile is what a crash would have left. A
    /// later run of the service finds them paused, and lets them go on.
    pub(super) async fn pause(&self) -> Result<(), Problem> {
        let Some(pod) = self.engine.own_pod(&self.podman, &self.id).await? else { return Ok(()) };
        let up = pod.containers.iter().filter(|it| Life::of(&it.state) == Life::Up);
        let ours = up.filter(|container| container.id != pod.infra_id);
        let paused = join_all(ours.map(|it| self.podman.pause_container(&it.id))).await;
        paused.into_iter().try_for_each(absent_is_fine)
    }

    /// Lets the containers go on that somebody paused.
    pub(super) async fn unpause(&self) -> Result<(), Problem> {
        let pod = self.engine.own_pod(&self.podman, &self.id).await?;
        for container in pod.into_iter().flat_map(|pod| pod.containers) {
            if Life::of(&container.state) == Life::Paused {
                absent_is_fine(self.podman.unpause_container(&container.id).await)?;
            }
        }
        Ok(())
    }
}

/// Makes sure that a container stands on volumes of ours, which was asked for not before `begun`; else it
/// is removed, with those that Podman made for it.
pub(super) async fn stands_on_our_volumes(
    podman: &Podman,
    registry: Uuid,
    spec: &ContainerSpec,
    begun: Timestamp,
) -> Result<(), Problem> {
    let mut not_ours = Vec::new();
    for volume in &spec.volumes {
        let there = podman.inspect_volume(&volume.name).await.map_err(problems::podman)?;
        if !is_ours(&there.labels, registry) {
            not_ours.push(there);
        }
    }
    let Some(first) = not_ours.first() else { return Ok(()) };
    let removed = Problem::new(
        Code::PodmanFailed,
        format!("somebody removed the volume '{}' at this moment", first.name),
    )
    .hint("try again");
    absent_is_fine(podman.remove_container(&spec.name, true).await)?;
    for volume in not_ours {
        let is_new = volume.created_at.is_some_and(|at| at >= begun);
        if is_new && volume.labels.is_empty() && volume.options.is_empty() {
            absent_is_fine(podman.remove_volume(&volume.name, true).await)?;
        }
    }
    Err(removed)
}

/// Does something, and once more if Podman refuses it: that a container's monitor was killed Podman
/// learns only from the attempt to end the container, which fails for it.
async fn twice<F>(act: impl Fn() -> F) -> podman::Result<()>
where
    F: Future<Output = podman::Result<()>>,
{
    match act().await {
        Err(PodmanError::Refused { message, .. }) => {
            tracing::debug!("tried again: {message}");
            act().await
        }
        result => result,
    }
}

fn exists<T>(made: &podman::Result<T>) -> bool {
    made.as_ref().is_err_and(|error| error.kind() == ErrorKind::Exists)
}

fn absent_is_fine(result: podman::Result<()>) -> Result<(), Problem> {
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(problems::podman(error)),
        _ => Ok(()),
    }
}

fn foreign_pod(name: &str) -> Problem {
    Problem::new(
        Code::TaskspaceExists,
        format!("there is a pod '{name}' already that is not in this registry"),
    )
    .hint("choose another id, or remove the pod if nobody needs it")
}
