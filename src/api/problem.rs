//! Errors as responses: RFC 9457 documents, whatever went wrong and wherever.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::model::{Code, Problem};

/// The media type of a problem document.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// What a handler returns.
pub(crate) type Answer<T> = Result<T, Failure>;

/// A problem on its way to the client.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Problem);

impl Failure {
    /// A request that does not have the form it must have.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self(Problem::new(Code::MessageFormatInvalid, detail))
    }

    /// The same with an HTTP status that tells more than 400.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status.as_u16();
        self
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(code = ?self.0.code, "{}", self.0.detail);
        }
        let mut response = (status, Json(self.0)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_problem_is_a_problem_document() {
        let problem = Problem::new(Code::TaskspaceNotFound, "there is no taskspace 'x'")
            .hint("see `taskspace list`");
        let response = Failure(problem.clone()).into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<Problem>(&body).unwrap(), problem);
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["code"], "TASKSPACE_NOT_FOUND");
        assert_eq!(json["type"], "about:blank");
        assert_eq!(json["status"], 404);
    }
}
