//! What is out of use, and what is brought up to date.

use hyper::Method;

use super::{Client, NOTHING, Result};
use crate::model::{AgentStateView, CollectionView, Operation, RefreshRequest, TaskspaceId};

impl Client {
    /// Lists the states of agents whose taskspaces are gone.
    pub async fn agent_states(&self) -> Result<Vec<AgentStateView>> {
        // No time is too long: they are measured.
        self.call(Method::GET, "/v1/states", NOTHING).await
    }

    /// Shows the state of the agent of a former taskspace.
    pub async fn agent_state(&self, id: &TaskspaceId) -> Result<AgentStateView> {
        self.call(Method::GET, &format!("/v1/states/{id}"), NOTHING).await
    }

    /// Begins to remove the state of the agent of a former taskspace.
    pub async fn purge(&self, id: &TaskspaceId) -> Result<Operation> {
        self.call(Method::DELETE, &format!("/v1/states/{id}"), NOTHING).await
    }

    /// Collects what is out of use, and what is named; with `dry_run` only tells what would go. The names
    /// have nothing in them that would have to be encoded.
    pub async fn collect(&self, dry_run: bool, named: &[String]) -> Result<CollectionView> {
        let path = format!("/v1/gc?dry_run={dry_run}&work={}", named.join(","));
        self.call(Method::POST, &path, NOTHING).await
    }

    /// Begins to bring a project up to date.
    pub async fn refresh(&self, project: &str, request: &RefreshRequest) -> Result<Operation> {
        self.call(Method::POST, &format!("/v1/projects/{project}/refresh"), Some(request)).await
    }
}
