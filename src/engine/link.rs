//! The link to Podman: found or started on first need, and again when it is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::problems;
use crate::config::Paths;
use crate::host::podman_service::{self, Places, PodmanService};
use crate::model::{Code, PodmanView, Problem, UnansweredView};
use crate::plan::capability::Capabilities;
use crate::podman::{Podman, Unanswered};

/// How long whoever only looks waits for Podman.
const VIEW: Duration = Duration::from_secs(2);

/// The link.
#[derive(Debug)]
pub(crate) struct Link {
    paths: Arc<Paths>,
    linked: Mutex<Option<Linked>>,
    unanswered: Unanswered,
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
        Self { paths, linked: Mutex::new(None), unanswered: Unanswered::default() }
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
            has_settings: self.paths.overrides_containers_conf,
            runtime_dir: self.paths.runtime_dir.clone(),
            default_socket: self.paths.podman_socket.clone(),
            own_socket: self.paths.own_podman_socket.clone(),
        };
        let waiting = self.unanswered.enter("the first question after its version", Duration::ZERO);
        let service = podman_service::find_or_start(&places)
            .await
            .map_err(|error| problems::podman_service(&error))?;
        drop(waiting);
        let podman = Podman::new(service.socket.clone()).entering(self.unanswered.clone());
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

    /// Asks Podman anew what it can do, at the next use: it went away, and another version may be
    /// behind the same socket when it is back.
    pub(crate) async fn ask_again(&self) {
        *self.linked.lock().await = None;
    }

    /// Returns what Podman has not answered for the longest time.
    pub(crate) fn unanswered(&self) -> Option<UnansweredView> {
        let (request, overdue) = self.unanswered.longest()?;
        Some(UnansweredView { request, seconds: overdue.as_secs() })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::uds::fake_podman::{Answer, FakePodman};

    #[tokio::test]
    async fn a_podman_that_was_upgraded_behind_its_socket_is_known_again() {
        let version = Arc::new(std::sync::Mutex::new("5.4.2"));
        let running = version.clone();
        let fake = FakePodman::always(move |_| {
            let version = *running.lock().unwrap();
            Answer::json(
                200,
                json!({
                    "host": {"security": {"rootless": true}},
                    "store": {"graphRoot": "/g", "volumePath": "/g/volumes"},
                    "version": {"Version": version, "APIVersion": version},
                }),
            )
        });
        let host = format!("unix://{}", fake.socket().display());
        let home = tempfile::tempdir().unwrap();
        let lookup = |name: &str| match name {
            "HOME" => Some(home.path().into()),
            "CONTAINER_HOST" => Some(host.clone().into()),
            _ => None,
        };
        let link = Link::new(Arc::new(Paths::new(lookup, 1000).unwrap()));
        assert_eq!(link.get().await.unwrap().1.version, "5.4.2");
        *version.lock().unwrap() = "5.8.0";
        assert_eq!(link.get().await.unwrap().1.version, "5.4.2");
        link.ask_again().await;
        assert_eq!(link.get().await.unwrap().1.version, "5.8.0");
        // One that this program cannot work with is refused, and told.
        *version.lock().unwrap() = "3.4.4";
        link.ask_again().await;
        assert!(link.get().await.is_err());
        assert!(matches!(link.view().await, PodmanView::Unavailable { .. }));
    }
}
