//! The service itself.

use axum::Json;
use axum::extract::State;

use super::app::App;
use super::problem::Answer;
use crate::model::{Problem, StatusView, VersionView};

/// Tell the program's and the API's version
#[utoipa::path(get, path = "/v1/version", tag = "system",
    responses((status = 200, body = VersionView)))]
pub(crate) async fn version() -> Json<VersionView> {
    Json(VersionView {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: super::VERSION.to_owned(),
    })
}

/// Tell how the service is
#[utoipa::path(get, path = "/v1/status", tag = "system",
    responses((status = 200, body = StatusView), (status = 500, body = Problem)))]
pub(crate) async fn status(State(app): State<App>) -> Answer<Json<StatusView>> {
    let clients = app.clients.count();
    Ok(Json(app.engine()?.status(clients).await))
}

/// Describe the API
#[utoipa::path(get, path = "/v1/openapi.json", tag = "system",
    responses((status = 200, description = "This document")))]
pub(crate) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(super::document())
}
