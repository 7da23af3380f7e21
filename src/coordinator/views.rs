//! What is told of the operations that wait or run.

use std::time::Duration;

use super::lease::Clock;
use super::{Coordinator, Entry, Moment};
use crate::model::{
    CoordinationView, LockView, Operation, OperationClass, OperationState, Target, Totals,
};

impl Coordinator {
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
}
