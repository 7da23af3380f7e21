//! What taskspaces had at earlier times.

use hyper::Method;

use super::{Client, NOTHING, Result};
use crate::model::{
    Operation, PlanView, RestoreRequest, SnapshotName, SnapshotRequest, SnapshotView, TaskspaceId,
};

impl Client {
    /// Lists the snapshots of a taskspace, the oldest first.
    pub async fn snapshots(&self, id: &TaskspaceId) -> Result<Vec<SnapshotView>> {
        self.get(&format!("/v1/taskspaces/{id}/snapshots")).await
    }

    /// Begins to make a snapshot of a taskspace.
    pub async fn snapshot(&self, id: &TaskspaceId, request: &SnapshotRequest) -> Result<Operation> {
        self.call(Method::POST, &format!("/v1/taskspaces/{id}/snapshots"), Some(request)).await
    }

    /// Begins to remove a snapshot of a taskspace.
    pub async fn delete_snapshot(
        &self,
        id: &TaskspaceId,
        name: &SnapshotName,
    ) -> Result<Operation> {
        let path = format!("/v1/taskspaces/{id}/snapshots/{name}");
        self.call(Method::DELETE, &path, NOTHING).await
    }

    /// Begins to give a taskspace back what a snapshot has.
    pub async fn restore(
        &self,
        id: &TaskspaceId,
        name: &SnapshotName,
        request: &RestoreRequest,
    ) -> Result<Operation> {
        let path = format!("/v1/taskspaces/{id}/snapshots/{name}/restore");
        self.call(Method::POST, &path, Some(request)).await
    }

    /// Asks how a taskspace would be given back what a snapshot has; it is not.
    pub async fn plan_restoration(
        &self,
        id: &TaskspaceId,
        name: &SnapshotName,
        request: &RestoreRequest,
    ) -> Result<PlanView> {
        let path = format!("/v1/taskspaces/{id}/snapshots/{name}/restore?dry_run=true");
        self.call(Method::POST, &path, Some(request)).await
    }
}
