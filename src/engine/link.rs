//! The link to Podman: found or started on first need, and again when it is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::problems;
use crate::config::Paths;
use crate::host::podman_service::{self, Places, PodmanService};
use crate::model::{Code, PodmanView, Problem};
use crate::plan::capability::Capabilities;
use crate::podman::Podman;

/// How long whoever only looks waits for Podman.
const VIEW: Duration = Duration::from_secs(2);

/// The link.
#[derive(Debug)]
pub(crate) struct Link {
    paths: Arc<Paths>,
    linked: Mutex<Option<Linked>>,
}

#[derive(Debug)]
struct Linked {
    podman: Podman,
    capabilities: Arc<Capabilities>,
    /// Ends a Podman service that is a child of ours.
    _service: PodmanService,
}

impl Link {
    pub(crate) fn new(paths: Arc<Paths>) -> Self {
        Self { paths, linked: Mutex::new(None) }
    }

    /// Returns Podman and what it can do.
    ///
    /// # Errors
    /// [`Code::PodmanUnavailable`] with what was tried.
    pub(crate) async fn get(&self) -> Result<(Podman, Arc<Capabilities>), Problem> {
        let mut linked = self.linked.lock().await;
        if let Some(link) = &*linked {
            if UnixStream::connect(link.podman.socket()).await.is_ok() {
                return Ok((link.podman.clone(), link.capabilities.clone()));
            }
            *linked = None;
        }
        let places = Places {
            container_host: self.paths.container_host.clone(),
            runtime_dir: self.paths.runtime_dir.clone(),
            default_socket: self.paths.podman_socket.clone(),
            own_socket: self.paths.own_podman_socket.clone(),
        };
        let service = podman_service::find_or_start(&places)
            .await
            .map_err(|error| problems::podman_service(&error))?;
        let podman = Podman::new(service.socket.clone());
        let info = podman.info().await.map_err(problems::podman)?;
        let capabilities =
            Arc::new(Capabilities::new(&info).map_err(|error| problems::unsuitable(&error))?);
        *linked = Some(Linked {
            podman: podman.clone(),
            capabilities: capabilities.clone(),
            _service: service,
        });
        Ok((podman, capabilities))
    }

    /// Tells how Podman is.
    pub(crate) async fn view(&self) -> PodmanView {
        let answer = timeout(VIEW, self.get()).await.unwrap_or_else(|_| {
            Err(Problem::new(Code::PodmanUnavailable, "Podman does not answer"))
        });
        match answer {
            Ok((podman, capabilities)) => PodmanView::Available {
                socket: podman.socket().display().to_string(),
                version: capabilities.version.clone(),
                warnings: capabilities.warnings.clone(),
            },
            Err(problem) => PodmanView::Unavailable { reason: problem.detail },
        }
    }
}
