//! Forwards connections to ports of the host's loopback into a pod: to the pod's own loopback, and to
//! nothing else.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::net::TcpStream;

use super::relay::{Forward, Places, Relay};
use super::stock::{Source, Stock};
use crate::model::{PublishedPort, TaskspaceId};

/// What is forwarded into one pod's network. Whoever lets go of the network closes it.
pub(in crate::engine) struct Forwards<S> {
    id: TaskspaceId,
    source: S,
    places: Arc<Places>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    open: BTreeMap<PublishedPort, Forward>,
    troubles: BTreeMap<PublishedPort, String>,
    /// There as long as a port is open.
    stock: Weak<Stock>,
}

impl<S: Source + Clone> Forwards<S> {
    /// Begins with nothing that is forwarded into the network that sockets come from.
    pub(in crate::engine) fn new(id: TaskspaceId, source: S) -> Self {
        let places = Arc::new(Places::new(id.clone(), "published ports"));
        Self { id, source, places, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a port is forwarded, and why it could not be.
    pub(super) fn state_of(&self, published: &PublishedPort) -> (bool, Option<String>) {
        let state = self.lock();
        (state.open.contains_key(published), state.troubles.get(published).cloned())
    }

    /// Whether just these are forwarded.
    pub(super) fn are(&self, wanted: &[PublishedPort]) -> bool {
        let state = self.lock();
        state.open.len() == wanted.len() && wanted.iter().all(|it| state.open.contains_key(it))
    }

    /// Notes why a port cannot be forwarded.
    pub(super) fn note_trouble(&self, published: PublishedPort, reason: String) {
        self.lock().troubles.insert(published, reason);
    }

    /// Forwards what comes to these listeners; does nothing once all is closed.
    ///
    /// # Errors
    /// When the listeners cannot be used.
    pub(super) fn open(
        &self,
        published: PublishedPort,
        listeners: Vec<StdListener>,
    ) -> io::Result<()> {
        let mut state = self.lock();
        if state.closed {
            return Ok(());
        }
        let stock = state.stock.upgrade().unwrap_or_else(|| {
            let stock = Arc::new(Stock::new(self.source.clone()));
            state.stock = Arc::downgrade(&stock);
            stock
        });
        let port = published.port.get();
        let entrance = Entrance { port, stock, places: self.places.clone() };
        state.open.insert(published, Forward::begin(listeners, entrance)?);
        state.troubles.remove(&published);
        tracing::info!(id = %self.id, port, address = %published.address(), "forwarding a port");
        Ok(())
    }

    /// Ends all but these, with their connections; returns when their ports are free.
    pub(super) async fn keep(&self, wanted: &[PublishedPort]) {
        let unwanted: BTreeMap<_, _> = {
            let mut state = self.lock();
            state.troubles.retain(|published, _| wanted.contains(published));
            let open = std::mem::take(&mut state.open).into_iter();
            let (kept, unwanted) = open.partition(|(published, _)| wanted.contains(published));
            state.open = kept;
            unwanted
        };
        for forward in unwanted.into_values() {
            forward.end().await;
        }
    }

    /// Ends all, for good.
    pub(in crate::engine) async fn close(&self) {
        self.lock().closed = true;
        self.keep(&[]).await;
    }
}

/// Where connections come in.
#[derive(Clone)]
struct Entrance {
    /// The pod's port.
    port: u16,
    stock: Arc<Stock>,
    places: Arc<Places>,
}

impl Relay for Entrance {
    fn places(&self) -> &Places {
        &self.places
    }

    /// Connects to a port of the pod's loopback, that of IPv4 first.
    async fn connect(&self) -> io::Result<TcpStream> {
        let Some(sockets) = self.stock.take().await else {
            return Err(io::Error::other("there is no socket"));
        };
        match (sockets.v4.connect((Ipv4Addr::LOCALHOST, self.port).into()).await, sockets.v6) {
            (Err(_), Some(v6)) => v6.connect((Ipv6Addr::LOCALHOST, self.port).into()).await,
            (connected, _) => connected,
        }
    }

    fn unanswered(&self, error: &io::Error) {
        tracing::debug!(port = self.port, "the port has no listener in the pod: {error}");
    }
}

#[cfg(test)]
mod tests;
