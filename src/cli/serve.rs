//! `taskspace serve`

use clap::Args;
use nix::unistd::setsid;

use super::output::Output;
use super::service::make_socket_directory;
use super::{Exit, Outcome, internal};
use crate::api::{self, BROKEN_TIMEOUT, Claim, Ended, Service};
use crate::config::{Paths, Settings};
use crate::engine::Engine;
use crate::host::{activation, open_files};
use crate::model::{Code, Problem};

/// `taskspace serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// In a session of its own, as a client starts it
    #[arg(long, hide = true)]
    detached: bool,
}

impl Serve {
    pub(super) async fn run(self, paths: Paths, output: Output) -> Outcome {
        if self.detached {
            detach()?;
        }
        // Each connection to a published port takes two.
        if let Err(error) = open_files::raise() {
            tracing::warn!("not more files can be open: {error}");
        }
        let inherited = activation::take_listener()
            .map_err(|error| internal("take the socket from systemd", &error))?;
        if inherited.is_none() {
            make_socket_directory(&paths)?;
        }
        let claimed = api::claim(inherited, &paths.socket).await;
        let claimed =
            claimed.map_err(|error| Problem::new(Code::ServiceUnavailable, error.to_string()))?;
        let socket = match claimed {
            Claim::Ours(socket) => socket,
            Claim::Taken => {
                let line = format!("another instance listens on {}", paths.socket.display());
                output.line(&line)?;
                return Ok(Exit::Done);
            }
        };
        tracing::info!("listening on {}", paths.socket.display());
        let config_dirs = paths.config_dirs.clone();
        let engine = open(paths).await;
        if let Err(problem) = &engine {
            // It goes on, so that every client is told.
            output.report(problem);
        }
        let ended =
            Service { socket, engine, told_for: BROKEN_TIMEOUT, broken_by: Some(config_dirs) }
                .run()
                .await;
        match ended.map_err(|error| internal("serve", &error))? {
            Ended::Idle => tracing::info!("nothing to do: ending until the next call"),
            Ended::Stopped => tracing::info!("told to end"),
        }
        Ok(Exit::Done)
    }
}

async fn open(paths: Paths) -> Result<Engine, Problem> {
    let settings = Settings::load(&paths.config_dirs).map_err(|error| {
        Problem::new(Code::SettingsInvalid, error.to_string()).hint(error.hint())
    })?;
    Engine::open(paths, settings).await
}

/// Leaves the caller's session and directory: neither its terminal's end nor its file system is
/// any business of the service.
fn detach() -> Result<(), Problem> {
    // Refused only to the leader of a group, which has a session of its own to lose nothing from.
    if let Err(error) = setsid() {
        tracing::debug!("no session of our own: {error}");
    }
    std::env::set_current_dir("/").map_err(|error| internal("go to /", &error))
}
