//! The operations, and how the calls that start one answer.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::app::App;
use super::extract::{Number, Parameters};
use super::problem::Answer;
use crate::model::{Operation, Problem};

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
    responses((status = 200, body = Vec<Operation>), (status = 500, body = Problem)))]
pub(crate) async fn list(State(app): State<App>) -> Answer<Json<Vec<Operation>>> {
    Ok(Json(app.engine()?.operations()))
}

/// Show an operation
///
/// The answer is 200 also for an operation that failed; its `problem` says why.
#[utoipa::path(get, path = "/v1/operations/{number}", tag = "operations",
    params(("number" = u64, Path, description = "The operation"), Wait),
    responses((status = 200, body = Operation), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(app): State<App>,
    Number(number): Number,
    Parameters(Wait { wait }): Parameters<Wait>,
) -> Answer<Json<Operation>> {
    let engine = app.engine()?;
    let operation = if wait { engine.wait(number).await? } else { engine.operation(number)? };
    Ok(Json(operation))
}
