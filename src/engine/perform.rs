//! Does the acts of a plan on the real Podman and host.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OnceCell, OwnedSemaphorePermit};
use tokio::time::Instant;

use super::cache_layout::lay_out_cache;
use super::execute::Performer;
use super::ports::let_rest;
use super::projects::{Removal, forget_unused_project};
use super::ssh::blocking;
use super::volumes::{foreign, is_ours};
use super::{Inner, problems, verify};
use crate::fault;
use crate::host::banner;
use crate::host::files::{self, FileError};
use crate::model::{
    AgentStateRecord, BaseState, Code, CollectableKind, EventBody, GitEnvironment, Hold, Problem,
    Record, Role, StepOutcome, TaskspaceId,
};
use crate::plan::{Act, names};
use crate::podman::{LogOptions, Pod, Podman, VolumeSpec};

/// How many log lines are told of a container that does not come up.
const LAST_LINES: u64 = 20;

/// Performs acts for one operation on one taskspace.
pub(super) struct Acting {
    pub(super) engine: Arc<Inner>,
    pub(super) podman: Podman,
    pub(super) operation: u64,
    /// What whoever asked for it holds, where that matters.
    pub(super) lock: Option<Hold>,
    /// The environment of the caller, in which git runs.
    pub(super) git: GitEnvironment,
    pub(super) id: TaskspaceId,
    pub(super) record: Record,
    /// Whether the base was made by this operation.
    pub(super) made_base: AtomicBool,
    /// Its turn among those that make or start pods.
    pub(super) turn: OnceCell<OwnedSemaphorePermit>,
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
                let volumes = self.engine.volumes().await?;
                let made = self.engine.projects.ensure_base(&volumes, plan).await?;
                self.made_base.store(made, Ordering::Relaxed);
                match self.engine.projects.lacks(plan).await? {
                    Some(lacks) => self.engine.note_warning(&self.id, lacks).await,
                    None => Ok(()),
                }
            }
            // What was there before is not ours to take back.
            Act::DropBase { .. } if !self.made_base.load(Ordering::Relaxed) => Ok(()),
            Act::DropBase { project, key } => {
                let in_vain = Removal::InVain(self.id.clone());
                let volumes = self.engine.volumes().await?;
                let projects = &self.engine.projects;
                projects.drop_base(&volumes, project, key, in_vain).await.map(drop)
            }
            Act::TrimBases(project) => self.engine.trim(project, CollectableKind::Base).await,
            Act::EnsureCache { project, volume } => self.engine.ensure_cache(project, volume).await,
            Act::EnterCache { project, volume } => {
                self.engine.making_caches().insert(volume.clone());
                self.engine.record_cache(project, volume, &self.id, BaseState::Making).await
            }
            Act::FillCache(fill) => self.fill_cache(fill).await,
            Act::PublishCache { project, volume } => {
                self.engine.publish_cache(project, volume, &self.id).await
            }
            Act::DropCache { project, volume } => {
                let dropped = self.engine.abandon_cache(project, volume).await;
                self.engine.making_caches().remove(volume);
                dropped
            }
            Act::TrimCaches(project) => self.engine.trim(project, CollectableKind::Cache).await,
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
                self.engine.volumes().await?.remove(registry, name).await
            }
            Act::MakeDirectories { root, directories } => {
                let paths: Vec<_> = directories.iter().map(|name| root.join(name)).collect();
                make_directories(paths).await
            }
            Act::LayOutCache(root) => lay_out_cache(root.clone()).await,
            Act::Hold(plan) => self.hold(plan).await,
            Act::SeedChanges(plan) => self.seed_changes(plan).await,
            Act::CopyFrom(copy) => self.copy_from(copy).await,
            Act::CopyOut(paths) => self.copy_out(paths).await,
            Act::EnterSnapshot(taking) => self.enter_snapshot(taking).await,
            Act::PublishSnapshot(name) => self.publish_snapshot(name).await,
            Act::DropSnapshot(name) => self.drop_snapshot(name).await,
            Act::RefuseOtherUsers(volumes) => self.refuse_other_users(volumes).await,
            Act::AwaitUnused(volumes) => self.await_unused(volumes).await,
            Act::BeginRefill => self.begin_refill().await,
            Act::Refill { copies, emptied } => self.refill(copies, emptied).await,
            Act::RenameBranch { from, to } => self.rename_branch(from, to).await,
            Act::CreatePod(spec) => {
                self.take_turn().await?;
                self.create_pod(spec).await
            }
            Act::RemovePod => self.remove_pod().await,
            Act::CreateContainer(role, spec) => self.create_container(*role, spec).await,
            Act::VerifyContainer(_, spec) => {
                let made = podman.inspect_container(&spec.name).await.map_err(problems::podman)?;
                verify::container(spec, &made)
            }
            Act::HandOver => self.engine.hand_over_to_user(&self.id).await,
            Act::Pause => self.pause().await,
            Act::Unpause => self.unpause().await,
            Act::StartInfra => {
                self.take_turn().await?;
                self.start_infra().await
            }
            Act::GuardNetwork => self.guard_network().await,
            Act::StartContainer(role) => self.start_container(*role).await,
            Act::StopContainer(role) => {
                let name = names::container(&self.id, *role);
                self.stop_container(&name).await
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
        let registry = self.engine.document().await?.registry;
        self.engine.volumes().await?.create(registry, spec, Code::TaskspaceExists).await
    }

    async fn require_volume(&self, name: &str) -> Result<(), Problem> {
        let registry = self.engine.document().await?.registry;
        let volumes = self.engine.volumes().await?;
        match volumes.find(name).await? {
            Some(volume) if !is_ours(&volume.labels, registry) => {
                Err(foreign(Code::StateConflict, name))
            }
            Some(volume) if volume.of_podman.is_some() => volumes.adopt(registry, name).await,
            Some(_) => Ok(()),
            None => Err(problems::lost(&[name])),
        }
    }

    async fn await_ssh(&self, role: Role) -> Result<(), Problem> {
        let port = self.record.ports().of(role);
        let patience: Duration = self.engine.settings().ready_timeout;
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

    /// Removes the agent state that a former taskspace left, if it may go; returns whether it is gone.
    pub(super) async fn remove_agent_state(
        &self,
        former: &TaskspaceId,
        may_go: impl Fn(&AgentStateRecord) -> bool + Clone + Send + 'static,
    ) -> Result<bool, Problem> {
        // Who comes later must not remove the volume of a new taskspace of this id.
        let lock = self.projects.lock_of(&format!("agent state {former}")).await;
        let _alone = lock.write().await;
        let mark = |going: bool| {
            let (former, may_go) = (former.clone(), may_go.clone());
            self.registry.update(move |document| {
                let state = document.agent_states.get_mut(&former).filter(|state| may_go(state));
                Ok::<_, Problem>(state.map(|state| {
                    state.going = going;
                    (state.volume.clone(), document.registry)
                }))
            })
        };
        // Marked first: nobody can be given what is about to go, and a crash is found by the next
        // start.
        let Some((volume, registry)) = mark(true).await.map_err(problems::registry)?? else {
            return Ok(false);
        };
        fault::point(|| "purge: remove the volume: before".to_owned());
        let volumes = self.volumes().await?;
        if let Err(problem) = volumes.remove(registry, &volume).await {
            mark(false).await.map_err(problems::registry)??;
            return Err(problem);
        }
        fault::point(|| "purge: remove the volume: after".to_owned());
        let former = former.clone();
        let forgotten = self.registry.update(move |document| {
            document.agent_states.remove(&former);
            Ok::<(), Problem>(())
        });
        forgotten.await.map_err(problems::registry)??;
        Ok(true)
    }

    /// Takes a taskspace out of the registry and out of `ssh_config`; its agent's state is kept
    /// under `keep_state_as`.
    pub(super) async fn forget(
        &self,
        id: &TaskspaceId,
        keep_state_as: Option<TaskspaceId>,
    ) -> Result<(), Problem> {
        let (gone, settings) = (id.clone(), self.settings());
        let updated = self.registry.update(move |document| {
            let Some(record) = document.taskspaces.get(&gone).cloned() else { return Ok(None) };
            let (now, project) = (Timestamp::now(), &record.spec.project.name);
            document.note_uses(project, now, |document| {
                document.taskspaces.remove(&gone);
                if let Some(former) = keep_state_as {
                    document.agent_states.insert(former, AgentStateRecord::of(&record, now));
                }
                forget_unused_project(document, project, None);
            });
            let_rest(document, record.host_ports(), &settings.ports);
            Ok::<_, Problem>(Some(record.status))
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
