//! Coordinates operations, so that no two agents break each other's work: who may begin, who waits, who
//! is refused, who holds what, and until when. Pure: no clock, no tokio, no locks; what time it is, it
//! is told.

pub mod admission;
pub mod dependencies;
mod lease;
mod places;
mod totals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::model::{
    Code, Conflict, CoordinationView, Hold, KeptOperation, LockView, Operation, OperationClass,
    OperationKind, OperationState, Problem, Target, Totals,
};
use crate::policy::coordination::Coordination;

use lease::Clock;

pub use admission::{Admission, Admitted, Answer, Ask, Meeting, Refusal, Waits};
pub use dependencies::{Cycle, Dependencies};

/// A moment: by a clock that only goes forward, by the world's clock and by the calendar.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time since any fixed moment.
    pub ticks: Duration,
    /// The world's time.
    pub time: Timestamp,
    /// The day where the host is.
    pub day: Date,
}

/// Who holds an operation, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The service itself: until it is done.
    Service,
    /// Somebody who renews the lease within this time.
    Lease(Duration),
}

/// What changed: the operation as it is now.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It was asked for.
    Requested(Operation),
    /// It has to wait.
    Queued(Operation),
    /// It may begin.
    Admitted(Operation),
    /// It is over, and was at this moment still waiting if `waited`.
    Ended {
        /// The operation.
        operation: Operation,
        /// Whether it never began.
        waited: bool,
    },
}

/// Everything that waits or runs.
#[derive(Debug)]
pub struct Coordinator {
    rules: Arc<Coordination>,
    admission: Admission,
    entries: BTreeMap<u64, Entry>,
    /// Tokens have been given up to this one.
    tokens: u64,
    today: Totals,
    /// Nothing is let in any more.
    frozen: bool,
}

/// One that waits or runs.
#[derive(Debug)]
struct Entry {
    operation: Operation,
    /// None for the service's own.
    clock: Option<Clock>,
}

impl Coordinator {
    /// Makes one without operations, which has given tokens up to `tokens`.
    pub fn new(rules: Arc<Coordination>, tokens: u64, today: Totals) -> Self {
        let admission = Admission::new(rules.clone());
        let entries = BTreeMap::new();
        Self { rules, admission, entries, tokens, today, frozen: false }
    }

    /// Asks for an operation, which must have a target.
    ///
    /// The last change tells what became of it: it waits, has begun, or is over.
    pub fn request(
        &mut self,
        mut operation: Operation,
        holder: Holder,
        under: Option<Hold>,
        now: Moment,
    ) -> Vec<Change> {
        self.today.begin(now.day);
        self.today.requested += 1;
        operation.under = under.map(|hold| hold.operation);
        let mut changes = vec![Change::Requested(operation.clone())];
        let refused = under.and_then(|hold| self.check(hold, operation.target.as_ref()).err());
        let answer = match refused {
            Some(problem) => Err(problem),
            None => match ask(&operation) {
                Some(ask) => self.admit(&operation, ask),
                None => Err(Problem::new(Code::Internal, "an operation without a target")),
            },
        };
        match answer {
            Ok(answer) => {
                let clock = match holder {
                    Holder::Service => None,
                    Holder::Lease(period) => Some(Clock::new(period, &operation, now)),
                };
                let id = operation.id;
                self.entries.insert(id, Entry { operation, clock });
                changes.extend(match answer {
                    Ok(beside) => self.begin(id, beside, now),
                    Err(waits) => self.queue(id, &waits),
                });
            }
            Err(problem) => {
                self.today.rejected += 1;
                operation.state = OperationState::Rejected;
                operation.finished = Some(now.time);
                operation.problem = Some(problem);
                changes.push(Change::Ended { operation, waited: true });
            }
        }
        changes
    }

    /// Enters one of the service's own that an earlier run had begun: whatever runs beside it, it has
    /// to be finished.
    pub fn take_up(&mut self, operation: Operation, now: Moment) -> Vec<Change> {
        self.today.begin(now.day);
        let mut changes = vec![Change::Requested(operation.clone())];
        if let Some(ask) = ask(&operation) {
            self.admission.resume(ask);
        }
        let id = operation.id;
        self.entries.insert(id, Entry { operation, clock: None });
        changes.extend(self.begin(id, Vec::new(), now));
        changes
    }

