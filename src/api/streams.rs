//! What a taskspace's containers write.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Deserialize;

use super::app::App;
use super::extract::{Id, Parameters};
use super::problem::Answer;
use crate::model::{Role, TaskspaceId};

/// Which part of which log.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogParameters {
    /// The container; the agent's when it is not given.
    #[serde(default = "agent")]
    container: Role,
    /// Go on with what is written from now on.
    #[serde(default)]
    follow: bool,
    /// Only this many of the last lines.
    #[serde(default)]
    tail: Option<u64>,
}

const fn agent() -> Role {
    Role::Agent
}

/// Read what a container wrote
#[utoipa::path(get, path = "/v1/taskspaces/{id}/logs", tag = "taskspaces",
    operation_id = "read_logs",
    params(("id" = TaskspaceId, Path, description = "The taskspace"), LogParameters),
    responses(
        (status = 200, description = "The log", body = String, content_type = "text/plain")))]
pub(crate) async fn logs(
    State(app): State<App>,
    Id(id): Id,
    Parameters(LogParameters { container, follow, tail }): Parameters<LogParameters>,
) -> Answer<Response> {
    let stream = app.engine()?.logs(&id, container, follow, tail).await?;
    let stream = stream.take_until(app.closing.clone().cancelled_owned());
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((headers, Body::from_stream(stream)).into_response())
}
