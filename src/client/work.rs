//! What a taskspace has changed.

use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Bytes;

use super::{Client, ClientError, Result, understand};
use crate::model::{DiffFormat, DiffView, LeftOutHeader, TaskspaceId};
use crate::uds::UdsError;

impl Client {
    /// Returns what a taskspace has changed, as text, with what is left out of that; without an error at
    /// its end the text is complete.
    pub async fn diff(
        &self,
        id: &TaskspaceId,
        format: DiffFormat,
    ) -> Result<(LeftOutHeader, impl Stream<Item = Result<Bytes>> + Send + Unpin + use<>)> {
        let path = format!("/v1/taskspaces/{id}/diff?format={format}");
        let response = self.http.request(Method::GET, &path, &[], Bytes::new()).await?;
        let response = self.successful(&path, response).await?;
        let left_out = response.headers().get(LeftOutHeader::NAME);
        let left_out = left_out.and_then(|value| serde_json::from_slice(value.as_bytes()).ok());
        let cut = move |error: hyper::Error| {
            ClientError::Broken(UdsError::Cut { request: path.clone(), source: error.into() })
        };
        let text = response.into_body().into_data_stream().map(move |bytes| bytes.map_err(&cut));
        Ok((left_out.unwrap_or_default(), text))
    }

    /// Lists the files that a taskspace has changed.
    pub async fn changed_files(&self, id: &TaskspaceId) -> Result<DiffView> {
        let path = format!("/v1/taskspaces/{id}/diff?format=stat");
        // No time is too long: git may have to read all of a large checkout.
        let headers = [("accept", "application/json")];
        let reply = self.http.fetch(Method::GET, &path, &headers, Bytes::new(), None).await?;
        understand(&path, &reply)
    }
}
