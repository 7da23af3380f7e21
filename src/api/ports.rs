//! The ports of a taskspace that are published on the host's loopback.

use std::num::NonZero;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;

use super::app::App;
use super::extract::{Document, Id};
use super::problem::{Answer, Failure};
use crate::model::{PortView, Problem, PublishRequest, TaskspaceId};

/// The port that the path names, and its taskspace.
pub(crate) struct Port(TaskspaceId, NonZero<u16>);

impl<S: Send + Sync> FromRequestParts<S> for Port {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path((id, port)): Path<(String, String)> = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
        let id = id.parse().map_err(|error| Failure::bad_request(format!("{error}")))?;
        let port = port.parse().map_err(|_| {
            Failure::bad_request(format!("a port is a number from 1 to {}, not {port:?}", u16::MAX))
        })?;
        Ok(Self(id, port))
    }
}

/// List the published ports of a taskspace
#[utoipa::path(get, path = "/v1/taskspaces/{id}/ports", tag = "taskspaces",
    operation_id = "list_ports",
    params(("id" = TaskspaceId, Path, description = "The taskspace")),
    responses((status = 200, description = "The published ports", body = [PortView])))]
pub(crate) async fn list(State(app): State<App>, Id(id): Id) -> Answer<Json<Vec<PortView>>> {
    Ok(Json(app.engine()?.ports(&id).await?))
}

/// Publish a TCP port of a taskspace on the host's loopback
///
/// The service forwards connections to the pod's own loopback. A port that is published already stays
/// as it is.
#[utoipa::path(put, path = "/v1/taskspaces/{id}/ports/{port}", tag = "taskspaces",
    operation_id = "publish_port",
    request_body = PublishRequest,
    params(
        ("id" = TaskspaceId, Path, description = "The taskspace"),
        ("port" = u16, Path, minimum = 1, maximum = 65535, description = "The pod's port")),
    responses(
        (status = 200, description = "It is published", body = PortView),
        (status = 409, description = "It is published otherwise, or the host's port is taken",
            body = Problem),
        (status = 403, description = "Too many are published", body = Problem)))]
pub(crate) async fn publish(
    State(app): State<App>,
    Port(id, port): Port,
    Document(request): Document<PublishRequest>,
) -> Answer<Json<PortView>> {
    Ok(Json(app.engine()?.publish_port(&id, port, request).await?))
}

/// End the publication of a port, with the connections to it
#[utoipa::path(delete, path = "/v1/taskspaces/{id}/ports/{port}", tag = "taskspaces",
    operation_id = "close_port",
    params(
        ("id" = TaskspaceId, Path, description = "The taskspace"),
        ("port" = u16, Path, minimum = 1, maximum = 65535, description = "The pod's port")),
    responses(
        (status = 200, description = "How it was", body = PortView)))]
pub(crate) async fn close(State(app): State<App>, Port(id, port): Port) -> Answer<Json<PortView>> {
    Ok(Json(app.engine()?.close_port(&id, port).await?))
}
