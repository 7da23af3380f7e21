//! The only room that knows libpod's paths and field names.
//!
//! podman-api speaks most of the streams, and nothing else: it is generated from libpod 4.3, sends
//! `no_new_privilages` (which Podman ignores, so the hardening never applies), lacks `networks` and
//! container update, takes a 304 for an error, and its strict reply types break on newer Podman.

mod documents;
mod error;
mod isolation;
mod objects;
mod spec;
mod streams;
mod transport;
mod unanswered;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

pub use error::{ErrorKind, PodmanError, Result};
pub use isolation::{Isolation, PodNetwork, ResourceLimit, UNLIMITED};
pub use objects::{
    Container, ContainerState, ContainerStats, ContainerSummary, EventObject, IdMap, Image, Info,
    Mount, Pod, PodContainer, PodSummary, PodmanEvent, PublishedPorts, RuntimeMount, RuntimeSpec,
    Version, Volume,
};
pub use spec::{
    BindMount, ContainerSpec, Labels, LogConfiguration, NamedVolume, Namespace, PodSpec,
    PortMapping, UserNamespace, VolumeSpec,
};
pub use streams::{
    BuildSpec, ExecControl, ExecInput, ExecOutput, ExecResult, ExecSession, ExecSpec, LogChunk,
    LogOptions, LogStream, PullPolicy,
};

pub use unanswered::Unanswered;

use crate::uds::UnixHttp;

/// How long an idle connection is kept.
///
/// Podman closes one after about 10 s, and goes away 5 s after the last one is closed.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// Podman, behind its socket; cheap to clone.
#[derive(Clone, Debug)]
pub struct Podman {
    http: UnixHttp,
    /// Held while a volume is removed; see [`Podman::remove_volume`].
    volume_removal: Arc<Mutex<()>>,
    unanswered: Unanswered,
}

/// Returns the units of systemd in which a container and its monitor run.
pub fn scopes(container: &str) -> [String; 2] {
    [format!("libpod-{container}.scope"), format!("libpod-conmon-{container}.scope")]
}

impl Podman {
    /// Returns the Podman behind a socket; nothing is sent yet.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            http: UnixHttp::new(socket, POOL_IDLE),
            volume_removal: Arc::default(),
            unanswered: Unanswered::default(),
        }
    }

    /// Enters its requests among those without an answer.
    #[must_use]
    pub fn entering(self, unanswered: Unanswered) -> Self {
        Self { unanswered, ..self }
    }

    /// Returns the socket.
    pub fn socket(&self) -> &Path {
        self.http.socket()
    }
}
