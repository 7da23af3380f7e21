//! How operations end, and who is let in then.

use super::{Admitted, Change, Coordinator, Entry, Moment};
use crate::model::{Code, OperationState, Problem, Target};

impl Coordinator {
    /// Notes how one of the service's own ended.
    pub fn finish(&mut self, id: u64, result: Result<(), Problem>, now: Moment) -> Vec<Change> {
        let state = if result.is_ok() { OperationState::Done } else { OperationState::Failed };
        self.end(id, state, result.err(), now)
    }

    /// Ends an operation because somebody wants it to.
    ///
    /// # Errors
    /// When it is not under way, or is one of the service's own that has begun.
    pub fn cancel(&mut self, id: u64, now: Moment) -> Result<Vec<Change>, Problem> {
        let Some(entry) = self.entries.get(&id) else {
            return Err(Problem::new(Code::StateConflict, format!("operation {id} is over")));
        };
        if entry.clock.is_none() && entry.operation.state == OperationState::Running {
            let detail = format!(
                "operation {id}, {}, is taskspace's own and has begun, so it cannot be cancelled",
                entry.operation.name()
            );
            return Err(Problem::new(Code::StateConflict, detail)
                .hint("wait for its end: `taskspace operations --watch`"));
        }
        let problem =
            Problem::new(Code::OperationCancelled, format!("operation {id} was cancelled"));
        Ok(self.end(id, OperationState::Cancelled, Some(problem), now))
    }

    /// Ends everything on a target that is gone, but for the operation that removed it and those under
    /// which that was done: they end by themselves.
    pub fn forget(&mut self, target: &Target, by: u64, now: Moment) -> Vec<Change> {
        let under = |id: &u64| self.entries.get(id)?.operation.under;
        let spared: Vec<u64> = std::iter::successors(Some(by), under).collect();
        let inside = |entry: &&Entry| {
            let operation = &entry.operation;
            !spared.contains(&operation.id)
                && operation.target.as_ref().is_some_and(|it| target.covers(it))
        };
        let gone = self.entries.values().filter(inside).map(|entry| entry.operation.id);
        let gone: Vec<u64> = gone.collect();
        let problem = Problem::new(Code::TaskspaceNotFound, format!("{target} is gone"));
        let end = |id| (id, OperationState::Cancelled, Some(problem.clone()));
        self.end_all(gone.into_iter().map(end), now)
    }

    /// Ends an operation, and what others than the service do under it.
    pub(super) fn end(
        &mut self,
        id: u64,
        state: OperationState,
        problem: Option<Problem>,
        now: Moment,
    ) -> Vec<Change> {
        if !self.entries.contains_key(&id) {
            return Vec::new();
        }
        let mut inner = Vec::new();
        let mut outer = vec![id];
        while let Some(above) = outer.pop() {
            let below = self
                .entries
                .values()
                .filter(|entry| entry.operation.under == Some(above) && entry.clock.is_some());
            let below: Vec<u64> = below.map(|entry| entry.operation.id).collect();
            outer.extend(&below);
            inner.extend(below);
        }
        let over = Problem::new(
            Code::LeaseLost,
            format!("operation {id}, under which it was done, is over"),
        );
        let below = inner.into_iter().rev();
        let ends = below.map(|below| (below, OperationState::Cancelled, Some(over.clone())));
        self.end_all(ends.chain([(id, state, problem)]), now)
    }

    /// Ends some operations; nothing is let in before all of them are over.
    fn end_all(
        &mut self,
        ends: impl IntoIterator<Item = (u64, OperationState, Option<Problem>)>,
        now: Moment,
    ) -> Vec<Change> {
        self.today.begin(now.day);
        let (mut changes, mut admitted) = (Vec::new(), Vec::new());
        for (id, state, problem) in ends {
            let Some(Entry { mut operation, .. }) = self.entries.remove(&id) else { continue };
            self.today.count(state);
            let waited = operation.state == OperationState::Queued;
            operation.state = state;
            operation.finished = Some(now.time);
            operation.step = None;
            operation.problem = problem;
            operation.lease = None;
            changes.push(Change::Ended { operation, waited });
            admitted.extend(self.admission.end(id));
        }
        changes.extend(self.let_in_rest(admitted, now));
        changes
    }

    /// Lets in those that are still there.
    pub(super) fn let_in_rest(&mut self, mut admitted: Vec<Admitted>, now: Moment) -> Vec<Change> {
        if self.frozen {
            return Vec::new();
        }
        admitted.retain(|one| self.entries.contains_key(&one.id));
        self.let_in(admitted, now)
    }
}
