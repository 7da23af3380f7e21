//! Replies that come line by line, over hyper.

use futures_util::{Stream, StreamExt, future};
use hyper::Method;
use hyper::body::Bytes;

use crate::podman::transport::{check, from_uds, full_path};
use crate::podman::{PodmanError, Result};
use crate::uds::{self, UnixHttp};

/// Sends a request and returns the lines of its reply; `request` names it in errors.
pub(super) async fn lines(
    http: &UnixHttp,
    (method, path): (Method, &str),
    headers: &[(&str, &str)],
    body: Bytes,
    request: &str,
) -> Result<impl Stream<Item = Result<String>> + Send + Unpin + 'static + use<>> {
    let request = request.to_owned();
    let response = http
        .request(method, &full_path(path), headers, body)
        .await
        .map_err(|error| from_uds(error, &request))?;
    let status = response.status();
    if !status.is_success() {
        let body = uds::collect(response.into_body(), &request)
            .await
            .map_err(|error| from_uds(error, &request))?;
        check(request.clone(), status, &body)?;
        return Err(PodmanError::Nonsense { request, detail: status.to_string() });
    }
    let lines = uds::lines(response.into_body(), request.clone());
    Ok(lines.map(move |line| line.map_err(|error| from_uds(error, &request))))
}

/// Ends a stream after its first error.
pub(super) fn until_error<T>(
    items: impl Stream<Item = Result<T>>,
) -> impl Stream<Item = Result<T>> {
    items.scan(false, |failed, item| {
        let over = std::mem::replace(failed, item.is_err());
        future::ready((!over).then_some(item))
    })
}
