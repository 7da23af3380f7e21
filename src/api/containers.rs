//! The registered containers.

use axum::Json;
use axum::extract::State;

use super::app::App;
use super::extract::{Document, Name};
use super::problem::Answer;
use crate::model::{ContainerName, Problem, RegisterRequest, RegisteredContainer};

/// List the registered containers
#[utoipa::path(get, path = "/v1/containers", tag = "containers",
    operation_id = "list_containers",
    responses((status = 200, description = "The containers", body = Vec<RegisteredContainer>)))]
pub(crate) async fn list(State(app): State<App>) -> Answer<Json<Vec<RegisteredContainer>>> {
    Ok(Json(app.engine()?.registered().await))
}

/// Register containers, all of them or none
///
/// What was registered by a call under the same name is replaced. For one name a call goes before the
/// settings, and these before the labels of containers.
#[utoipa::path(post, path = "/v1/containers", tag = "containers",
    operation_id = "register_containers", request_body = RegisterRequest,
    responses(
        (status = 200, description = "They are registered", body = Vec<RegisteredContainer>),
        (status = 409, description = "The dependencies would be a circle", body = Problem)))]
pub(crate) async fn register(
    State(app): State<App>,
    Document(request): Document<RegisterRequest>,
) -> Answer<Json<Vec<RegisteredContainer>>> {
    Ok(Json(app.engine()?.register(request).await?))
}

/// Show a registered container
#[utoipa::path(get, path = "/v1/containers/{name}", tag = "containers",
    operation_id = "show_container",
    params(("name" = ContainerName, Path, description = "The container")),
    responses((status = 200, description = "The container", body = RegisteredContainer)))]
pub(crate) async fn show(
    State(app): State<App>,
    Name(name): Name,
) -> Answer<Json<RegisteredContainer>> {
    Ok(Json(app.engine()?.registered_one(&name).await?))
}

/// Forget a container that was registered by a call
#[utoipa::path(delete, path = "/v1/containers/{name}", tag = "containers",
    operation_id = "unregister_container",
    params(("name" = ContainerName, Path, description = "The container")),
    responses(
        (status = 200, description = "How it was", body = RegisteredContainer),
        (status = 409, description = "It was registered otherwise", body = Problem)))]
pub(crate) async fn forget(
    State(app): State<App>,
    Name(name): Name,
) -> Answer<Json<RegisteredContainer>> {
    Ok(Json(app.engine()?.forget(&name).await?))
}
