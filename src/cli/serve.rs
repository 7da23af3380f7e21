//! `taskspace serve`

use std::os::fd::FromRawFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use clap::Args;

use super::output::Output;
use super::service::make_socket_directory;
use super::{Exit, Outcome, internal};
use crate::api::{self, Claim, Ended, Service};
use crate::config::{Paths, Settings};
use crate::engine::Engine;
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
        let inherited = inherited_socket()?;
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
        let (engine, idle_timeout) = open(paths).await;
        if let Err(problem) = &engine {
            // It goes on, so that every client is told.
            output.report(problem);
        }
        let ended = Service { socket, engine, idle_timeout }.run().await;
        match ended.map_err(|error| internal("serve", &error))? {
            Ended::Idle => tracing::info!("nothing to do: ending until the next call"),
            Ended::Stopped => tracing::info!("told to end"),
        }
        Ok(Exit::Done)
    }
}

async fn open(paths: Paths) -> (Result<Engine, Problem>, Duration) {
    match Settings::load(&paths.config_dirs) {
        Ok(settings) => {
            let idle_timeout = settings.service.idle_timeout;
            (Engine::open(paths, settings).await, idle_timeout)
        }
        Err(error) => {
            let problem = Problem::new(Code::SettingsInvalid, error.to_string());
            (Err(problem.hint(error.hint())), Duration::MAX)
        }
    }
}

/// Leaves the caller's session and directory: neither its terminal's end nor its file system is
/// any business of the service.
fn detach() -> Result<(), Problem> {
    // Refused only to the leader of a group, which has a session of its own to lose nothing from.
    if let Err(error) = nix::unistd::setsid() {
        tracing::debug!("no session of our own: {error}");
    }
    std::env::set_current_dir("/").map_err(|error| internal("go to /", &error))
}

/// Takes the socket that systemd listens on for us, if it started us.
fn inherited_socket() -> Result<Option<UnixListener>, Problem> {
    let mut descriptors = sd_notify::listen_fds()
        .map_err(|error| internal("take the socket from systemd", &error))?;
    let Some(descriptor) = descriptors.next() else { return Ok(None) };
    if descriptors.next().is_some() {
        return Err(internal("take the socket from systemd", &"there are several"));
    }
    #[expect(
        unsafe_code,
        reason = "a descriptor that is passed on is but a number; there is no \
        safe way to take it over"
    )]
    // SAFETY: systemd opened it for this process (LISTEN_PID), and nothing else here owns it.
    let listener = unsafe { UnixListener::from_raw_fd(descriptor) };
    listener
        .local_addr()
        .map_err(|error| internal("use the socket from systemd", &error))
        .map(|_| Some(listener))
}
