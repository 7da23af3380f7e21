//! What is out of use: agent states, and everything that is collected.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::app::App;
use super::extract::{Id, Parameters};
use super::operations::{Started, Wait, started};
use super::problem::Answer;
use crate::model::{AgentStateView, CollectionView, Problem, TaskspaceId};

/// What is collected.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CollectParameters {
    /// Only tell what would go.
    #[serde(default)]
    dry_run: bool,
    /// What belongs to nothing in the registry and is to go at once, with the work in it: taskspaces, or
    /// names in Podman, with commas in between.
    #[serde(default)]
    work: String,
}

/// List the states of agents whose taskspaces are gone
#[utoipa::path(get, path = "/v1/states", tag = "retention",
    operation_id = "list_agent_states",
    responses((status = 200, description = "The agent states", body = Vec<AgentStateView>)))]
pub(crate) async fn states(State(app): State<App>) -> Answer<Json<Vec<AgentStateView>>> {
    Ok(Json(app.engine()?.agent_states().await?))
}

/// Show the state of the agent of a former taskspace
#[utoipa::path(get, path = "/v1/states/{id}", tag = "retention",
    operation_id = "show_agent_state",
    params(("id" = TaskspaceId, Path, description = "The former taskspace")),
    responses((status = 200, description = "The agent state", body = AgentStateView)))]
pub(crate) async fn state(State(app): State<App>, Id(id): Id) -> Answer<Json<AgentStateView>> {
    Ok(Json(app.engine()?.agent_state(&id).await?))
}

/// Remove the state of the agent of a former taskspace
#[utoipa::path(delete, path = "/v1/states/{id}", tag = "retention",
    operation_id = "purge_agent_state",
    params(("id" = TaskspaceId, Path, description = "The former taskspace"), Wait),
    responses(Started,
        (status = 503, description = "Podman is not available", body = Problem)))]
pub(crate) async fn purge(
    State(app): State<App>,
    Id(id): Id,
    Parameters(wait): Parameters<Wait>,
) -> Answer<Started> {
    started(&app, app.engine()?.purge(&id).await?, wait).await
}

/// Collect what is out of use and whose time is over
///
/// The answer lists what is out of use, also what is kept for some more time. What cannot be removed has
/// a `problem`, and keeps nothing else from being removed.
#[utoipa::path(post, path = "/v1/gc", tag = "retention",
    operation_id = "collect_garbage", params(CollectParameters),
    responses(
        (status = 200, description = "What is out of use", body = CollectionView),
        (status = 404, description = "There is nothing of a name", body = Problem),
        (status = 409, description = "What is named is in the registry", body = Problem),
        (status = 503, description = "Podman is not available", body = Problem)))]
pub(crate) async fn collect(
    State(app): State<App>,
    Parameters(CollectParameters { dry_run, work }): Parameters<CollectParameters>,
) -> Answer<Json<CollectionView>> {
    let engine = app.engine()?;
    let named = work.split(',').filter(|name| !name.is_empty());
    let named: BTreeSet<String> = named.map(str::to_owned).collect();
    Ok(Json(match dry_run {
        true => engine.plan_collection(&named).await?,
        false => engine.collect(&named).await?,
    }))
}
