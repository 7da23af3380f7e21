//! What a taskspace was refused.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::dns::{Reason, Refusal};
use crate::model::Blocked;

/// How many different destinations are remembered: whoever is refused decides how many there are.
const MOST: usize = 1024;

/// The names that were not answered, and what rules have refused that are no longer in force.
#[derive(Debug, Default)]
pub(in super::super) struct Refusals {
    kept: Mutex<BTreeMap<String, Blocked>>,
}

fn merged(kept: &BTreeMap<String, Blocked>, more: Vec<Blocked>) -> Vec<Blocked> {
    let mut merged = kept.clone();
    for it in more {
        match merged.entry(it.destination.clone()) {
            Entry::Vacant(free) => drop(free.insert(it)),
            Entry::Occupied(mut known) => {
                let count = known.get().count + it.count;
                let last = known.get().last.max(it.last);
                known.insert(Blocked { count, last, ..it });
            }
        }
    }
    let mut merged: Vec<Blocked> = merged.into_values().collect();
    merged.sort_by_key(|it| it.last);
    merged
}

impl Refusals {
    /// Counts a refusal; when there are too many, the one that was refused the longest time ago goes.
    pub(super) fn note(&self, refusal: Refusal) {
        let Refusal { name, reason, .. } = refusal;
        let reason = match reason {
            Reason::NotAllowed => "the policy does not allow this name".to_owned(),
            Reason::NotAHostname => "no name of a host is like this".to_owned(),
            Reason::Addresses(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!("it leads to {}, which names may not", addresses.join(", "))
            }
            Reason::NotGranted(error) => format!("its addresses could not be let through: {error}"),
        };
        let last = Timestamp::now();
        let mut names = self.lock();
        if names.len() >= MOST && !names.contains_key(&name) {
            let oldest = names.iter().min_by_key(|(_, blocked)| blocked.last);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                names.remove(&oldest);
            }
        }
        let blocked = names.entry(name.clone()).or_insert_with(|| Blocked {
            destination: name,
            reason: String::new(),
            count: 0,
            last,
        });
        blocked.count += 1;
        (blocked.reason, blocked.last) = (reason, last);
    }

    /// Takes over what rules have refused that are no longer in force.
    pub(super) fn carry(&self, blocked: Vec<Blocked>) {
        let mut kept = self.lock();
        let with = merged(&kept, blocked);
        *kept = with.into_iter().rev().take(MOST).map(|it| (it.destination.clone(), it)).collect();
    }

    /// Returns what was refused, with what the rules in force have refused; the latest comes last.
    pub(super) fn with(&self, blocked: Vec<Blocked>) -> Vec<Blocked> {
        merged(&self.lock(), blocked)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Blocked>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
