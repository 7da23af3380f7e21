//! A typed client of our own API.

mod asker;
mod coordination;
mod error;
mod exec;
mod ports;
mod retention;
mod snapshots;
mod sse;
mod work;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frames::PROTOCOL;
use crate::model::{
    Asker, Blocked, BuildRequest, ContainerName, CreateRequest, DeleteOptions, DetailView, Event,
    EventQuery, ExecRequest, ForkRequest, HealthView, ImageView, LivenessView, NetworkChange,
    NetworkView, Operation, PlanView, ProjectView, Recorded, RegisterRequest, RegisteredContainer,
    ResizeRequest, Role, SettingsView, StatusView, TaskspaceId, VersionView,
};
use crate::uds::{self, Reply, UdsError, UnixHttp};

pub use error::ClientError;
pub use exec::{ExecReader, ExecWriter};

/// How long an idle connection is kept; a client's life is shorter than that.
const POOL_IDLE: Duration = Duration::from_secs(60);

/// How long a call may take that only reads. Podman may have to be started for it.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// What a call returns.
pub type Result<T> = std::result::Result<T, ClientError>;

/// Calls the service behind one socket; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: UnixHttp,
    asker: Asker,
    /// What an answer warned of; clones share it.
    warning: Arc<Mutex<Option<String>>>,
}

