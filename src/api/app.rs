//! What every handler shares.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::problem::Failure;
use crate::engine::Engine;
use crate::model::Problem;

/// The state of the router.
#[derive(Clone)]
pub(crate) struct App {
    /// The engine, or why there is none: a service that cannot work answers, and says why.
    engine: Result<Engine, Arc<Problem>>,
    /// Who is connected.
    pub(crate) clients: Clients,
    /// Cancelled when whatever does not end by itself must end.
    pub(crate) closing: CancellationToken,
}

impl App {
    /// Makes the state.
    pub(crate) fn new(
        engine: Result<Engine, Problem>,
        clients: Clients,
        closing: CancellationToken,
    ) -> Self {
        Self { engine: engine.map_err(Arc::new), clients, closing }
    }

    /// Returns the engine.
    pub(crate) fn engine(&self) -> Result<&Engine, Failure> {
        self.engine.as_ref().map_err(|problem| Failure(Problem::clone(problem)))
    }
}

/// Counts the open connections.
#[derive(Clone, Debug)]
pub(crate) struct Clients(watch::Sender<usize>);

impl Clients {
    /// Starts at none.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Counts one more, until the returned value is dropped.
    pub(crate) fn enter(&self) -> Present {
        self.0.send_modify(|count| *count += 1);
        Present(self.0.clone())
    }

    /// Returns how many there are.
    pub(crate) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Returns what wakes when that number changes.
    pub(crate) fn changed(&self) -> watch::Receiver<usize> {
        self.0.subscribe()
    }
}

/// One open connection, in the count.
#[derive(Debug)]
pub(crate) struct Present(watch::Sender<usize>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_while_they_are_open() {
        let clients = Clients::new();
        let (first, second) = (clients.enter(), clients.enter());
        assert_eq!(clients.count(), 2);
        drop(first);
        assert_eq!(clients.count(), 1);
        drop(second);
        assert_eq!(clients.count(), 0);
    }
}
