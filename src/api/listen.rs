//! The socket: whose it is, who may connect, and how it is given up without losing a client.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs4::TryLockError;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::app::{Clients, Present};
use super::connection::Connection;

/// The socket can be used by nobody but the user.
const SOCKET_MODE: u32 = 0o600;

/// Nor can its directory be entered.
const DIRECTORY_MODE: u32 = 0o700;

/// Between an instance's taking the lock and its listening, and between its last connection and its
/// end, there is a moment in which a second instance can neither connect nor lock. It looks again
/// this often; the moment is too short to build a notification for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// For how long a second instance looks; an instance that ends lets its operations end first.
const LOOK_FOR: Duration = Duration::from_secs(120);

/// How long to wait when the kernel has no more file descriptors for us.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The directory, the lock file or the socket.
    #[error("could not {what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another instance holds the lock and does not answer.
    #[error("another instance holds {} and does not answer", .0.display())]
    Stuck(PathBuf),
}

/// What came of asking for the socket.
#[derive(Debug)]
pub enum Claim {
    /// It is ours.
    Ours(Socket),
    /// Another instance listens on it.
    Taken,
}

/// A listening socket, held under the lock of its instance.
#[derive(Debug)]
pub struct Socket {
    listener: StdListener,
    /// Where it is, when we made it; systemd's own sockets stay when we go.
    made: Option<PathBuf>,
    /// Locked as long as this process lives.
    _lock: File,
}

/// Takes the socket at `path`: the one that systemd handed over, or a new one.
///
/// # Errors
/// When the directory, the lock or the socket cannot be made, or an instance is stuck.
pub async fn claim(inherited: Option<StdListener>, path: &Path) -> Result<Claim, ListenError> {
    if let Some(directory) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory);
        made.map_err(failed("make the directory", directory))?;
    }
    let lock_path = lock_path(path);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(SOCKET_MODE)
        .open(&lock_path)
        .map_err(failed("open the lock file", &lock_path))?;
    let deadline = tokio::time::Instant::now() + LOOK_FOR;
    loop {
        match fs4::FileExt::try_lock(&lock) {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => {
                return Err(failed("lock", &lock_path)(source));
            }
        }
        // A socket of systemd's always lets us connect, so there the lock alone tells.
        if inherited.is_none() && UnixStream::connect(path).await.is_ok() {
            return Ok(Claim::Taken);
        }
        if tokio::time::Instant::now() > deadline {
            return Err(ListenError::Stuck(lock_path));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let (listener, made) = match inherited {
        Some(listener) => (listener, None),
        None => (bind(path)?, Some(path.to_owned())),
    };
    Ok(Claim::Ours(Socket { listener, made, _lock: lock }))
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Listens on a new socket; to be called under the lock.
fn bind(path: &Path) -> Result<StdListener, ListenError> {
    match fs::remove_file(path) {
        Ok(()) => tracing::debug!("removed the stale socket {}", path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove the stale socket", path)(error)),
    }
    let listener = StdListener::bind(path).map_err(failed("listen on", path))?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))
        .map_err(failed("restrict", path))?;
    Ok(listener)
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ListenError {
    let path = path.to_owned();
    move |source| ListenError::Io { what, path, source }
}

/// Asks the listener to give the socket up; it answers whether it did.
pub(crate) type Retire = mpsc::Receiver<oneshot::Sender<bool>>;

/// Accepts the connections of the service.
pub(crate) struct Door {
    socket: Socket,
    /// The same socket, registered with the runtime.
    listener: UnixListener,
    clients: Clients,
    retire: Retire,
    closing: CancellationToken,
    uid: u32,
}

impl Door {
    /// Opens it; it stays open until it is retired or `closing` is cancelled.
    pub(crate) fn open(
        socket: Socket,
        clients: Clients,
        retire: Retire,
        closing: CancellationToken,
    ) -> io::Result<Self> {
        let listener = register(&socket.listener)?;
        let uid = nix::unistd::geteuid().as_raw();
        Ok(Self { socket, listener, clients, retire, closing, uid })
    }

    /// Lets only the user's own processes in (and root's, which could do anything anyway).
    fn admit(&self, stream: UnixStream) -> Option<Connection> {
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == self.uid || peer.uid() == 0 => {
                let present: Present = self.clients.enter();
                Some(Connection::new(stream, present))
            }
            Ok(peer) => {
                tracing::warn!("refused a connection of the user {}", peer.uid());
                None
            }
            Err(error) => {
                tracing::warn!("refused a connection of an unknown user: {error}");
                None
            }
        }
    }

    /// Gives the socket up, unless somebody is connected or about to be.
    ///
    /// Once the socket's name is gone nobody new can come, so what is not in the kernel's queue
    /// then never will be. Systemd's socket keeps its name and its queue: who comes later starts
    /// the next instance.
    fn try_retire(&mut self) -> Retirement {
        if self.clients.count() > 0 {
            return Retirement::Refused(None);
        }
        self.remove();
        match self.socket.listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Retirement::Done,
            Err(error) => {
                tracing::warn!("could not look for waiting connections: {error}");
                Retirement::Done
            }
            Ok((stream, _)) => {
                if let Err(error) = self.bind_again() {
                    // Whoever waits is served; then the service ends and the next one binds.
                    tracing::warn!("{error}");
                }
                let admitted = stream
                    .set_nonblocking(true)
                    .and_then(|()| UnixStream::from_std(stream))
                    .ok()
                    .and_then(|stream| self.admit(stream));
                Retirement::Refused(admitted)
            }
        }
    }

    fn bind_again(&mut self) -> Result<(), ListenError> {
        let Some(path) = &self.socket.made else { return Ok(()) };
        let listener = bind(path)?;
        self.listener = register(&listener).map_err(failed("listen on", path))?;
        self.socket.listener = listener;
        Ok(())
    }

    /// Removes our own socket's name.
    fn remove(&self) {
        if let Some(path) = &self.socket.made
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!("could not remove {}: {error}", path.display());
        }
    }
}

enum Retirement {
    Done,
    Refused(Option<Connection>),
}

/// Registers a second handle of the socket, so that the first one can be asked directly what waits.
fn register(listener: &StdListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener.try_clone()?)
}

impl axum::serve::Listener for Door {
    type Io = Connection;
    type Addr = ();

    async fn accept(&mut self) -> (Connection, ()) {
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => {
                    self.remove();
                    // The server is told by the same token and drops this.
                    std::future::pending::<()>().await;
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if let Some(connection) = self.admit(stream) {
                            return (connection, ());
                        }
                    }
                    Err(error) => {
                        tracing::warn!("could not accept a connection: {error}");
                        tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    }
                },
                Some(reply) = self.retire.recv() => match self.try_retire() {
                    Retirement::Done => {
                        // A reply that nobody waits for any more changes nothing.
                        let _gone = reply.send(true);
                        std::future::pending::<()>().await;
                    }
                    Retirement::Refused(waiting) => {
                        let _gone = reply.send(false);
                        if let Some(connection) = waiting {
                            return (connection, ());
                        }
                    }
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}
