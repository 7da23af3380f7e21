//! The projects that taskspaces are made of.

use axum::Json;
use axum::extract::{Path, State};

use super::app::App;
use super::extract::{By, Document, Id, Parameters};
use super::operations::{Started, Wait, started};
use super::problem::Answer;
use crate::model::{Problem, ProjectView, RefreshRequest, TaskspaceId};

/// List the projects
#[utoipa::path(get, path = "/v1/projects", tag = "projects",
    operation_id = "list_projects",
    responses((status = 200, description = "The projects", body = Vec<ProjectView>)))]
pub(crate) async fn list(State(app): State<App>) -> Answer<Json<Vec<ProjectView>>> {
    Ok(Json(app.engine()?.projects().await?))
}

/// Make a taskspace's build cache the one that later taskspaces of its project begin with
///
/// Its containers are paused while it is copied.
#[utoipa::path(post, path = "/v1/taskspaces/{id}/cache", tag = "projects",
    operation_id = "promote_cache",
    params(("id" = TaskspaceId, Path, description = "The taskspace"), Wait),
    responses(Started))]
pub(crate) async fn promote(
    State(app): State<App>,
    Id(id): Id,
    Parameters(wait): Parameters<Wait>,
    By(asker): By,
) -> Answer<Started> {
    started(&app, app.engine()?.promote_cache(&id, &asker).await?, wait).await
}

/// Have new taskspaces of a project begin without a build cache
///
/// Taskspaces that began with one keep it; it goes with the last of them.
#[utoipa::path(delete, path = "/v1/projects/{name}/cache", tag = "projects",
    operation_id = "withdraw_cache",
    params(("name" = String, Path, description = "The project")),
    responses(
        (status = 200, description = "How the project is now", body = ProjectView)))]
pub(crate) async fn withdraw(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Answer<Json<ProjectView>> {
    Ok(Json(app.engine()?.withdraw_cache(&name).await?))
}

/// Fetch a project, and make the base of the newest commit of its default branch
///
/// What the caller needs to fetch it is used and not kept.
#[utoipa::path(post, path = "/v1/projects/{name}/refresh", tag = "projects",
    operation_id = "refresh_project",
    params(("name" = String, Path, description = "The project"), Wait),
    request_body = RefreshRequest,
    responses(Started,
        (status = 404, description = "There is no such project, or it cannot be fetched",
            body = Problem)))]
pub(crate) async fn refresh(
    State(app): State<App>,
    Path(name): Path<String>,
    Parameters(wait): Parameters<Wait>,
    By(asker): By,
    Document(request): Document<RefreshRequest>,
) -> Answer<Started> {
    let operation = app.engine()?.refresh_project(&name, request, &asker).await?;
    started(&app, operation, wait).await
}
