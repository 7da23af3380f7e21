//! The operations: those under way, and the latest of those that are over.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::events::EventBus;
use crate::model::{
    Code, EventBody, Operation, OperationKind, OperationState, Problem, TaskspaceId,
};
use crate::registry::{Registry, RegistryError};

/// How many operations that are over can still be asked for.
const KEPT: usize = 1_000;

/// How many of them are left to the next run of the service, and how old they may be: a client that
/// waits asks again at once.
const LEFT: usize = 100;
const ASKED_FOR: Duration = Duration::from_secs(5 * 60);

/// How many numbers are set aside in the registry at a time, so that a later run of the service does
/// not give them to other operations.
const BLOCK: u64 = 100;

/// The table of operations.
#[derive(Debug)]
pub(crate) struct Operations {
    bus: Arc<EventBus>,
    registry: Registry,
    table: Mutex<BTreeMap<u64, watch::Sender<Operation>>>,
    numbers: Arc<Mutex<Numbers>>,
    /// Those that are over, in the order in which they ended.
    over: Mutex<VecDeque<u64>>,
    active: watch::Sender<Active>,
}

/// The numbers of operations.
#[derive(Debug)]
struct Numbers {
    last: u64,
    set_aside: u64,
    /// More are being set aside.
    is_asked: bool,
}

impl Operations {
    /// Makes an empty table and sets numbers aside.
    pub(crate) async fn new(bus: Arc<EventBus>, registry: Registry) -> Result<Self, RegistryError> {
        let taken_over = registry.update(|document| {
            document.operations += BLOCK;
            Ok::<_, Infallible>((document.operations, std::mem::take(&mut document.outcomes)))
        });
        let (numbers, outcomes) = match taken_over.await {
            Ok(Ok((set_aside, outcomes))) => {
                (Numbers { last: set_aside - BLOCK, set_aside, is_asked: false }, outcomes)
            }
            Err(error) => {
                // What only reads works on a full disk too; the first operation tries again.
                tracing::warn!("cannot set numbers of operations aside: {error}");
                let document = registry.read().await?;
                let last = document.operations;
                (Numbers { last, set_aside: last, is_asked: false }, document.outcomes.clone())
            }
        };
        let numbers = Arc::new(Mutex::new(numbers));
        let over = Mutex::new(outcomes.iter().map(|over| over.id).collect());
        let active = watch::Sender::default();
        let table = outcomes.into_iter().map(|over| (over.id, watch::Sender::new(over))).collect();
        Ok(Self { bus, registry, table: Mutex::new(table), numbers, over, active })
    }

    /// Leaves to the next run of the service what became of the latest operations.
    pub(crate) async fn leave_outcomes(&self) -> Result<(), RegistryError> {
        let now = Timestamp::now();
        let mut outcomes = self.all();
        outcomes.retain(|operation| {
            operation.finished.is_some_and(|at| now.duration_since(at).unsigned_abs() < ASKED_FOR)
        });
        let old = outcomes.len().saturating_sub(LEFT);
        outcomes.drain(..old);
        let left = self.registry.update(move |document| {
            document.outcomes = outcomes;
            Ok::<_, Infallible>(())
        });
        left.await.map(drop)
    }

