//! The registry: one JSON file that several processes may read and write.
//!
//! Every change is a read-modify-write under an exclusive lock on a file of its own. Within a process
//! one thread does the writing: it takes all changes that wait, applies them one after the other,
//! writes once and answers them all, so that many changes cost little more than one.

mod error;
mod file;
mod lock;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::Document;

pub use error::RegistryError;
use file::Store;
use writer::Writer;

/// Returns the document as it is in the file now, without a lock, and without making anything.
///
/// The file is only ever replaced as a whole, so what is read is one state of it.
///
/// # Errors
/// When there is no file, or none that can be used.
pub fn peek(path: PathBuf) -> Result<Arc<Document>, RegistryError> {
    Store::new(path).load()
}

/// A handle on the registry; clones share one cache and one writer.
#[derive(Clone, Debug)]
pub struct Registry {
    store: Arc<Store>,
    writer: Writer,
}

impl Registry {
    /// Opens the registry, and makes a new one where there is none.
    ///
    /// A damaged file, or one of a newer version, is an error and is left as it is.
    pub fn open(path: PathBuf) -> Result<Self, RegistryError> {
        Self::start(Store::new(path))
    }

    fn start(store: Store) -> Result<Self, RegistryError> {
        store.make_if_missing()?;
        let store = Arc::new(store);
        let writer = Writer::start(Arc::clone(&store))?;
        Ok(Self { store, writer })
    }

    /// Returns the document as it is in the file now.
    pub async fn read(&self) -> Result<Arc<Document>, RegistryError> {
        if let Some(document) = self.store.cached()? {
            return Ok(document);
        }
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || store.load())
            .await
            .unwrap_or(Err(RegistryError::Interrupted))
    }

    /// Changes the document; when `change` returns an error, nothing is changed.
    ///
    /// Once it answers, the change is on the disk. A change that was handed in is made even when the
    /// caller no longer waits for the answer.
    pub async fn update<R, E>(
        &self,
        change: impl FnOnce(&mut Document) -> Result<R, E> + Send + 'static,
    ) -> Result<Result<R, E>, RegistryError>
    where
        R: Send + 'static,
        E: Send + 'static,
    {
        self.writer.update(change).await
    }
}

#[cfg(test)]
mod tests;
