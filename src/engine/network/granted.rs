//! What names have led to in a network, as it is logged for the next run of the service.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::dns::Remembered;
use crate::host::files::FileError;
use crate::host::grant_log::{GrantLog, LoggedGrant};
use crate::host::processes::Process;

/// The log of a network; where it cannot be written, the next run of the service knows less.
#[derive(Clone, Debug)]
pub(super) struct Granted(Arc<Mutex<Option<GrantLog>>>);

impl Granted {
    /// Returns what an earlier run of the service has logged.
    pub(super) async fn earlier(path: PathBuf, process: Process) -> Vec<Remembered> {
        let read = tokio::task::spawn_blocking(move || GrantLog::read(&path, process)).await;
        let remember = |LoggedGrant { name, address, lasting }| Remembered {
            name: name.into(),
            address,
            lasting,
        };
        read.unwrap_or_default().into_iter().map(remember).collect()
    }

    /// Begins a log anew, with what is known.
    pub(super) async fn begin(path: PathBuf, process: Process, known: &[Remembered]) -> Self {
        let known = logged(known);
        let begun =
            tokio::task::spawn_blocking(move || GrantLog::begin(path, process, &known)).await;
        let log = match begun {
            Ok(Ok(log)) => Some(log),
            Ok(Err(error)) => {
                warn(&error);
                None
            }
            Err(_) => None,
        };
        Self(Arc::new(Mutex::new(log)))
    }

    /// Adds what names lead to.
    pub(super) async fn add(&self, grants: Vec<LoggedGrant>) {
        self.write(move |log| log.add(&grants)).await;
    }

    /// Has nothing but this in the log.
    pub(super) async fn replace(&self, known: &[Remembered]) {
        let known = logged(known);
        self.write(move |log| log.replace(&known)).await;
    }

    async fn write(
        &self,
        write: impl FnOnce(&mut GrantLog) -> Result<(), FileError> + Send + 'static,
    ) {
        let log = self.0.clone();
        let written = tokio::task::spawn_blocking(move || {
            log.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(write)
        });
        if let Ok(Some(Err(error))) = written.await {
            warn(&error);
        }
    }
}

fn warn(error: &FileError) {
    tracing::warn!("connections may not outlive the next start of the service: {error}");
}

fn logged(known: &[Remembered]) -> Vec<LoggedGrant> {
    let log = |it: &Remembered| LoggedGrant {
        name: it.name.to_string(),
        address: it.address,
        lasting: it.lasting,
    };
    known.iter().map(log).collect()
}
