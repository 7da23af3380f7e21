//! The snapshots of a taskspace.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::app::App;
use super::extract::{By, Document, Id, Parameters};
use super::operations::{Started, Wait, started};
use super::problem::{Answer, Failure};
use crate::model::{
    Operation, OperationOrPlan, Problem, RestoreRequest, SnapshotName, SnapshotRequest,
    SnapshotView, TaskspaceId,
};

/// The snapshot that the path names, and its taskspace.
pub(crate) struct Named(TaskspaceId, SnapshotName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path((id, name)): Path<(String, String)> = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
        let id = id.parse().map_err(|error| Failure::bad_request(format!("{error}")))?;
        let name = name.parse().map_err(|reason: String| Failure::bad_request(reason))?;
        Ok(Self(id, name))
    }
}

/// Whether to restore, and whether to wait.
#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RestoreParameters {
    /// Answer only once the operation is over.
    #[serde(default)]
    wait: bool,
    /// Answer with the plan, and replace nothing.
    #[serde(default)]
    dry_run: bool,
}

/// List the snapshots of a taskspace, the oldest first
#[utoipa::path(get, path = "/v1/taskspaces/{id}/snapshots", tag = "taskspaces",
    operation_id = "list_snapshots",
    params(("id" = TaskspaceId, Path, description = "The taskspace")),
    responses((status = 200, description = "The snapshots", body = Vec<SnapshotView>)))]
pub(crate) async fn list(State(app): State<App>, Id(id): Id) -> Answer<Json<Vec<SnapshotView>>> {
    Ok(Json(app.engine()?.snapshots(&id).await?))
}

/// Make a snapshot of a taskspace
///
/// It has a copy of the taskspace's changes and build cache as they are at one moment, and with
/// `agent_state` of the agent's state. The taskspace is paused meanwhile. The operation's description
/// is the snapshot's name.
#[utoipa::path(post, path = "/v1/taskspaces/{id}/snapshots", tag = "taskspaces",
    operation_id = "take_snapshot",
    request_body = SnapshotRequest,
    params(("id" = TaskspaceId, Path, description = "The taskspace"), Wait),
    responses(Started,
        (status = 409, description = "The name is taken", body = Problem)))]
pub(crate) async fn take(
    State(app): State<App>,
    Id(id): Id,
    Parameters(wait): Parameters<Wait>,
    By(asker): By,
    Document(request): Document<SnapshotRequest>,
) -> Answer<Started> {
    started(&app, app.engine()?.snapshot(&id, request, &asker).await?, wait).await
}

/// Give a taskspace back what a snapshot has
///
/// Its containers are stopped, its changes and build cache replaced, and it runs again if it ran.
#[utoipa::path(post, path = "/v1/taskspaces/{id}/snapshots/{name}/restore", tag = "taskspaces",
    operation_id = "restore_snapshot",
    request_body = RestoreRequest,
    params(
        ("id" = TaskspaceId, Path, description = "The taskspace"),
        ("name" = SnapshotName, Path, description = "The snapshot"),
        RestoreParameters),
    responses(
        (status = 200, description = "Done; with `dry_run` the plan", body = OperationOrPlan),
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = 409, description = "What there is now would be lost", body = Problem)))]
pub(crate) async fn restore(
    State(app): State<App>,
    Named(id, name): Named,
    Parameters(RestoreParameters { wait, dry_run }): Parameters<RestoreParameters>,
    By(asker): By,
    Document(request): Document<RestoreRequest>,
) -> Answer<Response> {
    let engine = app.engine()?;
    if dry_run {
        return Ok(Json(engine.plan_restoration(&id, name, request).await?).into_response());
    }
    let operation = engine.restore(&id, name, request, &asker).await?;
    Ok(started(&app, operation, Wait { wait }).await?.into_response())
}

/// Delete a snapshot of a taskspace
#[utoipa::path(delete, path = "/v1/taskspaces/{id}/snapshots/{name}", tag = "taskspaces",
    operation_id = "delete_snapshot",
    params(
        ("id" = TaskspaceId, Path, description = "The taskspace"),
        ("name" = SnapshotName, Path, description = "The snapshot"),
        Wait),
    responses(Started))]
pub(crate) async fn delete(
    State(app): State<App>,
    Named(id, name): Named,
    Parameters(wait): Parameters<Wait>,
    By(asker): By,
) -> Answer<Started> {
    started(&app, app.engine()?.delete_snapshot(&id, name, &asker).await?, wait).await
}
