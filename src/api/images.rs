//! The images.

use axum::Json;
use axum::extract::State;

use super::app::App;
use super::extract::{Document, Parameters};
use super::operations::{Started, Wait, started};
use super::problem::Answer;
use crate::model::{BuildRequest, ImageView, Problem};

/// List the images
#[utoipa::path(get, path = "/v1/images", tag = "images",
    operation_id = "list_images",
    responses((status = 200, description = "The images", body = Vec<ImageView>)))]
pub(crate) async fn list(State(app): State<App>) -> Answer<Json<Vec<ImageView>>> {
    Ok(Json(app.engine()?.images().await?))
}

/// Build images
#[utoipa::path(post, path = "/v1/images/build", tag = "images",
    operation_id = "build_images", params(Wait),
    request_body = BuildRequest,
    responses(Started,
        (status = 502, description = "A build failed; `log` has its last lines", body = Problem)))]
pub(crate) async fn build(
    State(app): State<App>,
    Parameters(wait): Parameters<Wait>,
    Document(request): Document<BuildRequest>,
) -> Answer<Started> {
    let operation = app.engine()?.build_images(request).await?;
    started(&app, operation, wait).await
}
