//! What there was today.

use jiff::civil::Date;

use crate::model::{OperationState, Totals};

impl Totals {
    /// Begins anew when it is another day.
    pub(super) fn begin(&mut self, day: Date) {
        let day = day.to_string();
        if self.day != day {
            *self = Self { day, ..Self::default() };
        }
    }

    /// Counts one that is over.
    pub(super) fn count(&mut self, state: OperationState) {
        match state {
            OperationState::Done => self.done += 1,
            OperationState::Failed => self.failed += 1,
            OperationState::TimedOut => self.timed_out += 1,
            OperationState::Cancelled => self.cancelled += 1,
            OperationState::Rejected => self.rejected += 1,
            OperationState::Queued | OperationState::Running => {}
        }
    }
}