    /// Enters what an earlier run of the service kept, each with a whole lease of its own.
    pub fn restore(&mut self, kept: &[KeptOperation], now: Moment) -> Vec<Change> {
        self.today.begin(now.day);
        for KeptOperation { operation, job, lease_seconds } in kept {
            let Some(ask) = ask(operation) else { continue };
            match operation.state {
                OperationState::Running => self.admission.resume(ask),
                _ => self.admission.requeue(ask),
            }
            let period = Duration::from_secs(*lease_seconds);
            let clock = job.is_none().then(|| Clock::again(period, operation, now));
            let mut operation = operation.clone();
            clock.iter().for_each(|clock| clock.show(&mut operation, now));
            self.entries.insert(operation.id, Entry { operation, clock });
        }
        let admitted = self.admission.let_in();
        self.let_in(admitted, now)
    }

    fn admit(
        &mut self,
        operation: &Operation,
        ask: Ask,
    ) -> Result<Result<Vec<Meeting>, Waits>, Problem> {
        match self.admission.ask(ask) {
            Answer::Admitted { beside } => Ok(Ok(beside)),
            Answer::Queued(waits) => Ok(Err(waits)),
            Answer::Refused(Refusal::Conflict(meeting)) => {
                let (number, name) = (meeting.with, operation.name());
                let detail = match self.conflict(&meeting) {
                    Some(conflict) => format!("{name} is refused: in the way is {conflict}"),
                    None => format!("{name} is refused: in the way is operation {number}"),
                };
                Err(Problem::new(Code::OperationConflict, detail).hint(format!(
                    "wait for it, or cancel it: `taskspace operations cancel {number}`"
                )))
            }
            Answer::Refused(Refusal::QueueFull { limit }) => Err(Problem::new(
                Code::QueueFull,
                format!(
                    "{} would have to wait, and {limit} operations wait already",
                    operation.name()
                ),
            )
            .hint("try again later; `taskspace operations` shows them")),
        }
    }

    fn begin(&mut self, id: u64, beside: Vec<Meeting>, now: Moment) -> Option<Change> {
        let cautions = beside.iter().filter_map(|meeting| self.conflict(meeting)).collect();
        self.tokens += 1;
        let token = self.tokens;
        let entry = self.entries.get_mut(&id)?;
        let operation = &mut entry.operation;
        if !operation.behind.is_empty() || operation.full.is_some() {
            let waited = now.time.duration_since(operation.created);
            self.today.waited_seconds += waited.as_secs_f64().max(0.0);
        }
        operation.state = OperationState::Running;
        operation.started = Some(now.time);
        operation.behind.clear();
        operation.full = None;
        operation.cautions = cautions;
        operation.token = Some(token);
        if let Some(clock) = &mut entry.clock {
            clock.begin(now);
            clock.show(operation, now);
        }
        Some(Change::Admitted(operation.clone()))
    }

    fn queue(&mut self, id: u64, waits: &Waits) -> Option<Change> {
        self.today.queued += 1;
        let behind = waits.behind.iter().filter_map(|meeting| self.conflict(meeting)).collect();
        let entry = self.entries.get_mut(&id)?;
        entry.operation.behind = behind;
        entry.operation.full.clone_from(&waits.full);
        Some(Change::Queued(entry.operation.clone()))
    }

    fn let_in(&mut self, admitted: Vec<Admitted>, now: Moment) -> Vec<Change> {
        admitted.into_iter().filter_map(|one| self.begin(one.id, one.beside, now)).collect()
    }

