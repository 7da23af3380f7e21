//! The taskspaces.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::app::App;
use super::extract::{Document, Id, Parameters};
use super::operations::{Wait, started};
use super::problem::Answer;
use crate::model::{CreateRequest, DeleteOptions, DetailView, Operation, Problem, Recorded};

/// How to delete, and whether to wait.
#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteParameters {
    /// Remove the agent's state too.
    #[serde(default)]
    purge: bool,
    /// Remove it although it has work that is saved nowhere else.
    #[serde(default)]
    force: bool,
    /// Answer only once the operation is over.
    #[serde(default)]
    wait: bool,
}

/// List the taskspaces
#[utoipa::path(get, path = "/v1/taskspaces", tag = "taskspaces",
    responses((status = 200, body = Vec<Recorded>), (status = 500, body = Problem)))]
pub(crate) async fn list(State(app): State<App>) -> Answer<Json<Vec<Recorded>>> {
    Ok(Json(app.engine()?.list().await?))
}

/// Create a taskspace
#[utoipa::path(post, path = "/v1/taskspaces", tag = "taskspaces", params(Wait),
    request_body = CreateRequest,
    responses(
        (status = 200, description = "Done", body = Operation),
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = 400, body = Problem),
        (status = 409, description = "The id is taken", body = Problem),
        (status = 422, description = "No such repository or ref", body = Problem),
        (status = 503, description = "Podman is not available", body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Parameters(Wait { wait }): Parameters<Wait>,
    Document(request): Document<CreateRequest>,
) -> Answer<Response> {
    let operation = app.engine()?.create(request).await?;
    started(&app, operation, wait).await
}

/// Show a taskspace
#[utoipa::path(get, path = "/v1/taskspaces/{id}", tag = "taskspaces",
    params(("id" = String, Path, description = "The taskspace")),
    responses((status = 200, body = DetailView), (status = 404, body = Problem)))]
pub(crate) async fn show(State(app): State<App>, Id(id): Id) -> Answer<Json<DetailView>> {
    Ok(Json(app.engine()?.show(&id).await?))
}

/// Delete a taskspace
#[utoipa::path(delete, path = "/v1/taskspaces/{id}", tag = "taskspaces",
    params(("id" = String, Path, description = "The taskspace"), DeleteParameters),
    responses(
        (status = 200, description = "Done", body = Operation),
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = 404, body = Problem),
        (status = 409, description = "It has work that would be lost", body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Id(id): Id,
    Parameters(DeleteParameters { purge, force, wait }): Parameters<DeleteParameters>,
) -> Answer<Response> {
    let operation = app.engine()?.delete(&id, DeleteOptions { purge, force }).await?;
    started(&app, operation, wait).await
}

/// Start a taskspace's containers
#[utoipa::path(post, path = "/v1/taskspaces/{id}/start", tag = "taskspaces",
    params(("id" = String, Path, description = "The taskspace"), Wait),
    responses(
        (status = 200, description = "Done", body = Operation),
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn start(
    State(app): State<App>,
    Id(id): Id,
    Parameters(Wait { wait }): Parameters<Wait>,
) -> Answer<Response> {
    let operation = app.engine()?.start(&id).await?;
    started(&app, operation, wait).await
}

/// Stop a taskspace's containers
#[utoipa::path(post, path = "/v1/taskspaces/{id}/stop", tag = "taskspaces",
    params(("id" = String, Path, description = "The taskspace"), Wait),
    responses(
        (status = 200, description = "Done", body = Operation),
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn stop(
    State(app): State<App>,
    Id(id): Id,
    Parameters(Wait { wait }): Parameters<Wait>,
) -> Answer<Response> {
    let operation = app.engine()?.stop(&id).await?;
    started(&app, operation, wait).await
}

/// Stop and start a taskspace's containers
#[utoipa::path(post, path = "/v1/taskspaces/{id}/restart", tag = "taskspaces",
    params(("id" = String, Path, description = "The taskspace"), Wait),
    responses(
        (status = 200, description = "Done", body = Operation),
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn restart(
    State(app): State<App>,
    Id(id): Id,
    Parameters(Wait { wait }): Parameters<Wait>,
) -> Answer<Response> {
    let operation = app.engine()?.restart(&id).await?;
    started(&app, operation, wait).await
}
