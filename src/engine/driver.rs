//! One driver for each taskspace: a task that does what is asked of it, one thing after the other.
//! Different taskspaces proceed side by side.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use futures_util::FutureExt;
use tokio::sync::{OnceCell, mpsc, oneshot};

use super::execute::{Failure, OnFailure};
use super::fork::Forking;
use super::perform::Acting;
use super::restore::Restoration;
use super::{
    Inner, caches, execute, fork, lifecycle, make, network, restore, settle, snapshots, storage,
};
use crate::model::{
    Code, Collectable, CreateRequest, GitEnvironment, Hold, OperationKind, Problem, ResizeRequest,
    SnapshotName, TaskspaceId,
};
use crate::plan::snapshot::Taking;
use crate::plan::{CopyPlan, Plan};

/// What can be asked of a driver.
#[derive(Debug)]
pub(super) enum Job {
    /// Make the taskspace.
    Create(Box<CreateRequest>),
    /// Go on with a making that broke off.
    Resume,
    /// Remove what a making left that failed.
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
    /// Make its build cache the one of its project.
    Promote,
    /// Make a snapshot of it.
    Snapshot(Taking),
    /// Remove a snapshot of it.
    DeleteSnapshot(SnapshotName),
    /// Give it back what a snapshot has.
    Restore(Restoration),
    /// Make it begin where another one is.
    Fork(Box<Forking>),
    /// Copy what it has, for another one.
    Copy(CopyPlan),
    /// Change how much it may use.
    Resize(ResizeRequest),
    /// Change its network policy.
    Network(network::Update),
    /// Pause it: it has written too much.
    Freeze,
    /// Let it go on: there is room again.
    LetGo,
}

impl Job {
    /// Returns the kind of operation that this is.
    pub(super) const fn kind(&self) -> OperationKind {
        match self {
            Self::Create(_) | Self::Resume => OperationKind::Create,
            Self::Start => OperationKind::Start,
            Self::Stop => OperationKind::Stop,
            Self::Restart => OperationKind::Restart,
            Self::Delete { .. } | Self::TakeBack => OperationKind::Delete,
            Self::Promote => OperationKind::Promote,
            Self::Snapshot(_) => OperationKind::Snapshot,
            Self::DeleteSnapshot(_) => OperationKind::DeleteSnapshot,
            Self::Restore(_) => OperationKind::Restore,
            Self::Fork(_) => OperationKind::Fork,
            Self::Copy(_) => OperationKind::Copy,
            Self::Resize(_) | Self::Freeze | Self::LetGo => OperationKind::Scale,
            Self::Network(_) => OperationKind::Config,
        }
    }

    /// Returns the name of the snapshot that it is about, if it is about one.
    pub(super) fn snapshot(&self) -> Option<&SnapshotName> {
        match self {
            Self::Snapshot(taking) => Some(&taking.name),
            Self::DeleteSnapshot(name) => Some(name),
            Self::Restore(restoration) => Some(&restoration.name),
            _ => None,
        }
    }
}

/// What waits for a driver.
#[derive(Debug)]
pub(super) enum Queued {
    /// An operation.
    Operation(u64, Job),
    /// Compare the taskspace with what Podman has, and mend it: an operation only if need be.
    Settle {
        /// Podman has been about to change it for so long that it never will.
        is_stuck: bool,
    },
    /// Remove something that says it is of this taskspace, which does not exist.
    Collect {
        /// What.
        item: Box<Collectable>,
        /// Told whether it is gone.
        answer: oneshot::Sender<Result<bool, Problem>>,
    },
}

impl Inner {
    /// Hands a job to the taskspace's driver, starting one where there is none.
    pub(super) fn hand_over(self: &Arc<Self>, id: &TaskspaceId, operation: u64, job: Job) {
        self.queue(id, Queued::Operation(operation, job));
    }

    /// Has the taskspace's driver look after it, unless the driver is busy: then the driver's own
    /// doing decides what it will be like.
    pub(super) fn have_settled(self: &Arc<Self>, id: &TaskspaceId, is_stuck: bool) {
        if !self.is_driven(id) {
            self.queue(id, Queued::Settle { is_stuck });
        }
    }

