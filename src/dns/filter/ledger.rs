//! Which addresses were granted, by which names, and until when.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many grants are remembered. Whoever has a wildcard allowed can have any number made; those
/// beyond it are made anew whenever they are asked for, and are not carried on when rules change.
pub(in crate::dns) const MAX_GRANTS: usize = 16_384;

/// The grants that are in force, and those that were: a connection that was made by one goes on
/// after its end, and other rules have to know by which name.
#[derive(Debug, Default)]
pub(in crate::dns) struct Ledger {
    until: HashMap<Arc<str>, HashMap<IpAddr, Instant>>,
    size: usize,
}

impl Ledger {
    /// Whether a name's grants of all these addresses are in force until then.
    pub(in crate::dns) fn covers(&self, name: &str, addresses: &[IpAddr], until: Instant) -> bool {
        let Some(granted) = self.until.get(name) else { return false };
        addresses.iter().all(|address| granted.get(address).is_some_and(|end| *end >= until))
    }

    /// Notes a grant; one that lasts longer already stays.
    pub(in crate::dns) fn note(
        &mut self,
        name: &Arc<str>,
        address: IpAddr,
        until: Instant,
        now: Instant,
    ) {
        if let Some(end) = self.until.get_mut(name).and_then(|granted| granted.get_mut(&address)) {
            *end = until.max(*end);
            return;
        }
        if self.size >= MAX_GRANTS {
            self.forget_oldest(now);
        }
        if self.size < MAX_GRANTS {
            self.until.entry(Arc::clone(name)).or_default().insert(address, until);
            self.size += 1;
        }
    }

    /// Returns the names with the addresses that were granted by them, and for how long that is in
    /// force still: zero where it is no longer.
    pub(in crate::dns) fn all(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (&Arc<str>, IpAddr, Duration)> {
        self.until.iter().flat_map(move |(name, granted)| {
            let rest = move |end: &Instant| end.saturating_duration_since(now);
            granted.iter().map(move |(address, end)| (name, *address, rest(end)))
        })
    }

    /// Makes room: of the grants that are over, the half that ended first goes.
    fn forget_oldest(&mut self, now: Instant) {
        let ends = self.until.values().flat_map(HashMap::values);
        let mut over: Vec<Instant> = ends.filter(|end| **end <= now).copied().collect();
        over.sort_unstable();
        if let Some(&last) = over.get(over.len() / 2) {
            self.retain(|_, end| end > last);
        }
    }

    /// Forgets what is not to be kept.
    pub(in crate::dns) fn retain(&mut self, keep: impl Fn(&(&str, IpAddr), Instant) -> bool) {
        for (name, granted) in &mut self.until {
            granted.retain(|address, end| keep(&(name, *address), *end));
        }
        self.until.retain(|_, granted| !granted.is_empty());
        self.size = self.until.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_granted_is_in_force_until_its_end() {
        let now = Instant::now();
        let name = Arc::from("a");
        let [one, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let mut ledger = Ledger::default();
        ledger.note(&name, one, now + 10 * SECOND, now);
        ledger.note(&name, one, now + 5 * SECOND, now);
        assert!(ledger.covers("a", &[one], now + 10 * SECOND));
        assert!(!ledger.covers("a", &[one], now + 11 * SECOND));
        assert!(!ledger.covers("a", &[one, other], now));
        assert!(!ledger.covers("b", &[one], now));
        let rest = |then| ledger.all(then).map(|(_, to, rest)| (to, rest)).collect::<Vec<_>>();
        assert_eq!(rest(now + 4 * SECOND), [(one, 6 * SECOND)]);
        // It is over, and remembered.
        assert_eq!(rest(now + 11 * SECOND), [(one, Duration::ZERO)]);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        let address = IpAddr::from([192, 0, 2, 1]);
        let name = |number: usize| Arc::from(format!("n{number}"));
        for number in 0..MAX_GRANTS + 100 {
            let lasting = if number % 2 == 0 { SECOND } else { 2 * SECOND };
            ledger.note(&name(number), address, now + lasting, now);
        }
        assert_eq!((ledger.size, ledger.until.len()), (MAX_GRANTS, MAX_GRANTS));
        // What has ended first makes room.
        ledger.note(&name(MAX_GRANTS), address, now + 9 * SECOND, now + SECOND);
        assert!(ledger.until.contains_key(&name(1)) && !ledger.until.contains_key(&name(0)));
        assert!(ledger.until.contains_key(&name(MAX_GRANTS)));
        assert!(ledger.size <= MAX_GRANTS);
    }
}
