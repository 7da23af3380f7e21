//! Brings about what is asked for: one driver for each taskspace runs plans on Podman and the host,
//! records in the registry what it is about to do, and tells the world by events.

mod cache_layout;
mod caches;
mod checkout;
mod collect;
mod containers;
mod coordination;
mod driver;
mod dry_run;
mod events;
mod execute;
mod fork;
mod forwarding;
mod headroom;
mod health;
mod images;
mod isolated;
mod lifecycle;
mod limits;
mod link;
mod make;
mod metrics;
mod monitors;
mod network;
mod observe;
mod operations;
mod patience;
mod perform;
mod pods;
mod ports;
mod problems;
mod project_quotas;
mod project_views;
mod projects;
mod reconcile;
mod refresh;
mod request;
mod restore;
mod seed;
mod settings;
mod settle;
mod snapshots;
mod ssh;
mod state;
mod states;
mod storage;
#[cfg(test)]
mod tests;
mod usage;
mod verify;
mod views;
mod volumes;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use futures_util::Stream;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Paths, Settings};
use crate::host::files;
use crate::model::{Event, Operation, OperationState, Problem, TaskspaceId};
use crate::registry::Registry;

pub use checkout::DiffText;
pub use coordination::Held;
pub use operations::Active;

pub use crate::podman::{ExecControl, ExecInput, ExecOutput, ExecSession, LogChunk, LogStream};

/// The engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    paths: Arc<Paths>,
    settings: Arc<settings::LiveSettings>,
    registry: Registry,
    bus: Arc<events::EventBus>,
    operations: operations::Operations,
    coordination: coordination::Coordination,
    link: link::Link,
    images: images::Images,
    networks: network::Networks,
    /// One change of what is published at a time.
    publishing: tokio::sync::Mutex<()>,
    projects: projects::Projects,
    ssh: ssh::Ssh,
    drivers: Mutex<HashMap<TaskspaceId, mpsc::UnboundedSender<driver::Queued>>>,
    /// Ids whose making was asked for and is not in the registry yet.
    reserved: Mutex<HashSet<TaskspaceId>>,
    /// How many bytes the bases and build caches of projects occupy, by volume.
    sizes: tokio::sync::Mutex<HashMap<String, u64>>,
    /// The build caches of projects that are being made, by volume.
    making_caches: Mutex<BTreeSet<String>>,
    /// How many taskspaces have to be looked after.
    up: watch::Sender<usize>,
    health: health::Health,
    turns: headroom::Turns,
    usage: usage::Meter,
    /// How much the taskspaces have written.
    written: storage::Written,
    /// The containers that were made beside taskspaces for a moment.
    asides: Mutex<HashSet<String>>,
    metrics: metrics::Metrics,
    /// What is registered outside of taskspaces.
    containers: containers::Containers,
    patience: patience::Patience,
    /// What is of this registry in Podman, and of no taskspace.
    strays: watch::Sender<Vec<String>>,
    /// One collection at a time.
    collecting: tokio::sync::Mutex<()>,
    /// Wakes whoever collects: something has come out of use.
    unused: Notify,
    /// Wakes whoever compares what is recorded with what Podman has.
    look: Notify,
    /// The service ends: nothing is begun any more that nobody asked for.
    closing: CancellationToken,
    started: Timestamp,
}

