//! Forwards connections to ports of the host's loopback into a pod: to the pod's own loopback, and to
//! nothing else.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::select_all;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::stock::{Source, Stock};
use crate::model::{PublishedPort, TaskspaceId};

/// How many connections into a taskspace there are at a time: each takes two files of the service.
const MAX_CONNECTIONS: usize = 256;

/// How long the pod may take to answer: its loopback is quick, unless whoever listens is paused or has
/// too many waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long none is accepted after an error, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// How often it is told at most that there are too many connections.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

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

/// One port; when it is dropped, nothing is forwarded any more.
#[derive(Debug)]
struct Forward {
    end: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Forward {
    /// Ends it, and its connections.
    async fn end(self) {
        self.end.cancel();
        if let Err(error) = self.task.await {
            tracing::error!("a port was not forwarded to the end: {error}");
        }
    }
}

impl<S: Source + Clone> Forwards<S> {
    /// Begins with nothing that is forwarded into the network that sockets come from.
    pub(in crate::engine) fn new(id: TaskspaceId, source: S) -> Self {
        let places = Arc::new(Places::new(id.clone()));
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
        let adopt = |listener: StdListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listeners = listeners.into_iter().map(adopt).collect::<io::Result<Vec<_>>>()?;
        let mut state = self.lock();
        if state.closed {
            return Ok(());
        }
        let stock = state.stock.upgrade().unwrap_or_else(|| {
            let stock = Arc::new(Stock::new(self.source.clone()));
            state.stock = Arc::downgrade(&stock);
            stock
        });
        let (end, port) = (CancellationToken::new(), published.port.get());
        let entrance = Entrance { port, stock, places: self.places.clone() };
        let task = tokio::spawn(serve(listeners, entrance, end.clone()));
        let task = AbortOnDropHandle::new(task);
        state.open.insert(published, Forward { end, task });
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

/// Forwards the connections that come to listeners.
async fn serve(listeners: Vec<TcpListener>, entrance: Entrance, end: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = select_all(listeners.iter().map(|listener| Box::pin(listener.accept())));
        tokio::select! {
            () = end.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (accepted, ..) = accepted => match accepted {
                Ok((client, _)) => match entrance.places.take() {
                    Some(place) => {
                        connections.spawn(forward(client, entrance.clone(), place));
                    }
                    None => refuse(client),
                },
                Err(error) => {
                    tracing::debug!("could not accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    drop(listeners);
    connections.shutdown().await;
}

/// Forwards one connection, both ways, until it ends.
async fn forward(mut client: TcpStream, entrance: Entrance, _place: OwnedSemaphorePermit) {
    let Entrance { port, stock, .. } = entrance;
    let mut server = match timeout(PATIENCE, connect(port, &stock)).await {
        Ok(Ok(server)) => server,
        Ok(Err(error)) => {
            tracing::debug!(port, "nobody listens in the pod: {error}");
            return refuse(client);
        }
        Err(_) => {
            tracing::debug!(port, "nobody answered in the pod");
            return refuse(client);
        }
    };
    // Who wrote decides what goes together.
    for side in [&client, &server] {
        if let Err(error) = side.set_nodelay(true) {
            tracing::debug!(port, "{error}");
        }
    }
    if let Err(error) = copy_bidirectional(&mut client, &mut server).await {
        tracing::debug!(port, "a connection broke: {error}");
    }
}

/// Connects to a port of the pod's loopback, that of IPv4 first.
async fn connect(port: u16, stock: &Stock) -> io::Result<TcpStream> {
    let Some(sockets) = stock.take().await else {
        return Err(io::Error::other("there is no socket"));
    };
    match (sockets.v4.connect((Ipv4Addr::LOCALHOST, port).into()).await, sockets.v6) {
        (Err(_), Some(v6)) => v6.connect((Ipv6Addr::LOCALHOST, port).into()).await,
        (connected, _) => connected,
    }
}

/// Closes a connection as if nobody listened.
fn refuse(client: TcpStream) {
    // Otherwise it would look like a server that says nothing.
    if let Err(error) = client.set_zero_linger() {
        tracing::debug!("{error}");
    }
}

/// The places for connections into a taskspace.
struct Places {
    id: TaskspaceId,
    free: Arc<Semaphore>,
    told: Mutex<Option<Instant>>,
}

impl Places {
    fn new(id: TaskspaceId) -> Self {
        Self { id, free: Arc::new(Semaphore::new(MAX_CONNECTIONS)), told: Mutex::default() }
    }

    /// Takes one, if there is any left; if not, that is told.
    fn take(&self) -> Option<OwnedSemaphorePermit> {
        let place = self.free.clone().try_acquire_owned().ok();
        if place.is_none() {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_none_or(|told| told.elapsed() > TOLD_AGAIN) {
                *told = Some(Instant::now());
                tracing::warn!(id = %self.id, "more than {MAX_CONNECTIONS} connections to its \
                    published ports: those beyond are closed");
            }
        }
        place
    }
}

#[cfg(test)]
mod tests;