impl Client {
    /// Returns a client of the service behind `socket`; nothing is sent yet.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            http: UnixHttp::new(socket, POOL_IDLE),
            asker: Asker::default(),
            warning: Arc::default(),
        }
    }

    /// Says with every call that changes something who it is that calls.
    #[must_use]
    pub fn asking(self, asker: Asker) -> Self {
        Self { asker, ..self }
    }

    /// Returns what answers have warned of since it was asked for last.
    pub fn take_warning(&self) -> Option<String> {
        self.warning.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note_warning(&self, headers: &HeaderMap) {
        if let Some(text) = headers.get("taskspace-warning").and_then(|value| value.to_str().ok()) {
            let mut warning = self.warning.lock().unwrap_or_else(PoisonError::into_inner);
            *warning = Some(text.to_owned());
        }
    }

    /// Asks for the service's version.
    pub async fn version(&self) -> Result<VersionView> {
        self.get("/v1/version").await
    }

    /// Asks whether the service is alive, on a connection of its own.
    ///
    /// # Errors
    /// When it does not answer within `patience`.
    pub async fn liveness(&self, patience: Duration) -> Result<LivenessView> {
        let path = "/v1/liveness";
        let http = UnixHttp::new(self.http.socket().to_owned(), POOL_IDLE);
        let reply = http.fetch(Method::GET, path, &[], Bytes::new(), Some(patience)).await?;
        understand(path, &reply)
    }

    /// Has the service take in the files of settings.
    pub async fn reload_settings(&self) -> Result<SettingsView> {
        self.call(Method::POST, "/v1/settings/reload", NOTHING).await
    }

    /// Asks how the service is.
    pub async fn status(&self) -> Result<StatusView> {
        self.get("/v1/status").await
    }

    /// Lists the taskspaces.
    pub async fn list(&self) -> Result<Vec<Recorded>> {
        self.get("/v1/taskspaces").await
    }

    /// Shows a taskspace.
    pub async fn show(&self, id: &TaskspaceId) -> Result<DetailView> {
        self.get(&format!("/v1/taskspaces/{id}")).await
    }

    /// Begins to make a taskspace.
    pub async fn create(&self, request: &CreateRequest) -> Result<Operation> {
        self.call(Method::POST, "/v1/taskspaces", Some(request)).await
    }

    /// Begins to delete a taskspace.
    pub async fn delete(&self, id: &TaskspaceId, options: DeleteOptions) -> Result<Operation> {
        let DeleteOptions { purge, force } = options;
        let path = format!("/v1/taskspaces/{id}?purge={purge}&force={force}");
        self.call(Method::DELETE, &path, NOTHING).await
    }

    /// Asks how a taskspace would be made; nothing is.
    pub async fn plan_creation(&self, request: &CreateRequest) -> Result<PlanView> {
        self.call(Method::POST, "/v1/taskspaces?dry_run=true", Some(request)).await
    }

    /// Asks how a taskspace would be deleted; nothing is.
    pub async fn plan_removal(&self, id: &TaskspaceId, options: DeleteOptions) -> Result<PlanView> {
        let DeleteOptions { purge, force } = options;
        let path = format!("/v1/taskspaces/{id}?purge={purge}&force={force}&dry_run=true");
        self.call(Method::DELETE, &path, NOTHING).await
    }

    /// Asks how well a taskspace is.
    pub async fn health(&self, id: &TaskspaceId) -> Result<HealthView> {
        self.get(&format!("/v1/taskspaces/{id}/health")).await
    }

    /// Begins to start a taskspace.
    pub async fn start(&self, id: &TaskspaceId) -> Result<Operation> {
        self.call(Method::POST, &format!("/v1/taskspaces/{id}/start"), NOTHING).await
    }

    /// Begins to stop a taskspace.
    pub async fn stop(&self, id: &TaskspaceId) -> Result<Operation> {
        self.call(Method::POST, &format!("/v1/taskspaces/{id}/stop"), NOTHING).await
    }

    /// Begins to restart a taskspace.
    pub async fn restart(&self, id: &TaskspaceId) -> Result<Operation> {
        self.call(Method::POST, &format!("/v1/taskspaces/{id}/restart"), NOTHING).await
    }

    /// Begins to make a taskspace that begins where another one is.
    pub async fn fork(&self, from: &TaskspaceId, request: &ForkRequest) -> Result<Operation> {
        self.call(Method::POST, &format!("/v1/taskspaces/{from}/fork"), Some(request)).await
    }

    /// Begins to change how much a taskspace may use.
    pub async fn resize(&self, id: &TaskspaceId, request: &ResizeRequest) -> Result<Operation> {
        self.call(Method::PATCH, &format!("/v1/taskspaces/{id}"), Some(request)).await
    }

    /// Begins to change what a taskspace may reach.
    pub async fn change_network(
        &self,
        id: &TaskspaceId,
        change: &NetworkChange,
    ) -> Result<Operation> {
        self.call(Method::PATCH, &format!("/v1/taskspaces/{id}/network"), Some(change)).await
    }

    /// Returns the network policy of a taskspace.
    pub async fn network(&self, id: &TaskspaceId) -> Result<NetworkView> {
        self.get(&format!("/v1/taskspaces/{id}/network")).await
    }

    /// Lists what a taskspace was refused.
    pub async fn blocked(&self, id: &TaskspaceId) -> Result<Vec<Blocked>> {
        self.get(&format!("/v1/taskspaces/{id}/network/blocked")).await
    }

    /// Begins to make a taskspace's build cache the one of its project.
    pub async fn promote_cache(&self, id: &TaskspaceId) -> Result<Operation> {
        self.call(Method::POST, &format!("/v1/taskspaces/{id}/cache"), NOTHING).await
    }

    /// Lists the projects.
    pub async fn projects(&self) -> Result<Vec<ProjectView>> {
        self.get("/v1/projects").await
    }

    /// Has new taskspaces of a project begin without a build cache.
    pub async fn withdraw_cache(&self, project: &str) -> Result<ProjectView> {
        self.call(Method::DELETE, &format!("/v1/projects/{project}/cache"), NOTHING).await
    }

    /// Lists the operations.
    pub async fn operations(&self) -> Result<Vec<Operation>> {
        self.get("/v1/operations").await
    }

    /// Shows an operation.
    pub async fn operation(&self, number: u64) -> Result<Operation> {
        self.get(&format!("/v1/operations/{number}")).await
    }

    /// Waits until an operation is over; one that failed is no error here.
    pub async fn wait(&self, number: u64) -> Result<Operation> {
        self.call(Method::GET, &format!("/v1/operations/{number}?wait=true"), NOTHING).await
    }

    /// Lists the registered containers.
    pub async fn containers(&self) -> Result<Vec<RegisteredContainer>> {
        self.get("/v1/containers").await
    }

    /// Registers containers, all of them or none.
    pub async fn register(&self, request: &RegisterRequest) -> Result<Vec<RegisteredContainer>> {
        self.call(Method::POST, "/v1/containers", Some(request)).await
    }

    /// Shows a registered container.
    pub async fn container(&self, name: &ContainerName) -> Result<RegisteredContainer> {
        self.get(&format!("/v1/containers/{name}")).await
    }

    /// Forgets a container that was registered by a call; returns how it was.
    pub async fn forget(&self, name: &ContainerName) -> Result<RegisteredContainer> {
        self.call(Method::DELETE, &format!("/v1/containers/{name}"), NOTHING).await
    }

    /// Lists the images.
    pub async fn images(&self) -> Result<Vec<ImageView>> {
        self.get("/v1/images").await
    }

    /// Begins to build images.
    pub async fn build_images(&self, request: &BuildRequest) -> Result<Operation> {
        self.call(Method::POST, "/v1/images/build", Some(request)).await
    }

    /// Watches what happens, from after the event that was `seen` last if there was one.
    pub async fn watch(
        &self,
        query: &EventQuery,
        seen: Option<u64>,
    ) -> Result<impl Stream<Item = Result<Event>> + Send + Unpin + use<>> {
        let EventQuery { after, operation, taskspace, follow } = query;
        let mut path = format!("/v1/events?follow={follow}");
        let given = [
            after.map(|id| format!("&after={id}")),
            operation.map(|number| format!("&operation={number}")),
            taskspace.as_ref().map(|id| format!("&taskspace={id}")),
        ];
        path.extend(given.into_iter().flatten());
        let seen = seen.map(|id| id.to_string());
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(seen.as_deref().map(|id| ("last-event-id", id)));
        let response = self.http.request(Method::GET, &path, &headers, Bytes::new()).await?;
        let response = self.successful(&path, response).await?;
        Ok(sse::events(uds::lines(response.into_body(), path)))
    }

    /// Returns what a container wrote; with `follow` also what it will write.
    pub async fn logs(
        &self,
        id: &TaskspaceId,
        role: Role,
        follow: bool,
        tail: Option<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + Unpin + use<>> {
        let tail = tail.map(|lines| format!("&tail={lines}")).unwrap_or_default();
        let path = format!("/v1/taskspaces/{id}/logs?container={role}&follow={follow}{tail}");
        let response = self.http.request(Method::GET, &path, &[], Bytes::new()).await?;
        let response = self.successful(&path, response).await?;
        let cut = move |error: hyper::Error| {
            ClientError::Broken(UdsError::Cut { request: path.clone(), source: error.into() })
        };
        Ok(response.into_body().into_data_stream().map(move |bytes| bytes.map_err(&cut)))
    }

    /// Runs a command in a container.
    pub async fn exec(
        &self,
        id: &TaskspaceId,
        request: &ExecRequest,
    ) -> Result<(ExecReader, ExecWriter)> {
        let path = format!("/v1/taskspaces/{id}/exec");
        let headers = [("connection", "upgrade"), ("upgrade", PROTOCOL)];
        let body = encode(&path, request)?;
        let response = self.http.request(Method::POST, &path, &headers, body).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let response = self.successful(&path, response).await?;
            return Err(ClientError::NotUnderstood {
                call: path,
                reason: format!("status {} instead of 101", response.status()),
            });
        }
        exec::open(path, response).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let reply =
            self.http.fetch(Method::GET, path, &[], Bytes::new(), Some(READ_TIMEOUT)).await?;
        self.note_warning(&reply.headers);
        understand(path, &reply)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let said = if method.is_safe() { Vec::new() } else { self.asker.headers() };
        let mut headers: Vec<_> =
            said.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = match body {
            Some(body) => {
                headers.push(("content-type", "application/json"));
                encode(path, body)?
            }
            None => Bytes::new(),
        };
        let reply = self.http.fetch(method, path, &headers, body, None).await?;
        self.note_warning(&reply.headers);
        understand(path, &reply)
    }

    /// Lets a streamed answer through, and makes an error of any other.
    async fn successful(
        &self,
        path: &str,
        response: Response<Incoming>,
    ) -> Result<Response<Incoming>> {
        let status = response.status();
        self.note_warning(response.headers());
        if status.is_success() {
            return Ok(response);
        }
        let body = uds::collect(response.into_body(), path).await?;
        Err(refused(path, status, &body))
    }
}

