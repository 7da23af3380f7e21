//! What a verb works with: the places, the output and the service.

use std::os::unix::fs::MetadataExt;

use nix::unistd::geteuid;

use super::output::{Output, Stop};
use super::service;
use crate::client::{self, Client, ClientError};
use crate::config::Paths;
use crate::model::{Asker, Code, Problem};

/// How often the service is started before its silence is an error.
const STARTS: usize = 10;

/// What a verb works with.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) paths: Paths,
    pub(super) output: Output,
    client: Client,
    allow_root: bool,
}

impl Context {
    pub(super) fn new(paths: Paths, output: Output, allow_root: bool) -> Result<Self, Problem> {
        check_owner(&paths)?;
        let client = Client::new(paths.socket.clone());
        Ok(Self { paths, output, client, allow_root })
    }

    /// Returns the same for calls by somebody.
    pub(super) fn asking(&self, asker: Asker) -> Self {
        Self { client: self.client.clone().asking(asker), ..self.clone() }
    }

    /// Calls the service; where nobody answers, starts it and calls again.
    ///
    /// A service that ends for lack of work between two calls is found out here too: it closes its
    /// socket before, so the call has not reached it. Several times, because the instance that
    /// answers the start may be one that another client started, and just about to end.
    pub(super) async fn call<T>(
        &self,
        call: impl AsyncFn(&Client) -> client::Result<T>,
    ) -> Result<T, Stop> {
        for _ in 0..STARTS {
            match call(&self.client).await {
                Err(ClientError::Unreachable(error)) => {
                    tracing::debug!("{error}; starting the service");
                    service::start(&self.paths, self.allow_root).await?;
                }
                answered => return Ok(answered?),
            }
        }
        Ok(call(&self.client).await?)
    }
}

/// Refuses a socket in a directory of another user, who could listen there in our service's place:
/// without a user session the directory is below `/tmp`.
fn check_owner(paths: &Paths) -> Result<(), Problem> {
    let directory = &paths.runtime_dir;
    if !paths.socket.starts_with(directory) {
        return Ok(());
    }
    match directory.symlink_metadata() {
        Ok(found) if found.uid() != geteuid().as_raw() => Err(Problem::new(
            Code::ServiceUnavailable,
            format!("{} belongs to another user", directory.display()),
        )
        .hint("set XDG_RUNTIME_DIR to a directory of your own")),
        // One that is not there yet is made, and checked, with the service.
        _ => Ok(()),
    }
}
