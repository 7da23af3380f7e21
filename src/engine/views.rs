//! What clients can look at.

use axum::body::Bytes;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;

use super::{Engine, problems};
use crate::model::{
    Code, ContainerView, DetailView, ExecRequest, HealthView, ImageView, Problem, Record, Recorded,
    Role, Shared, Status, StatusView, TaskspaceId, UnansweredView,
};
use crate::plan::detail::detail;
use crate::plan::names;
use crate::podman::{ErrorKind, ExecSession, ExecSpec, LogOptions, Podman, PodmanError};

impl Engine {
    /// Returns every taskspace, by id.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn list(&self) -> Result<Vec<Recorded>, Problem> {
        let document = self.inner.document().await?;
        let recorded = |(id, record): (&TaskspaceId, &Shared<Record>)| Recorded {
            id: id.clone(),
            record: self.inner.shown(Record::clone(record)),
            written: self.inner.written.of(id),
        };
        Ok(document.taskspaces.iter().map(recorded).collect())
    }

    /// Returns a taskspace in full.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn show(&self, id: &TaskspaceId) -> Result<DetailView, Problem> {
        let record = self.inner.record(id).await?;
        let containers = self.containers(id).await;
        // What the file system knows costs next to nothing.
        if record.storage.as_ref().is_some_and(|storage| storage.hard.is_some())
            && let Err(problem) = self.inner.measure_now(id, &record).await
        {
            tracing::debug!(%id, "cannot look at its project quota: {problem}");
        }
        let record = self.inner.record(id).await?;
        let (network_state, written) =
            (self.inner.network_state(&record).1, self.inner.written.of(id));
        let record = self.inner.shown(record);
        Ok(DetailView {
            health: self.inner.health.of(id),
            usage: self.inner.usage.of(id),
            containers,
            network_state,
            ..detail(Recorded { id: id.clone(), record, written })
        })
    }

    /// Tells how a taskspace is.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn health(&self, id: &TaskspaceId) -> Result<HealthView, Problem> {
        let record = self.inner.record(id).await?;
        Ok(HealthView {
            status: record.status,
            failure: record.failure,
            containers: self.containers(id).await,
            health: self.inner.health.of(id),
            restarts: record.restarts,
            endings: record.endings,
        })
    }

    async fn containers(&self, id: &TaskspaceId) -> Vec<ContainerView> {
        match self.inner.link.get().await {
            Ok((podman, _)) => containers(&podman, id).await,
            Err(_) => Vec::new(),
        }
    }

    /// Returns what Podman has not answered for the longest time.
    pub fn unanswered(&self) -> Option<UnansweredView> {
        self.inner.link.unanswered()
    }

    /// Tells how the service is; `clients` are connected to it.
    pub async fn status(&self, clients: usize) -> StatusView {
        let inner = &self.inner;
        let count = |wanted: fn(&Record) -> bool| {
            let document = inner.document();
            async move {
                document.await.map_or(0, |d| d.taskspaces.values().filter(|r| wanted(r)).count())
            }
        };
        let operations = inner.operations.active().borrow().all;
        let strays = inner.strays.borrow().clone();
        StatusView {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: inner.started,
            uptime_seconds: (Timestamp::now() - inner.started).get_seconds().unsigned_abs(),
            taskspaces: count(|_| true).await,
            running: count(|record| record.status == Status::Running).await,
            operations,
            clients,
            idle_timeout_seconds: inner.settings().service.idle_timeout.as_secs(),
            registry: inner.paths.registry.display().to_string(),
            ssh_config: inner.paths.ssh_config.display().to_string(),
            strays,
            settings: inner.settings_view(),
            coordination: self.coordination(),
            podman: inner.link.view().await,
        }
    }

    /// Tells how the images are.
    ///
    /// # Errors
    /// When Podman does not answer.
    pub async fn images(&self) -> Result<Vec<ImageView>, Problem> {
        let (podman, _) = self.inner.link.get().await?;
        self.inner.images.view(&podman).await
    }

    /// Returns what a container wrote; with `follow` also what it will write.
    ///
    /// # Errors
    /// When there is no such taskspace or container.
    pub async fn logs(
        &self,
        id: &TaskspaceId,
        role: Role,
        follow: bool,
        tail: Option<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, Problem>> + Send + use<>, Problem> {
        self.inner.record(id).await?;
        let (podman, _) = self.inner.link.get().await?;
        let options = LogOptions { follow, tail, ..LogOptions::default() };
        let chunks = podman
            .logs(&names::container(id, role), options)
            .await
            .map_err(|error| container_problem(id, role, error))?;
        Ok(chunks.map(|chunk| chunk.map(|chunk| chunk.bytes).map_err(problems::podman)))
    }

    /// Runs a command in a container.
    ///
    /// # Errors
    /// When there is no such taskspace, its container does not run, or the command is wrong.
    pub async fn exec(
        &self,
        id: &TaskspaceId,
        request: ExecRequest,
    ) -> Result<ExecSession, Problem> {
        let record = self.inner.record(id).await?;
        if record.is_frozen() {
            return Err(problems::frozen(id));
        }
        if request.command.is_empty() {
            return Err(Problem::new(Code::MessageFormatInvalid, "no command is given"));
        }
        if let Some(name) = request.env.keys().find(|name| name.is_empty() || name.contains('=')) {
            let detail = format!("{name:?} is not the name of a variable");
            return Err(Problem::new(Code::MessageFormatInvalid, detail));
        }
        let (podman, _) = self.inner.link.get().await?;
        let role = request.role;
        let spec = ExecSpec {
            cmd: request.command,
            user: request.user.or_else(|| Some(role.user().to_owned())),
            workdir: request.workdir.or_else(|| Some("/workspace".to_owned())),
            tty: request.tty,
            stdin: request.stdin,
            env: request.env,
            ..ExecSpec::default()
        };
        podman
            .exec(&names::container(id, role), spec)
            .await
            .map_err(|error| container_problem(id, role, error))
    }
}

async fn containers(podman: &Podman, id: &TaskspaceId) -> Vec<ContainerView> {
    let mut views = Vec::new();
    for role in Role::ALL {
        let name = names::container(id, role);
        let view = match podman.inspect_container(&name).await {
            Ok(container) => ContainerView {
                role,
                name,
                image: container.image,
                exit_code: (!container.state.running).then_some(container.state.exit_code),
                oom_killed: container.state.oom_killed,
                state: container.state.status,
            },
            Err(error) => ContainerView {
                role,
                name,
                image: String::new(),
                state: match error.kind() {
                    ErrorKind::NotFound => "missing".to_owned(),
                    _ => "unknown".to_owned(),
                },
                exit_code: None,
                oom_killed: false,
            },
        };
        views.push(view);
    }
    views
}

fn container_problem(id: &TaskspaceId, role: Role, error: PodmanError) -> Problem {
    match error.kind() {
        ErrorKind::NotFound => {
            Problem::new(Code::NotFound, format!("'{id}' has no {role} container at the moment"))
                .hint(format!("`taskspace start {id}` makes it anew"))
        }
        ErrorKind::BadState => Problem::new(
            Code::StateConflict,
            format!("the {role} container of '{id}' does not run: {error}"),
        )
        .hint(format!("`taskspace start {id}` starts it")),
        _ => problems::podman(error),
    }
}
