//! What a taskspace may reach.

use axum::Json;
use axum::extract::State;

use super::app::App;
use super::extract::{By, Document, Id, Parameters};
use super::operations::{Started, Wait, started};
use super::problem::Answer;
use crate::model::{Blocked, NetworkChange, NetworkReplacement, NetworkView, TaskspaceId};

/// Show what a taskspace may reach
#[utoipa::path(get, path = "/v1/taskspaces/{id}/network", tag = "taskspaces",
    operation_id = "show_network",
    params(("id" = TaskspaceId, Path, description = "The taskspace")),
    responses((status = 200, description = "The network policy", body = NetworkView)))]
pub(crate) async fn show(State(app): State<App>, Id(id): Id) -> Answer<Json<NetworkView>> {
    Ok(Json(app.engine()?.network(&id).await?))
}

/// Change what a taskspace may reach
///
/// What is absent stays as it is. Connections that the new policy does not let through are cut.
#[utoipa::path(patch, path = "/v1/taskspaces/{id}/network", tag = "taskspaces",
    operation_id = "change_network",
    request_body = NetworkChange,
    params(("id" = TaskspaceId, Path, description = "The taskspace"), Wait),
    responses(Started))]
pub(crate) async fn change(
    State(app): State<App>,
    Id(id): Id,
    Parameters(wait): Parameters<Wait>,
    By(asker): By,
    Document(change): Document<NetworkChange>,
) -> Answer<Started> {
    started(&app, app.engine()?.change_network(&id, change, &asker).await?, wait).await
}

/// Say what a taskspace may reach
///
/// Nothing of what was allowed and denied before stays. Connections that the policy does not let through are cut.
#[utoipa::path(put, path = "/v1/taskspaces/{id}/network", tag = "taskspaces",
    operation_id = "replace_network",
    request_body = NetworkReplacement,
    params(("id" = TaskspaceId, Path, description = "The taskspace"), Wait),
    responses(Started))]
pub(crate) async fn replace(
    State(app): State<App>,
    Id(id): Id,
    Parameters(wait): Parameters<Wait>,
    By(asker): By,
    Document(request): Document<NetworkReplacement>,
) -> Answer<Started> {
    started(&app, app.engine()?.replace_network(&id, request, &asker).await?, wait).await
}

/// List what a taskspace was refused
///
/// Since it was started, or since the service was; the latest first.
#[utoipa::path(get, path = "/v1/taskspaces/{id}/network/blocked", tag = "taskspaces",
    operation_id = "list_blocked",
    params(("id" = TaskspaceId, Path, description = "The taskspace")),
    responses((status = 200, description = "What was refused", body = [Blocked])))]
pub(crate) async fn blocked(State(app): State<App>, Id(id): Id) -> Answer<Json<Vec<Blocked>>> {
    Ok(Json(app.engine()?.blocked(&id).await?))
}
