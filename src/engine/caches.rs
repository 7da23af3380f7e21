//! The build caches with which the taskspaces of a project begin: each is made once, of a taskspace's
//! own, and never changed again.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use jiff::Timestamp;
use uuid::Uuid;

use super::driver::{Context, Job};
use super::perform::{Acting, make_directories};
use super::projects::forget_unused_project;
use super::ssh::blocking;
use super::volumes::{foreign, is_ours};
use super::{Engine, Inner, lifecycle, problems, restore};
use crate::config::settings::Promote;
use crate::fault;
use crate::host::files;
use crate::host::unshared::Only;
use crate::model::{
    Asker, BaseState, CacheRecord, Code, CollectableKind, Document, Operation, Problem,
    ProjectView, Record, Status, TaskspaceId,
};
use crate::plan::volumes::{CACHED_CHECKOUT, CACHED_FILES};
use crate::plan::{FillPlan, Layers, cache, collect, names};
use crate::podman::VolumeSpec;

impl Engine {
    /// Begins to make a taskspace's build cache the one that later taskspaces of its project begin
    /// with.
    ///
    /// # Errors
    /// When there is none of this id, or another operation is in the way.
    pub async fn promote_cache(
        &self,
        id: &TaskspaceId,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        self.ask(id, Job::Promote, asker).await
    }

    /// Withdraws the build caches of a project: new taskspaces begin without one. Those that have one
    /// keep it.
    ///
    /// # Errors
    /// When there is no such project, or the registry or Podman cannot be reached.
    pub async fn withdraw_cache(&self, project: &str) -> Result<ProjectView, Problem> {
        let inner = &self.inner;
        inner.link.get().await?;
        let name = project.to_owned();
        let withdrawn = inner.registry.update(move |document| {
            document.note_uses(&name, Timestamp::now(), |document| {
                let project = document.projects.get_mut(&name);
                let project = project.ok_or_else(|| problems::no_project(&name))?;
                project.caches.values_mut().for_each(|cache| cache.withdrawn = true);
                Ok::<_, Problem>(())
            })
        });
        withdrawn.await.map_err(problems::registry)??;
        inner.trim(project, CollectableKind::Cache).await?;
        let projects = self.projects().await?;
        let view = projects.into_iter().find(|it| it.name == project);
        view.ok_or_else(|| problems::no_project(project))
    }
}

/// Makes a taskspace's build cache the one of its project.
pub(super) async fn promote(context: &Context) -> Result<(), Problem> {
    let engine = &context.engine;
    let record = engine.record(&context.id).await?;
    if record.is_half_made() || matches!(record.status, Status::Creating | Status::Deleting) {
        let detail =
            format!("'{}' is {}, and its build cache not whole", context.id, record.status);
        return Err(Problem::new(Code::StateConflict, detail).hint("wait until it is ready"));
    }
    restore::refuse_half(&context.id, &record)?;
    engine.check_reserve(None).await?;
    let (_, capabilities) = engine.link.get().await?;
    let plan = cache::promote(&cache::Inputs {
        registry: engine.document().await?.registry,
        id: &context.id,
        record: &record,
        capabilities: &capabilities,
        directories: &engine.settings().cache.directories,
        unique: Uuid::new_v4(),
    });
    lifecycle::run(context, &plan).await
}

/// Does the same where the settings want it whenever a taskspace goes. That it fails is no reason to
/// keep the taskspace.
pub(super) async fn promote_before_removal(context: &Context, record: &Record) {
    let engine = &context.engine;
    let is_whole = matches!(record.status, Status::Running | Status::Stopped);
    if engine.settings().cache.promote == Promote::Delete
        && is_whole
        && let Err(problem) = promote(context).await
    {
        engine.warn(&context.id, &format!("its build cache is not kept: {problem}"));
    }
}

impl Inner {
    /// Makes sure of a build cache over which that of a taskspace lies. What somebody removed cannot
    /// be made anew; but a cache is only a cache, so that an empty one does.
    pub(super) async fn ensure_cache(&self, project: &str, volume: &str) -> Result<(), Problem> {
        let (registry, volumes) = (self.document().await?.registry, self.volumes().await?);
        match volumes.find(volume).await? {
            Some(there) if is_ours(&there.labels, registry) => return Ok(()),
            Some(_) => return Err(foreign(Code::StateConflict, volume)),
            None => {}
        }
        let spec = VolumeSpec {
            name: volume.to_owned(),
            options: Default::default(),
            labels: names::cache_labels(registry, project),
        };
        volumes.create(registry, &spec, Code::StateConflict).await?;
        let root = volumes.directory(volume);
        let directories = [CACHED_FILES, CACHED_CHECKOUT].map(|name| root.join(name));
        make_directories(directories.to_vec()).await
    }

