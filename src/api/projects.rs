//! The projects that taskspaces are made of.

use axum::Json;
use axum::extract::{Path, State};

use super::app::App;
use super::extract::{By, Document, Id, Parameters};
use super::operations::{Started, Wait, started};
use super::problem::Answer;
use crate::model::{Problem, ProjectView, RefreshRequest};

/// List the projects
#[utoipa::path(get, path = "/v1/projects", tag = "projects",
    responses((status = 200, body = Vec<ProjectView>), (status = 500, body = Problem)))]
pub(crate) async fn list(State(app): State<App>) -> Answer<Json<Vec<ProjectView>>> {
    Ok(Json(app.engine()?.projects().await?))
}

/// Make a taskspace's build cache the one that later taskspaces of its project begin with
///
/// Its containers are paused while it is copied.
#[utoipa::path(post, path = "/v1/taskspaces/{id}/cache", tag = "projects",
    params(("id" = String, Path, description = "The taskspace"), Wait),
    responses(Started, (status = 404, body = Problem), (status = 409, body = Problem)))]
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
    params(("name" = String, Path, description = "The project")),
    responses(
        (status = 200, description = "How the project is now", body = ProjectView),
        (status = 404, body = Problem)))]
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
    params(("name" = String, Path, description = "The project"), Wait),
    request_body = RefreshRequest,
    responses(Started,
        (status = 400, body = Problem),
        (status = 404, body = Problem),
        (status = 422, description = "It cannot be fetched", body = Problem)))]
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
