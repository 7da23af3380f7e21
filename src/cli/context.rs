//! What a verb works with: the places, the output and the service.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::unistd::geteuid;

use super::output::{Output, Stop};
use super::service;
use crate::client::{self, Client, ClientError};
use crate::config::Paths;
use crate::model::{Asker, Code, Document, Problem};
use crate::registry;

/// How often the service is started before its silence is an error.
const STARTS: usize = 10;

/// The pause before another call to a service whose queue of connections is full.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// What was read, from the service or from the registry.
pub(super) struct Reading<T> {
    pub(super) answer: T,
    /// It is from the registry: without what only the service knows.
    pub(super) is_stale: bool,
}

/// What a verb works with.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) paths: Paths,
    pub(super) output: Output,
    client: Client,
    pub(super) allow_root: bool,
    /// Something that answers warned of was told.
    has_warned: Arc<AtomicBool>,
}

impl Context {
    pub(super) fn new(paths: Paths, output: Output, allow_root: bool) -> Result<Self, Problem> {
        check_owner(&paths)?;
        let client = Client::new(paths.socket.clone());
        Ok(Self { paths, output, client, allow_root, has_warned: Arc::default() })
    }

    /// Returns the same for calls by somebody.
    pub(super) fn asking(&self, asker: Asker) -> Self {
        Self { client: self.client.clone().asking(asker), ..self.clone() }
    }

    /// Returns the client itself.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Calls the service, and starts it if it does not listen. Tells when the service does not answer.
    ///
    /// # Errors
    /// When the service cannot be started, or refuses.
    pub(super) async fn call<T>(
        &self,
        call: impl AsyncFn(&Client) -> client::Result<T>,
    ) -> Result<T, Stop> {
        let answer = self.attend(self.answer(call)).await;
        self.tell_warning();
        answer
    }

    /// Passes on what an answer warned of; once for a command, however many calls it makes.
    fn tell_warning(&self) {
        if let Some(warning) = self.client.take_warning()
            && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            self.output.warn(&warning);
        }
    }

    /// Calls the service for something that the registry tells as well, and asks the registry where the
    /// service does not answer; says so then, and returns that the answer is stale.
    ///
    /// # Errors
    /// As those of [`Self::call`], or when the registry cannot be read.
    pub(super) async fn read<T>(
        &self,
        call: impl AsyncFn(&Client) -> client::Result<T>,
        recorded: impl FnOnce(&Document) -> Result<T, Problem>,
    ) -> Result<Reading<T>, Stop> {
        if let Some(answer) = self.unless_silent(self.answer(call)).await {
            self.tell_warning();
            return Ok(Reading { answer: answer?, is_stale: false });
        }
        let silent = self.silent_service();
        let document = registry::peek(self.paths.registry.clone()).map_err(|error| {
            let detail = format!("{silent}, and the registry cannot be read: {error}");
            Problem::new(Code::ServiceUnavailable, detail)
                .hint("`taskspace service restart` ends the service and starts another one")
        })?;
        self.output.warn(&format!(
            "{silent}: this is what the registry says, without what only the service knows. `taskspace \
             service restart` ends it and starts another one; taskspaces run on"
        ));
        Ok(Reading { answer: recorded(&document)?, is_stale: true })
    }

    /// Calls the service, and starts it if it does not listen.
    ///
    /// A service that ends for lack of work between two calls is found out here too: it closes its
    /// socket before, so the call has not reached it. Several times, because the instance that
    /// answers the start may be one that another client started, and just about to end.
    async fn answer<T>(&self, call: impl AsyncFn(&Client) -> client::Result<T>) -> Result<T, Stop> {
        for _ in 0..STARTS {
            match self.call_when_let_in(&call).await {
                Err(ClientError::Unreachable(error)) => {
                    tracing::debug!("{error}; starting the service");
                    service::start(self).await?;
                }
                answered => return Ok(answered?),
            }
        }
        Ok(call(&self.client).await?)
    }

    /// Calls a service until its queue of connections has room. A full queue means that the service exists
    /// and is not scheduled, so no other one is started.
    async fn call_when_let_in<T>(
        &self,
        call: impl AsyncFn(&Client) -> client::Result<T>,
    ) -> client::Result<T> {
        loop {
            match call(&self.client).await {
                Err(error) if error.is_full() => tokio::time::sleep(FULL_PAUSE).await,
                answered => return answered,
            }
        }
    }
}

/// Refuses a socket of another user, and one in a directory of another user, who could listen there in our service's place:
/// without a user session the directory is below `/tmp`.
fn check_owner(paths: &Paths) -> Result<(), Problem> {
    let user = geteuid().as_raw();
    let foreign = |found: &Metadata| found.file_type().is_socket() && found.uid() != user;
    if paths.socket.metadata().is_ok_and(|found| foreign(&found)) {
        let detail = format!("the socket {} belongs to another user", paths.socket.display());
        return Err(Problem::new(Code::ServiceUnavailable, detail)
            .hint("set TASKSPACE_SOCKET to a path in a directory of your own, or unset it"));
    }
    let directory = &paths.runtime_dir;
    if !paths.socket.starts_with(directory) {
        return Ok(());
    }
    match directory.symlink_metadata() {
        Ok(found) if found.uid() != user => Err(Problem::new(
            Code::ServiceUnavailable,
            format!("{} belongs to another user", directory.display()),
        )
        .hint("set XDG_RUNTIME_DIR to a directory of your own")),
        // One that is not there yet is made, and checked, with the service.
        _ => Ok(()),
    }
}