    /// Puts a meeting in words.
    fn conflict(&self, meeting: &Meeting) -> Option<Conflict> {
        let other = &self.entries.get(&meeting.with)?.operation;
        Some(Conflict {
            operation: other.id,
            kind: other.kind,
            target: other.target.clone()?,
            agent: other.agent.clone(),
            severity: meeting.severity,
            chain: meeting.chain.clone(),
        })
    }

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
    ) -> Result<Operation, Problem> {
        let Entry { operation, clock } = self.held(id, token)?;
        if let Some(clock) = clock {
            clock.renew(now);
            clock.show(operation, now);
        }
        Ok(operation.clone())
    }

    /// Notes that the holder is connected: the lease needs no renewal until it is not. Returns the
    /// number of the connection.
    ///
    /// # Errors
    /// [`Code::LeaseLost`] when it is not held (any more).
    pub fn connect(&mut self, id: u64, token: Option<u64>, now: Moment) -> Result<u64, Problem> {
        let Entry { operation, clock } = self.held(id, token)?;
        let Some(clock) = clock else { return Err(lost(id)) };
        let connection = clock.connect();
        clock.show(operation, now);
        Ok(connection)
    }

    /// Notes that a connection is gone: from now on the lease counts. A later connection stays.
    pub fn disconnect(&mut self, id: u64, connection: u64, now: Moment) {
        if let Some(Entry { operation, clock: Some(clock) }) = self.entries.get_mut(&id)
            && clock.disconnect(connection, now)
        {
            clock.show(operation, now);
        }
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

    /// Ends everything on a target that is gone, but for the operation that removed it.
    pub fn forget(&mut self, target: &Target, except: u64, now: Moment) -> Vec<Change> {
        let inside = |entry: &Entry| {
            entry.operation.id != except
                && entry.operation.target.as_ref().is_some_and(|it| target.covers(it))
        };
        let ids: Vec<u64> =
            self.entries.values().filter(|it| inside(it)).map(|it| it.operation.id).collect();
        let mut changes = Vec::new();
        for id in ids {
            let problem = Problem::new(Code::TaskspaceNotFound, format!("{target} is gone"));
            changes.extend(self.end(id, OperationState::Cancelled, Some(problem), now));
        }
        changes
    }

    /// Ends what was not renewed in time, and what takes too long.
    pub fn expire(&mut self, now: Moment) -> Vec<Change> {
        let due: Vec<(u64, Option<u64>)> = (self.entries.iter())
            .filter_map(|(id, entry)| {
                let clock =
                    entry.clock.as_ref().filter(|clock| clock.deadline() <= Some(now.ticks))?;
                let is_late = clock.is_overdue(now);
                clock.deadline()?;
                Some((*id, is_late.then(|| entry.operation.timeout_seconds.unwrap_or_default())))
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

    fn end(
        &mut self,
        id: u64,
        state: OperationState,
        problem: Option<Problem>,
        now: Moment,
    ) -> Vec<Change> {
        let Some(Entry { mut operation, .. }) = self.entries.remove(&id) else { return Vec::new() };
        self.today.begin(now.day);
        self.today.count(state);
        let waited = operation.state == OperationState::Queued;
        operation.state = state;
        operation.finished = Some(now.time);
        operation.step = None;
        operation.problem = problem;
        operation.lease = None;
        let mut changes = vec![Change::Ended { operation, waited }];
        let admitted = self.admission.end(id);
        if !self.frozen {
            changes.extend(self.let_in(admitted, now));
        }
        changes
    }

    /// Lets nothing in any more: the service ends.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Takes new dependencies.
    pub fn set_dependencies(&mut self, dependencies: Dependencies, now: Moment) -> Vec<Change> {
        let admitted = self.admission.set_dependencies(dependencies);
        self.let_in(admitted, now)
    }

    /// Whether an operation of a kind could not begin on a target now.
    pub fn is_blocked(&self, kind: OperationKind, target: &Target) -> bool {
        let Some(class) = kind.class() else { return false };
        self.admission.is_blocked(class, target)
    }

    /// Returns what is being done to a target that changes whether it runs: the most telling one.
    pub fn acting(&self, target: &Target) -> Option<OperationClass> {
        const TELLING: [OperationClass; 4] = [
            OperationClass::Deploy,
            OperationClass::Restart,
            OperationClass::Stop,
            OperationClass::Start,
        ];
        let running = self.admission.running().filter(|ask| ask.target == *target);
        let telling = running.filter_map(|ask| TELLING.iter().position(|it| *it == ask.class));
        telling.min().and_then(|place| TELLING.get(place)).copied()
    }

    /// Returns how an operation is now, if it waits or runs.
    pub fn current(&self, id: u64) -> Option<Operation> {
        let mut operation = self.entries.get(&id)?.operation.clone();
        if let Some(waits) = self.admission.waits(id) {
            operation.behind =
                waits.behind.iter().filter_map(|meeting| self.conflict(meeting)).collect();
            operation.full = waits.full;
        }
        Some(operation)
    }

    /// Returns what is held, by target.
    pub fn locks(&self) -> Vec<LockView> {
        let running = |entry: &&Entry| entry.operation.state == OperationState::Running;
        let mut locks: Vec<LockView> = (self.entries.values().filter(running))
            .filter_map(|Entry { operation, clock }| {
                let since = operation.started.unwrap_or(operation.created);
                let timeout = operation.timeout_seconds.filter(|_| clock.is_some());
                Some(LockView {
                    target: operation.target.clone()?,
                    operation: operation.id,
                    kind: operation.kind,
                    agent: operation.agent.clone(),
                    token: operation.token.unwrap_or_default(),
                    since,
                    until: timeout
                        .and_then(|seconds| since.checked_add(Duration::from_secs(seconds)).ok()),
                    lease: operation.lease.clone(),
                    waiting: self.admission.waits_for(operation.id),
                })
            })
            .collect();
        locks.sort_by(|a, b| (&a.target, a.operation).cmp(&(&b.target, b.operation)));
        locks
    }

    /// Tells how it goes; how many containers are registered is not known here.
    pub fn view(&self, now: Moment) -> CoordinationView {
        let waiting =
            self.entries.values().filter(|it| it.operation.state == OperationState::Queued);
        let waits = |entry: &Entry| now.time.duration_since(entry.operation.created).as_secs_f64();
        let queued = waiting.clone().count();
        let mut today = self.today.clone();
        today.begin(now.day);
        CoordinationView {
            containers: 0,
            active: self.entries.len() - queued,
            queued,
            queue_limit: self.rules.limits.queue,
            locks: self.locks(),
            longest_wait_seconds: waiting.map(waits).fold(0.0, f64::max),
            today,
        }
    }

    /// Returns the tokens given and the totals of today, for the next run of the service.
    pub fn remembered(&self) -> (u64, &Totals) {
        (self.tokens, &self.today)
    }

    /// Returns all that waits or runs, and for what agents hold how long they may be silent.
    pub fn all(&self) -> impl Iterator<Item = (&Operation, Option<Duration>)> {
        let period = |entry: &Entry| entry.clock.as_ref().map(Clock::period);
        self.entries.values().map(move |entry| (&entry.operation, period(entry)))
    }

    /// Returns how many wait or run, and how many of them are the service's own and have begun.
    pub fn count(&self) -> (usize, usize) {
        let working =
            |it: &&Entry| it.clock.is_none() && it.operation.state == OperationState::Running;
        (self.entries.len(), self.entries.values().filter(working).count())
    }

    /// Notes what one of the service's own is doing.
    pub fn step(&mut self, id: u64, step: &str) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.operation.step = Some(step.to_owned());
        }
    }
}

/// Returns what is asked for in the terms of admission.
fn ask(operation: &Operation) -> Option<Ask> {
    Some(Ask {
        id: operation.id,
        class: operation.kind.class()?,
        target: operation.target.clone()?,
        priority: operation.priority,
        arrived: operation.created.as_millisecond().try_into().unwrap_or_default(),
        under: operation.under,
    })
}

fn lost(id: u64) -> Problem {
    Problem::new(Code::LeaseLost, format!("operation {id} is not held with this token (any more)"))
        .hint(format!("what holds it no longer must not go on; `taskspace operations show {id}`"))
}

#[cfg(test)]
mod tests;
