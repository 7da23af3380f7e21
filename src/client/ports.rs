//! What of taskspaces is published.

use std::num::NonZero;

use hyper::Method;

use super::{Client, NOTHING, Result};
use crate::model::{PortView, PublishRequest, TaskspaceId};

impl Client {
    /// Lists the published ports of a taskspace.
    pub async fn ports(&self, id: &TaskspaceId) -> Result<Vec<PortView>> {
        self.get(&format!("/v1/taskspaces/{id}/ports")).await
    }

    /// Publishes a port of a taskspace.
    pub async fn publish_port(
        &self,
        id: &TaskspaceId,
        port: NonZero<u16>,
        request: PublishRequest,
    ) -> Result<PortView> {
        self.call(Method::PUT, &format!("/v1/taskspaces/{id}/ports/{port}"), Some(&request)).await
    }

    /// Ends the publication of a port; returns how it was.
    pub async fn close_port(&self, id: &TaskspaceId, port: NonZero<u16>) -> Result<PortView> {
        self.call(Method::DELETE, &format!("/v1/taskspaces/{id}/ports/{port}"), NOTHING).await
    }
}
