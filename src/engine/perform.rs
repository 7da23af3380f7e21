//! Does the acts of a plan on the real Podman and host.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use super::execute::Performer;
use super::projects::{foreign_volume, forget_unused_project, is_ours, remove_volume};
use super::ssh::blocking;
use super::{Inner, problems, verify};
use crate::fault;
use crate::host::banner;
use crate::host::files::{self, FileError};
use crate::model::{
    AgentStateRecord, BaseState, Code, EventBody, Hold, Problem, Record, Role, StepOutcome,
    TaskspaceId,
};
use crate::plan::assess::Life;
use crate::plan::{Act, names};
use crate::podman::{
    self, ContainerSpec, ErrorKind, LogOptions, Pod, PodSpec, Podman, PodmanError, VolumeSpec,
};

/// How many log lines are told of a container that does not come up.
const LAST_LINES: u64 = 20;

/// How often a container is started that Podman refuses to start without a reason of its own.
const STARTS: usize = 3;

/// Performs acts for one operation on one taskspace.
pub(super) struct Acting {
    pub(super) engine: Arc<Inner>,
    pub(super) podman: Podman,
    pub(super) operation: u64,
    /// What whoever asked for it holds, where that matters.
    pub(super) lock: Option<Hold>,
    pub(super) id: TaskspaceId,
    pub(super) record: Record,
    /// Whether the base was made by this operation.
    pub(super) made_base: AtomicBool,
}

impl Performer for Acting {
    async fn perform(&self, act: &Act) -> Result<(), Problem> {
        let podman = &self.podman;
        match act {
            Act::EnsureImage(image) => {
                let output = |line: String| self.report(EventBody::Output { line });
                self.engine.images.ensure(podman, *image, false, &output).await
            }
            Act::EnsureBase(plan) => {
                let made = self.engine.projects.ensure_base(podman, plan).await?;
                self.made_base.store(made, Ordering::Relaxed);
                match self.engine.projects.lacks(plan).await? {
                    Some(lacks) => self.engine.note_warning(&self.id, lacks).await,
                    None => Ok(()),
                }
            }
            // What was there before is not ours to take back.
            Act::DropBase { .. } if !self.made_base.load(Ordering::Relaxed) => Ok(()),
            Act::DropBase { project, commit } => {
                self.engine.projects.drop_base(podman, project, commit, Some(&self.id)).await
            }
            Act::TrimBases(project) => self.engine.projects.trim(podman, project, &self.id).await,
            Act::EnsureCache { project, volume } => {
                self.engine.ensure_cache(podman, project, volume).await
            }
            Act::EnterCache { project, volume } => {
                self.engine.making_caches().insert(volume.clone());
                self.engine.record_cache(project, volume, &self.id, BaseState::Making).await
            }
            Act::FillCache(fill) => self.fill_cache(fill).await,
            Act::PublishCache { project, volume } => {
                self.engine.publish_cache(project, volume, &self.id).await
            }
            Act::DropCache { project, volume } => {
                let dropped = self.engine.drop_cache(podman, project, volume).await;
                self.engine.making_caches().remove(volume);
                dropped
            }
            Act::TrimCaches(project) => self.engine.trim_caches(podman, project).await,
            Act::WriteFiles => {
                let agent = &self.record.spec.agent;
                self.engine.ssh.write_taskspace_files(&self.id, agent).await
            }
            Act::RemoveFiles => {
                let path = self.engine.paths.taskspace(&self.id);
                blocking(move || files::remove_tree(&path).map_err(|error| problems::file(&error)))
                    .await
            }
            Act::CreateVolume(spec) => self.create_volume(spec).await,
            Act::RequireVolume(name) => self.require_volume(name).await,
            Act::RemoveVolume(name) => {
                let registry = self.engine.document().await?.registry;
                remove_volume(podman, registry, name).await
            }
            Act::MakeDirectories { root, directories } => {
                let paths: Vec<_> = directories.iter().map(|name| root.join(name)).collect();
                make_directories(paths).await
            }
            Act::SeedChanges(plan) => self.seed_changes(plan).await,
            Act::CopyFrom(copy) => self.copy_from(copy).await,
            Act::CopyOut(paths) => self.copy_out(paths).await,
            Act::RenameBranch { from, to } => self.rename_branch(from, to).await,
            Act::CreatePod(spec) => self.create_pod(spec).await,
            Act::RemovePod => self.remove_pod().await,
            Act::CreateContainer(_, spec) => self.create_container(spec).await,
            Act::VerifyContainer(_, spec) => {
                let made = podman.inspect_container(&spec.name).await.map_err(problems::podman)?;
                verify::container(spec, &made)
            }
            Act::HandOver => self.engine.hand_over_to_user(&self.id).await,
            Act::Pause => self.pause().await,
            Act::Unpause => self.unpause().await,
            Act::StartInfra => {
                let own = self.engine.own_pod(podman, &self.id).await?;
                let pod = own.ok_or_else(|| foreign_pod(&names::pod(&self.id)))?;
                let infra = pod.containers.iter().find(|container| container.id == pod.infra_id);
                if infra.is_none_or(|infra| Life::of(&infra.state) == Life::Down) {
                    self.free_ports().await?;
                }
                let patience = self.engine.stop_seconds();
                start(podman, &pod.infra_id, patience).await.map_err(problems::podman)
            }
            Act::StartContainer(role) => {
                let (name, patience) =
                    (names::container(&self.id, *role), self.engine.stop_seconds());
                start(podman, &name, patience).await.map_err(problems::podman)
            }
            Act::StopContainer(role) => {
                let name = names::container(&self.id, *role);
                let patience = self.engine.stop_seconds();
                absent_is_fine(twice(|| podman.stop_container(&name, patience)).await)
            }
            Act::StopPod => self.stop_pod().await,
            Act::AwaitSsh(role) => self.await_ssh(*role).await,
            Act::PublishSsh => self.engine.ssh.publish().await,
            Act::Forget { keep_state_as } => {
                self.engine.forget(&self.id, keep_state_as.clone()).await
            }
        }
    }

