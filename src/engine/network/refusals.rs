//! What a taskspace was refused.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::dns::{Reason, Refusal};
use crate::model::{Blocked, DomainName, HOST_ALIAS, HOST_NAME};

/// How many different destinations are remembered: whoever is refused decides how many there are.
const MOST: usize = 1024;

/// Why something is listed that was let through.
pub(super) const OBSERVED: &str = "the policy would refuse it, and is only observed";

/// The names that were not answered, and what rules have refused that are no longer in force.
#[derive(Debug, Default)]
pub(in super::super) struct Refusals {
    kept: Mutex<BTreeMap<Key, Blocked>>,
    listed: Mutex<Option<Listed>>,
    /// How often each destination had been refused when it was told.
    told: Mutex<BTreeMap<Key, u64>>,
}

/// A destination, and whether it was let through.
type Key = (String, bool);

fn key(blocked: &Blocked) -> Key {
    (blocked.destination.clone(), blocked.let_through)
}

/// What the rules had refused when as many packets had gone through the network.
#[derive(Debug)]
struct Listed {
    packets: u64,
    blocked: Vec<Blocked>,
}

fn merged(kept: &BTreeMap<Key, Blocked>, more: Vec<Blocked>) -> Vec<Blocked> {
    let mut merged = kept.clone();
    for it in more {
        match merged.entry(key(&it)) {
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
    /// Counts a question that was refused.
    pub(super) fn note(&self, refusal: Refusal) {
        let Refusal { name, reason, .. } = refusal;
        let is_host = [HOST_NAME, HOST_ALIAS].contains(&name.as_str());
        let host = name
            .parse()
            .ok()
            .filter(|_| matches!(reason, Reason::NotAllowed | Reason::Observed) && !is_host);
        let let_through = reason == Reason::Observed;
        let reason = match reason {
            Reason::NotAllowed if is_host => {
                "the policy allows no service of this host (`host:NAME`)".to_owned()
            }
            Reason::Observed => OBSERVED.to_owned(),
            Reason::NotAllowed => "the policy does not allow this name".to_owned(),
            Reason::NotAHostname => "no name of a host is like this".to_owned(),
            Reason::Addresses(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!("it leads to {}, which names may not", addresses.join(", "))
            }
            Reason::NotGranted(error) => format!("its addresses could not be let through: {error}"),
        };
        self.count(name, let_through, host, reason);
    }

    /// Counts a connection to a service of this host that the policy allows, and that does not answer.
    pub(super) fn note_unanswered(&self, port: u16, error: &io::Error) {
        let reason = format!(
            "the policy allows it, but nothing on this host answers at port {port}: {error}"
        );
        self.count(format!("{HOST_NAME}:{port}/tcp"), false, None, reason);
    }

    /// Counts a refusal; when there are too many, the one that was refused the longest time ago goes.
    fn count(&self, name: String, let_through: bool, host: Option<DomainName>, reason: String) {
        let last = Timestamp::now();
        let mut names = self.lock();
        let key = (name.clone(), let_through);
        if names.len() >= MOST && !names.contains_key(&key) {
            let oldest = names.iter().min_by_key(|(_, blocked)| blocked.last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                names.remove(&oldest);
            }
        }
        let blocked = names.entry(key).or_insert_with(|| Blocked {
            destination: name,
            name: None,
            let_through,
            reason: String::new(),
            count: 0,
            last,
        });
        blocked.count += 1;
        (blocked.name, blocked.reason, blocked.last) = (host, reason, last);
    }

    /// Takes over what rules have refused that are no longer in force.
    pub(super) fn carry(&self, blocked: Vec<Blocked>) {
        let mut kept = self.lock();
        let with = merged(&kept, blocked);
        *kept = with.into_iter().rev().take(MOST).map(|it| (key(&it), it)).collect();
    }

    /// Returns what was refused, with what the rules in force have refused; the latest comes last.
    pub(super) fn with(&self, blocked: Vec<Blocked>) -> Vec<Blocked> {
        merged(&self.lock(), blocked)
    }

    /// Returns what the rules in force have refused, if no packet has gone through since that was noted.
    pub(super) fn listed(&self, packets: u64) -> Option<Vec<Blocked>> {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.as_ref().filter(|it| it.packets == packets).map(|it| it.blocked.clone())
    }

    /// Notes what the rules in force had refused when so many packets had gone through.
    pub(super) fn note_listed(&self, packets: u64, blocked: Vec<Blocked>) {
        let listed = Listed { packets, blocked };
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = Some(listed);
    }

    /// Forgets what the rules have refused: others are in force, or they have forgotten it themselves.
    pub(super) fn list_anew(&self) {
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns what was refused since this was asked before, with how often it was since then; the
    /// latest comes last.
    pub(super) fn news(&self, blocked: Vec<Blocked>) -> Vec<Blocked> {
        let all = self.with(blocked);
        let counts = all.iter().map(|it| (key(it), it.count)).collect();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *told, counts);
        let since = |it: Blocked| {
            // Fewer than before are counted anew: what is old is forgotten.
            let known = before.get(&key(&it)).filter(|known| **known <= it.count);
            Blocked { count: it.count - known.copied().unwrap_or_default(), ..it }
        };
        all.into_iter().map(since).filter(|it| it.count > 0).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Blocked>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::RecordType;

    fn blocked(destination: &str, count: u64) -> Blocked {
        Blocked {
            destination: destination.to_owned(),
            name: None,
            let_through: false,
            reason: "the policy does not allow this address".to_owned(),
            count,
            last: Timestamp::UNIX_EPOCH,
        }
    }

    fn counts(blocked: Vec<Blocked>) -> Vec<(String, u64)> {
        blocked.into_iter().map(|it| (it.destination, it.count)).collect()
    }

    #[test]
    fn news_is_what_was_not_told_before() {
        let refusals = Refusals::default();
        let told = |destination: &str, count| vec![(destination.to_owned(), count)];
        assert_eq!(counts(refusals.news(vec![blocked("198.51.100.1:80/tcp", 3)])).len(), 1);
        assert_eq!(counts(refusals.news(vec![blocked("198.51.100.1:80/tcp", 3)])), []);
        let more = vec![blocked("198.51.100.1:80/tcp", 5)];
        assert_eq!(counts(refusals.news(more)), told("198.51.100.1:80/tcp", 2));
        // The rules have forgotten it in between.
        let anew = vec![blocked("198.51.100.1:80/tcp", 1)];
        assert_eq!(counts(refusals.news(anew)), told("198.51.100.1:80/tcp", 1));
        let (name, kind) = ("example.org".to_owned(), RecordType::A);
        refusals.note(Refusal { name, kind, reason: Reason::NotAllowed });
        let with = refusals.news(vec![blocked("198.51.100.1:80/tcp", 1)]);
        assert_eq!(counts(with), told("example.org", 1));
    }

    #[test]
    fn only_names_of_hosts_that_a_policy_could_allow_are_names() {
        let refusals = Refusals::default();
        let refuse = |name: &str, reason| {
            refusals.note(Refusal { name: name.to_owned(), kind: RecordType::A, reason });
        };
        for name in ["*.com.", "*.com", "a b.", "10.0.0.1", "@git-hosts", "host:postgres"] {
            refuse(name, Reason::NotAllowed);
        }
        refuse("odd.example.org", Reason::NotAHostname);
        refuse("api.example.org", Reason::NotAllowed);
        let names: Vec<_> =
            refusals.with(Vec::new()).into_iter().filter_map(|it| it.name).collect();
        assert_eq!(names, ["api.example.org".parse().unwrap()]);
    }

    #[test]
    fn what_was_listed_holds_until_a_packet_has_passed() {
        let refusals = Refusals::default();
        assert_eq!(refusals.listed(10), None);
        refusals.note_listed(10, vec![blocked("198.51.100.1:80/tcp", 3)]);
        assert_eq!(refusals.listed(10), Some(vec![blocked("198.51.100.1:80/tcp", 3)]));
        assert_eq!(refusals.listed(11), None);
        refusals.list_anew();
        assert_eq!(refusals.listed(10), None);
    }
}
