//! The operations: those under way, and the latest of those that are over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::events::EventBus;
use crate::model::{
    Code, EventBody, Operation, OperationKind, OperationState, Problem, TaskspaceId,
};

/// How many operations that are over can still be asked for.
const KEPT: usize = 1_000;

/// The table of operations.
#[derive(Debug)]
pub(crate) struct Operations {
    bus: Arc<EventBus>,
    table: Mutex<BTreeMap<u64, watch::Sender<Operation>>>,
    active: watch::Sender<usize>,
}

impl Operations {
    pub(crate) fn new(bus: Arc<EventBus>) -> Self {
        Self { bus, table: Mutex::default(), active: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, watch::Sender<Operation>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a new operation.
    pub(crate) fn enter(&self, kind: OperationKind, taskspace: Option<TaskspaceId>) -> Operation {
        let mut table = self.lock();
        let id = table.last_key_value().map_or(1, |(last, _)| last + 1);
        let operation = Operation {
            id,
            kind,
            taskspace: taskspace.clone(),
            state: OperationState::Queued,
            created: Timestamp::now(),
            finished: None,
            step: None,
            problem: None,
        };
        table.insert(id, watch::channel(operation.clone()).0);
        drop(table);
        self.active.send_modify(|active| *active += 1);
        self.bus.publish(Some(id), taskspace, EventBody::OperationStarted { kind });
        operation
    }

    /// Notes that an operation has begun.
    pub(crate) fn begin(&self, id: u64) {
        self.modify(id, |operation| operation.state = OperationState::Running);
    }

    /// Notes what is being done.
    pub(crate) fn step(&self, id: u64, step: &str) {
        self.modify(id, |operation| operation.step = Some(step.to_owned()));
    }

    /// Notes that an operation is over.
    pub(crate) fn finish(&self, id: u64, result: Result<(), Problem>) {
        let problem = result.err();
        let mut taskspace = None;
        // The event comes before the state: who sees the state has got every event.
        if let Some(sender) = self.lock().get(&id) {
            taskspace.clone_from(&sender.borrow().taskspace);
        }
        let body = EventBody::OperationFinished { problem: problem.clone() };
        self.bus.publish(Some(id), taskspace, body);
        self.modify(id, |operation| {
            operation.state =
                if problem.is_some() { OperationState::Failed } else { OperationState::Done };
            operation.finished = Some(Timestamp::now());
            operation.step = None;
            operation.problem = problem;
        });
        self.active.send_modify(|active| *active -= 1);
        let mut table = self.lock();
        if table.len() > KEPT {
            let oldest =
                table.iter().find(|(_, op)| op.borrow().state.is_over()).map(|(id, _)| *id);
            oldest.and_then(|id| table.remove(&id));
        }
    }

    fn modify(&self, id: u64, change: impl FnOnce(&mut Operation)) {
        if let Some(sender) = self.lock().get(&id) {
            sender.send_modify(change);
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
        let mut watch = self.watch(id)?;
        let over = watch.wait_for(|operation| operation.state.is_over()).await;
        over.map(|operation| operation.clone()).map_err(|_| unknown(id))
    }

    fn watch(&self, id: u64) -> Result<watch::Receiver<Operation>, Problem> {
        self.lock().get(&id).map(watch::Sender::subscribe).ok_or_else(|| unknown(id))
    }

    /// Watches how many operations are under way or wait.
    pub(crate) fn active(&self) -> watch::Receiver<usize> {
        self.active.subscribe()
    }
}

fn unknown(id: u64) -> Problem {
    Problem::new(Code::NotFound, format!("there is no operation {id} (any more)"))
        .hint("operations are known while the service runs; `taskspace list` shows the outcome")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_sees_the_end_and_the_reason() {
        let operations = Operations::new(Arc::new(EventBus::new()));
        let id = operations.enter(OperationKind::Stop, None).id;
        assert_eq!(*operations.active().borrow(), 1);
        let problem = Problem::new(Code::Internal, "no");
        let (operation, ()) = tokio::join!(operations.wait(id), async {
            operations.begin(id);
            operations.finish(id, Err(problem.clone()));
        });
        assert_eq!(operation.unwrap().problem, Some(problem));
        assert_eq!(*operations.active().borrow(), 0);
        assert!(operations.get(99).is_err());
    }

    #[test]
    fn operations_that_are_over_are_forgotten_in_the_end() {
        let operations = Operations::new(Arc::new(EventBus::new()));
        let lasting = operations.enter(OperationKind::Create, None).id;
        for _ in 0..KEPT + 10 {
            let id = operations.enter(OperationKind::Stop, None).id;
            operations.finish(id, Ok(()));
        }
        assert_eq!(operations.all().len(), KEPT);
        assert!(operations.get(lasting).is_ok());
    }
}
