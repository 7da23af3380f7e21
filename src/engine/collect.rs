//! Collects what is out of use: by itself when its time is over, after a deletion, and on request.
//!
//! Each thing goes under the lock that its making takes, and only if it still is to go by what is known
//! then: a use that begins meanwhile wins. What the registry has is condemned in it before it is
//! removed, so whatever breaks off, the next collection goes on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::driver::Queued;
use super::projects::Removal;
use super::ssh::blocking;
use super::volumes::{Volumes, is_ours};
use super::{Engine, Inner, problems};
use crate::fault;
use crate::host::git::{Source, Users, list_mirrors, mirror_path, remove_mirror};
use crate::model::{
    Code, Collectable, CollectableKind, CollectionView, Document, Problem, TaskspaceId,
};
use crate::plan::collect::{self, Busy, Inputs, Known, Mirror, Object};
use crate::plan::names;
use crate::podman::{ErrorKind, Podman};

/// How soon a look is tried again that failed, at most.
const RETRY: Duration = Duration::from_secs(60);

/// What is out of use, by a look at everything.
struct Found {
    items: Vec<Collectable>,
    /// Who used the mirrors then.
    mirrors: Vec<Mirror>,
}

impl Engine {
    /// Removes what is out of use and whose time is over, and what there is of the taskspaces and
    /// objects that are `named` and belong to nothing in the registry.
    ///
    /// # Errors
    /// When there is nothing of a name, or Podman or the registry cannot be reached. What cannot be
    /// removed is told with its item.
    pub async fn collect(&self, named: &BTreeSet<String>) -> Result<CollectionView, Problem> {
        let items = self.inner.collect(named).await?.items;
        Ok(CollectionView { dry_run: false, items })
    }

    /// Tells what [`collect`](Self::collect) would remove now.
    ///
    /// # Errors
    /// Those of the real one.
    pub async fn plan_collection(
        &self,
        named: &BTreeSet<String>,
    ) -> Result<CollectionView, Problem> {
        let (podman, _) = self.inner.link.get().await?;
        let items = self.inner.look_for_unused(&podman, named).await?.items;
        Ok(CollectionView { dry_run: true, items })
    }
}

impl Inner {
    /// Collects what comes due, until the service ends.
    pub(super) async fn watch_retention(self: Arc<Self>) {
        loop {
            let interval = self.settings().retention.interval;
            let mut begun = Timestamp::now();
            let pause = match self.collect_by_itself().await {
                Ok(()) => interval,
                Err(problem) => {
                    tracing::warn!("what is out of use stays for now: {problem}");
                    interval.min(RETRY)
                }
            };
            let regular = Instant::now() + pause;
            loop {
                // What was due then and is still there waits for the next regular look.
                let due = self.next_due(begun).await;
                let due = due.and_then(|wait| Instant::now().checked_add(wait));
                tokio::select! {
                    () = self.closing.cancelled() => return,
                    () = sleep_until(due.map_or(regular, |due| due.min(regular))) => break,
                    // The clock may have been set back.
                    () = self.unused.notified() => begun = begun.min(Timestamp::now()),
                }
            }
        }
    }

    /// Returns how long it is until something comes due whose time is over later than `after`.
    async fn next_due(&self, after: Timestamp) -> Option<Duration> {
        let document = self.document().await.ok()?;
        let settings = self.settings();
        let retention = &settings.retention;
        let unused = self.unused_of(&document);
        let astray = document
            .astray
            .iter()
            .filter_map(|(key, since)| collect::keep_of_astray(retention, key).until(*since));
        let due = unused.iter().filter_map(|it| it.until).chain(astray);
        let due = due.filter(|until| *until > after).min()?;
        // A time that is over by now is no duration.
        Some(Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default())
    }

    /// Collects, if there is anything: an empty registry is no reason to start Podman.
    async fn collect_by_itself(self: &Arc<Self>) -> Result<(), Problem> {
        let document = self.document().await?;
        let Document { taskspaces, projects, agent_states, astray, .. } = &*document;
        let is_empty = taskspaces.is_empty()
            && projects.is_empty()
            && agent_states.is_empty()
            && astray.is_empty();
        match is_empty {
            true => Ok(()),
            false => self.collect(&BTreeSet::new()).await.map(drop),
        }
    }