impl Engine {
    /// Opens the registry and takes up what an earlier run of the service left.
    ///
    /// # Errors
    /// When the registry cannot be used.
    pub async fn open(paths: Paths, settings: Settings) -> Result<Self, Problem> {
        let paths = Arc::new(paths);
        let live = Arc::new(settings::LiveSettings::new(paths.config_dirs.clone(), settings));
        let settings = live.get();
        let file = paths.registry.clone();
        let registry =
            ssh::blocking(move || Registry::open(file).map_err(problems::registry)).await?;
        let permits = paths.permits.clone();
        // What an earlier run was about to start is started by nobody else.
        ssh::blocking(move || files::remove_tree(&permits).map_err(|error| problems::file(&error)))
            .await?;
        let document = registry.read().await.map_err(problems::registry)?;
        let bus = Arc::new(events::EventBus::new());
        let inner = Arc::new(Inner {
            operations: operations::Operations::new(bus.clone(), registry.clone())
                .await
                .map_err(problems::registry)?,
            health: health::Health::default(),
            turns: headroom::Turns::default(),
            usage: usage::Meter::default(),
            written: storage::Written::default(),
            asides: Mutex::default(),
            metrics: metrics::Metrics::new(),
            containers: containers::Containers::new(
                settings.coordination.containers.clone(),
                document.coordination.containers.clone(),
                settings.health,
                bus.clone(),
            ),
            patience: patience::Patience::default(),
            strays: watch::Sender::default(),
            collecting: tokio::sync::Mutex::default(),
            unused: Notify::new(),
            look: Notify::new(),
            closing: CancellationToken::new(),
            coordination: coordination::Coordination::new(
                Arc::new(settings.coordination.clone()),
                &document.coordination,
            ),
            link: link::Link::new(paths.clone()),
            networks: network::Networks::new(&settings.nameservers)?,
            publishing: tokio::sync::Mutex::default(),
            images: images::Images::new(live.clone(), document.registry),
            projects: projects::Projects::new(paths.mirrors.clone(), registry.clone()),
            ssh: ssh::Ssh::new(paths.clone(), registry.clone()),
            drivers: Mutex::default(),
            reserved: Mutex::default(),
            sizes: tokio::sync::Mutex::default(),
            making_caches: Mutex::default(),
            up: watch::Sender::new(0),
            started: Timestamp::now(),
            paths,
            settings: live,
            registry,
            bus,
        });
        inner.refresh_idle().await;
        if let Err(problem) = inner.ssh.remove_leftovers().await {
            tracing::warn!("cannot tidy up the SSH files: {problem}");
        }
        // The files follow the registry, which may come from a backup. Keys that cannot be written
        // are no reason to refuse everything else: the next creation says so.
        if let Err(problem) = inner.ssh.publish().await {
            tracing::warn!("cannot write the SSH files: {problem}");
        }
        inner.take_in_dependencies();
        // What had begun goes on before what waited for it.
        inner.take_up(&document);
        inner.restore(&document);
        tokio::spawn(inner.clone().watch_leases());
        tokio::spawn(inner.clone().keep_operations());
        tokio::spawn(inner.clone().watch_dependencies());
        tokio::spawn(inner.clone().watch_over());
        tokio::spawn(inner.clone().watch_podman());
        tokio::spawn(inner.clone().watch_monitors());
        tokio::spawn(inner.clone().watch_retention());
        tokio::spawn(inner.clone().watch_health());
        tokio::spawn(inner.clone().watch_observed());
        tokio::spawn(inner.clone().watch_storage());
        tokio::spawn(inner.clone().watch_containers());
        tokio::spawn(inner.clone().watch_ports());
        tokio::spawn(inner.clone().watch_settings());
        Ok(Self { inner })
    }

    /// Ends what nobody asked for: watching over the taskspaces. What is under way goes on.
    pub fn close(&self) {
        self.inner.coordination.freeze();
        self.inner.closing.cancel();
    }

    /// Returns the operations that are known, the oldest first.
    pub fn operations(&self) -> Vec<Operation> {
        let mut operations = self.inner.operations.all();
        for operation in operations.iter_mut().filter(|it| it.state == OperationState::Queued) {
            if let Some(current) = self.inner.coordination.current(operation.id) {
                *operation = current;
            }
        }
        operations
    }

    /// Returns one operation.
    ///
    /// # Errors
    /// When it is not known (any more).
    pub fn operation(&self, id: u64) -> Result<Operation, Problem> {
        // What it waits for changes without its doing.
        self.inner.coordination.current(id).map_or_else(|| self.inner.operations.get(id), Ok)
    }

    /// Waits until an operation is over.
    ///
    /// # Errors
    /// When it is not known (any more).
    pub async fn wait(&self, id: u64) -> Result<Operation, Problem> {
        self.inner.operations.wait(id).await
    }

    /// Returns the kept events after `after`, then those to come; with `None` only those to come.
    pub fn events(&self, after: Option<u64>) -> impl Stream<Item = Event> + Send + use<> {
        self.inner.bus.subscribe(after)
    }

    /// Returns the kept events after `after`.
    pub fn kept_events(&self, after: u64) -> Vec<Event> {
        self.inner.bus.kept(after)
    }

    /// Whether no taskspace has to be looked after and no operation is under way.
    pub fn is_idle(&self) -> bool {
        *self.inner.up.borrow() == 0 && self.inner.operations.active().borrow().all == 0
    }

    /// Returns what tells how many taskspaces have to be looked after, and how many operations are under way.
    pub fn activity(&self) -> (watch::Receiver<usize>, watch::Receiver<Active>) {
        (self.inner.up.subscribe(), self.inner.operations.active())
    }

    /// Leaves to the next run of the service what clients may still ask for.
    ///
    /// # Errors
    /// When the registry cannot be written.
    pub async fn leave(&self) -> Result<(), Problem> {
        let kept = self.inner.keep_all().await;
        self.inner.operations.leave_outcomes().await.map_err(problems::registry)?;
        kept
    }

    /// Waits until none of the service's own operations is under way.
    pub async fn quiet(&self) {
        // The sender lives as long as the engine: this cannot fail.
        self.inner.operations.active().wait_for(|active| active.working == 0).await.ok();
    }
}
