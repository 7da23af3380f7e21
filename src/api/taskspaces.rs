//! The taskspaces.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::app::App;
use super::extract::{By, Document, Id, Parameters};
use super::operations::{Started, Wait, started};
use super::problem::Answer;
use crate::model::{
    CreateRequest, DeleteOptions, DetailView, ForkRequest, HealthView, Operation, OperationOrPlan,
    Problem, Recorded, TaskspaceId,
};

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
    /// Answer with the plan, and remove nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Whether to make it, and whether to wait.
#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CreateParameters {
    /// Answer only once the operation is over.
    #[serde(default)]
    wait: bool,
    /// Answer with the plan, and make nothing; only the project's mirror is brought up to date.
    #[serde(default)]
    dry_run: bool,
}

/// List the taskspaces
#[utoipa::path(get, path = "/v1/taskspaces", tag = "taskspaces",
    operation_id = "list_taskspaces",
    responses((status = 200, description = "The taskspaces", body = Vec<Recorded>)))]
pub(crate) async fn list(State(app): State<App>) -> Answer<Json<Vec<Recorded>>> {
    Ok(Json(app.engine()?.list().await?))
}

/// Create a taskspace
#[utoipa::path(post, path = "/v1/taskspaces", tag = "taskspaces",
    operation_id = "create_taskspace", params(CreateParameters),
    request_body = CreateRequest,
    responses(
        (status = 200, description = "Done; with `dry_run` the plan", body = OperationOrPlan),
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = 409, description = "The id is taken", body = Problem),
        (status = 404, description = "No such repository or ref", body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Parameters(CreateParameters { wait, dry_run }): Parameters<CreateParameters>,
    By(asker): By,
    Document(request): Document<CreateRequest>,
) -> Answer<Response> {
    let engine = app.engine()?;
    if dry_run {
        return Ok(Json(engine.plan_creation(request).await?).into_response());
    }
    let operation = engine.create(request, &asker).await?;
    Ok(started(&app, operation, Wait { wait }).await?.into_response())
}

/// Show a taskspace
#[utoipa::path(get, path = "/v1/taskspaces/{id}", tag = "taskspaces",
    operation_id = "show_taskspace",
    params(("id" = TaskspaceId, Path, description = "The taskspace")),
    responses((status = 200, description = "The taskspace", body = DetailView)))]
pub(crate) async fn show(State(app): State<App>, Id(id): Id) -> Answer<Json<DetailView>> {
    Ok(Json(app.engine()?.show(&id).await?))
}

/// Tell how a taskspace is
#[utoipa::path(get, path = "/v1/taskspaces/{id}/health", tag = "taskspaces",
    operation_id = "show_health",
    params(("id" = TaskspaceId, Path, description = "The taskspace")),
    responses((status = 200, description = "The health of the taskspace", body = HealthView)))]
pub(crate) async fn health(State(app): State<App>, Id(id): Id) -> Answer<Json<HealthView>> {
    Ok(Json(app.engine()?.health(&id).await?))
}

/// Delete a taskspace
#[utoipa::path(delete, path = "/v1/taskspaces/{id}", tag = "taskspaces",
    operation_id = "delete_taskspace",
    params(("id" = TaskspaceId, Path, description = "The taskspace"), DeleteParameters),
    responses(
        (status = 200, description = "Done; with `dry_run` the plan", body = OperationOrPlan),
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = 409, description = "It has work that would be lost", body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Id(id): Id,
    Parameters(parameters): Parameters<DeleteParameters>,
    By(asker): By,
) -> Answer<Response> {
    let DeleteParameters { purge, force, wait, dry_run } = parameters;
    let (engine, options) = (app.engine()?, DeleteOptions { purge, force });
    if dry_run {
        return Ok(Json(engine.plan_removal(&id, options).await?).into_response());
    }
    let operation = engine.delete(&id, options, &asker).await?;
    Ok(started(&app, operation, Wait { wait }).await?.into_response())
}

/// Make a taskspace that begins where another one is
///
/// It has a copy of the other's changes and build cache as they are at one moment, and with
/// `agent_state` of the agent's state. The other one is paused meanwhile.
#[utoipa::path(post, path = "/v1/taskspaces/{id}/fork", tag = "taskspaces",
    operation_id = "fork_taskspace",
    request_body = ForkRequest,
    params(("id" = TaskspaceId, Path, description = "The taskspace that is copied"), Wait),
    responses(Started,
        (status = 409, description = "The id is taken", body = Problem)))]
pub(crate) async fn fork(
    State(app): State<App>,
    Id(id): Id,
    Parameters(wait): Parameters<Wait>,
    By(asker): By,
    Document(request): Document<ForkRequest>,
) -> Answer<Started> {
    started(&app, app.engine()?.fork(&id, request, &asker).await?, wait).await
}

/// Start a taskspace's containers
#[utoipa::path(post, path = "/v1/taskspaces/{id}/start", tag = "taskspaces",
    operation_id = "start_taskspace",
    params(("id" = TaskspaceId, Path, description = "The taskspace"), Wait),
    responses(Started))]
pub(crate) async fn start(
    State(app): State<App>,
    Id(id): Id,
    Parameters(wait): Parameters<Wait>,
    By(asker): By,
) -> Answer<Started> {
    started(&app, app.engine()?.start(&id, &asker).await?, wait).await
}

/// Stop a taskspace's containers
#[utoipa::path(post, path = "/v1/taskspaces/{id}/stop", tag = "taskspaces",
    operation_id = "stop_taskspace",
    params(("id" = TaskspaceId, Path, description = "The taskspace"), Wait),
    responses(Started))]
pub(crate) async fn stop(
    State(app): State<App>,
    Id(id): Id,
    Parameters(wait): Parameters<Wait>,
    By(asker): By,
) -> Answer<Started> {
    started(&app, app.engine()?.stop(&id, &asker).await?, wait).await
}

/// Stop and start a taskspace's containers
#[utoipa::path(post, path = "/v1/taskspaces/{id}/restart", tag = "taskspaces",
    operation_id = "restart_taskspace",
    params(("id" = TaskspaceId, Path, description = "The taskspace"), Wait),
    responses(Started))]
pub(crate) async fn restart(
    State(app): State<App>,
    Id(id): Id,
    Parameters(wait): Parameters<Wait>,
    By(asker): By,
) -> Answer<Started> {
    started(&app, app.engine()?.restart(&id, &asker).await?, wait).await
}
