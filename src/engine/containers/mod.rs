//! Containers and services outside of all taskspaces, on which operations are coordinated.
//!
//! They are registered by labels of containers, by the settings and by calls (`labels.rs`,
//! `merge.rs`); a call goes before the settings, and these before labels. How they are is said by
//! `state.rs` from what Podman says of them and from knocking at their ports; `known.rs` keeps it, and
//! `track.rs` looks. `requests.rs` is what clients ask for.

mod known;
mod labels;
mod merge;
mod requests;
mod state;
mod track;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::events::EventBus;
use crate::config::settings::HealthSettings;
use crate::model::{
    ContainerName, ContainerState, EventBody, OperationClass, RegisteredContainer, Registration,
};
use known::Known;

/// The registrations by name.
type Registrations = BTreeMap<ContainerName, Registration>;

/// The registered containers.
#[derive(Debug)]
pub(super) struct Containers {
    bus: Arc<EventBus>,
    health: HealthSettings,
    known: Mutex<Known>,
    registrations: watch::Sender<Arc<Registrations>>,
    /// Whether Podman is to be looked at: as soon as something is registered, or somebody asks.
    wanted: watch::Sender<bool>,
    /// Wakes whoever looks at Podman.
    look: Notify,
    /// Wakes whoever knocks at ports, for those of which nothing is known otherwise.
    knock: Notify,
    /// Held while the registry's registrations are taken in, while Podman is looked at, and while
    /// ports are knocked at: what was seen earlier must not come later.
    merging: tokio::sync::Mutex<()>,
    looking: tokio::sync::Mutex<()>,
    knocking: tokio::sync::Mutex<()>,
}

impl Containers {
    /// Begins with what is registered by the settings and by calls.
    pub(super) fn new(
        settings: Registrations,
        api: Registrations,
        health: HealthSettings,
        bus: Arc<EventBus>,
    ) -> Self {
        let (known, news) = Known::new(settings, api, health.retries, Timestamp::now());
        let registrations = known.registrations().clone();
        let containers = Self {
            bus,
            health,
            wanted: watch::Sender::new(!registrations.is_empty()),
            registrations: watch::Sender::new(registrations),
            known: Mutex::new(known),
            look: Notify::new(),
            knock: Notify::new(),
            merging: tokio::sync::Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            knocking: tokio::sync::Mutex::default(),
        };
        containers.tell(news);
        containers
    }

    /// Returns what tells which containers are registered, and when that changes.
    pub(super) fn registrations(&self) -> watch::Receiver<Arc<Registrations>> {
        self.registrations.subscribe()
    }

    /// Takes in which operation acts on a container: as long as one does, the container is what that
    /// makes of it. With none it is over, and the container is looked at at once.
    pub(super) fn acting(&self, name: &ContainerName, class: Option<OperationClass>) {
        self.take(|known, now| known.take_acting(name, class, now));
        if class.is_none() {
            self.look.notify_one();
        }
    }

    /// Whether a container is registered.
    pub(super) fn knows(&self, name: &ContainerName) -> bool {
        self.registrations.borrow().contains_key(name)
    }

    /// Returns how many are registered.
    pub(super) fn count(&self) -> usize {
        self.registrations.borrow().len()
    }

    /// Returns the state of each.
    pub(super) fn states(&self) -> Vec<ContainerState> {
        self.all().into_iter().map(|container| container.state).collect()
    }

    /// Returns how all of them are, by name.
    fn all(&self) -> Vec<RegisteredContainer> {
        self.lock().all()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known, and tells what is new.
    fn take(&self, change: impl FnOnce(&mut Known, Timestamp) -> Vec<EventBody>) {
        let mut known = self.lock();
        let news = change(&mut known, Timestamp::now());
        let registrations = known.registrations();
        // Told under the lock, so that it is told in the order in which it happened.
        self.registrations.send_if_modified(|before| {
            let is_new = !Arc::ptr_eq(before, registrations);
            if is_new {
                before.clone_from(registrations);
            }
            is_new
        });
        self.tell(news);
    }

    fn tell(&self, news: Vec<EventBody>) {
        for body in news {
            if let EventBody::Warning { message } = &body {
                tracing::warn!("{message}");
            }
            self.bus.publish(None, None, body);
        }
    }
}

#[cfg(test)]
mod tests;
