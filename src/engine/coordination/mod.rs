//! Has operations coordinated: tells what becomes of them, hands the service's own to the drivers, ends
//! in time what nobody holds any more, and keeps in the registry what outlives the service.

mod keep;
mod requests;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{Timestamp, Zoned};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Inner;
use super::driver::Job;
use crate::coordinator::{Change, Coordinator, Dependencies, Holder, Moment};
use crate::model::{
    AgentName, Asker, ContainerName, CoordinationRecord, EventBody, Operation, OperationKind,
    OperationState, Problem, Registration, Target, TaskspaceId,
};
use crate::policy::coordination::Coordination as Rules;

pub use requests::Held;

/// The coordination of operations.
#[derive(Debug)]
pub(super) struct Coordination {
    rules: Arc<Rules>,
    state: Mutex<State>,
    begun: Instant,
    /// Something has to end earlier than it had to.
    sooner: Notify,
    /// The latest change of what the registry keeps.
    changed: watch::Sender<u64>,
    /// The latest change that the registry has, or could not take.
    kept: watch::Sender<(u64, Option<Problem>)>,
}

#[derive(Debug)]
struct State {
    coordinator: Coordinator,
    /// What is to be done by those of the service that wait.
    jobs: HashMap<u64, Job>,
    /// Registered containers on which an operation has begun or ended.
    acted_on: BTreeSet<ContainerName>,
}

impl State {
    /// Notes that an operation has begun or ended.
    fn note(&mut self, operation: &Operation) {
        if let Some(Target::Container(name)) = &operation.target {
            self.acted_on.insert(name.clone());
        }
    }
}