    /// Removes what is out of use and whose time is over; one collection at a time.
    async fn collect(self: &Arc<Self>, named: &BTreeSet<String>) -> Result<Found, Problem> {
        let _alone = self.collecting.lock().await;
        let (podman, _) = self.link.get().await?;
        self.note_unused().await?;
        let mut found = self.look_for_unused(&podman, named).await?;
        self.note_astray(&found.items).await?;
        let Found { items, mirrors } = &mut found;
        let mut wanted = BTreeSet::new();
        for item in items.iter_mut().filter(|item| item.goes) {
            if self.closing.is_cancelled() {
                item.problem = Some("the service ends".to_owned());
                continue;
            }
            fault::point(|| format!("collect: {}: before", item.kind));
            match self.remove(&podman, item, mirrors).await {
                Ok(true) => tracing::info!("collected {}", item.key()),
                // It came into use, or somebody else removed it.
                Ok(false) => drop(wanted.insert(item.key())),
                Err(problem) => {
                    tracing::warn!("cannot collect {}: {problem}", item.key());
                    item.problem = Some(problem.to_string());
                }
            }
            fault::point(|| format!("collect: {}: after", item.kind));
        }
        items.retain(|item| !wanted.contains(&item.key()));
        let left = items.iter().filter(|item| !item.goes || item.problem.is_some());
        self.note_astray(&left.cloned().collect::<Vec<_>>()).await?;
        if items.iter().any(|item| item.goes && item.is_astray()) {
            self.look.notify_one();
        }
        // Something may have been seen for the first time.
        self.unused.notify_one();
        Ok(found)
    }

    /// Removes what is due of the bases or build caches of a project.
    pub(super) async fn trim(&self, project: &str, kind: CollectableKind) -> Result<(), Problem> {
        let document = self.document().await?;
        let unused = self.unused_of(&document);
        for item in unused.iter().filter(|it| it.project.as_deref() == Some(project)) {
            if !item.goes || item.kind != kind || self.busy().await.names.contains(&item.name) {
                continue;
            }
            self.remove_recorded(&document, item).await?;
        }
        // The rest is due later.
        self.unused.notify_one();
        Ok(())
    }

    /// Returns what the registry has and nobody uses.
    fn unused_of(&self, document: &Document) -> Vec<Collectable> {
        let settings = self.settings();
        let (retention, now) = (&settings.retention, Timestamp::now());
        collect::of_document(document, retention, now, &Busy::default())
    }

    /// Notes since when something is unused of which that is not known: what an earlier version recorded,
    /// and what was recorded before the clock was set back.
    async fn note_unused(&self) -> Result<(), Problem> {
        let now = Timestamp::now();
        let note = move |document: &mut Document| {
            let names: Vec<String> = document.projects.keys().cloned().collect();
            names.iter().for_each(|name| document.note_uses(name, now, |_| ()));
        };
        let mut noted = Document::clone(&*self.document().await?);
        let before = noted.projects.clone();
        note(&mut noted);
        if noted.projects == before {
            return Ok(());
        }
        let updated = self.registry.update(move |document| {
            note(document);
            Ok::<(), Problem>(())
        });
        updated.await.map_err(problems::registry)?
    }

    /// Notes since when what is astray has been seen.
    async fn note_astray(&self, items: &[Collectable]) -> Result<(), Problem> {
        let astray = collect::astray(items);
        if self.document().await?.astray == astray {
            return Ok(());
        }
        let updated = self.registry.update(move |document| {
            document.astray = astray;
            Ok::<(), Problem>(())
        });
        updated.await.map_err(problems::registry)?
    }

    /// Looks at everything, and changes nothing.
    async fn look_for_unused(
        &self,
        podman: &Podman,
        named: &BTreeSet<String>,
    ) -> Result<Found, Problem> {
        let before = self.document().await?;
        if let Some(id) = named.iter().find(|name| is_there(&before, name)) {
            let detail = format!("the taskspace '{id}' is in the registry");
            return Err(Problem::new(Code::StateConflict, detail)
                .hint(format!("`taskspace delete {id}` removes it")));
        }
        let mut objects = objects(podman, &self.volumes().await?, &before).await?;
        // Read again: what was made meanwhile is not astray, nor is what was removed meanwhile.
        let known_before = Known::new(&before);
        objects.retain(|object| known_before.is_stray(object));
        let document = self.document().await?;
        let mirrors = mirrors(self.projects.mirrors().to_owned()).await?;
        let projects = self.mirrors_of_projects(&document);
        let items = collect::plan(&Inputs {
            document: &document,
            retention: &self.settings().retention,
            now: Timestamp::now(),
            objects: &objects,
            mirrors: &mirrors,
            projects: &projects,
            busy: &self.busy().await,
            named,
        });
        let is_found = |name: &String| {
            items.iter().any(|it| it.name == *name || it.taskspace.as_ref() == Some(name))
        };
        if let Some(name) = named.iter().find(|name| !is_found(name)) {
            let detail = format!("there is nothing of '{name}' that belongs to nothing");
            return Err(Problem::new(Code::NotFound, detail)
                .hint("`taskspace gc --dry-run` shows what there is"));
        }
        Ok(Found { items, mirrors })
    }

