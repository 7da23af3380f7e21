//! What handlers take: like axum's own extractors, but every refusal is a problem document.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Failure;
use crate::model::{Asker, ContainerName, TaskspaceId};

/// The taskspace that the path names.
pub(crate) struct Id(pub(crate) TaskspaceId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text): Path<String> = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
        text.parse().map(Self).map_err(|error| Failure::bad_request(error.to_string()))
    }
}

/// The registered container that the path names.
pub(crate) struct Name(pub(crate) ContainerName);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text): Path<String> = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
        text.parse().map(Self).map_err(|reason: String| Failure::bad_request(reason))
    }
}

/// The number of the operation that the path names.
pub(crate) struct Number(pub(crate) u64);

impl<S: Send + Sync> FromRequestParts<S> for Number {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text): Path<String> = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
        text.parse()
            .map(Self)
            .map_err(|_| Failure::bad_request(format!("an operation has a number, not {text:?}")))
    }
}

/// Who asks, by the headers `taskspace-agent`, `taskspace-priority` and `taskspace-lock`; they
/// may all be missing.
pub(crate) struct By(pub(crate) Asker);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(Asker {
            agent: header(parts, "taskspace-agent")?,
            priority: header(parts, "taskspace-priority")?,
            lock: header(parts, "taskspace-lock")?,
        }))
    }
}

fn header<T: FromStr<Err = String>>(parts: &Parts, name: &str) -> Result<Option<T>, Failure> {
    let Some(value) = parts.headers.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Failure::bad_request(format!("{name} is not text")))?;
    let parsed = text.parse().map(Some);
    parsed.map_err(|reason| Failure::bad_request(format!("{name}: {reason}")))
}

/// The query's parameters.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(parameters)| Self(parameters))
            .map_err(|rejection| Failure::bad_request(rejection.body_text()))
    }
}

/// The media types with which a JSON document is taken: its own, and the one that a plain `curl --data`
/// gives to whatever it sends.
const DOCUMENT_TYPES: [&str; 2] = ["application/json", "application/x-www-form-urlencoded"];

/// The body, a JSON document; without `Content-Type` it is taken for one.
pub(crate) struct Document<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Document<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        check_media_type(request.headers())?;
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            let failure = Failure::bad_request(rejection.body_text());
            let too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
            if too_large { failure.with_status(StatusCode::PAYLOAD_TOO_LARGE) } else { failure }
        })?;
        // Otherwise a list would do for an object, its values in the order of the fields.
        if body.trim_ascii_start().first() == Some(&b'[') {
            return Err(Failure::bad_request("the request's body is a list, and not an object"));
        }
        // serde_json's message ends with the line and the column.
        serde_json::from_slice(&body)
            .or_else(|error| with_whole_numbers(&body).ok_or(error))
            .map(Self)
            .map_err(|error| Failure::bad_request(format!("the request's body: {error}")))
    }
}

/// Reads a document in which whole numbers have a fraction of zero, such as `60.0`: they are integers to JSON
/// Schema (draft 2020-12, 6.1.1), and some clients have no others.
fn with_whole_numbers<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let mut document = serde_json::from_slice(body).ok()?;
    make_whole(&mut document);
    serde_json::from_value(document).ok()
}

fn make_whole(value: &mut Value) {
    /// Each integer up to here is a number of its own (IEEE 754, binary64).
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|it| it.fract() == 0.0 && it.abs() <= EXACT);
            if let Some(whole) = whole.filter(|_| number.is_f64())
                && let Ok(whole) = format!("{whole:.0}").parse::<i64>()
            {
                *value = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(fields) => fields.values_mut().for_each(make_whole),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Refuses a body that says of itself that it is no JSON document.
fn check_media_type(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let given = value.to_str().unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if DOCUMENT_TYPES.iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    let failure = Failure::bad_request(format!("the request's body is {given:?}, and not JSON"));
    Err(failure.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NetworkChange, ResizeRequest};

    #[test]
    fn whole_numbers_with_a_fraction_of_zero_are_integers() {
        let resize: ResizeRequest = with_whole_numbers(br#"{"storage": 1e9}"#).unwrap();
        assert_eq!(resize.storage.unwrap().0, 1_000_000_000);
        let change: NetworkChange = with_whole_numbers(br#"{"observe_seconds": 60.0}"#).unwrap();
        assert_eq!(change.observe_seconds, Some(60));
        for other in ["60.5", "-60.0", "1e300", "\"60\""] {
            let body = format!("{{\"observe_seconds\": {other}}}");
            assert_eq!(with_whole_numbers::<NetworkChange>(body.as_bytes()), None, "{other}");
        }
    }
}
