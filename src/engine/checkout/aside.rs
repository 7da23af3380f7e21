//! Containers that are made beside a taskspace for a moment, to look at its checkout.
//!
//! Nothing of the taskspace is started for it. Podman mounts the checkout once, however many containers
//! use it, so the taskspace can be started, stopped and removed meanwhile. One that this run of the
//! service does not know was left by an earlier one.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::super::pods::stands_on_our_volumes;
use super::super::volumes::is_ours;
use super::super::{Inner, isolated, problems, restore, verify};
use crate::fault;
use crate::model::{Code, Desired, ImageRef, Problem, Record, Role, TaskspaceId};
use crate::plan::volumes::checkout;
use crate::plan::{aside, names};
use crate::podman::{ContainerSpec, ErrorKind, Podman};

/// A container that goes when this does.
pub(super) struct Aside {
    engine: Arc<Inner>,
    podman: Podman,
    name: String,
    /// Whether it is still to be removed.
    is_there: bool,
}

impl Aside {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Removes it, and returns when it is gone.
    pub(super) async fn remove(mut self) {
        self.is_there = false;
        self.engine.remove_aside(&self.podman, &self.name).await;
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.is_there {
            return;
        }
        // Without a runtime the service has ended, and its next run removes it.
        let Ok(runtime) = Handle::try_current() else { return };
        let (engine, podman) = (self.engine.clone(), self.podman.clone());
        let name = std::mem::take(&mut self.name);
        runtime.spawn(async move { engine.remove_aside(&podman, &name).await });
    }
}

impl Inner {
    /// Makes and starts a container that sees a taskspace's checkout.
    pub(super) async fn make_aside(
        self: &Arc<Self>,
        podman: &Podman,
        id: &TaskspaceId,
        record: &Record,
    ) -> Result<Aside, Problem> {
        let registry = self.document().await?.registry;
        self.ensure_checkout(registry, id, record).await?;
        // The image that it was made with, which may have another name by now.
        let dev = podman.inspect_container(&names::container(id, Role::Dev)).await;
        let image = match dev {
            Ok(dev) if !dev.image_id.is_empty() => dev.image_id,
            _ => ImageRef::Dev(record.spec.project_type).full_name(),
        };
        let mark = Uuid::new_v4().simple().to_string();
        let (_, capabilities) = self.link.get().await?;
        let spec = aside::spec(registry, id, record, &mark[..12], image, &capabilities);
        // Known before it is there: what is not known is removed.
        self.asides().insert(spec.name.clone());
        // Asked only now: who replaces the files records that, and then looks who looks at them.
        if let Err(problem) = restore::refuse_half(id, &self.record(id).await?) {
            self.asides().remove(&spec.name);
            return Err(problem);
        }
        let (engine, podman) = (self.clone(), podman.clone());
        let made = Aside { engine, podman, name: spec.name.clone(), is_there: true };
        match made.start(registry, &spec).await {
            Ok(()) => Ok(made),
            Err(problem) => {
                made.remove().await;
                Err(problem)
            }
        }
    }

    /// Makes sure of the checkout of a taskspace that does not run: housekeeping takes the volume when it
    /// takes the pod, and nothing is in it that is not in its layers.
    async fn ensure_checkout(
        &self,
        registry: Uuid,
        id: &TaskspaceId,
        record: &Record,
    ) -> Result<(), Problem> {
        let volumes = self.volumes().await?;
        match volumes.find(&names::project_volume(id)).await? {
            Some(found) if is_ours(&found.labels, registry) => return Ok(()),
            Some(_) => return Err(no_checkout(id)),
            None if record.desired == Desired::Absent => return Err(no_checkout(id)),
            None => {}
        }
        let project = &record.spec.project;
        let layers = [
            Some(names::changes_volume(id)),
            Some(names::base_volume(&project.name, project.base())),
            record.cache.clone(),
        ];
        for layer in layers.into_iter().flatten() {
            if volumes.find(&layer).await?.is_none() {
                return Err(no_checkout(id));
            }
        }
        let (_, capabilities) = self.link.get().await?;
        let spec = checkout(registry, id, record, &capabilities);
        volumes.create(registry, &spec, Code::StateConflict).await
    }

    /// Removes what an earlier run of the service left, of those that were found.
    pub(in super::super) fn sweep_asides(self: &Arc<Self>, podman: &Podman, found: &[String]) {
        let known = self.asides().clone();
        for name in found.iter().filter(|name| !known.contains(*name)) {
            tracing::info!(%name, "removing what an earlier run of the service left");
            let (engine, podman, name) = (self.clone(), podman.clone(), name.clone());
            tokio::spawn(async move { engine.remove_aside(&podman, &name).await });
        }
    }

    /// Whether somebody looks at the checkout of a taskspace, or is about to.
    pub(in super::super) fn is_looked_at(&self, id: &TaskspaceId) -> bool {
        let prefix = names::aside(id, "");
        self.asides().iter().any(|name| name.starts_with(&prefix))
    }

    async fn remove_aside(&self, podman: &Podman, name: &str) {
        match podman.remove_container(name, true).await {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(%name, "it stays for now: {error}");
            }
            _ => {}
        }
        // From now on it is found, if it is there.
        self.asides().remove(name);
    }

    /// Returns the containers that this run of the service has made beside taskspaces.
    pub(in super::super) fn asides(&self) -> MutexGuard<'_, HashSet<String>> {
        self.asides.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Aside {
    async fn start(&self, registry: Uuid, spec: &ContainerSpec) -> Result<(), Problem> {
        let begun = Timestamp::now();
        let podman = &self.podman;
        let spec = &isolated::with_environment(podman, spec).await?;
        podman.create_container(spec).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Problem::new(Code::StateConflict, format!("its image is gone: {error}"))
                    .hint("`taskspace images build` builds it")
            }
            _ => problems::podman(error),
        })?;
        fault::point(|| "aside: made".to_owned());
        stands_on_our_volumes(podman, registry, spec, begun).await?;
        let made = podman.inspect_container(&self.name).await.map_err(problems::podman)?;
        verify::container(spec, &made)?;
        verify::environment(&spec.env, &made.env)?;
        podman.start_container(&self.name).await.map_err(problems::podman)
    }
}

fn no_checkout(id: &TaskspaceId) -> Problem {
    Problem::new(Code::StateConflict, format!("the checkout of '{id}' is not there"))
        .hint(format!("`taskspace start {id}` makes it anew from the changes, if these are there"))
}
