//! The operations: those of the service and those that agents ask for; and how the calls that start one
//! answer.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::app::App;
use super::events::{self, Resumption, ServerSentEvent};
use super::extract::{By, Document, Number, Parameters};
use super::problem::Answer;
use crate::engine::Held;
use crate::model::{EventQuery, LockView, Operation, OperationRequest, OperationUpdate, Problem};

/// Whether to wait.
#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Answer only once the operation is over.
    #[serde(default)]
    pub(crate) wait: bool,
}

/// How a call answers that started an operation.
#[derive(utoipa::IntoResponses)]
pub(crate) enum Started {
    /// Done
    #[response(status = 200)]
    Done(Operation),
    /// Under way
    #[response(status = 202, headers(("Location" = String, description = "The operation")))]
    UnderWay(Operation),
}

impl IntoResponse for Started {
    fn into_response(self) -> Response {
        match self {
            Self::Done(operation) => Json(operation).into_response(),
            Self::UnderWay(operation) => {
                let location = format!("/v1/operations/{}", operation.id);
                let headers = [(header::LOCATION, location)];
                (StatusCode::ACCEPTED, headers, Json(operation)).into_response()
            }
        }
    }
}

/// Answers a call that started an operation: at once with where to look, or, where the client
/// waits, with how it ended.
pub(crate) async fn started(
    app: &App,
    operation: Operation,
    Wait { wait }: Wait,
) -> Answer<Started> {
    if !wait {
        return Ok(Started::UnderWay(operation));
    }
    let over = app.engine()?.wait(operation.id).await?;
    match over.problem {
        Some(problem) => Err(problem.into()),
        None => Ok(Started::Done(over)),
    }
}

/// List the operations of this run of the service
#[utoipa::path(get, path = "/v1/operations", tag = "operations",
    operation_id = "list_operations",
    responses((status = 200, description = "The operations", body = Vec<Operation>)))]
pub(crate) async fn list(State(app): State<App>) -> Answer<Json<Vec<Operation>>> {
    Ok(Json(app.engine()?.operations()))
}

/// Show an operation
///
/// The answer is 200 also for an operation that failed; its `problem` says why.
#[utoipa::path(get, path = "/v1/operations/{number}", tag = "operations",
    operation_id = "show_operation",
    params(("number" = u64, Path, description = "The operation"), Wait),
    responses((status = 200, description = "The operation", body = Operation)))]
pub(crate) async fn show(
    State(app): State<App>,
    Number(number): Number,
    Parameters(Wait { wait }): Parameters<Wait>,
) -> Answer<Json<Operation>> {
    let engine = app.engine()?;
    let operation = if wait { engine.wait(number).await? } else { engine.operation(number)? };
    Ok(Json(operation))
}

/// How to ask for an operation.
#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RequestParameters {
    /// Answer only once it has begun (or is over). Who goes away while it waits no longer wants it.
    #[serde(default)]
    wait: bool,
    /// Answer with the operation's events, and hold it as long as they are read: without that, it has
    /// to be renewed.
    #[serde(default)]
    hold: bool,
}

/// Under what to act.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a header")]
pub(crate) struct Lock {
    /// Done under this held operation: its number and token, as `12:7`.
    #[param(rename = "taskspace-lock", nullable = false, pattern = r"^[0-9]{1,18}:[0-9]{1,18}$")]
    lock: Option<String>,
}

/// Ask for an operation
///
/// It is held, waiting or running, for as long as its lease is renewed, or with `hold` for as long as
/// the answer is read.
#[utoipa::path(post, path = "/v1/operations", tag = "operations",
    operation_id = "request_operation", params(RequestParameters,
        Lock),
    request_body = OperationRequest,
    responses(
        (status = 200, description = "With `hold`: server-sent events",
            body = ServerSentEvent, content_type = "text/event-stream"),
        (status = 202, description = "It waits or has begun", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = 404, description = "No such container or taskspace", body = Problem),
        (status = 409, description = "Another operation is in the way", body = Problem),
        (status = 429, description = "Too many operations wait", body = Problem)))]
pub(crate) async fn request(
    State(app): State<App>,
    Parameters(RequestParameters { wait, hold }): Parameters<RequestParameters>,
    By(asker): By,
    Document(request): Document<OperationRequest>,
) -> Answer<Response> {
    let engine = app.engine()?;
    let (operation, held) = engine.request_operation(request, asker.lock).await?;
    if hold {
        return Ok(held_events(&app, held, None));
    }
    let operation = if wait { engine.wait_begun(operation.id).await? } else { operation };
    held.release();
    // As its lease is now.
    let operation = engine.operation(operation.id)?;
    Ok(Started::UnderWay(operation).into_response())
}

/// The token by which an operation is held.
#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HoldParameters {
    /// The token; none as long as it waits.
    #[serde(default)]
    token: Option<u64>,
}

/// Hold an operation by this connection
///
/// For who asked for it by another connection that is gone, such as when the service was restarted.
#[utoipa::path(get, path = "/v1/operations/{number}/hold", tag = "operations",
    operation_id = "hold_operation",
    params(("number" = u64, Path, description = "The operation"), HoldParameters, Resumption),
    responses(
        (status = 200, description = "Server-sent events",
            body = ServerSentEvent, content_type = "text/event-stream"),
        (status = 409, description = "It is not held (any more)", body = Problem)))]
pub(crate) async fn hold(
    State(app): State<App>,
    Number(number): Number,
    Parameters(HoldParameters { token }): Parameters<HoldParameters>,
    headers: HeaderMap,
) -> Answer<Response> {
    let after = events::last_seen(&headers)?;
    let held = app.engine()?.hold_again(number, token)?;
    Ok(held_events(&app, held, after))
}

/// Answers with the events of an operation that is held for as long as they are read.
fn held_events(app: &App, held: Held, after: Option<u64>) -> Response {
    let number = held.number();
    let query = EventQuery { after, ..EventQuery::of_operation(number) };
    let location = [(header::LOCATION, format!("/v1/operations/{number}"))];
    let stream = events::of_held(app, held, query);
    (location, stream).into_response()
}

/// Renew or end an operation that one holds
#[utoipa::path(put, path = "/v1/operations/{number}", tag = "operations",
    operation_id = "update_operation",
    params(("number" = u64, Path, description = "The operation")),
    request_body = OperationUpdate,
    responses((status = 200, description = "The operation as it is now", body = Operation),
        (status = 409, description = "It is not held (any more)", body = Problem)))]
pub(crate) async fn update(
    State(app): State<App>,
    Number(number): Number,
    Document(update): Document<OperationUpdate>,
) -> Answer<Json<Operation>> {
    Ok(Json(app.engine()?.update_operation(number, update).await?))
}

/// Cancel an operation
///
/// One that waits, or that an agent holds. The service's own go on once they have begun.
#[utoipa::path(delete, path = "/v1/operations/{number}", tag = "operations",
    operation_id = "cancel_operation",
    params(("number" = u64, Path, description = "The operation")),
    responses((status = 200, description = "The operation as it is now", body = Operation),
        (status = 409, description = "It is over, or cannot be cancelled", body = Problem)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    Number(number): Number,
) -> Answer<Json<Operation>> {
    Ok(Json(app.engine()?.cancel_operation(number).await?))
}

/// List what is held
#[utoipa::path(get, path = "/v1/locks", tag = "operations",
    operation_id = "list_locks",
    responses((status = 200, description = "The locks", body = Vec<LockView>)))]
pub(crate) async fn locks(State(app): State<App>) -> Answer<Json<Vec<LockView>>> {
    Ok(Json(app.engine()?.locks()))
}
