//! Sockets of a pod's network, kept in stock: to make some takes a process, and a connection is not to
//! wait for that.

use std::fmt::Display;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::host::pod_network::{ClientSocket, PodNetwork};
use crate::host::processes::Process;

/// So few are left when more are made: those that a browser takes for a page are there.
const LOW: usize = 16;

/// How long to wait after none could be made.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes sockets, some at a time.
pub(in crate::engine) trait Source: Send + Sync + 'static {
    /// Makes some.
    fn make(&self) -> impl Future<Output = Result<Vec<ClientSocket>, impl Display + Send>> + Send;
}

/// The network of a pod as a source.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Pod(
    /// A process in it.
    pub(in crate::engine) Process,
);

impl Source for Pod {
    async fn make(&self) -> Result<Vec<ClientSocket>, impl Display + Send> {
        PodNetwork::of(self.0).client_sockets().await
    }
}

/// A stock, which is filled up as long as it is there.
#[derive(Debug)]
pub(super) struct Stock {
    sockets: Mutex<mpsc::Receiver<ClientSocket>>,
    _filler: AbortOnDropHandle<()>,
}

impl Stock {
    pub(super) fn new(source: impl Source) -> Self {
        let (sender, receiver) = mpsc::channel(LOW);
        let filler = tokio::spawn(fill(source, sender));
        Self { sockets: Mutex::new(receiver), _filler: AbortOnDropHandle::new(filler) }
    }

    /// Takes one out; waits where there is none. None comes when the filler has ended by a mistake.
    pub(super) async fn take(&self) -> Option<ClientSocket> {
        self.sockets.lock().await.recv().await
    }
}

async fn fill(source: impl Source, stock: mpsc::Sender<ClientSocket>) {
    loop {
        match source.make().await {
            Ok(sockets) => {
                for socket in sockets {
                    if stock.send(socket).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                tracing::warn!("no sockets of a pod's network could be made: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
