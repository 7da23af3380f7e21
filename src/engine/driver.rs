//! One driver for each taskspace: a task that does what is asked of it, one thing after the other.
//! Different taskspaces proceed side by side.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::execute::Failure;
use super::perform::Acting;
use super::{Inner, execute, lifecycle, make};
use crate::model::{Code, CreateRequest, OperationKind, Problem, TaskspaceId};
use crate::plan::Plan;

/// What can be asked of a driver.
#[derive(Debug)]
pub(super) enum Job {
    /// Make the taskspace.
    Create(Box<CreateRequest>),
    /// Remove what an interrupted creation left.
    TakeBack,
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop and start it.
    Restart,
    /// Remove it.
    Delete {
        /// With its agent's state.
        purge: bool,
    },
}

impl Job {
    /// Returns the kind of operation that this is.
    pub(super) const fn kind(&self) -> OperationKind {
        match self {
            Self::Create(_) => OperationKind::Create,
            Self::Start => OperationKind::Start,
            Self::Stop => OperationKind::Stop,
            Self::Restart => OperationKind::Restart,
            Self::Delete { .. } | Self::TakeBack => OperationKind::Delete,
        }
    }
}

/// A job and its operation.
pub(super) type Queued = (u64, Job);

impl Inner {
    /// Hands a job to the taskspace's driver, starting one where there is none.
    pub(super) fn hand_over(self: &Arc<Self>, id: &TaskspaceId, operation: u64, job: Job) {
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        let queued = match drivers.get(id) {
            Some(driver) => driver.send((operation, job)).map_err(|unsent| unsent.0),
            None => Err((operation, job)),
        };
        if let Err(queued) = queued {
            let (sender, receiver) = mpsc::unbounded_channel();
            // The receiver is in hand: this cannot fail.
            sender.send(queued).ok();
            drivers.insert(id.clone(), sender);
            tokio::spawn(drive(self.clone(), id.clone(), receiver));
        }
    }
}

/// Does the jobs of one taskspace until there are none.
async fn drive(engine: Arc<Inner>, id: TaskspaceId, mut jobs: mpsc::UnboundedReceiver<Queued>) {
    loop {
        while let Ok((operation, job)) = jobs.try_recv() {
            engine.operations.begin(operation);
            let work = AssertUnwindSafe(run(&engine, &id, operation, job)).catch_unwind();
            let result = work.await.unwrap_or_else(|_| {
                Err(Problem::new(
                    Code::Internal,
                    "the operation broke off by a mistake in taskspace",
                )
                .hint("the service's log says where; please report it"))
            });
            if let Err(problem) = &result {
                tracing::warn!(%id, operation, code = ?problem.code, "failed: {problem}");
            }
            engine.refresh_idle().await;
            engine.operations.finish(operation, result);
        }
        let mut drivers = engine.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock nobody hands over: empty now means nothing will be lost.
        if jobs.is_empty() {
            drivers.remove(&id);
            return;
        }
    }
}

async fn run(
    engine: &Arc<Inner>,
    id: &TaskspaceId,
    operation: u64,
    job: Job,
) -> Result<(), Problem> {
    let context = Context { engine: engine.clone(), id: id.clone(), operation };
    match job {
        Job::Create(request) => make::create(&context, *request).await,
        Job::TakeBack => make::take_back(&context).await,
        Job::Start => lifecycle::start(&context).await,
        Job::Stop => lifecycle::stop(&context).await,
        Job::Restart => {
            lifecycle::stop(&context).await?;
            lifecycle::start(&context).await
        }
        Job::Delete { purge } => lifecycle::delete(&context, purge).await,
    }
}

/// What an operation on a taskspace works with.
pub(super) struct Context {
    pub(super) engine: Arc<Inner>,
    pub(super) id: TaskspaceId,
    pub(super) operation: u64,
}

impl Context {
    /// Runs a plan on the taskspace as it is recorded now.
    pub(super) async fn execute(&self, plan: &Plan) -> Result<(), Failure> {
        // Nothing is begun before Podman answers.
        let untouched = |problem| Failure { problem, taken_back: true };
        let (podman, _) = self.engine.link.get().await.map_err(untouched)?;
        let acting = Acting {
            record: self.engine.record(&self.id).await.map_err(untouched)?,
            engine: self.engine.clone(),
            made_base: AtomicBool::new(false),
            podman,
            operation: self.operation,
            id: self.id.clone(),
        };
        execute::execute(plan, &acting).await
    }
}
