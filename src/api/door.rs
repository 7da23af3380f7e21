//! Who may connect, and how the socket is given up without losing a client.

use std::error::Error;
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::time::Duration;

use axum::serve::Listener;
use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::app::{Clients, Present};
use super::connection::Connection;
use super::listen::Socket;

/// How long to wait when the kernel has no more file descriptors for us.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Asks the listener to give the socket up; it answers whether it did.
pub(crate) type Retire = mpsc::Receiver<oneshot::Sender<bool>>;

/// Accepts the connections of the service.
pub(crate) struct Door {
    socket: Socket,
    /// The same socket, registered with the runtime.
    listener: UnixListener,
    clients: Clients,
    /// Those of them that have not been heard yet.
    unheard: Clients,
    retire: Retire,
    closing: CancellationToken,
    uid: u32,
}

impl Door {
    /// Opens it; it stays open until it is retired or `closing` is cancelled.
    pub(crate) fn open(
        socket: Socket,
        clients: Clients,
        unheard: Clients,
        retire: Retire,
        closing: CancellationToken,
    ) -> io::Result<Self> {
        let listener = register(&socket.listener)?;
        let uid = geteuid().as_raw();
        Ok(Self { socket, listener, clients, unheard, retire, closing, uid })
    }

    /// Lets only the user's own processes in (and root's, which could do anything anyway).
    fn admit(&self, stream: UnixStream) -> Option<Connection> {
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == self.uid || peer.uid() == 0 => {
                let present: Present = self.clients.enter();
                Some(Connection::new(stream, present, self.unheard.enter()))
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
        self.socket.remove();
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

    fn bind_again(&mut self) -> Result<(), Box<dyn Error>> {
        self.socket.bind_again()?;
        self.listener = register(&self.socket.listener)?;
        Ok(())
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

impl Listener for Door {
    type Io = Connection;
    type Addr = ();

    async fn accept(&mut self) -> (Connection, ()) {
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => {
                    self.socket.remove();
                    // The server is told soon, and drops this.
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
