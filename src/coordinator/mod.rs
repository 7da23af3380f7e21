//! Coordinates operations, so that no two agents break each other's work: who may begin, who waits, who
//! is refused, who holds what, and until when. Pure: no clock, no tokio, no locks; what time it is, it
//! is told.

pub mod admission;
pub mod dependencies;
mod ending;
mod holding;
mod lease;
mod places;
mod totals;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::model::{
    Code, Conflict, Hold, KeptOperation, Operation, OperationKind, OperationState, Problem, Target,
    Totals,
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
    /// Its lease is another one than before.
    Renewed(Operation),
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
    /// Tokens can be given up to this one: the registry says so, for the next run of the service.
    tokens_set_aside: u64,
    today: Totals,
    /// Nothing is let in any more.
    frozen: bool,
    /// The arrival of what arrives at tick zero.
    arrivals_from: Option<u64>,
}

/// What becomes of an operation that is not refused.
#[derive(Debug)]
enum Taken {
    Begins(Vec<Meeting>),
    Waits(Waits),
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
        let tokens_set_aside = tokens;
        Self {
            rules,
            admission,
            entries,
            tokens,
            tokens_set_aside,
            today,
            frozen: false,
            arrivals_from: None,
        }
    }

    /// Notes up to which one tokens can be given.
    pub fn set_tokens_aside(&mut self, up_to: u64) {
        self.tokens_set_aside = self.tokens_set_aside.max(up_to);
    }

    /// Whether more operations can begin that somebody holds: so many waiting ones may begin before
    /// more tokens are set aside.
    pub fn has_tokens(&self) -> bool {
        let waiting = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        self.tokens_set_aside.saturating_sub(self.tokens) > waiting
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
        let siblings = self
            .entries
            .values()
            .filter(|it| under.is_some() && it.operation.under == operation.under);
        let too_many = siblings.count() >= self.rules.limits.queue;
        let mut changes = vec![Change::Requested(operation.clone())];
        let refused = under.and_then(|hold| self.check(hold, operation.target.as_ref()).err());
        let answer = match refused {
            Some(problem) => Err(problem),
            None if too_many => Err(self.full(&operation)),
            None => match ask(&operation) {
                Some(ask) => {
                    let ask = Ask { arrived: self.arrival(now), ..ask };
                    self.admit(&operation, ask)
                }
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
                    Taken::Begins(beside) => self.begin(id, beside, now),
                    Taken::Waits(waits) => self.queue(id, &waits),
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
        let mut latest = 0;
        for KeptOperation { operation, job, lease_seconds } in kept {
            // They arrived in the order of their numbers, whatever the clock was then.
            latest = milliseconds(operation.created).max(latest);
            let Some(ask) = ask(operation) else { continue };
            let ask = Ask { arrived: latest, ..ask };
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
        // What comes now arrives after them.
        let ahead = latest.saturating_sub(self.arrival(now));
        self.arrivals_from = self.arrivals_from.map(|zero| zero + ahead);
        let admitted = self.admission.let_in();
        self.let_in(admitted, now)
    }

    /// Returns when an operation arrives that is asked for now: by the world's clock as it was when the
    /// first one arrived, and since then by the clock that only goes forward. So the order is that of
    /// arrival also when the world's clock is set.
    fn arrival(&mut self, now: Moment) -> u64 {
        let ticks = u64::try_from(now.ticks.as_millis()).unwrap_or(u64::MAX);
        let zero = self.arrivals_from.get_or_insert(milliseconds(now.time).saturating_sub(ticks));
        zero.saturating_add(ticks)
    }

    fn admit(&mut self, operation: &Operation, ask: Ask) -> Result<Taken, Problem> {
        match self.admission.ask(ask) {
            Answer::Admitted { beside } => Ok(Taken::Begins(beside)),
            Answer::Queued(waits) => Ok(Taken::Waits(waits)),
            Answer::Refused(Refusal::Conflict(meeting)) => {
                let (number, name) = (meeting.with, operation.name());
                let detail = match self.conflict(&meeting) {
                    Some(conflict) => format!("{name} is refused: in the way is {conflict}"),
                    None => format!("{name} is refused: in the way is operation {number}"),
                };
                let is_own = |entry: &Entry| {
                    entry.clock.is_none() && entry.operation.state == OperationState::Running
                };
                let hint = match self.entries.get(&number).is_some_and(is_own) {
                    true => "wait for its end: `taskspace operations --watch`".to_owned(),
                    false => {
                        format!("wait for it, or cancel it: `taskspace operations cancel {number}`")
                    }
                };
                Err(Problem::new(Code::OperationConflict, detail).hint(hint))
            }
            Answer::Refused(Refusal::QueueFull { .. }) => Err(self.full(operation)),
        }
    }

    fn full(&self, operation: &Operation) -> Problem {
        let (name, limit) = (operation.name(), self.rules.limits.queue);
        let detail = match operation.under {
            None => format!("{name} would have to wait, and {limit} operations wait already"),
            Some(outer) => {
                format!("{limit} operations are under way under operation {outer} already")
            }
        };
        Problem::new(Code::QueueFull, detail)
            .hint("try again later; `taskspace operations` shows them")
    }

    fn begin(&mut self, id: u64, beside: Vec<Meeting>, now: Moment) -> Option<Change> {
        let cautions = beside.iter().filter_map(|meeting| self.conflict(meeting)).collect();
        // What nobody holds needs no token of its own, and there are so many only.
        self.tokens = (self.tokens + 1).min(self.tokens_set_aside);
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

    /// Lets nothing in any more: the service ends.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Takes new dependencies.
    pub fn set_dependencies(&mut self, dependencies: Dependencies, now: Moment) -> Vec<Change> {
        let admitted = self.admission.set_dependencies(dependencies);
        self.let_in_rest(admitted, now)
    }

    /// Whether an operation of a kind could not begin on a target now.
    pub fn is_blocked(&self, kind: OperationKind, target: &Target) -> bool {
        let Some(class) = kind.class() else { return false };
        self.admission.is_blocked(class, target)
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
        arrived: milliseconds(operation.created),
        under: operation.under,
    })
}

fn milliseconds(time: Timestamp) -> u64 {
    time.as_millisecond().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests;
