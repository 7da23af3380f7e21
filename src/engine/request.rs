//! What clients can ask for.

use std::sync::PoisonError;
use std::time::Instant;

use rand::RngExt;

use super::driver::Job;
use super::{Engine, make, problems};
use crate::host::git::{Git, Source};
use crate::model::{
    AgentSpec, Asker, BuildRequest, Code, CreateRequest, DeleteOptions, EventBody, Operation,
    OperationKind, OperationState, Problem, StepOutcome, TaskspaceId,
};

/// How many random characters make a derived id unlike others of the same project.
const SUFFIX: usize = 4;
/// Characters that are not mistaken for one another.
const ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";

impl Engine {
    /// Begins to make a taskspace.
    ///
    /// # Errors
    /// When the request is wrong or the id is taken. What comes later is the operation's.
    pub async fn create(
        &self,
        mut request: CreateRequest,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        let id = self.admit(&mut request).await?;
        self.ask_for_new(&id, Job::Create(Box::new(request)), asker)
    }

    /// Asks for a taskspace to be made, whose id nobody else gets meanwhile.
    pub(super) fn ask_for_new(
        &self,
        id: &TaskspaceId,
        job: Job,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        let (inner, id) = (&self.inner, id.clone());
        let reserved =
            inner.reserved.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        if !reserved {
            return Err(make::taken(&id));
        }
        // What is made now is in nobody's hand yet.
        let asker = Asker { lock: None, ..asker.clone() };
        let operation = match inner.request(&id, job, &asker) {
            Ok(operation) => operation,
            Err(problem) => {
                inner.reserved.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                return Err(problem);
            }
        };
        let (inner, number) = (inner.clone(), operation.id);
        tokio::spawn(async move {
            inner.operations.wait(number).await.ok();
            inner.reserved.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
        Ok(operation)
    }

    /// Checks a request as far as that is quick, and returns its id, which it gets if it has none.
    pub(super) async fn admit(&self, request: &mut CreateRequest) -> Result<TaskspaceId, Problem> {
        AgentSpec::check(request.agent.as_deref(), request.prompt.as_deref())?;
        self.inner.limits(request)?;
        let source = Source::parse(&request.project).map_err(|error| problems::git(&error))?;
        if request.dirty && source.local_path().is_none() {
            let detail = "only a local repository has uncommitted changes that could come along";
            return Err(Problem::new(Code::StateConflict, detail)
                .hint("leave out --dirty, or give the path of a work tree"));
        }
        let state = request.agent_state_of.as_ref();
        if let Source::Shorthand(_) = source {
            let found = Git::new(request.git.clone()).locate(&source).await;
            found.map_err(|error| problems::git(&error))?;
        }
        let id = self.choose_id(request.id.take(), &source.project_name(), state).await?;
        request.id = Some(id.clone());
        Ok(id)
    }

    /// Returns the id of a new taskspace: the one that is asked for, or one made of the project's name.
    pub(super) async fn choose_id(
        &self,
        asked_for: Option<TaskspaceId>,
        project: &str,
        agent_state_of: Option<&TaskspaceId>,
    ) -> Result<TaskspaceId, Problem> {
        let document = self.inner.document().await?;
        let id = match asked_for {
            Some(id) => id,
            None => loop {
                let id = TaskspaceId::derive(project, &random_suffix());
                if !document.taskspaces.contains_key(&id) {
                    break id;
                }
            },
        };
        make::check_free(&document, &id, agent_state_of)?;
        Ok(id)
    }

    /// Begins to start a taskspace.
    ///
    /// # Errors
    /// When there is none of this id, or another operation is in the way.
    pub async fn start(&self, id: &TaskspaceId, asker: &Asker) -> Result<Operation, Problem> {
        self.ask(id, Job::Start, asker).await
    }

    /// Begins to stop a taskspace.
    ///
    /// # Errors
    /// When there is none of this id, or another operation is in the way.
    pub async fn stop(&self, id: &TaskspaceId, asker: &Asker) -> Result<Operation, Problem> {
        self.ask(id, Job::Stop, asker).await
    }

    /// Begins to stop and start a taskspace.
    ///
    /// # Errors
    /// When there is none of this id, or another operation is in the way.
    pub async fn restart(&self, id: &TaskspaceId, asker: &Asker) -> Result<Operation, Problem> {
        self.ask(id, Job::Restart, asker).await
    }

    /// Begins to remove a taskspace, or with `purge` the agent state that a former one left.
    ///
    /// # Errors
    /// When there is none of this id, or when it has work that is saved nowhere else.
    pub async fn delete(
        &self,
        id: &TaskspaceId,
        options: DeleteOptions,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        let document = self.inner.document().await?;
        match document.taskspaces.get(id) {
            Some(record) => {
                if !options.force {
                    self.inner.check_unsaved_work(id, record).await?;
                }
                self.ask(id, Job::Delete { purge: options.purge }, asker).await
            }
            None if options.purge && document.agent_states.contains_key(id) => {
                self.purge_agent_state(id).await
            }
            None if self.is_reserved(id) => {
                self.ask(id, Job::Delete { purge: options.purge }, asker).await
            }
            None => Err(problems::not_found(id)),
        }
    }

    pub(super) fn is_reserved(&self, id: &TaskspaceId) -> bool {
        self.inner.reserved.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Begins to build images.
    ///
    /// # Errors
    /// When one of them does not exist.
    pub async fn build_images(&self, request: BuildRequest) -> Result<Operation, Problem> {
        let images =
            request.resolve().map_err(|detail| Problem::new(Code::MessageFormatInvalid, detail))?;
        let operation = self.inner.operations.enter(OperationKind::BuildImages, None);
        let (inner, number) = (self.inner.clone(), operation.id);
        tokio::spawn(async move {
            let tell = |body| inner.bus.publish(Some(number), None, body);
            let output = |line: String| tell(EventBody::Output { line });
            let mut result = inner.link.get().await.map(drop);
            for image in images {
                let Ok((podman, _)) = inner.link.get().await else { break };
                let step = format!("image {}", image.full_name());
                inner.operations.step(number, &step);
                tell(EventBody::StepStarted { step: step.clone() });
                let begun = Instant::now();
                result = inner.images.ensure(&podman, image, request.force, &output).await;
                let outcome = if result.is_ok() { StepOutcome::Done } else { StepOutcome::Failed };
                let milliseconds = begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
                tell(EventBody::StepEnded { step, outcome, milliseconds });
                if result.is_err() {
                    break;
                }
            }
            inner.operations.finish(number, result);
        });
        Ok(operation)
    }

    pub(super) async fn ask(
        &self,
        id: &TaskspaceId,
        job: Job,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        // One that is only asked for is not recorded yet; the job comes after its making.
        if !self.is_reserved(id) {
            self.inner.record(id).await?;
        }
        let operation = self.inner.request(id, job, asker)?;
        if operation.state == OperationState::Queued {
            // It is told to be done some time, also after a crash.
            self.kept(operation.id).await?;
        }
        Ok(operation)
    }

    pub(super) async fn purge_agent_state(&self, id: &TaskspaceId) -> Result<Operation, Problem> {
        self.inner.link.get().await?;
        let operation = self.inner.operations.enter(OperationKind::Delete, Some(id.clone()));
        let removed = self.inner.remove_agent_state(id, |_| true);
        let purged = async { removed.await.map(drop) };
        self.inner.operations.finish(operation.id, purged.await);
        self.operation(operation.id)
    }
}

pub(super) fn random_suffix() -> String {
    let mut rng = rand::rng();
    (0..SUFFIX).map(|_| char::from(ALPHABET[rng.random_range(..ALPHABET.len())])).collect()
}
