//! The one thread of a process that changes the registry.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tokio::sync::oneshot;

use super::RegistryError;
use super::file::Store;
use crate::model::Document;

/// Hands changes to the thread; the thread ends when the last of these is gone.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: Sender<Box<dyn Change>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(store: Arc<Store>) -> Result<Self, RegistryError> {
        let (queue, changes) = channel();
        thread::Builder::new()
            .name("registry".to_owned())
            .spawn(move || run(&store, &changes))
            .map_err(RegistryError::io("start a thread for", Path::new("registry")))?;
        Ok(Self { queue })
    }

    /// Hands in a change and waits until it is on the disk.
    pub(super) async fn update<R, E>(
        &self,
        change: impl FnOnce(&mut Document) -> Result<R, E> + Send + 'static,
    ) -> Result<Result<R, E>, RegistryError>
    where
        R: Send + 'static,
        E: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let pending = Pending { change: Some(change), outcome: None, answer };
        if self.queue.send(Box::new(pending)).is_err() {
            return Err(RegistryError::Interrupted);
        }
        // A change that panicked is dropped without an answer.
        answered.await.unwrap_or(Err(RegistryError::Interrupted))
    }
}

/// A change that waits, whatever its types are.
trait Change: Send {
    /// Makes the change; returns whether it succeeded.
    fn apply(&mut self, document: &mut Document) -> bool;

    /// Answers whoever asked for it.
    fn answer(self: Box<Self>, written: Result<(), RegistryError>);
}

struct Pending<F, R, E> {
    change: Option<F>,
    outcome: Option<Result<R, E>>,
    answer: oneshot::Sender<Result<Result<R, E>, RegistryError>>,
}

impl<F, R, E> Change for Pending<F, R, E>
where
    F: FnOnce(&mut Document) -> Result<R, E> + Send,
    R: Send,
    E: Send,
{
    fn apply(&mut self, document: &mut Document) -> bool {
        self.outcome = self.change.take().map(|change| change(document));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, written: Result<(), RegistryError>) {
        let answer = match (written, self.outcome) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(outcome)) => Ok(outcome),
            (Ok(()), None) => Err(RegistryError::Interrupted),
        };
        // Whoever asked may have stopped waiting; the change stands all the same.
        let _ = self.answer.send(answer);
    }
}

fn run(store: &Store, changes: &Receiver<Box<dyn Change>>) {
    while let Ok(first) = changes.recv() {
        let mut batch = vec![first];
        batch.extend(changes.try_iter());
        commit(store, batch);
    }
}

/// Makes all changes under one lock, writes once and answers them.
fn commit(store: &Store, mut batch: Vec<Box<dyn Change>>) {
    let written = (|| {
        let _lock = store.lock()?;
        let before = store.load()?;
        let mut kept = Arc::clone(&before);
        batch.retain_mut(|change| {
            let mut document = Document::clone(&kept);
            let applied = catch_unwind(AssertUnwindSafe(|| change.apply(&mut document)));
            if matches!(applied, Ok(true)) {
                kept = Arc::new(document);
            }
            applied.is_ok()
        });
        if kept == before { Ok(()) } else { store.save(kept) }
    })();
    for change in batch {
        change.answer(written.clone());
    }
}
