//! How much a taskspace may use.

use axum::extract::State;

use super::app::App;
use super::extract::{By, Document, Id, Parameters};
use super::operations::{Started, Wait, started};
use super::problem::Answer;
use crate::model::{ResizeRequest, TaskspaceId};

/// Change how much a taskspace may use
///
/// What is absent stays as it is. What was done to it because it was full is taken back when there is
/// room again.
#[utoipa::path(patch, path = "/v1/taskspaces/{id}", tag = "taskspaces",
    operation_id = "resize_taskspace",
    request_body = ResizeRequest,
    params(("id" = TaskspaceId, Path, description = "The taskspace"), Wait),
    responses(Started))]
pub(crate) async fn resize(
    State(app): State<App>,
    Id(id): Id,
    Parameters(wait): Parameters<Wait>,
    By(asker): By,
    Document(request): Document<ResizeRequest>,
) -> Answer<Started> {
    started(&app, app.engine()?.resize(&id, request, &asker).await?, wait).await
}
