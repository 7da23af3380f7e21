//! What a taskspace has changed.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, future, stream};
use serde::Deserialize;

use super::app::App;
use super::extract::{Id, Parameters};
use super::problem::{Answer, Failure};
use crate::engine::DiffText;
use crate::model::{Code, DiffFormat, DiffView, LeftOutHeader, Problem, TaskspaceId};

/// In what form.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DiffParameters {
    /// The form; the patch when it is not given.
    #[serde(default)]
    #[param(inline)]
    format: DiffFormat,
}

/// Show what a taskspace has changed since its base commit
///
/// What is committed, staged, changed and untracked (but not ignored), together, with the files of
/// submodules and of repositories within. What cannot be shown is `left_out` of the list of files, and in
/// the header `Taskspace-Left-Out` of a text. The text is complete only if the answer's last chunk
/// comes: what fails in the middle ends the connection before. With `Accept: application/json`, `stat`
/// and `name-status` are the same list of files.
#[utoipa::path(get, path = "/v1/taskspaces/{id}/diff", tag = "taskspaces",
    operation_id = "diff_taskspace",
    params(("id" = TaskspaceId, Path, description = "The taskspace"), DiffParameters),
    responses(
        (status = 200, description = "The changes",
            content((String = "text/plain"), (DiffView = "application/json")),
            headers(("Taskspace-Left-Out" = String, description = "What the text does not have, as JSON: \
                how many paths (`count`), and the `first` of them with the reasons"))),
        (status = 400, description = "There is no such form", body = Problem),
        (status = 409, description = "It has no checkout in this state", body = Problem),
        (status = 404, description = "There is no such taskspace, or Git cannot tell", body = Problem)))]
pub(crate) async fn diff(
    State(app): State<App>,
    Id(id): Id,
    headers: HeaderMap,
    Parameters(DiffParameters { format }): Parameters<DiffParameters>,
) -> Answer<Response> {
    let engine = app.engine()?;
    if wants_json(&headers) {
        return match format {
            DiffFormat::Stat | DiffFormat::NameStatus => {
                Ok(Json(engine.changed_files(&id).await?).into_response())
            }
            DiffFormat::Patch | DiffFormat::Commits => {
                Err(Failure::bad_request(format!("'{format}' is text, and no JSON")))
            }
        };
    }
    let DiffText { left_out, text } = engine.diff(&id, format).await?;
    // A part must not look like the whole.
    let closing = app.closing.clone();
    let cut = async move {
        let detail = "the service ends";
        closing.is_cancelled().then(|| Err(Problem::new(Code::ServiceUnavailable, detail)))
    };
    let changes = text
        .take_until(app.closing.clone().cancelled_owned())
        .chain(stream::once(cut).filter_map(future::ready))
        .inspect(move |piece| {
            if let Err(problem) = piece {
                tracing::warn!(%id, "the diff breaks off: {problem} {:?}", problem.log);
            }
        });
    let mut response =
        ([(header::CONTENT_TYPE, "text/plain")], Body::from_stream(changes)).into_response();
    if let Ok(value) = LeftOutHeader::of(&left_out).value().parse() {
        response.headers_mut().insert(LeftOutHeader::NAME, value);
    }
    Ok(response)
}

/// Whether JSON is asked for, and text is not.
fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds = accepted.flat_map(|value| value.split(','));
    let mut kinds = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    kinds.next().is_some_and(|first| first == "application/json")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn text_is_for_whoever_asks_for_nothing_else() {
        let wants = |accept: &'static str| {
            let value = HeaderValue::from_static(accept);
            wants_json(&HeaderMap::from_iter([(header::ACCEPT, value)]))
        };
        assert!(!wants_json(&HeaderMap::new()));
        assert!(!wants("*/*") && !wants("text/plain") && !wants("text/plain, application/json"));
        assert!(wants("application/json") && wants("application/json;q=0.9, text/plain"));
    }
}