impl Coordination {
    /// Begins with nothing, after tokens that an earlier run has set aside.
    pub(super) fn new(rules: Arc<Rules>, record: &CoordinationRecord) -> Self {
        let coordinator = Coordinator::new(rules.clone(), record.tokens, record.today.clone());
        Self {
            rules,
            state: Mutex::new(State {
                coordinator,
                jobs: HashMap::new(),
                acted_on: BTreeSet::new(),
            }),
            begun: Instant::now(),
            sooner: Notify::new(),
            changed: watch::Sender::new(0),
            kept: watch::Sender::new((0, None)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        let zoned = Zoned::now();
        Moment { ticks: self.begun.elapsed(), time: zoned.timestamp(), day: zoned.date() }
    }

    /// Whether an operation of a kind could not begin on a taskspace now.
    pub(super) fn is_blocked(&self, kind: OperationKind, id: &TaskspaceId) -> bool {
        self.lock().coordinator.is_blocked(kind, &Target::Taskspace(id.clone()))
    }

    /// Returns an operation as it is now, if it waits or runs.
    pub(super) fn current(&self, id: u64) -> Option<Operation> {
        self.lock().coordinator.current(id)
    }

    /// Lets nothing in any more.
    pub(super) fn freeze(&self) {
        self.lock().coordinator.freeze();
    }
}

impl Inner {
    /// Has the coordinator do something, and tells what changed.
    fn coordinate<T>(
        self: &Arc<Self>,
        act: impl FnOnce(&mut Coordinator, Moment) -> (T, Vec<Change>),
    ) -> T {
        let mut state = self.coordination.lock();
        let (answer, changes) = act(&mut state.coordinator, self.coordination.now());
        // A lease begins anew in the next run of the service.
        let is_changed = changes.iter().any(|change| !matches!(change, Change::Renewed(_)));
        let is_sooner = !changes.is_empty();
        // Under the lock, so that the order of the events is that of what happened.
        for change in changes {
            self.tell(&mut state, change);
        }
        let acting = std::mem::take(&mut state.acted_on);
        for name in acting {
            let class = state.coordinator.acting(&Target::Container(name.clone()));
            self.containers.acting(&name, class);
        }
        drop(state);
        if is_changed {
            self.coordination.changed.send_modify(|version| *version += 1);
        }
        if is_sooner {
            self.coordination.sooner.notify_one();
        }
        answer
    }

    fn tell(self: &Arc<Self>, state: &mut State, change: Change) {
        // The event comes before the state: who sees the state has got every event.
        let publish = |operation: &Operation, body| {
            self.bus.publish(Some(operation.id), operation.taskspace.clone(), body);
        };
        let operation = match change {
            Change::Renewed(operation) => operation,
            Change::Requested(operation) => {
                publish(&operation, super::operations::requested(&operation));
                operation
            }
            Change::Queued(operation) => {
                let (behind, full) = (operation.behind.clone(), operation.full.clone());
                publish(&operation, EventBody::OperationQueued { behind, full });
                operation
            }
            Change::Admitted(operation) => {
                let token = operation.token.unwrap_or_default();
                let cautions = operation.cautions.clone();
                publish(&operation, EventBody::OperationAdmitted { token, cautions });
                self.metrics.begun(&operation);
                state.note(&operation);
                if let (Some(job), Some(id)) =
                    (state.jobs.remove(&operation.id), operation.taskspace.as_ref())
                {
                    self.hand_over(id, operation.id, job);
                }
                operation
            }
            Change::Ended { operation, waited } => {
                let (state_now, problem) = (operation.state, operation.problem.clone());
                publish(&operation, EventBody::OperationFinished { state: state_now, problem });
                self.metrics.ended(&operation);
                state.jobs.remove(&operation.id);
                if !waited {
                    state.note(&operation);
                    // What was left to its holder is looked at again.
                    self.look.notify_one();
                }
                operation
            }
        };
        self.operations.put(operation);
    }

    /// Asks for one of the service's own operations on a taskspace; the taskspace's driver does it when
    /// nothing is in the way.
    pub(super) fn request(
        self: &Arc<Self>,
        id: &TaskspaceId,
        job: Job,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        let mut operation = self.own(self.operations.next_number(), job.kind(), id);
        operation.agent = asker.agent.clone().unwrap_or_else(AgentName::user);
        operation.priority = asker.priority.unwrap_or_default();
        operation.description = job.snapshot().map(ToString::to_string);
        let (number, lock) = (operation.id, asker.lock);
        self.coordination.lock().jobs.insert(number, job);
        self.coordinate(|coordinator, now| {
            ((), coordinator.request(operation, Holder::Service, lock, now))
        });
        self.accepted(number)
    }

    fn accepted(&self, number: u64) -> Result<Operation, Problem> {
        let operation = self.operations.get(number)?;
        match (operation.state, &operation.problem) {
            (OperationState::Rejected, Some(problem)) => Err(problem.clone()),
            _ => Ok(operation),
        }
    }

    fn own(&self, number: u64, kind: OperationKind, id: &TaskspaceId) -> Operation {
        let mut operation = Operation::new(number, kind, Timestamp::now());
        operation.agent = AgentName::service();
        operation.taskspace = Some(id.clone());
        operation.target = Some(Target::Taskspace(id.clone()));
        operation
    }

    /// Begins an operation that nobody asked for, and that does not wait: because nothing is in the
    /// way, or because it has to be finished. Without a number it gets a new one.
    pub(super) fn begin(
        self: &Arc<Self>,
        number: u64,
        kind: OperationKind,
        id: &TaskspaceId,
    ) -> u64 {
        let number = self.operations.free_number(number);
        let operation = self.own(number, kind, id);
        self.coordinate(|coordinator, now| ((), coordinator.take_up(operation, now)));
        number
    }

    /// Begins an operation that nobody asked for, unless something is in its way.
    pub(super) fn begin_unless_blocked(
        self: &Arc<Self>,
        kind: OperationKind,
        id: &TaskspaceId,
    ) -> Option<u64> {
        let number = self.operations.next_number();
        let operation = self.own(number, kind, id);
        self.coordinate(|coordinator, now| {
            // At one go: nobody comes in between.
            if coordinator.is_blocked(kind, &Target::Taskspace(id.clone())) {
                (None, Vec::new())
            } else {
                (Some(number), coordinator.take_up(operation, now))
            }
        })
    }

    /// Notes how one of the service's own operations ended.
    pub(super) fn finish(self: &Arc<Self>, number: u64, result: Result<(), Problem>) {
        self.coordinate(|coordinator, now| {
            let mut changes = Vec::new();
            let operation = coordinator.current(number);
            if let Some(Operation { kind: OperationKind::Delete, target: Some(target), .. }) =
                operation
                && result.is_ok()
            {
                changes = coordinator.forget(&target, number, now);
            }
            changes.extend(coordinator.finish(number, result, now));
            ((), changes)
        });
    }

    /// Notes what is being done.
    pub(super) fn step(&self, number: u64, step: &str) {
        self.coordination.lock().coordinator.step(number, step);
        self.operations.step(number, step);
    }

    /// Ends in time what nobody holds any more, and what takes too long, until the service ends.
    pub(super) async fn watch_leases(self: Arc<Self>) {
        loop {
            let deadline = self.coordination.lock().coordinator.deadline();
            let due = async {
                match deadline {
                    Some(deadline) => {
                        tokio::time::sleep_until(self.coordination.begun + deadline).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = self.coordination.sooner.notified() => {}
                () = due => self.coordinate(|coordinator, now| ((), coordinator.expire(now))),
            }
        }
    }

    /// Takes in what depends on what, as often as that changes.
    pub(super) async fn watch_dependencies(self: Arc<Self>) {
        let mut registrations = self.containers.registrations();
        // Something may have changed before this began.
        registrations.mark_changed();
        // The sender lives as long as the engine.
        while registrations.changed().await.is_ok() {
            registrations.mark_unchanged();
            self.take_in_dependencies();
        }
    }

    /// Takes in what depends on what.
    pub(super) fn take_in_dependencies(self: &Arc<Self>) {
        let registrations = self.containers.registrations().borrow().clone();
        let depends = |(name, it): (&ContainerName, &Registration)| {
            (Target::Container(name.clone()), it.depends_on.clone())
        };
        match Dependencies::new(registrations.iter().map(depends)) {
            Ok(dependencies) => self.coordinate(|coordinator, now| {
                ((), coordinator.set_dependencies(dependencies, now))
            }),
            Err(cycle) => tracing::error!("the dependencies are a circle: {cycle}"),
        }
    }
}
