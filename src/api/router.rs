//! The routes, and what holds for every one of them.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use tokio_util::task::AbortOnDropHandle;

use super::app::App;
use super::problem::Failure;
use super::{
    collection, containers, diff, events, exec, images, limits, networks, operations, ports,
    projects, snapshots, streams, system, taskspaces,
};
use crate::model::{Code, Problem};

/// The longest body of a request: a prompt of a few hundred pages.
const BODY_LIMIT: usize = 1 << 20;

/// The header in which an answer says what is wrong with the settings.
pub(crate) const WARNING_HEADER: &str = "taskspace-warning";

/// Makes the router.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/v1/version", get(system::version))
        .route("/v1/liveness", get(system::liveness))
        .route("/v1/status", get(system::status))
        .route("/metrics", get(system::metrics))
        .route("/v1/settings/reload", post(system::reload))
        .route("/v1/openapi.json", get(system::openapi))
        .route("/v1/taskspaces", get(taskspaces::list).post(taskspaces::create))
        .route(
            "/v1/taskspaces/{id}",
            get(taskspaces::show).patch(limits::resize).delete(taskspaces::delete),
        )
        .route("/v1/taskspaces/{id}/health", get(taskspaces::health))
        .route(
            "/v1/taskspaces/{id}/network",
            get(networks::show).patch(networks::change).put(networks::replace),
        )
        .route("/v1/taskspaces/{id}/network/blocked", get(networks::blocked))
        .route("/v1/taskspaces/{id}/ports", get(ports::list))
        .route("/v1/taskspaces/{id}/ports/{port}", put(ports::publish).delete(ports::close))
        .route("/v1/taskspaces/{id}/fork", post(taskspaces::fork))
        .route("/v1/taskspaces/{id}/start", post(taskspaces::start))
        .route("/v1/taskspaces/{id}/stop", post(taskspaces::stop))
        .route("/v1/taskspaces/{id}/restart", post(taskspaces::restart))
        .route("/v1/taskspaces/{id}/logs", get(streams::logs))
        .route("/v1/taskspaces/{id}/diff", get(diff::diff))
        .route("/v1/taskspaces/{id}/exec", post(exec::exec))
        .route("/v1/taskspaces/{id}/snapshots", get(snapshots::list).post(snapshots::take))
        .route("/v1/taskspaces/{id}/snapshots/{name}", delete(snapshots::delete))
        .route("/v1/taskspaces/{id}/snapshots/{name}/restore", post(snapshots::restore))
        .route("/v1/taskspaces/{id}/cache", post(projects::promote))
        .route("/v1/projects", get(projects::list))
        .route("/v1/projects/{name}/cache", delete(projects::withdraw))
        .route("/v1/projects/{name}/refresh", post(projects::refresh))
        .route("/v1/states", get(collection::states))
        .route("/v1/states/{id}", get(collection::state).delete(collection::purge))
        .route("/v1/gc", post(collection::collect))
        .route("/v1/operations", get(operations::list).post(operations::request))
        .route(
            "/v1/operations/{number}",
            get(operations::show).put(operations::update).delete(operations::cancel),
        )
        .route("/v1/operations/{number}/hold", get(operations::hold))
        .route("/v1/locks", get(operations::locks))
        .route("/v1/events", get(events::events))
        .route("/v1/containers", get(containers::list).post(containers::register))
        .route("/v1/containers/{name}", get(containers::show).delete(containers::forget))
        .route("/v1/images", get(images::list))
        .route("/v1/images/build", post(images::build))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(app.clone(), with_settings_of_now))
        .layer(middleware::from_fn(in_a_task_of_its_own))
        .with_state(app)
}

async fn unknown_path(request: Request) -> Failure {
    let problem =
        Problem::new(Code::NotFound, format!("there is nothing at {:?}", request.uri().path()));
    Failure(problem.hint("GET /v1/openapi.json describes what there is"))
}

async fn wrong_method(request: Request) -> Failure {
    let detail = format!("{:?} does not take {}", request.uri().path(), request.method());
    Failure::bad_request(detail).with_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// Has the settings be what their files say before a call is answered; where these are wrong, the answer says
/// so in a header.
async fn with_settings_of_now(State(app): State<App>, request: Request, next: Next) -> Response {
    let engine = app.engine().ok().filter(|_| request.uri().path() != "/v1/liveness");
    let Some(engine) = engine else { return next.run(request).await };
    engine.follow_settings().await;
    let mut response = next.run(request).await;
    if let Some(problem) = engine.settings_problem() {
        // Only visible ASCII stands in a header.
        let text: String = problem.detail.escape_default().collect();
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(WARNING_HEADER, value);
        }
    }
    response
}

/// Runs the handler in a task of its own, for two reasons: a panic is answered instead of cutting
/// the connection, and what changes something is not dropped half way when its client goes.
async fn in_a_task_of_its_own(request: Request, next: Next) -> Response {
    // One that asks for an operation holds it, or its place, as long as it is there.
    let ends_with_client =
        request.method() == Method::GET || request.uri().path() == "/v1/operations";
    let name = format!("{} {}", request.method(), request.uri().path());
    let task = tokio::spawn(next.run(request));
    let ended = if ends_with_client { AbortOnDropHandle::new(task).await } else { task.await };
    ended.unwrap_or_else(|error| {
        tracing::error!("{name}: the handler ended early: {error}");
        let problem = Problem::new(Code::Internal, format!("{name} failed unexpectedly"))
            .hint("this is a bug; the service's log has more");
        Failure(problem).into_response()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::body::Bytes;
    use tokio::net::UnixListener;

    use super::*;
    use crate::uds::UnixHttp;

    #[tokio::test]
    async fn a_panic_is_answered_and_the_service_goes_on() {
        async fn panics() {
            panic!("as asked");
        }
        let router = Router::new()
            .route("/panics", get(panics))
            .route("/works", get(async || "it does"))
            .layer(middleware::from_fn(in_a_task_of_its_own));
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());

        let http = UnixHttp::new(socket, Duration::from_secs(1));
        let get = async |path| http.fetch(Method::GET, path, &[], Bytes::new(), None).await;
        let reply = get("/panics").await.unwrap();
        let problem: Problem = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((reply.status.as_u16(), problem.code), (500, Code::Internal));
        assert_eq!(get("/works").await.unwrap().status, 200);
    }
}
