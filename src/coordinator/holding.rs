//! How operations are held by others than the service: leases, connections, tokens.

use std::time::Duration;

use super::{Change, Coordinator, Entry, Moment};
use crate::model::{Code, Hold, OperationState, Problem, Target};

impl Coordinator {
    /// Checks that something is held, and has a target in it.
    ///
    /// # Errors
    /// [`Code::LeaseLost`] when it is not, [`Code::OperationConflict`] when the target is another one.
    pub fn check(&self, hold: Hold, target: Option<&Target>) -> Result<(), Problem> {
        let Hold { operation, token } = hold;
        let entry = self.entries.get(&operation);
        let entry = entry.filter(|entry| entry.clock.is_some());
        let held = entry.filter(|entry| entry.operation.token == Some(token));
        let held = held.ok_or_else(|| lost(operation))?;
        let inside =
            held.operation.target.as_ref().zip(target).is_none_or(|(has, of)| has.covers(of));
        if inside {
            return Ok(());
        }
        let name = held.operation.name();
        let target = target.map(Target::to_string).unwrap_or_default();
        Err(Problem::new(
            Code::OperationConflict,
            format!("operation {operation}, {name}, does not hold {target}"),
        )
        .hint("ask for an operation on that, or do without `TASKSPACE_LOCK`"))
    }

    /// Returns the operation if it is held by whoever has this token; none is needed while it waits.
    fn held(&mut self, id: u64, token: Option<u64>) -> Result<&mut Entry, Problem> {
        let entry = self.entries.get_mut(&id).filter(|entry| entry.clock.is_some());
        let entry = entry.ok_or_else(|| lost(id))?;
        match (entry.operation.state, token) {
            (OperationState::Queued, None) => Ok(entry),
            (_, token) if token.is_some() && token == entry.operation.token => Ok(entry),
            _ => Err(lost(id)),
        }
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// [`Code::LeaseLost`] when it is not held (any more).
    pub fn renew(
        &mut self,
        id: u64,
        token: Option<u64>,
        now: Moment,
    ) -> Result<Vec<Change>, Problem> {
        let Entry { operation, clock } = self.held(id, token)?;
        if let Some(clock) = clock {
            clock.renew(now);
            clock.show(operation, now);
        }
        Ok(vec![Change::Renewed(operation.clone())])
    }

    /// Notes that the holder is connected: the lease needs no renewal until it is not. Returns the
    /// number of the connection.
    ///
    /// # Errors
    /// [`Code::LeaseLost`] when it is not held (any more).
    pub fn connect(
        &mut self,
        id: u64,
        token: Option<u64>,
        now: Moment,
    ) -> Result<(u64, Vec<Change>), Problem> {
        let Entry { operation, clock } = self.held(id, token)?;
        let Some(clock) = clock else { return Err(lost(id)) };
        let connection = clock.connect();
        clock.show(operation, now);
        Ok((connection, vec![Change::Renewed(operation.clone())]))
    }

    /// Notes that a connection is gone: from now on the lease counts. A later connection stays.
    pub fn disconnect(&mut self, id: u64, connection: u64, now: Moment) -> Vec<Change> {
        let entry = self.entries.get_mut(&id);
        let Some(Entry { operation, clock: Some(clock) }) = entry else { return Vec::new() };
        if !clock.disconnect(connection, now) {
            return Vec::new();
        }
        clock.show(operation, now);
        vec![Change::Renewed(operation.clone())]
    }

    /// Notes that the holder went away for good, unless it is connected anew.
    pub fn leave(&mut self, id: u64, connection: u64, now: Moment) -> Vec<Change> {
        let entry = self.entries.get(&id);
        let is_it = entry
            .and_then(|entry| entry.clock.as_ref())
            .is_some_and(|clock| clock.is_connected_as(connection));
        if !is_it {
            return Vec::new();
        }
        self.abandon(id, "its holder went away", now)
    }

    /// Ends what its holder holds, as the holder says.
    ///
    /// # Errors
    /// [`Code::LeaseLost`] when it is not held (any more).
    pub fn complete(
        &mut self,
        id: u64,
        token: Option<u64>,
        result: Result<(), Problem>,
        now: Moment,
    ) -> Result<Vec<Change>, Problem> {
        let entry = self.held(id, token)?;
        let state = match (entry.operation.state, &result) {
            (OperationState::Queued, _) => OperationState::Cancelled,
            (_, Ok(())) => OperationState::Done,
            (_, Err(_)) => OperationState::Failed,
        };
        Ok(self.end(id, state, result.err(), now))
    }

    /// Ends what was not renewed in time, and what takes too long.
    pub fn expire(&mut self, now: Moment) -> Vec<Change> {
        let due: Vec<(u64, Option<u64>)> = (self.entries.iter())
            .filter_map(|(id, entry)| {
                let clock = entry.clock.as_ref()?;
                let is_due = clock.deadline().is_some_and(|deadline| deadline <= now.ticks);
                let seconds = entry.operation.timeout_seconds.unwrap_or_default();
                is_due.then(|| (*id, clock.is_overdue(now).then_some(seconds)))
            })
            .collect();
        let mut changes = Vec::new();
        for (id, late) in due {
            changes.extend(match late {
                Some(seconds) => {
                    let detail = format!("it took longer than {seconds} seconds");
                    let problem = Problem::new(Code::OperationTimeout, detail)
                        .hint("ask for more time with `--timeout`");
                    self.end(id, OperationState::TimedOut, Some(problem), now)
                }
                None => self.abandon(id, "its holder did not renew it in time", now),
            });
        }
        changes
    }

    /// Returns when [`Self::expire`] has something to do, if nothing happens before.
    pub fn deadline(&self) -> Option<Duration> {
        self.entries.values().filter_map(|entry| entry.clock.as_ref()?.deadline()).min()
    }

    fn abandon(&mut self, id: u64, detail: &str, now: Moment) -> Vec<Change> {
        let waited =
            self.entries.get(&id).is_some_and(|it| it.operation.state == OperationState::Queued);
        let state = if waited { OperationState::Cancelled } else { OperationState::Failed };
        self.end(id, state, Some(Problem::new(Code::LeaseLost, detail)), now)
    }
}

fn lost(id: u64) -> Problem {
    Problem::new(Code::LeaseLost, format!("operation {id} is not held with this token (any more)"))
        .hint(format!("what holds it no longer must not go on; `taskspace operations show {id}`"))
}