/// No body.
const NOTHING: Option<&()> = None;

fn encode(path: &str, body: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| ClientError::NotUnderstood {
        call: path.to_owned(),
        reason: format!("the request cannot be written: {error}"),
    })
}

fn understand<T: DeserializeOwned>(path: &str, reply: &Reply) -> Result<T> {
    if !reply.status.is_success() {
        return Err(refused(path, reply.status, &reply.body));
    }
    serde_json::from_slice(&reply.body).map_err(|error| ClientError::NotUnderstood {
        call: path.to_owned(),
        reason: error.to_string(),
    })
}

fn refused(path: &str, status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice(body) {
        Ok(problem) => ClientError::Problem(Box::new(problem)),
        Err(_) => ClientError::NotUnderstood {
            call: path.to_owned(),
            reason: format!("status {status} without a problem document"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Code, Problem};

    #[test]
    fn a_problem_comes_through_as_it_is() {
        let problem = Problem::new(Code::TaskspaceExists, "the id 'x' is taken").hint("another");
        let body = serde_json::to_vec(&problem).unwrap();
        let error = refused("/x", StatusCode::CONFLICT, &body);
        assert_eq!(Problem::from(error), problem);
    }

    #[test]
    fn an_answer_that_is_none_is_told_with_its_call() {
        let reply = Reply {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"<html>"),
        };
        let error = understand::<VersionView>("/v1/version", &reply).unwrap_err();
        assert!(error.to_string().contains("/v1/version"), "{error}");
        let error = refused("/v1/status", StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(Problem::from(error).code, Code::Internal);
    }

    #[tokio::test]
    async fn a_missing_service_is_told_from_a_broken_one() {
        let dir = tempfile::tempdir().unwrap();
        let error = Client::new(dir.path().join("none")).version().await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable(_)));
        let problem = Problem::from(error);
        assert_eq!(problem.code, Code::ServiceUnavailable);
        assert!(problem.detail.starts_with("the service does not answer: could not connect to"));
    }
}
