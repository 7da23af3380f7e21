//! Brings projects up to date before anybody needs them: the mirror, and the base of the newest commit.

use std::time::Instant;

use super::projects::Resolved;
use super::{Engine, Inner, problems};
use crate::model::{
    Asker, CollectableKind, CreateRequest, EventBody, Operation, OperationKind, Problem,
    RefreshRequest, StepOutcome,
};
use crate::plan::{BasePlan, names};

impl Engine {
    /// Begins to fetch a project, and to make the base of the newest commit of its default branch.
    ///
    /// # Errors
    /// When there is no such project. What comes later is the operation's.
    pub async fn refresh_project(
        &self,
        name: &str,
        request: RefreshRequest,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        let document = self.inner.document().await?;
        let project = document.projects.get(name).ok_or_else(|| problems::no_project(name))?;
        let what = CreateRequest {
            project: project.source.clone(),
            git: request.git,
            ..CreateRequest::default()
        };
        let mut operation = self.inner.operations.enter(OperationKind::Refresh, None);
        operation.description = Some(name.to_owned());
        operation.agent = asker.agent.clone().unwrap_or(operation.agent);
        self.inner.operations.put(operation.clone());
        let (inner, number) = (self.inner.clone(), operation.id);
        let (name, with_base) = (name.to_owned(), request.base);
        tokio::spawn(async move {
            let refreshed = inner.refresh(number, &name, &what, with_base).await;
            inner.operations.finish(number, refreshed);
        });
        Ok(operation)
    }
}

impl Inner {
    async fn refresh(
        &self,
        number: u64,
        name: &str,
        what: &CreateRequest,
        with_base: bool,
    ) -> Result<(), Problem> {
        let _mirrors = self.projects.use_mirrors().await;
        let tell = |body| self.bus.publish(Some(number), None, body);
        let output = |line: String| tell(EventBody::Output { line });
        let fetch = self.projects.resolve(what, output);
        let resolved = self.tell_step(number, "fetch the project", fetch).await?;
        if !with_base {
            return Ok(());
        }
        let make = self.make_newest_base(name, &resolved);
        self.tell_step(number, "check the newest commit out", make).await
    }

    /// Makes the base of a commit, which nobody uses yet, and removes what it replaces.
    async fn make_newest_base(&self, name: &str, resolved: &Resolved) -> Result<(), Problem> {
        let plan = BasePlan {
            project: name.to_owned(),
            source: resolved.source.clone(),
            mirrors: self.projects.mirrors().to_owned(),
            commit: resolved.commit.clone(),
            key: resolved.base_key.clone(),
            submodules: resolved.submodules.clone(),
            volume: names::base_volume(name, &resolved.base_key),
        };
        self.projects.ensure_base(&self.volumes().await?, &plan).await?;
        let lacks = self.projects.lacks(&plan).await?;
        for warning in resolved.warnings.iter().chain(&lacks) {
            tracing::warn!(project = name, "{warning}");
        }
        self.trim(name, CollectableKind::Base).await
    }

    /// Does a step of an operation on no taskspace, and tells of it.
    async fn tell_step<T>(
        &self,
        number: u64,
        step: &str,
        act: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let tell = |body| self.bus.publish(Some(number), None, body);
        self.operations.step(number, step);
        let step = step.to_owned();
        tell(EventBody::StepStarted { step: step.clone() });
        let begun = Instant::now();
        let result = act.await;
        let outcome = if result.is_ok() { StepOutcome::Done } else { StepOutcome::Failed };
        let milliseconds = begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        tell(EventBody::StepEnded { step, outcome, milliseconds });
        result
    }
}