    /// Whether something is being done to a taskspace.
    pub(super) fn is_driven(&self, id: &TaskspaceId) -> bool {
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    pub(super) fn queue(self: &Arc<Self>, id: &TaskspaceId, queued: Queued) {
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        let queued = match drivers.get(id) {
            Some(driver) => driver.send(queued).map_err(|unsent| unsent.0),
            None => Err(queued),
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
    let mut worked = false;
    loop {
        while let Ok(queued) = jobs.try_recv() {
            match queued {
                Queued::Operation(operation, job) => {
                    carry_out(&engine, &id, operation, run(&engine, &id, operation, job)).await;
                    worked = true;
                }
                Queued::Collect { item, answer } => {
                    let work = async {
                        let (podman, _) = engine.link.get().await?;
                        engine.remove_stray(&podman, &item).await
                    };
                    // Who asked is told by the answer's end that it broke off.
                    if let Ok(removed) = AssertUnwindSafe(work).catch_unwind().await {
                        answer.send(removed).ok();
                    }
                }
                Queued::Settle { is_stuck } => {
                    let work = settle::settle(&engine, &id, is_stuck);
                    match AssertUnwindSafe(work).catch_unwind().await {
                        Ok(Ok(took_operation)) => worked |= took_operation,
                        Ok(Err(problem)) => {
                            tracing::debug!(%id, "cannot look after it: {problem}");
                            engine.patience.failed(&id);
                            worked = true;
                        }
                        Err(_) => tracing::error!(%id, "looking after it broke off by a mistake"),
                    }
                }
            }
        }
        let mut drivers = engine.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock nobody hands over: empty now means nothing will be lost.
        if jobs.is_empty() {
            drivers.remove(&id);
            if worked {
                // What happened meanwhile was left to this driver.
                engine.look.notify_one();
            }
            return;
        }
    }
}

/// Does what an operation is about, and tells how it ended.
pub(super) async fn carry_out(
    engine: &Arc<Inner>,
    id: &TaskspaceId,
    operation: u64,
    work: impl Future<Output = Result<(), Problem>>,
) {
    let result = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        Err(Problem::new(Code::Internal, "the operation broke off by a mistake in taskspace")
            .hint("the service's log says where; please report it"))
    });
    if let Err(problem) = &result {
        tracing::warn!(%id, operation, code = ?problem.code, "failed: {problem}");
    }
    engine.refresh_idle().await;
    engine.finish(operation, result);
}

pub(super) async fn run(
    engine: &Arc<Inner>,
    id: &TaskspaceId,
    operation: u64,
    job: Job,
) -> Result<(), Problem> {
    let lock = match &job {
        Job::Fork(forking) => forking.lock(),
        _ => None,
    };
    let git = match &job {
        Job::Create(request) => request.git.clone(),
        _ => GitEnvironment::default(),
    };
    let context = Context { engine: engine.clone(), id: id.clone(), operation, lock, git };
    match job {
        Job::Create(request) => make::create(&context, *request).await,
        Job::Resume => make::resume(&context).await,
        Job::TakeBack => make::take_back(&context).await,
        Job::Start => lifecycle::start(&context, OperationKind::Start).await,
        Job::Stop => lifecycle::stop(&context, OperationKind::Stop).await,
        Job::Restart => {
            storage::may_start(&context, &engine.record(id).await?).await?;
            lifecycle::stop(&context, OperationKind::Restart).await?;
            lifecycle::start(&context, OperationKind::Restart).await
        }
        Job::Delete { purge } => lifecycle::delete(&context, purge).await,
        Job::Promote => caches::promote(&context).await,
        Job::Snapshot(taking) => snapshots::take(&context, &taking).await,
        Job::DeleteSnapshot(name) => snapshots::delete(&context, &name).await,
        Job::Restore(restoration) => restore::restore(&context, restoration).await,
        Job::Fork(forking) => fork::fork(&context, *forking).await,
        Job::Copy(copy) => fork::copy_out(&context, copy).await,
        Job::Resize(request) => storage::resize(&context, request).await,
        Job::Network(update) => network::update(&context, update).await,
        Job::Freeze => storage::freeze(&context).await,
        Job::LetGo => storage::let_go(&context).await,
    }
}

/// What an operation on a taskspace works with.
pub(super) struct Context {
    pub(super) engine: Arc<Inner>,
    pub(super) id: TaskspaceId,
    pub(super) operation: u64,
    /// What whoever asked for it holds, where that matters.
    pub(super) lock: Option<Hold>,
    /// The environment of the caller, in which git runs; that of the service where nobody is known.
    pub(super) git: GitEnvironment,
}

impl Context {
    /// Runs a plan on the taskspace as it is recorded now.
    pub(super) async fn execute(&self, plan: &Plan, on_failure: OnFailure) -> Result<(), Failure> {
        // Nothing is begun before Podman answers.
        let untouched = |problem| Failure { problem, taken_back: true };
        let (podman, _) = self.engine.link.get().await.map_err(untouched)?;
        let acting = Acting {
            record: self.engine.record(&self.id).await.map_err(untouched)?,
            engine: self.engine.clone(),
            made_base: AtomicBool::new(false),
            turn: OnceCell::new(),
            podman,
            operation: self.operation,
            lock: self.lock,
            git: self.git.clone(),
            id: self.id.clone(),
        };
        execute::execute(plan, &acting, on_failure).await
    }
}
