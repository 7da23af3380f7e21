//! How long an operation is held: as long as its holder is connected or renews its lease, and not
//! longer than it may take.

use std::time::Duration;

use super::Moment;
use crate::model::{Lease, Operation, OperationState};

/// The clock of one operation that somebody holds.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// Within which time the lease has to be renewed.
    period: Duration,
    /// How long it may take from its beginning.
    timeout: Option<Duration>,
    /// When the lease ends; none as long as the holder is connected.
    expires: Option<Duration>,
    /// When it has taken too long; none while it waits.
    overdue: Option<Duration>,
    /// How many connections there have been; the last one counts.
    connections: u64,
}

impl Clock {
    /// Begins with a whole lease.
    pub(super) fn new(period: Duration, operation: &Operation, now: Moment) -> Self {
        let timeout = operation.timeout_seconds.map(Duration::from_secs);
        let expires = Some(now.ticks.saturating_add(period));
        Self { period, timeout, expires, overdue: None, connections: 0 }
    }

    /// Goes on with an operation of an earlier run of the service. Its lease begins anew, since nobody
    /// could renew it meanwhile; its time goes on.
    pub(super) fn again(period: Duration, operation: &Operation, now: Moment) -> Self {
        let mut clock = Self::new(period, operation, now);
        if operation.state == OperationState::Running {
            let begun = operation.started.unwrap_or(operation.created);
            let past = now.time.duration_since(begun).try_into().unwrap_or_default();
            clock.overdue =
                clock.timeout.map(|timeout| now.ticks.saturating_add(timeout.saturating_sub(past)));
        }
        clock
    }

    /// It is let in: its time begins, and its lease anew.
    pub(super) fn begin(&mut self, now: Moment) {
        self.overdue = self.timeout.map(|timeout| now.ticks.saturating_add(timeout));
        self.renew(now);
    }

    /// The holder is alive.
    pub(super) fn renew(&mut self, now: Moment) {
        if self.expires.is_some() {
            self.expires = Some(now.ticks.saturating_add(self.period));
        }
    }

    /// The holder is connected; returns the connection's number.
    pub(super) fn connect(&mut self) -> u64 {
        self.connections += 1;
        self.expires = None;
        self.connections
    }

    /// Whether a connection is the one that counts.
    pub(super) fn is_connected_as(&self, connection: u64) -> bool {
        self.expires.is_none() && self.connections == connection
    }

    /// A connection is gone; returns whether it was the one that counts.
    pub(super) fn disconnect(&mut self, connection: u64, now: Moment) -> bool {
        let is_it = self.is_connected_as(connection);
        if is_it {
            self.expires = Some(now.ticks.saturating_add(self.period));
        }
        is_it
    }

    /// Whether it has taken too long.
    pub(super) fn is_overdue(&self, now: Moment) -> bool {
        self.overdue.is_some_and(|overdue| overdue <= now.ticks)
    }

    /// Returns when it ends if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.expires.into_iter().chain(self.overdue).min()
    }

    /// Returns within which time the lease has to be renewed.
    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// Writes the lease into the operation, as clients see it.
    pub(super) fn show(&self, operation: &mut Operation, now: Moment) {
        let expires = self
            .expires
            .and_then(|expires| now.time.checked_add(expires.saturating_sub(now.ticks)).ok());
        let seconds = self.period.as_secs();
        operation.lease = Some(Lease { seconds, expires });
    }
}