    /// Returns what is being made at this moment.
    async fn busy(&self) -> Busy {
        let mut names: BTreeSet<String> = self.projects.busy().await.into_iter().collect();
        names.extend(self.making_caches().iter().cloned());
        names.extend(self.images.warming().iter().cloned());
        names.extend(self.asides().iter().cloned());
        let driven = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        let reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let taskspaces = driven.keys().chain(reserved.iter()).cloned().collect();
        Busy { taskspaces, names }
    }

    /// Removes something, if it still may go; returns whether it is gone.
    async fn remove(
        self: &Arc<Self>,
        podman: &Podman,
        item: &Collectable,
        mirrors: &[Mirror],
    ) -> Result<bool, Problem> {
        match item.kind {
            CollectableKind::Base | CollectableKind::Cache | CollectableKind::AgentState => {
                let document = self.document().await?;
                self.remove_recorded(&document, item).await
            }
            CollectableKind::Mirror => {
                let mirror = mirrors.iter().find(|mirror| mirror.name == item.name);
                let users = mirror.map(|mirror| mirror.users.clone()).unwrap_or_default();
                self.remove_mirror(&item.name, &users).await
            }
            CollectableKind::Container | CollectableKind::Pod | CollectableKind::Volume => {
                match item.taskspace.as_deref().map(str::parse) {
                    // Its driver does one thing after the other: nobody makes one of this id meanwhile.
                    Some(Ok(id)) => self.have_removed(&id, item.clone()).await,
                    _ => {
                        let lock = self.projects.lock_of(&item.name).await;
                        let _alone = lock.write().await;
                        self.remove_stray(podman, item).await
                    }
                }
            }
        }
    }

    /// Removes something that the registry has.
    async fn remove_recorded(
        &self,
        document: &Document,
        item: &Collectable,
    ) -> Result<bool, Problem> {
        let retention = self.settings().retention.clone();
        let project = item.project.as_deref().unwrap_or_default();
        match item.kind {
            CollectableKind::Base => {
                let bases = document.projects.get(project).map(|project| &project.bases);
                let base = bases.into_iter().flatten().find(|(_, base)| base.volume == item.name);
                let Some((commit, _)) = base else { return Ok(false) };
                let due = Removal::Due(retention);
                self.projects.drop_base(&self.volumes().await?, project, commit, due).await
            }
            CollectableKind::Cache => self.drop_due_cache(project, &item.name).await,
            CollectableKind::AgentState => {
                let Ok(former) = item.name.parse::<TaskspaceId>() else { return Ok(false) };
                let id = former.clone();
                let is_due = move |state: &_| {
                    collect::agent_state(&id, state, &retention, Timestamp::now()).goes
                };
                self.remove_agent_state(&former, is_due).await
            }
            CollectableKind::Container
            | CollectableKind::Pod
            | CollectableKind::Volume
            | CollectableKind::Mirror => Ok(false),
        }
    }

    /// Returns the names of the mirrors of the registry's projects.
    fn mirrors_of_projects(&self, document: &Document) -> BTreeSet<String> {
        let mirrors = self.projects.mirrors();
        let name = |source: &str| {
            let path = mirror_path(mirrors, &Source::parse(source).ok()?);
            Some(path.file_name()?.to_string_lossy().into_owned())
        };
        document.projects.values().filter_map(|project| name(&project.source)).collect()
    }

