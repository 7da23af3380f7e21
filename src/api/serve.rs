//! Serves until it is told to stop, or has had nothing to do for a while.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::app::{App, Clients};
use super::listen::{Door, Socket};
use super::notify::Notifier;
use super::router::router;
use crate::engine::Engine;
use crate::model::Problem;

/// How long a service that cannot work waits for more clients to tell so: short, because the user
/// mends the cause and tries again, and long enough that systemd does not count it as flapping.
const BROKEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long operations under way may take to end once the service is told to stop. Less than
/// `TimeoutStopSec` of the unit; what is cut then is taken up by the next instance.
const OPERATIONS_GRACE: Duration = Duration::from_secs(60);

/// How long connections may take to end after that.
const CONNECTIONS_GRACE: Duration = Duration::from_secs(5);

/// A service that is ready to serve.
pub struct Service {
    /// Where.
    pub socket: Socket,
    /// With what; a service without an engine answers with the reason.
    pub engine: Result<Engine, Problem>,
    /// After how long with nothing to do it ends.
    pub idle_timeout: Duration,
}

/// Why serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was to do.
    Idle,
    /// It was told to.
    Stopped,
}

/// What keeps the service from serving.
#[derive(Debug, thiserror::Error)]
#[error("could not {what}: {source}")]
pub struct ServeError {
    what: &'static str,
    source: io::Error,
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError { what, source }
}

impl Service {
    /// Serves.
    ///
    /// # Errors
    /// When the socket or the signals cannot be watched.
    pub async fn run(self) -> Result<Ended, ServeError> {
        let clients = Clients::new();
        // No more connections, no more requests on open ones.
        let closed = CancellationToken::new();
        // What does not end by itself, ends.
        let closing = CancellationToken::new();
        let (retire, retirements) = mpsc::channel(1);
        let door = Door::open(self.socket, clients.clone(), retirements, closed.clone())
            .map_err(failed("watch the socket"))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed("watch for SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed("watch for SIGINT"))?;

        let engine = self.engine.as_ref().ok().cloned();
        let notifier = Notifier::new(self.engine.as_ref().err());
        let app = App::new(self.engine, clients.clone(), closing.clone());
        let server =
            axum::serve(door, router(app)).with_graceful_shutdown(closed.clone().cancelled_owned());
        let mut server = tokio::spawn(server.into_future());
        notifier.ready();

        let idle_timeout = if engine.is_some() { self.idle_timeout } else { BROKEN_TIMEOUT };
        let ended = tokio::select! {
            () = idle(engine.as_ref(), &clients, idle_timeout, &retire) => Ended::Idle,
            _ = terminate.recv() => Ended::Stopped,
            _ = interrupt.recv() => Ended::Stopped,
            never = notifier.keep_telling(engine.as_ref(), &clients) => match never {},
        };
        notifier.stopping();
        closed.cancel();
        if let Some(engine) = engine
            && timeout(OPERATIONS_GRACE, engine.quiet()).await.is_err()
        {
            tracing::warn!("operations are still under way; the next start takes them up");
        }
        closing.cancel();
        let mut connections = clients.changed();
        let gone = async {
            let served = (&mut server).await;
            tracing::debug!(?served, "no more requests");
            // Exec sessions have left the server; they are counted all the same.
            let _count = connections.wait_for(|count| *count == 0).await;
        };
        if timeout(CONNECTIONS_GRACE, gone).await.is_err() {
            tracing::warn!("{} connections are cut", clients.count());
        }
        Ok(ended)
    }
}

/// Returns once there has been nothing to do for `idle_timeout` and the socket is given up.
async fn idle(
    engine: Option<&Engine>,
    clients: &Clients,
    idle_timeout: Duration,
    retire: &mpsc::Sender<oneshot::Sender<bool>>,
) {
    let mut change = Change::of(engine, clients);
    loop {
        let idle = clients.count() == 0 && engine.is_none_or(Engine::is_idle);
        if !idle {
            change.wait().await;
            continue;
        }
        if timeout(idle_timeout, change.wait()).await.is_ok() {
            continue;
        }
        let (reply, answer) = oneshot::channel();
        // The door lives as long as the server, which outlives this.
        if retire.send(reply).await.is_ok() && answer.await.unwrap_or(false) {
            return;
        }
    }
}

/// Wakes when idleness may have changed.
pub(super) struct Change {
    clients: tokio::sync::watch::Receiver<usize>,
    engine: Option<(tokio::sync::watch::Receiver<usize>, tokio::sync::watch::Receiver<usize>)>,
}

impl Change {
    pub(super) fn of(engine: Option<&Engine>, clients: &Clients) -> Self {
        Self { clients: clients.changed(), engine: engine.map(Engine::activity) }
    }

    pub(super) async fn wait(&mut self) {
        // The senders live as long as the service; a closed channel would only mean that the
        // numbers are looked at once more.
        match &mut self.engine {
            None => {
                let _changed = self.clients.changed().await;
            }
            Some((up, operations)) => tokio::select! {
                _ = self.clients.changed() => {}
                _ = up.changed() => {}
                _ = operations.changed() => {}
            },
        }
    }
}
