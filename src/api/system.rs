//! The service itself.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::OpenApi;

use super::app::App;
use super::problem::Answer;
use crate::engine::Engine;
use crate::model::{LivenessView, SettingsView, StatusView, VersionView};

/// The media type of what Prometheus reads.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Tell the program's and the API's version
#[utoipa::path(get, path = "/v1/version", tag = "system",
    operation_id = "show_version",
    responses((status = 200, description = "The versions", body = VersionView)))]
pub(crate) async fn version() -> Json<VersionView> {
    Json(VersionView {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: super::VERSION.to_owned(),
    })
}

/// Tell that the service is alive, and what it waits for
///
/// This is answered at once, whatever the service and Podman are doing.
#[utoipa::path(get, path = "/v1/liveness", tag = "system",
    operation_id = "show_liveness",
    responses((status = 200, description = "It is alive", body = LivenessView)))]
pub(crate) async fn liveness(State(app): State<App>) -> Json<LivenessView> {
    let podman = app.engine().ok().and_then(Engine::unanswered);
    Json(LivenessView { pid: std::process::id(), podman })
}

/// Tell how the service is
#[utoipa::path(get, path = "/v1/status", tag = "system",
    operation_id = "show_status",
    responses((status = 200, description = "How the service is", body = StatusView)))]
pub(crate) async fn status(State(app): State<App>) -> Answer<Json<StatusView>> {
    let clients = app.clients.count();
    Ok(Json(app.engine()?.status(clients).await))
}

/// Take in the files of settings
///
/// The service does so by itself when they have changed. Where they are wrong, those of before stay in
/// force.
#[utoipa::path(post, path = "/v1/settings/reload", tag = "system",
    operation_id = "reload_settings",
    responses((status = 200, description = "They are in force", body = SettingsView)))]
pub(crate) async fn reload(State(app): State<App>) -> Answer<Json<SettingsView>> {
    Ok(Json(app.engine()?.reload_settings().await?))
}

/// Tell how the service does, in numbers for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "system",
    operation_id = "read_metrics",
    responses(
        (status = 200, description = "Metrics in the text format of OpenMetrics 1.0",
            body = String, content_type = "application/openmetrics-text")))]
pub(crate) async fn metrics(State(app): State<App>) -> Answer<impl IntoResponse> {
    let text = app.engine()?.metrics(app.clients.count()).await;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text))
}

/// Describe the API
#[utoipa::path(get, path = "/v1/openapi.json", tag = "system",
    operation_id = "describe_api",
    responses((status = 200, description = "This document")))]
pub(crate) async fn openapi() -> Json<OpenApi> {
    Json(super::document())
}
