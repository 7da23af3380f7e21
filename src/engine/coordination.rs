//! Has operations coordinated: tells what becomes of them, hands the service's own to the drivers, ends
//! in time what nobody holds any more, and keeps in the registry what outlives the service.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{Timestamp, Zoned};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::driver::Job;
use super::{Engine, Inner, problems};
use crate::coordinator::{Change, Coordinator, Dependencies, Holder, Moment};
use crate::model::{
    AgentName, Asker, Code, ContainerName, CoordinationRecord, CoordinationView, EventBody, Hold,
    KeptJob, KeptOperation, LockView, MAX_DESCRIPTION, Operation, OperationKind, OperationRequest,
    OperationUpdate, Outcome, Problem, Registration, Target, TaskspaceId,
};
use crate::policy::coordination::Coordination as Rules;

/// How many tokens are set aside in the registry at a time, so that a later run of the service gives
/// greater ones.
const BLOCK: u64 = 1_000;

/// The longest time that an operation may be given.
const LONGEST: u64 = 24 * 60 * 60;

/// The longest time that a holder may be silent.
const LONGEST_LEASE: u64 = 60 * 60;

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

    /// Returns what the registry is to keep.
    fn record(&self) -> (Vec<KeptOperation>, u64, crate::model::Totals) {
        let state = self.lock();
        let keep = |(operation, period): (&Operation, Option<Duration>)| {
            let job = state.jobs.get(&operation.id).and_then(Job::kept);
            let lease_seconds = period.unwrap_or_default().as_secs();
            let outlives = period.is_some() || job.is_some();
            let operation = operation.clone();
            outlives.then_some(KeptOperation { operation, job, lease_seconds })
        };
        let operations = state.coordinator.all().filter_map(keep).collect();
        let (tokens, today) = state.coordinator.remembered();
        (operations, tokens, today.clone())
    }

    /// Waits until the registry has the latest change.
    async fn is_kept(&self) -> Result<(), Problem> {
        let wanted = *self.changed.borrow();
        let mut kept = self.kept.subscribe();
        // The sender lives as long as this.
        match kept.wait_for(|(version, _)| *version >= wanted).await {
            Ok(kept) => kept.1.clone().map_or(Ok(()), Err),
            Err(_) => Ok(()),
        }
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
        let is_changed = !changes.is_empty();
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
            (crate::model::OperationState::Rejected, Some(problem)) => Err(problem.clone()),
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

    /// Enters what an earlier run of the service kept.
    pub(super) fn restore(self: &Arc<Self>, record: &CoordinationRecord) {
        for kept in &record.operations {
            self.operations.put(kept.operation.clone());
            if let Some(job) = kept.job {
                self.coordination.lock().jobs.insert(kept.operation.id, job.into());
            }
        }
        self.coordinate(|coordinator, now| ((), coordinator.restore(&record.operations, now)));
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

    /// Writes into the registry what outlives the service, as often as it changes.
    pub(super) async fn keep_operations(self: Arc<Self>) {
        let mut changed = self.coordination.changed.subscribe();
        // Something may have changed before this began.
        changed.mark_changed();
        let mut kept: Option<(Vec<KeptOperation>, u64)> = None;
        // The sender lives as long as the engine.
        while changed.changed().await.is_ok() {
            let version = *changed.borrow_and_update();
            let (operations, tokens, today) = self.coordination.record();
            let is_kept = kept.as_ref().is_some_and(|(last, set_aside)| {
                *last == operations && tokens + BLOCK / 2 < *set_aside
            });
            let ends = self.closing.is_cancelled();
            let mut problem = None;
            if !is_kept || ends {
                let set_aside = tokens + BLOCK;
                let written = operations.clone();
                let write = self.registry.update(move |document| {
                    document.coordination.operations = written;
                    document.coordination.tokens = set_aside;
                    document.coordination.today = today;
                    Ok::<_, Infallible>(())
                });
                match write.await {
                    Ok(_) => kept = Some((operations, set_aside)),
                    Err(error) => {
                        tracing::warn!(
                            "the operations that outlive the service are not kept: {error}"
                        );
                        kept = None;
                        problem = Some(problems::registry(error));
                    }
                }
            }
            self.coordination.kept.send_replace((version, problem));
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

    /// Has the registry take what outlives the service, and the totals.
    pub(super) async fn keep_all(&self) -> Result<(), Problem> {
        self.coordination.changed.send_modify(|version| *version += 1);
        self.coordination.is_kept().await
    }
}

impl Engine {
    /// Asks for an operation in the name of an agent; it is held as long as the returned value lives,
    /// and then for as long as its lease says.
    ///
    /// # Errors
    /// When the request is wrong, there is no such target, or the operation is refused.
    pub async fn request_operation(
        &self,
        request: OperationRequest,
        lock: Option<Hold>,
    ) -> Result<(Operation, Held), Problem> {
        let inner = &self.inner;
        let rules = &inner.coordination.rules;
        check(&request)?;
        self.check_target(&request.target).await?;
        let number = inner.operations.next_number();
        let mut operation = Operation::new(number, request.kind.into(), Timestamp::now());
        operation.taskspace = request.target.taskspace().cloned();
        operation.target = Some(request.target);
        operation.agent = request.agent;
        operation.priority = request.priority;
        operation.description = request.description;
        operation.estimated_seconds = request.estimated_seconds;
        let timeout = request.timeout_seconds.unwrap_or(rules.limits.timeout.as_secs());
        operation.timeout_seconds = Some(timeout);
        let lease = request.lease_seconds.map_or(rules.limits.lease, Duration::from_secs);
        let connection = inner.coordinate(|coordinator, now| {
            let changes = coordinator.request(operation, Holder::Lease(lease), lock, now);
            let token = coordinator.current(number).and_then(|operation| operation.token);
            (coordinator.connect(number, token, now).unwrap_or_default(), changes)
        });
        let held = Held { engine: self.clone(), number, connection, stays: false };
        inner.accepted(number)?;
        // Who is told that it holds something must hold it after a crash, too.
        if let Err(problem) = inner.coordination.is_kept().await {
            inner.coordinate(|coordinator, now| {
                ((), coordinator.finish(number, Err(problem.clone()), now))
            });
            return Err(problem);
        }
        Ok((self.operation(number)?, held))
    }

    async fn check_target(&self, target: &Target) -> Result<(), Problem> {
        match target {
            Target::Taskspace(id) | Target::Member(id, _) => self.inner.record(id).await.map(drop),
            Target::Container(name) => {
                // One may be known by its labels only.
                self.inner.know_containers().await;
                if self.inner.containers.knows(name) {
                    return Ok(());
                }
                let problem = Problem::new(
                    Code::NotFound,
                    format!("there is no container '{name}' registered"),
                );
                let id = name.as_str().parse::<TaskspaceId>();
                let is_taskspace = match id {
                    Ok(id) => self.inner.record(&id).await.is_ok(),
                    Err(_) => false,
                };
                Err(problem.hint(if is_taskspace {
                    format!("the taskspace is 'taskspace:{name}'")
                } else {
                    "`taskspace containers` lists them, `taskspace containers register` adds one"
                        .to_owned()
                }))
            }
        }
    }

    /// Waits until an operation has begun, or is over.
    ///
    /// # Errors
    /// When it is not known (any more).
    pub async fn wait_begun(&self, number: u64) -> Result<Operation, Problem> {
        self.inner.operations.wait_begun(number).await
    }

    /// Renews or ends what an agent holds.
    ///
    /// # Errors
    /// [`Code::LeaseLost`] when it does not hold it (any more).
    pub async fn update_operation(
        &self,
        number: u64,
        update: OperationUpdate,
    ) -> Result<Operation, Problem> {
        self.check_number(number)?;
        let OperationUpdate { token, outcome, reason } = update;
        check_text(reason.as_deref(), "reason")?;
        let result = match outcome {
            None => {
                let renewed = self.inner.coordinate(|coordinator, now| {
                    (coordinator.renew(number, token, now), Vec::new())
                })?;
                self.inner.operations.put(renewed.clone());
                return Ok(renewed);
            }
            Some(Outcome::Done) => Ok(()),
            Some(Outcome::Failed) => {
                let reason = reason.unwrap_or_else(|| "its holder says so".to_owned());
                Err(Problem::new(Code::OperationFailed, reason))
            }
        };
        self.inner.coordinate(|coordinator, now| {
            match coordinator.complete(number, token, result, now) {
                Ok(changes) => (Ok(()), changes),
                Err(problem) => (Err(problem), Vec::new()),
            }
        })?;
        self.settled(number).await
    }

    /// Cancels an operation that waits, or that an agent holds.
    ///
    /// # Errors
    /// When it is over, or one of the service's own that has begun.
    pub async fn cancel_operation(&self, number: u64) -> Result<Operation, Problem> {
        self.operation(number)?;
        self.inner.coordinate(|coordinator, now| match coordinator.cancel(number, now) {
            Ok(changes) => (Ok(()), changes),
            Err(problem) => (Err(problem), Vec::new()),
        })?;
        self.settled(number).await
    }

    /// One that is long over is not known any more: who thinks that it is held is told that it is not.
    fn check_number(&self, number: u64) -> Result<(), Problem> {
        if self.inner.operations.was_given(number) {
            return Ok(());
        }
        self.operation(number).map(drop)
    }

    /// Waits until the registry no longer has what is over, and returns it.
    async fn settled(&self, number: u64) -> Result<Operation, Problem> {
        if let Err(problem) = self.inner.coordination.is_kept().await {
            tracing::warn!("operation {number} would be taken up after a crash: {problem}");
        }
        self.operation(number)
    }

    /// Holds an operation by another connection, after the one that asked for it is gone.
    ///
    /// # Errors
    /// [`Code::LeaseLost`] when it is not held (any more) with this token.
    pub fn hold_again(&self, number: u64, token: Option<u64>) -> Result<Held, Problem> {
        self.operation(number)?;
        let connection = self
            .inner
            .coordinate(|coordinator, now| (coordinator.connect(number, token, now), Vec::new()))?;
        Ok(Held { engine: self.clone(), number, connection, stays: false })
    }

    /// Returns what is held.
    pub fn locks(&self) -> Vec<LockView> {
        self.inner.coordination.lock().coordinator.locks()
    }

    /// Tells how the coordination goes.
    pub(super) fn coordination(&self) -> CoordinationView {
        let now = self.inner.coordination.now();
        let mut view = self.inner.coordination.lock().coordinator.view(now);
        view.containers = self.inner.containers.count();
        view
    }
}

/// The connection of whoever holds an operation. When it is dropped, the holder has gone away, and
/// the operation is over; unless the service ends, or the holder is to renew its lease from now on.
#[must_use = "the operation is over when it is dropped"]
pub struct Held {
    engine: Engine,
    number: u64,
    connection: u64,
    stays: bool,
}

impl Held {
    /// Returns the engine that coordinates it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the operation's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// From now on the lease counts.
    pub fn release(mut self) {
        self.stays = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Self { number, connection, .. } = *self;
        let inner = &self.engine.inner;
        let stays = self.stays || inner.closing.is_cancelled();
        inner.coordinate(|coordinator, now| {
            if stays {
                coordinator.disconnect(number, connection, now);
                ((), Vec::new())
            } else {
                ((), coordinator.leave(number, connection, now))
            }
        });
        inner.coordination.sooner.notify_one();
        if let Some(operation) = inner.coordination.current(number) {
            inner.operations.put(operation);
        }
    }
}

fn check(request: &OperationRequest) -> Result<(), Problem> {
    check_text(request.description.as_deref(), "description")?;
    let times = [
        ("timeout_seconds", request.timeout_seconds, LONGEST),
        ("estimated_seconds", request.estimated_seconds, LONGEST),
        ("lease_seconds", request.lease_seconds, LONGEST_LEASE),
    ];
    for (name, given, longest) in times {
        if given.is_some_and(|given| !(1..=longest).contains(&given)) {
            let detail = format!("{name} must be between 1 and {longest}");
            return Err(Problem::new(Code::MessageFormatInvalid, detail));
        }
    }
    Ok(())
}

fn check_text(text: Option<&str>, name: &str) -> Result<(), Problem> {
    if text.is_some_and(|text| text.len() > MAX_DESCRIPTION) {
        let detail = format!("the {name} is longer than {MAX_DESCRIPTION} bytes");
        return Err(Problem::new(Code::MessageFormatInvalid, detail));
    }
    Ok(())
}

impl Job {
    /// Returns what the registry keeps of it; nothing of what never waits.
    fn kept(&self) -> Option<KeptJob> {
        Some(match self {
            Self::Start => KeptJob::Start,
            Self::Stop => KeptJob::Stop,
            Self::Restart => KeptJob::Restart,
            Self::Delete { purge } => KeptJob::Delete { purge: *purge },
            Self::Create(_) | Self::Resume | Self::TakeBack => return None,
        })
    }
}

impl From<KeptJob> for Job {
    fn from(job: KeptJob) -> Self {
        match job {
            KeptJob::Start => Self::Start,
            KeptJob::Stop => Self::Stop,
            KeptJob::Restart => Self::Restart,
            KeptJob::Delete { purge } => Self::Delete { purge },
        }
    }
}