    /// Returns a number for a new operation.
    pub(crate) fn next_number(&self) -> u64 {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.last += 1;
        if numbers.last + BLOCK / 2 > numbers.set_aside && !numbers.is_asked {
            numbers.is_asked = true;
            tokio::spawn(set_aside(self.registry.clone(), self.numbers.clone()));
        }
        numbers.last
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, watch::Sender<Operation>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a number has been given to an operation, which need not be known any more.
    pub(crate) fn was_given(&self, number: u64) -> bool {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        (1..=numbers.last).contains(&number)
    }

    /// Returns the number that an operation of an earlier run of the service had, or another one if
    /// that was none or is taken.
    pub(crate) fn free_number(&self, number: u64) -> u64 {
        let is_free = number != 0 && !self.lock().contains_key(&number);
        if is_free { number } else { self.next_number() }
    }

    /// Enters an operation, or what became of it; what is over stays so.
    pub(crate) fn put(&self, operation: Operation) {
        let (id, after) = (operation.id, weight(&operation));
        let mut table = self.lock();
        let before = match table.get(&id) {
            Some(sender) if sender.borrow().state.is_over() => return,
            Some(sender) => weight(&sender.send_replace(operation)),
            None => {
                table.insert(id, watch::channel(operation).0);
                (0, 0)
            }
        };
        if before != after {
            self.active.send_modify(|active| {
                active.all = active.all + after.0 - before.0;
                active.working = active.working + after.1 - before.1;
            });
        }
        if after.0 == 0 {
            let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            over.push_back(id);
            if over.len() > KEPT {
                over.pop_front().and_then(|oldest| table.remove(&oldest));
            }
        }
    }

    /// Begins an operation that acts on no container.
    pub(crate) fn enter(&self, kind: OperationKind, taskspace: Option<TaskspaceId>) -> Operation {
        let mut operation = Operation::new(self.next_number(), kind, Timestamp::now());
        operation.taskspace.clone_from(&taskspace);
        operation.state = OperationState::Running;
        operation.started = Some(operation.created);
        self.bus.publish(Some(operation.id), taskspace, requested(&operation));
        self.put(operation.clone());
        operation
    }

    /// Notes that an operation is over that acts on no container.
    pub(crate) fn finish(&self, id: u64, result: Result<(), Problem>) {
        let Ok(mut operation) = self.get(id) else { return };
        let state = if result.is_ok() { OperationState::Done } else { OperationState::Failed };
        let problem = result.err();
        // The event comes before the state: who sees the state has got every event.
        let body = EventBody::OperationFinished { state, problem: problem.clone() };
        self.bus.publish(Some(id), operation.taskspace.clone(), body);
        operation.state = state;
        operation.finished = Some(Timestamp::now());
        operation.step = None;
        operation.problem = problem;
        self.put(operation);
    }

    /// Notes what is being done.
    pub(crate) fn step(&self, id: u64, step: &str) {
        if let Some(sender) = self.lock().get(&id) {
            sender.send_modify(|operation| operation.step = Some(step.to_owned()));
        }
    }

    /// Returns all operations that are known, the oldest first.
    pub(crate) fn all(&self) -> Vec<Operation> {
        self.lock().values().map(|sender| sender.borrow().clone()).collect()
    }

    /// Returns one operation.
    pub(crate) fn get(&self, id: u64) -> Result<Operation, Problem> {
        Ok(self.watch(id)?.borrow().clone())
    }

    /// Waits until an operation is over.
    pub(crate) async fn wait(&self, id: u64) -> Result<Operation, Problem> {
        self.wait_for(id, OperationState::is_over).await
    }

    /// Waits until an operation has begun, or is over.
    pub(crate) async fn wait_begun(&self, id: u64) -> Result<Operation, Problem> {
        self.wait_for(id, |state| state != OperationState::Queued).await
    }

    async fn wait_for(
        &self,
        id: u64,
        is_reached: impl Fn(OperationState) -> bool,
    ) -> Result<Operation, Problem> {
        let mut watch = self.watch(id)?;
        let reached = watch.wait_for(|operation| is_reached(operation.state)).await;
        reached.map(|operation| operation.clone()).map_err(|_| unknown(id))
    }

    fn watch(&self, id: u64) -> Result<watch::Receiver<Operation>, Problem> {
        self.lock().get(&id).map(watch::Sender::subscribe).ok_or_else(|| unknown(id))
    }

    /// Watches how many operations are under way or wait.
    pub(crate) fn active(&self) -> watch::Receiver<Active> {
        self.active.subscribe()
    }
}

/// Sets numbers aside until there are enough, or the registry cannot be written.
async fn set_aside(registry: Registry, numbers: Arc<Mutex<Numbers>>) {
    let lock = || numbers.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let wanted = {
            let mut numbers = lock();
            if numbers.last + BLOCK / 2 <= numbers.set_aside {
                numbers.is_asked = false;
                return;
            }
            numbers.set_aside.max(numbers.last) + BLOCK
        };
        let set_aside = registry.update(move |document| {
            document.operations = document.operations.max(wanted);
            Ok::<_, Infallible>(())
        });
        match set_aside.await {
            Ok(_) => lock().set_aside = wanted,
            Err(error) => {
                tracing::warn!("cannot set numbers of operations aside: {error}");
                lock().is_asked = false;
                return;
            }
        }
    }
}

/// How many operations are not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Active {
    /// All of them.
    pub all: usize,
    /// Those of the service itself that have begun.
    pub working: usize,
}

/// Returns what an operation counts for in [`Active`].
fn weight(operation: &Operation) -> (usize, usize) {
    let is_under_way = !operation.state.is_over();
    let works = operation.state == OperationState::Running && operation.timeout_seconds.is_none();
    (is_under_way.into(), works.into())
}