    /// Records that a build cache is whole: once all of it is on the disk.
    pub(super) async fn publish_cache(
        &self,
        project: &str,
        volume: &str,
        from: &TaskspaceId,
    ) -> Result<(), Problem> {
        let (_, capabilities) = self.link.get().await?;
        let whole = capabilities.volume_directory(volume);
        let sync = move || files::sync_file_system(&whole).map_err(|error| problems::file(&error));
        blocking(sync).await?;
        self.record_cache(project, volume, from, BaseState::Ready).await?;
        self.making_caches().remove(volume);
        Ok(())
    }

    /// Records a build cache, or what became of it.
    pub(super) async fn record_cache(
        &self,
        project: &str,
        volume: &str,
        from: &TaskspaceId,
        state: BaseState,
    ) -> Result<(), Problem> {
        let (name, volume, from) = (project.to_owned(), volume.to_owned(), from.clone());
        let updated = self.registry.update(move |document| {
            let created = Timestamp::now();
            document.note_uses(&name, created, |document| {
                let project = document.projects.get_mut(&name);
                let project = project.ok_or_else(|| problems::no_project(&name))?;
                let (serial, withdrawn, unused_since) = (project.next_cache(), false, None);
                let cache = CacheRecord { state, created, serial, from, withdrawn, unused_since };
                project.caches.insert(volume, cache);
                Ok::<(), Problem>(())
            })
        });
        updated.await.map_err(problems::registry)?
    }

    /// Removes a build cache that was not made whole.
    pub(super) async fn abandon_cache(&self, project: &str, volume: &str) -> Result<(), Problem> {
        let of = volume.to_owned();
        self.drop_cache(project, volume, move |document| !document.uses_cache(&of)).await.map(drop)
    }

    /// Removes a build cache, if its time is still over; returns whether it did.
    pub(super) async fn drop_due_cache(
        &self,
        project: &str,
        volume: &str,
    ) -> Result<bool, Problem> {
        let (of, retention) = (volume.to_owned(), self.settings().retention.clone());
        self.drop_cache(project, volume, move |document| {
            collect::cache_is_due(document, &retention, Timestamp::now(), &of)
        })
        .await
    }

    /// Removes a build cache that may go; returns whether it did.
    async fn drop_cache(
        &self,
        project: &str,
        volume: &str,
        may_go: impl FnOnce(&Document) -> bool + Send + 'static,
    ) -> Result<bool, Problem> {
        // Two removals of the same files would be in each other's way.
        let lock = self.projects.lock_of(volume).await;
        let _alone = lock.write().await;
        let (name, of) = (project.to_owned(), volume.to_owned());
        // Under the registry's lock it becomes one that is not whole: nobody begins with it any more,
        // and when the removal fails, the next collection finds it.
        let condemned = self.registry.update(move |document| {
            let may_go = may_go(document);
            if may_go {
                document.note_uses(&name, Timestamp::now(), |document| {
                    let project = document.projects.get_mut(&name);
                    if let Some(cache) = project.and_then(|project| project.caches.get_mut(&of)) {
                        cache.state = BaseState::Making;
                    }
                });
            }
            Ok::<bool, Problem>(may_go)
        });
        if !condemned.await.map_err(problems::registry)?? {
            return Ok(false);
        }
        fault::point(|| "cache: remove the volume: before".to_owned());
        let registry = self.document().await?.registry;
        self.volumes().await?.remove(registry, volume).await?;
        fault::point(|| "cache: remove the volume: after".to_owned());
        let (name, of) = (project.to_owned(), volume.to_owned());
        let forgotten = self.registry.update(move |document| {
            document.note_uses(&name, Timestamp::now(), |document| {
                if let Some(project) = document.projects.get_mut(&name) {
                    project.caches.remove(&of);
                }
                forget_unused_project(document, &name, None);
            });
            Ok::<(), Problem>(())
        });
        forgotten.await.map_err(problems::registry)??;
        Ok(true)
    }

    /// Returns the build caches that are being made: nobody else may take them for leftovers.
    pub(super) fn making_caches(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.making_caches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Acting {
    /// Copies a taskspace's build cache.
    pub(super) async fn fill_cache(&self, fill: &FillPlan) -> Result<(), Problem> {
        make_directories(vec![fill.files.to.clone(), fill.checkout.to.clone()]).await?;
        let unshared = self.engine.unshared().await?;
        let not_ours = vec![".git".into(), ".build-cache".into()];
        let only = Only { names: fill.directories.clone(), not_in: fill.base.clone() };
        let parts = [(&fill.files, Vec::new(), None), (&fill.checkout, not_ours, Some(only))];
        for (Layers { lower, upper, to }, excludes, only) in parts {
            let merged = unshared.merge(lower.as_deref(), upper, to, excludes, only);
            merged.await.map_err(problems::unshared)?;
        }
        Ok(())
    }
}
