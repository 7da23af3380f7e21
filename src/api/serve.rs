//! Serves until it is told to stop, or has had nothing to do for a while.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::app::{App, Clients};
use super::door::Door;
use super::listen::Socket;
use super::notify::Notifier;
use super::router::router;
use crate::config::settings::Fingerprint;
use crate::engine::{Active, Engine};
use crate::model::Problem;

/// How long a service that cannot work tells its clients so: short, because the user mends the cause
/// and tries again, and long enough that systemd does not count it as flapping. However many clients
/// come: one that asks again and again is to learn that the cause is mended.
pub const BROKEN_TIMEOUT: Duration = Duration::from_secs(5);

/// When to try again to give up a socket that a client was just coming in by.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// How long operations under way may take to end once the service is told to stop. Less than
/// `TimeoutStopSec` of the unit; what is cut then is taken up by the next instance.
const OPERATIONS_GRACE: Duration = Duration::from_secs(60);

/// How long a client that has come in may take to ask for something once the service is told to stop.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// How long connections may take to end after that.
const CONNECTIONS_GRACE: Duration = Duration::from_secs(5);

/// A service that is ready to serve.
pub struct Service {
    /// Where.
    pub socket: Socket,
    /// With what; a service without an engine answers with the reason.
    pub engine: Result<Engine, Problem>,
    /// For how long it tells its clients so, if it cannot work.
    pub told_for: Duration,
    /// The directories of settings, when the service turned out not to be able to work with them: it ends as soon
    /// as their files are others, so that the next instance takes these.
    pub broken_by: Option<Vec<PathBuf>>,
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
        // The door goes when no more clients are let in; operations go on, and the next instance would
        // take them up.
        let _lock = self.socket.lock();
        let (clients, unheard) = (Clients::new(), Clients::new());
        // No more connections.
        let closed = CancellationToken::new();
        // No more requests on open ones.
        let drained = CancellationToken::new();
        // What does not end by itself, ends.
        let closing = CancellationToken::new();
        let (retire, retirements) = mpsc::channel(1);
        let door =
            Door::open(self.socket, clients.clone(), unheard.clone(), retirements, closed.clone())
                .map_err(failed("watch the socket"))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed("watch for SIGTERM"))?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed("watch for SIGHUP"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed("watch for SIGINT"))?;

        let engine = self.engine.as_ref().ok().cloned();
        let notifier = Notifier::new(self.engine.as_ref().err());
        let app = App::new(self.engine, clients.clone(), closing.clone());
        let server = axum::serve(door, router(app))
            .with_graceful_shutdown(drained.clone().cancelled_owned());
        let mut server = tokio::spawn(server.into_future());
        notifier.ready();

        let over = async {
            match &engine {
                Some(engine) => idle(engine, &clients, &retire).await,
                None => {
                    tokio::select! {
                        () = tokio::time::sleep(self.told_for) => {}
                        () = mended(self.broken_by.as_deref()) => {}
                    }
                    broken(&retire).await;
                }
            }
        };
        let hung_up = async {
            // The terminal that a person started it in is gone; without one, it is what daemons are told to
            // read their settings by.
            while hangup.recv().await.is_some() && !io::stdin().is_terminal() {
                if let Some(engine) = &engine
                    && let Err(problem) = engine.reload_settings().await
                {
                    tracing::warn!("{problem}");
                }
            }
        };
        let ended = tokio::select! {
            () = over => Ended::Idle,
            _ = terminate.recv() => Ended::Stopped,
            _ = interrupt.recv() => Ended::Stopped,
            () = hung_up => Ended::Stopped,
            never = notifier.keep_telling(engine.as_ref(), &clients) => match never {},
        };
        notifier.stopping();
        closed.cancel();
        if let Some(engine) = &engine {
            engine.close();
        }
        // Whoever has just come in has asked for something already: the server would hang up on them.
        let mut heard = unheard.changed();
        let all = async { drop(heard.wait_for(|count| *count == 0).await) };
        let _silent = timeout(FIRST_REQUEST_GRACE, all).await;
        drained.cancel();
        if let Some(engine) = engine {
            if timeout(OPERATIONS_GRACE, engine.quiet()).await.is_err() {
                tracing::warn!("operations are still under way; the next start takes them up");
            }
            if let Err(problem) = engine.leave().await {
                tracing::warn!("who waits for an operation will not learn its end: {problem}");
            }
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
async fn idle(engine: &Engine, clients: &Clients, retire: &mpsc::Sender<oneshot::Sender<bool>>) {
    let mut change = Change::of(Some(engine), clients);
    loop {
        let idle = clients.count() == 0 && engine.is_idle();
        if !idle {
            change.wait().await;
            continue;
        }
        if timeout(engine.idle_timeout(), change.wait()).await.is_ok() {
            continue;
        }
        if give_up_socket(retire).await {
            return;
        }
    }
}

/// Returns once the files of settings are others.
async fn mended(config_dirs: Option<&[PathBuf]>) {
    let Some(config_dirs) = config_dirs else { return std::future::pending().await };
    let before = Fingerprint::of(config_dirs);
    while Fingerprint::of(config_dirs) == before {
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Gives up the socket of a service that cannot work: between two clients, if there is such a moment soon.
async fn broken(retire: &mpsc::Sender<oneshot::Sender<bool>>) {
    let given_up = async {
        while !give_up_socket(retire).await {
            tokio::time::sleep(TRY_AGAIN).await;
        }
    };
    if timeout(BROKEN_TIMEOUT, given_up).await.is_err() {
        tracing::debug!("ending although clients are connected");
    }
}

/// Gives up the socket, unless a client is just coming in; returns whether it did.
async fn give_up_socket(retire: &mpsc::Sender<oneshot::Sender<bool>>) -> bool {
    let (reply, answer) = oneshot::channel();
    // The door lives as long as the server, which outlives this.
    retire.send(reply).await.is_ok() && answer.await.unwrap_or(false)
}

/// Wakes when idleness may have changed.
pub(super) struct Change {
    clients: watch::Receiver<usize>,
    engine: Option<(watch::Receiver<usize>, watch::Receiver<Active>)>,
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use hyper::Method;
    use hyper::body::Bytes;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;
    use crate::api::{Claim, claim};
    use crate::model::Code;
    use crate::uds::{Reply, UdsError, UnixHttp};

    /// Starts a service that has no engine: what does not need one works, the rest says why not.
    async fn start(socket: &Path, told_for: Duration) -> JoinHandle<Ended> {
        let Claim::Ours(socket) = claim(None, socket).await.unwrap() else {
            panic!("the socket is taken");
        };
        let engine = Err(Problem::new(Code::RegistryUnusable, "not JSON").hint("mend it"));
        let service = Service { socket, engine, told_for, broken_by: None };
        tokio::spawn(async { service.run().await.unwrap() })
    }

    async fn fetch(socket: &Path, method: Method, path: &str, body: &[u8]) -> Reply {
        try_fetch(socket, method, path, body).await.unwrap()
    }

    async fn try_fetch(
        socket: &Path,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> Result<Reply, UdsError> {
        let http = UnixHttp::new(socket.to_owned(), Duration::from_secs(1));
        http.fetch(method, path, &[], Bytes::copy_from_slice(body), None).await
    }

    #[tokio::test]
    async fn whatever_is_wrong_is_a_problem_document() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let _service = start(&socket, Duration::from_secs(60)).await;
        let long = vec![b' '; (1 << 20) + 1];
        let cases: [(Method, &str, &[u8], u16, Code); 10] = [
            (Method::GET, "/", b"", 404, Code::NotFound),
            (Method::PUT, "/v1/taskspaces", b"", 405, Code::MessageFormatInvalid),
            (Method::POST, "/v1/taskspaces", b"{", 400, Code::MessageFormatInvalid),
            (Method::POST, "/v1/taskspaces", &long, 413, Code::MessageFormatInvalid),
            (Method::POST, "/v1/taskspaces?wait=maybe", b"{}", 400, Code::MessageFormatInvalid),
            (Method::GET, "/v1/taskspaces/a/logs?x=1", b"", 400, Code::MessageFormatInvalid),
            (Method::GET, "/v1/taskspaces/..%2Fx", b"", 400, Code::MessageFormatInvalid),
            (Method::GET, "/v1/operations/x", b"", 400, Code::MessageFormatInvalid),
            (Method::POST, "/v1/taskspaces/a/exec", b"{}", 400, Code::MessageFormatInvalid),
            (Method::GET, "/v1/taskspaces", b"", 500, Code::RegistryUnusable),
        ];
        for (method, path, body, status, code) in cases {
            let reply = fetch(&socket, method.clone(), path, body).await;
            let problem: Problem = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!((reply.status.as_u16(), problem.code), (status, code), "{method} {path}");
            assert_eq!(problem.status, status);
        }
        let http = UnixHttp::new(socket.clone(), Duration::from_secs(1));
        let xml = [("content-type", "text/xml")];
        let body = Bytes::from_static(b"<project/>");
        let reply = http.fetch(Method::POST, "/v1/taskspaces", &xml, body, None).await.unwrap();
        let problem: Problem = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((reply.status.as_u16(), problem.code), (415, Code::MessageFormatInvalid));
        let reply = fetch(&socket, Method::POST, "/v1/taskspaces", b"{\n\"project\": 7}").await;
        let problem: Problem = serde_json::from_slice(&reply.body).unwrap();
        assert!(problem.detail.contains("line 2 column 12"), "{problem}");
        assert_eq!(fetch(&socket, Method::GET, "/v1/version", b"").await.status, 200);
    }

    #[tokio::test]
    async fn a_service_that_cannot_work_ends_however_often_it_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let service = start(&socket, Duration::from_millis(50)).await;
        let deadline = Instant::now() + 6 * BROKEN_TIMEOUT;
        while !service.is_finished() {
            assert!(Instant::now() < deadline, "it goes on and on");
            if let Err(error) = try_fetch(&socket, Method::GET, "/v1/status", b"").await {
                tracing::debug!("{error}");
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(service.await.unwrap(), Ended::Idle);
    }

    #[tokio::test]
    async fn a_second_instance_leaves_the_first_alone() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let _service = start(&socket, Duration::from_secs(60)).await;
        assert!(matches!(claim(None, &socket).await, Ok(Claim::Taken)));
        assert_eq!(fetch(&socket, Method::GET, "/v1/version", b"").await.status, 200);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        drop(UnixListener::bind(&socket).unwrap());
        let _service = start(&socket, Duration::from_secs(60)).await;
        assert_eq!(fetch(&socket, Method::GET, "/v1/version", b"").await.status, 200);
    }

    /// However calls and the end meet: a call is answered, or it has not reached the service.
    #[tokio::test]
    async fn no_call_is_lost_when_an_idle_service_ends() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let mut answered = 0;
        for round in 0..40 {
            let service = start(&socket, Duration::from_millis(3)).await;
            for call in 0..4 {
                tokio::time::sleep(Duration::from_micros(2_700 + 40 * round + 10 * call)).await;
                match try_fetch(&socket, Method::GET, "/v1/version", b"").await {
                    Ok(reply) => answered += usize::from(reply.status == 200),
                    Err(error) => assert!(error.is_connect(), "{error:?}"),
                }
            }
            assert_eq!(service.await.unwrap(), Ended::Idle);
            assert!(!socket.exists());
        }
        assert!(answered > 0);
    }
}
