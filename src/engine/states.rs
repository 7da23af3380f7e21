//! What the agents of deleted taskspaces remember.

use std::path::PathBuf;

use jiff::Timestamp;

use super::{Engine, Inner};
use crate::model::{AgentStateRecord, AgentStateView, Code, Operation, Problem, TaskspaceId};
use crate::plan::collect;

impl Engine {
    /// Returns the agent states that are kept, by their former taskspaces.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn agent_states(&self) -> Result<Vec<AgentStateView>, Problem> {
        let document = self.inner.document().await?;
        let states: Vec<_> = document.agent_states.iter().collect();
        Ok(self.inner.views_of_states(&states).await)
    }

    /// Returns the agent state that a taskspace left.
    ///
    /// # Errors
    /// When none is kept.
    pub async fn agent_state(&self, former: &TaskspaceId) -> Result<AgentStateView, Problem> {
        let document = self.inner.document().await?;
        let state = document.agent_states.get_key_value(former);
        let views = self.inner.views_of_states(&state.into_iter().collect::<Vec<_>>()).await;
        views.into_iter().next().ok_or_else(|| not_kept(former))
    }

    /// Removes the agent state that a taskspace left.
    ///
    /// # Errors
    /// When none is kept, or Podman cannot be reached.
    pub async fn purge(&self, former: &TaskspaceId) -> Result<Operation, Problem> {
        if !self.inner.document().await?.agent_states.contains_key(former) {
            return Err(not_kept(former));
        }
        self.purge_agent_state(former).await
    }
}

impl Inner {
    async fn views_of_states(
        &self,
        states: &[(&TaskspaceId, &AgentStateRecord)],
    ) -> Vec<AgentStateView> {
        let sizes = self.sizes_of_states(states).await;
        let settings = self.settings();
        let (retention, now) = (&settings.retention, Timestamp::now());
        let sizes = sizes.into_iter().map(Some).chain(std::iter::repeat(None));
        let view = |((id, state), bytes): (&(&TaskspaceId, &AgentStateRecord), Option<u64>)| {
            let AgentStateRecord { volume, since, project, agent, going } = (*state).clone();
            let until = collect::agent_state(id, state, retention, now).until;
            AgentStateView { id: (*id).clone(), project, agent, volume, since, until, going, bytes }
        };
        states.iter().zip(sizes).map(view).collect()
    }

    /// Measures all of them in one go; none of them, if that does not work.
    async fn sizes_of_states(&self, states: &[(&TaskspaceId, &AgentStateRecord)]) -> Vec<u64> {
        let measured = async {
            if states.is_empty() {
                return Ok(Vec::new());
            }
            let (_, capabilities) = self.link.get().await?;
            let place = |state: &AgentStateRecord| capabilities.volume_directory(&state.volume);
            let directories: Vec<PathBuf> = states.iter().map(|(_, state)| place(state)).collect();
            self.measure_each(directories).await
        };
        measured.await.unwrap_or_else(|problem: Problem| {
            tracing::debug!("agent states cannot be measured: {problem}");
            Vec::new()
        })
    }
}

fn not_kept(former: &TaskspaceId) -> Problem {
    let detail = format!("no agent state of a former taskspace '{former}' is kept");
    Problem::new(Code::NotFound, detail).hint("`taskspace states` shows what there is")
}
