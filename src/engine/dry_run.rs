//! Plans that are shown and not run: the same that would be run, of the same checks.

use super::{Engine, make, problems};
use crate::model::{Code, CreateRequest, DeleteOptions, Document, PlanView, Problem, TaskspaceId};
use crate::plan::{create, delete};

impl Engine {
    /// Tells how a taskspace would be made. The project's mirror is brought up to date, and nothing
    /// else is touched.
    ///
    /// # Errors
    /// Those of the real request and, as far as they can be foreseen, of its operation.
    pub async fn plan_creation(&self, mut request: CreateRequest) -> Result<PlanView, Problem> {
        let inner = &self.inner;
        let id = self.admit(&mut request).await?;
        if self.is_reserved(&id) {
            return Err(make::taken(&id));
        }
        let (_, capabilities) = inner.link.get().await?;
        inner.check_reserve(None).await?;
        inner.check_headroom().await?;
        let resolved = inner.projects.resolve(&request, drop).await?;
        let uncommitted = inner.projects.uncommitted(&request, &resolved).await?;
        let limits = inner.limits(&request)?;
        let draft = make::Draft {
            id: id.clone(),
            wanted: make::Wanted { request, resolved, origin: None, limits },
            warnings: capabilities.warnings.clone(),
            settings: inner.settings(),
            quotas: inner.prepared_quotas(&capabilities).await?,
            operation: 0,
        };
        let mut imagined = Document::clone(&*inner.document().await?);
        let record = draft.enter(&mut imagined)?;
        let plan = |inputs: &create::Inputs<'_>| create::plan(inputs, false);
        let view = make::plan_for(inner, &id, &record, plan).await?.view(&id);
        Ok(PlanView { uncommitted, ..view })
    }

    /// Tells how a taskspace would be removed, or with `purge` the agent state that a former one
    /// left.
    ///
    /// # Errors
    /// Those of the real request and, as far as they can be foreseen, of its operation.
    pub async fn plan_removal(
        &self,
        id: &TaskspaceId,
        options: DeleteOptions,
    ) -> Result<PlanView, Problem> {
        let document = self.inner.document().await?;
        let plan = match document.taskspaces.get(id) {
            Some(record) => {
                if !options.force {
                    self.inner.check_unsaved_work(id, record).await?;
                }
                delete::plan(id, record, options.purge)
            }
            None => match document.agent_states.get(id) {
                Some(kept) if options.purge => delete::plan_of_kept_state(&kept.volume),
                _ if self.is_reserved(id) => {
                    let detail = format!("'{id}' is still being made");
                    return Err(Problem::new(Code::StateConflict, detail)
                        .hint("wait until it is ready; `taskspace show` tells"));
                }
                _ => return Err(problems::not_found(id)),
            },
        };
        self.inner.link.get().await?;
        Ok(plan.view(id))
    }
}