    async fn remove_mirror(&self, name: &str, users: &Users) -> Result<bool, Problem> {
        let Some(_unused) = self.projects.keep_mirrors_unused() else { return Ok(false) };
        // Nobody enters a project now whose mirror this is.
        let projects = self.mirrors_of_projects(&*self.document().await?);
        let is_wanted = |name: &str| projects.contains(name);
        if is_wanted(name) || users.iter().any(|(_, project)| is_wanted(project)) {
            return Ok(false);
        }
        let path = self.projects.mirrors().join(name);
        remove_mirror(&path, users).await.map_err(|error| problems::git(&error))
    }

    /// Has the driver of a taskspace that does not exist remove what there is of it.
    async fn have_removed(
        self: &Arc<Self>,
        id: &TaskspaceId,
        item: Collectable,
    ) -> Result<bool, Problem> {
        let (answer, answered) = oneshot::channel();
        self.queue(id, Queued::Collect { item: Box::new(item), answer });
        answered.await.unwrap_or_else(|_| {
            Err(Problem::new(Code::Internal, "its removal broke off by a mistake in taskspace"))
        })
    }

    /// Removes something of this registry that belongs to nothing in it.
    pub(super) async fn remove_stray(
        &self,
        podman: &Podman,
        item: &Collectable,
    ) -> Result<bool, Problem> {
        let document = self.document().await?;
        // It may be another one of that name by now, or have come into use.
        let may_go = |labels: names::Labels| {
            let is_same = labels.get(names::TASKSPACE_LABEL) == item.taskspace.as_ref();
            let object = Object { kind: item.kind, name: item.name.clone(), labels };
            is_ours(&object.labels, document.registry)
                && is_same
                && Known::new(&document).is_stray(&object)
        };
        if item.kind == CollectableKind::Volume {
            let volumes = self.volumes().await?;
            let Some(volume) = volumes.find(&item.name).await? else { return Ok(true) };
            if !may_go(volume.labels.clone()) {
                return Ok(false);
            }
            // What a container of somebody's stands on stays.
            return volumes.remove_unused(&item.name, &volume).await.map(|()| true);
        }
        let labels = match item.kind {
            CollectableKind::Container => {
                podman.inspect_container(&item.name).await.map(|found| found.labels)
            }
            _ => podman.inspect_pod(&item.name).await.map(|found| found.labels),
        };
        let labels = match labels {
            Ok(labels) => labels,
            Err(error) if error.is_not_found() => return Ok(true),
            Err(error) => return Err(problems::podman(error)),
        };
        if !may_go(labels) {
            return Ok(false);
        }
        let removed = match item.kind {
            CollectableKind::Container => podman.remove_container(&item.name, true).await,
            _ => podman.remove_pod(&item.name, true, self.stop_seconds()).await,
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(problems::podman(error)),
            _ => Ok(true),
        }
    }
}

/// Whether a name is that of a taskspace in the registry.
fn is_there(document: &Document, name: &str) -> bool {
    name.parse::<TaskspaceId>().is_ok_and(|id| document.taskspaces.contains_key(&id))
}

/// Returns the containers, pods and volumes of this registry.
async fn objects(
    podman: &Podman,
    volumes: &Volumes,
    document: &Document,
) -> Result<Vec<Object>, Problem> {
    let registry = document.registry.to_string();
    let labels = [(names::REGISTRY_LABEL, registry.as_str())];
    let (containers, pods, volumes) = tokio::try_join!(
        async { podman.containers(&labels, true).await.map_err(problems::podman) },
        async { podman.pods(&labels).await.map_err(problems::podman) },
        volumes.list(document.registry)
    )?;
    let object = |kind, name, labels| Object { kind, name, labels };
    // What is in a pod goes with it.
    let containers = containers.into_iter().filter(|container| container.pod_name.is_empty());
    let containers = containers.map(|it| {
        let name = it.name().to_owned();
        object(CollectableKind::Container, name, it.labels)
    });
    let pods = pods.into_iter().map(|pod| object(CollectableKind::Pod, pod.name, pod.labels));
    let volumes =
        volumes.into_iter().map(|(name, labels)| object(CollectableKind::Volume, name, labels));
    Ok(containers.chain(pods).chain(volumes).collect())
}

/// Returns the mirrors that there are.
async fn mirrors(place: PathBuf) -> Result<Vec<Mirror>, Problem> {
    blocking(move || {
        let mirrors = list_mirrors(&place).into_iter();
        Ok(mirrors.map(|(name, users)| Mirror { name, users }).collect())
    })
    .await
}
