//! What others do to the taskspaces of a soak, behind the service's back.

use std::process::Child;

use rand::seq::IndexedRandom;

use super::Soak;
use crate::common::expectation::Meant;
use crate::common::others::{OTHERS, Other};

/// An act of somebody else that is under way.
pub(super) struct Interference {
    pub(super) child: Child,
    pub(super) what: String,
    /// The taskspace whose work is lost once it has succeeded.
    loses: Option<String>,
}

impl Soak {
    /// Does something to a taskspace that the service is not told of.
    pub(super) fn interfere(&mut self) {
        let Some(id) = self.pick() else { return };
        let (other, _) = OTHERS.choose_weighted(&mut self.rng, |(_, weight)| *weight).unwrap();
        let role = *["dev", "agent"].choose(&mut self.rng).unwrap();
        let what = format!("{other:?} {id} {role}");
        self.report.note(&what);
        self.report.tally.acts += 1;
        let expected = self.expected.get_mut(&id).unwrap();
        let is_made = expected.before != Meant::Absent && !expected.had_failed;
        expected.disturbed = true;
        expected.torn = true;
        expected.lost |= *other == Other::RemoveChanges;
        if let Some(mut command) = other.begin(&self.user, &id, role) {
            // A creation that goes on may make it anew, or end for the lack of it.
            let loses = *other == Other::RemoveChanges && is_made;
            let child = command.spawn().unwrap();
            self.others.push(Interference { child, what, loses: loses.then_some(id) });
        }
    }

    /// Takes in which acts of others have ended.
    pub(super) fn look_at_others(&mut self) {
        self.others.retain_mut(|Interference { child, what, loses }| {
            let Some(status) = child.try_wait().unwrap() else { return true };
            self.report.note(format!("  {what}: {status}"));
            if let Some(expectation) = loses.as_ref().and_then(|id| self.expected.get_mut(id)) {
                expectation.is_lost |= status.success();
            }
            false
        });
    }
}
