//! Puts network policies in force: the rules in the network of a taskspace's pod, and the answers to what is
//! asked there for names.
//!
//! The rules are the pod's and stay as long as its network does. Names are answered by the service alone:
//! while it does not run, no name is answered, and no address is let through that was not before. What names
//! led to is logged, so that the next run of the service goes on with it.

mod blocked;
mod change;
mod granted;
mod guard;
mod hold;
mod host_services;
mod names;
mod observe;
mod refusals;
mod tell;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

pub(super) use self::change::{Update, choose, update};
use self::guard::Guarded;
pub(super) use self::refusals::Refusals;
use super::ports::{Forwards, Pod};
use super::problems;
use crate::dns::HostResolver;
use crate::host::processes::Process;
use crate::model::{Problem, TaskspaceId};

/// Whom the host asks for names (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The networks that are guarded.
pub(super) struct Networks {
    resolver: Arc<HostResolver>,
    guarded: Mutex<HashMap<TaskspaceId, Guarded>>,
    /// Those whose policy may have to be another one since the settings have changed.
    unchecked: Mutex<HashSet<TaskspaceId>>,
    /// The addresses of this host that all rules know.
    addresses: Mutex<Vec<IpAddr>>,
    /// When it was looked which addresses of names are in use.
    held: Mutex<Option<Instant>>,
    /// Wakes what looks for how long policies are only observed.
    observing: Notify,
}

impl Networks {
    pub(super) fn new(nameservers: &[SocketAddr]) -> Result<Self, Problem> {
        let resolver = match nameservers {
            [] => HostResolver::new(RESOLV_CONF.into()),
            servers => HostResolver::asking(servers).map_err(problems::internal)?,
        };
        Ok(Self {
            resolver: Arc::new(resolver),
            guarded: Mutex::default(),
            unchecked: Mutex::default(),
            addresses: Mutex::default(),
            held: Mutex::default(),
            observing: Notify::new(),
        })
    }

    /// Lets go of a network that goes: as long as anybody has its sockets, it would stay.
    pub(super) async fn forget(&self, id: &TaskspaceId) {
        self.note_checked(id);
        let forgotten = self.lock().remove(id);
        if let Some(guarded) = forgotten {
            guarded.forwards.close().await;
            guarded.services.keep(&BTreeSet::new()).await;
        }
    }

    /// Returns what is forwarded into the network of a taskspace, if it is guarded.
    pub(super) fn forwards(&self, id: &TaskspaceId) -> Option<Arc<Forwards<Pod>>> {
        self.get(id).map(|guarded| guarded.forwards)
    }

    /// Whether this run of the service guards the network of a taskspace, with the policy that it has to
    /// have by the settings as they are now.
    pub(super) fn is_guarded(&self, id: &TaskspaceId) -> bool {
        let is_checked = !self.unchecked().contains(id);
        is_checked && self.get(id).is_some_and(|guarded| guarded.process.runs())
    }

    /// Has it looked at anew which policy each taskspace has to have.
    pub(super) fn recheck(&self) {
        let ids: Vec<TaskspaceId> = self.lock().keys().cloned().collect();
        self.unchecked().extend(ids);
    }

    /// Notes that the policy of a taskspace is the one that it has to have.
    fn note_checked(&self, id: &TaskspaceId) {
        self.unchecked().remove(id);
    }

    fn unchecked(&self) -> MutexGuard<'_, HashSet<TaskspaceId>> {
        self.unchecked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn addresses(&self) -> MutexGuard<'_, Vec<IpAddr>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Option<Instant>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<(TaskspaceId, Guarded)> {
        self.lock().iter().map(|(id, guarded)| (id.clone(), guarded.clone())).collect()
    }

    /// Returns the process that keeps the network of a taskspace, if it is guarded.
    pub(super) fn process(&self, id: &TaskspaceId) -> Option<Process> {
        self.get(id).map(|guarded| guarded.process)
    }

    fn get(&self, id: &TaskspaceId) -> Option<Guarded> {
        self.lock().get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskspaceId, Guarded>> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