    async fn give_up(&self) -> bool {
        if self.engine.closing.is_cancelled() {
            // Podman may be ending as well: the next start goes on with it.
            return false;
        }
        if self.record.is_half_made()
            && let Err(problem) = self.engine.condemn(&self.id).await
        {
            tracing::warn!(id = %self.id, "cannot record that it is taken back: {problem}");
        }
        true
    }

    fn report(&self, body: EventBody) {
        match &body {
            EventBody::StepStarted { step } => self.engine.step(self.operation, step),
            EventBody::StepEnded { step, outcome: StepOutcome::Done, .. } => {
                self.engine.note_step(&self.id, step.clone());
            }
            _ => {}
        }
        self.engine.bus.publish(Some(self.operation), Some(self.id.clone()), body);
    }
}

impl Acting {
    async fn create_volume(&self, spec: &VolumeSpec) -> Result<(), Problem> {
        match self.podman.create_volume(spec).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Exists => {
                let there =
                    self.podman.inspect_volume(&spec.name).await.map_err(problems::podman)?;
                let registry = self.engine.document().await?.registry;
                if is_ours(&there.labels, registry) && there.options == spec.options {
                    Ok(())
                } else {
                    Err(foreign_volume(Code::TaskspaceExists, &spec.name))
                }
            }
            Err(error) => Err(problems::podman(error)),
        }
    }

    async fn require_volume(&self, name: &str) -> Result<(), Problem> {
        let registry = self.engine.document().await?.registry;
        match self.podman.inspect_volume(name).await {
            Ok(volume) if is_ours(&volume.labels, registry) => Ok(()),
            Ok(_) => Err(foreign_volume(Code::StateConflict, name)),
            Err(error) if error.is_not_found() => Err(problems::lost(name)),
            Err(error) => Err(problems::podman(error)),
        }
    }

    /// Makes the pod. What an earlier run of the service asked Podman for may be made only now, after
    /// all that was left of it has been removed: then it goes, too.
    async fn create_pod(&self, spec: &PodSpec) -> Result<(), Problem> {
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
    async fn create_container(&self, spec: &ContainerSpec) -> Result<(), Problem> {
        let registry = self.engine.document().await?.registry;
        let begun = Timestamp::now();
        self.ask_for_container(spec, registry).await?;
        stands_on_our_volumes(&self.podman, registry, spec, begun).await
    }

    /// Removes the pod; one of that name that is somebody else's is left alone.
    async fn remove_pod(&self) -> Result<(), Problem> {
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
    async fn stop_pod(&self) -> Result<(), Problem> {
        let Some(pod) = self.engine.own_pod(&self.podman, &self.id).await? else {
            return self.free_ports().await;
        };
        let patience = self.engine.stop_seconds();
        // Podman refuses to stop what is paused.
        self.unpause().await?;
        absent_is_fine(twice(|| self.podman.stop_pod(&pod.id, patience)).await)?;
        // Podman takes a pod whose infra container has ended for stopped, whatever else runs in it.
        let left = self.engine.own_pod(&self.podman, &self.id).await?;
        for container in left.into_iter().flat_map(|pod| pod.containers) {
            if Life::of(&container.state) != Life::Down {
                let stop = || self.podman.stop_container(&container.id, patience);
                absent_is_fine(twice(stop).await)?;
            }
        }
        self.free_ports().await
    }

    /// Pauses the containers that run: what is copied meanwhile is what a crash would have left. A
    /// later run of the service finds them paused, and lets them go on.
    async fn pause(&self) -> Result<(), Problem> {
        let Some(pod) = self.engine.own_pod(&self.podman, &self.id).await? else { return Ok(()) };
        let up = pod.containers.iter().filter(|it| Life::of(&it.state) == Life::Up);
        let ours = up.filter(|container| container.id != pod.infra_id);
        let paused = join_all(ours.map(|it| self.podman.pause_container(&it.id))).await;
        paused.into_iter().try_for_each(absent_is_fine)
    }

    /// Lets the containers go on that somebody paused.
    async fn unpause(&self) -> Result<(), Problem> {
        let pod = self.engine.own_pod(&self.podman, &self.id).await?;
        for container in pod.into_iter().flat_map(|pod| pod.containers) {
            if Life::of(&container.state) == Life::Paused {
                absent_is_fine(self.podman.unpause_container(&container.id).await)?;
            }
        }
        Ok(())
    }

    async fn await_ssh(&self, role: Role) -> Result<(), Problem> {
        let port = self.record.ports().of(role);
        let patience: Duration = self.engine.settings.ready_timeout;
        let name = names::container(&self.id, role);
        let answered = banner::await_banner(port, Instant::now() + patience);
        let result = tokio::select! {
            result = answered => result.map_err(|error| error.to_string()),
            reason = self.ended(&name) => Err(reason),
        };
        match result {
            Ok(_) => Ok(()),
            Err(reason) => {
                let log = last_lines(&self.podman, &name).await;
                Err(Problem::new(Code::NotReady, format!("its sshd did not answer: {reason}"))
                    .log(log)
                    .hint("the lines above are the container's own log"))
            }
        }
    }

    /// Returns when the container has ended.
    async fn ended(&self, name: &str) -> String {
        match self.podman.wait_container(name).await {
            Ok(code) => format!("the container ended with exit code {code}"),
            // The banner decides: this wait is only there to be quick.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Inner {
    /// Returns the pod of a taskspace, unless there is none or it is somebody else's.
    pub(super) async fn own_pod(
        &self,
        podman: &Podman,
        id: &TaskspaceId,
    ) -> Result<Option<Pod>, Problem> {
        let registry = self.document().await?.registry;
        match podman.inspect_pod(&names::pod(id)).await {
            Ok(pod) => Ok(Some(pod).filter(|pod| is_ours(&pod.labels, registry))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(problems::podman(error)),
        }
    }

    /// Removes the agent state that a former taskspace left.
    pub(super) async fn remove_agent_state(
        &self,
        podman: &Podman,
        former: &TaskspaceId,
    ) -> Result<(), Problem> {
        let mark = |going: bool| {
            let former = former.clone();
            self.registry.update(move |document| {
                Ok::<_, Problem>(document.agent_states.get_mut(&former).map(|state| {
                    state.going = going;
                    (state.volume.clone(), document.registry)
                }))
            })
        };
        // Marked first: nobody can be given what is about to go, and a crash is found by the next
        // start.
        let Some((volume, registry)) = mark(true).await.map_err(problems::registry)?? else {
            return Ok(());
        };
        fault::point(|| "purge: remove the volume: before".to_owned());
        if let Err(problem) = remove_volume(podman, registry, &volume).await {
            mark(false).await.map_err(problems::registry)??;
            return Err(problem);
        }
        fault::point(|| "purge: remove the volume: after".to_owned());
        let former = former.clone();
        let forgotten = self.registry.update(move |document| {
            document.agent_states.remove(&former);
            Ok::<(), Problem>(())
        });
        forgotten.await.map_err(problems::registry)?
    }

    /// Takes a taskspace out of the registry and out of `ssh_config`; its agent's state is kept
    /// under `keep_state_as`.
    pub(super) async fn forget(
        &self,
        id: &TaskspaceId,
        keep_state_as: Option<TaskspaceId>,
    ) -> Result<(), Problem> {
        let gone = id.clone();
        let updated = self.registry.update(move |document| {
            if let Some(record) = document.taskspaces.remove(&gone) {
                if let Some(former) = keep_state_as {
                    let volume = record.agent_state_volume.clone();
                    let kept = AgentStateRecord { volume, since: Timestamp::now(), going: false };
                    document.agent_states.insert(former, kept);
                }
                forget_unused_project(document, &record.spec.project.name, None);
                return Ok(Some(record.status));
            }
            Ok::<_, Problem>(None)
        });
        if let Some(from) = updated.await.map_err(problems::registry)?? {
            let body = EventBody::StatusChanged { from: Some(from), to: None };
            self.bus.publish(None, Some(id.clone()), body);
        }
        self.patience.over(id);
        self.health.forget(id);
        self.refresh_idle().await;
        fault::point(|| "forget: ssh_config: before".to_owned());
        self.ssh.publish().await
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

/// Returns the last lines that a container wrote.
pub(super) async fn last_lines(podman: &Podman, container: &str) -> Vec<String> {
    use futures_util::StreamExt;

    let options = LogOptions { tail: Some(LAST_LINES), ..LogOptions::default() };
    let Ok(chunks) = podman.logs(container, options).await else { return Vec::new() };
    let chunks: Vec<_> = chunks.collect().await;
    let bytes: Vec<u8> =
        chunks.into_iter().flatten().flat_map(|chunk| chunk.bytes.to_vec()).collect();
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

/// Starts a container. If Podman refuses it without a reason of its own, it is stopped and started
/// again: one whose process was killed between its making and its start cannot be started until it is
/// stopped, and under load crun is now and then refused a setting of a new network namespace.
async fn start(podman: &Podman, name: &str, patience: u32) -> podman::Result<()> {
    for _ in 1..STARTS {
        match podman.start_container(name).await {
            Err(error) if error.kind() == ErrorKind::Other => {
                tracing::debug!("tried again: {error}");
            }
            result => return result,
        }
        if let Err(error) = podman.stop_container(name, patience).await {
            tracing::debug!("cannot be stopped: {error}");
        }
    }
    podman.start_container(name).await
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

pub(super) async fn make_directories(paths: Vec<PathBuf>) -> Result<(), Problem> {
    blocking(move || {
        paths.iter().try_for_each(|path| {
            std::fs::create_dir_all(path).map_err(|source| {
                problems::file(&FileError::Io { doing: "make", path: path.clone(), source })
            })
        })
    })
    .await
}

fn foreign_pod(name: &str) -> Problem {
    Problem::new(
        Code::TaskspaceExists,
        format!("there is a pod '{name}' already that is not in this registry"),
    )
    .hint("choose another id, or remove the pod if nobody needs it")
}