/// Returns the event of an operation that is asked for.
pub(crate) fn requested(operation: &Operation) -> EventBody {
    EventBody::OperationRequested {
        kind: operation.kind,
        target: operation.target.clone(),
        agent: operation.agent.clone(),
        priority: operation.priority,
        under: operation.under,
    }
}

fn unknown(id: u64) -> Problem {
    Problem::new(Code::NotFound, format!("there is no operation {id} (any more)"))
        .hint("operations that are over are known while the service runs; `taskspace list` shows what came of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn operations(directory: &tempfile::TempDir) -> Operations {
        let registry = Registry::open(directory.path().join("registry.json")).unwrap();
        Operations::new(Arc::new(EventBus::new()), registry).await.unwrap()
    }

    #[tokio::test]
    async fn a_number_is_given_once_across_runs_of_the_service() {
        let directory = tempfile::tempdir().unwrap();
        let first = operations(&directory).await;
        let begun = first.enter(OperationKind::Stop, None).id;
        for _ in 0..3 * BLOCK {
            first.enter(OperationKind::Stop, None);
        }
        let last = first.enter(OperationKind::Stop, None).id;
        // The numbers were set aside aside from the entering.
        while first.registry.read().await.unwrap().operations < last {
            tokio::task::yield_now().await;
        }
        let second = operations(&directory).await;
        assert!(second.enter(OperationKind::Stop, None).id > last);
        assert_eq!(second.free_number(begun), begun);
        second.put(Operation::new(begun, OperationKind::Stop, Timestamp::now()));
        let other = second.free_number(begun);
        assert!(other != begun && other > last);
    }

    #[tokio::test]
    async fn the_next_run_knows_what_became_of_the_latest() {
        let directory = tempfile::tempdir().unwrap();
        let first = operations(&directory).await;
        let [done, failed, begun] = [0; 3].map(|_| first.enter(OperationKind::Stop, None).id);
        first.finish(done, Ok(()));
        first.finish(failed, Err(Problem::new(Code::Internal, "no")));
        first.leave_outcomes().await.unwrap();
        let second = operations(&directory).await;
        assert_eq!(second.wait(done).await.unwrap().state, OperationState::Done);
        assert_eq!(second.wait(failed).await.unwrap().problem.unwrap().detail, "no");
        assert!(second.get(begun).is_err());
        assert_eq!(second.active().borrow().all, 0);
        // They are told once more, and no longer kept.
        assert!(second.registry.read().await.unwrap().outcomes.is_empty());
    }

    #[tokio::test]
    async fn who_waits_sees_the_end_and_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let operations = operations(&directory).await;
        let id = operations.enter(OperationKind::Stop, None).id;
        assert_eq!(*operations.active().borrow(), Active { all: 1, working: 1 });
        let problem = Problem::new(Code::Internal, "no");
        let (operation, ()) = tokio::join!(operations.wait(id), async {
            operations.finish(id, Err(problem.clone()));
        });
        assert_eq!(operation.unwrap().problem, Some(problem));
        assert_eq!(*operations.active().borrow(), Active::default());
        assert!(operations.get(99_999).is_err());
    }

    #[tokio::test]
    async fn operations_that_are_over_are_forgotten_in_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let operations = operations(&directory).await;
        let lasting = operations.enter(OperationKind::Create, None).id;
        for _ in 0..KEPT + 10 {
            let id = operations.enter(OperationKind::Stop, None).id;
            operations.finish(id, Ok(()));
        }
        assert_eq!(operations.all().len(), KEPT + 1);
        assert!(operations.get(lasting).is_ok());
        // The latest to end is the latest to be forgotten, however old it is.
        operations.finish(lasting, Ok(()));
        let id = operations.enter(OperationKind::Stop, None).id;
        operations.finish(id, Ok(()));
        assert_eq!(operations.all().len(), KEPT);
        assert!(operations.get(lasting).is_ok());
    }

    #[tokio::test]
    async fn what_is_over_stays_so() {
        let directory = tempfile::tempdir().unwrap();
        let operations = operations(&directory).await;
        let begun = operations.enter(OperationKind::Stop, None);
        operations.finish(begun.id, Ok(()));
        operations.put(begun.clone());
        assert_eq!(operations.get(begun.id).unwrap().state, OperationState::Done);
        assert_eq!(*operations.active().borrow(), Active::default());
    }
}
