//! Forwards connections that come to listeners, in whichever network these are.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::select_all;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::model::TaskspaceId;

/// How many connections into a taskspace, or out of it, there are at a time: each takes two files of the
/// service.
pub(super) const MAX_CONNECTIONS: usize = 256;

/// The limit for establishing a connection. The loopback is quick, unless the listening program is paused
/// or its queue of connections is full.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long none is accepted after an error, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// How often it is told at most that there are too many connections.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// Where connections are forwarded to.
pub(in crate::engine) trait Relay: Clone + Send + Sync + 'static {
    /// Returns the places for connections.
    fn places(&self) -> &Places;

    /// Connects to the other side.
    fn connect(&self) -> impl Future<Output = io::Result<TcpStream>> + Send;

    /// Hears that the other side cannot be connected to.
    fn unanswered(&self, error: &io::Error);
}

/// What is forwarded of one port; when it is dropped, nothing is forwarded any more.
#[derive(Debug)]
pub(in crate::engine) struct Forward {
    end: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Forward {
    /// Begins to forward what comes to listeners.
    ///
    /// # Errors
    /// When these cannot be used.
    pub(in crate::engine) fn begin(
        listeners: Vec<StdListener>,
        relay: impl Relay,
    ) -> io::Result<Self> {
        let adopt = |listener: StdListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listeners = listeners.into_iter().map(adopt).collect::<io::Result<Vec<_>>>()?;
        let end = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(serve(listeners, relay, end.clone())));
        Ok(Self { end, task })
    }

    /// Ends it, and its connections.
    pub(in crate::engine) async fn end(self) {
        self.end.cancel();
        if let Err(error) = self.task.await {
            tracing::error!("a port was not forwarded to the end: {error}");
        }
    }
}

/// Forwards the connections that come to listeners.
async fn serve(listeners: Vec<TcpListener>, relay: impl Relay, end: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = select_all(listeners.iter().map(|listener| Box::pin(listener.accept())));
        tokio::select! {
            () = end.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (accepted, ..) = accepted => match accepted {
                Ok((client, _)) => match relay.places().take() {
                    Some(place) => {
                        connections.spawn(forward(client, relay.clone(), place));
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
async fn forward(mut client: TcpStream, relay: impl Relay, _place: OwnedSemaphorePermit) {
    let connected = timeout(PATIENCE, relay.connect()).await;
    let mut server = match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(server) => server,
        Err(error) => {
            relay.unanswered(&error);
            return refuse(client);
        }
    };
    // Who wrote decides what goes together.
    for side in [&client, &server] {
        if let Err(error) = side.set_nodelay(true) {
            tracing::debug!("{error}");
        }
    }
    if let Err(error) = copy_bidirectional(&mut client, &mut server).await {
        tracing::debug!("a connection broke: {error}");
    }
}

/// Closes a connection as if the port had no listener.
fn refuse(client: TcpStream) {
    // Otherwise it would look like a server that says nothing.
    if let Err(error) = client.set_zero_linger() {
        tracing::debug!("{error}");
    }
}

/// The places for connections of a taskspace.
pub(in crate::engine) struct Places {
    id: TaskspaceId,
    /// What the connections are to.
    to: &'static str,
    free: Arc<Semaphore>,
    told: Mutex<Option<Instant>>,
}

impl Places {
    pub(in crate::engine) fn new(id: TaskspaceId, to: &'static str) -> Self {
        Self { id, to, free: Arc::new(Semaphore::new(MAX_CONNECTIONS)), told: Mutex::default() }
    }

    /// Takes one, if there is any left; if not, that is told.
    fn take(&self) -> Option<OwnedSemaphorePermit> {
        let place = self.free.clone().try_acquire_owned().ok();
        if place.is_none() {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_none_or(|told| told.elapsed() > TOLD_AGAIN) {
                *told = Some(Instant::now());
                tracing::warn!(id = %self.id, "more than {MAX_CONNECTIONS} connections to its {}: \
                    those beyond are closed", self.to);
            }
        }
        place
    }
}
