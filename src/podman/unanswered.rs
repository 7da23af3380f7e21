//! The requests that Podman has not answered yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The requests without an answer; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Unanswered(Arc<Mutex<Requests>>);

#[derive(Debug, Default)]
struct Requests {
    next: u64,
    /// When an answer was due, and what was asked for.
    due: BTreeMap<u64, (Instant, String)>,
}

/// A request without an answer, as long as it is not dropped.
#[derive(Debug)]
pub struct Waiting {
    all: Unanswered,
    number: u64,
}

impl Unanswered {
    /// Enters a request that takes a time by itself before Podman can answer.
    pub fn enter(&self, request: impl Into<String>, lasting: Duration) -> Waiting {
        let mut requests = self.lock();
        let number = requests.next;
        requests.next += 1;
        requests.due.insert(number, (Instant::now() + lasting, request.into()));
        Waiting { all: self.clone(), number }
    }

    /// Returns the request whose answer is overdue the longest, and for how long it is.
    pub fn longest(&self) -> Option<(String, Duration)> {
        let now = Instant::now();
        let requests = self.lock();
        let (due, request) = requests.due.values().min_by_key(|(due, _)| *due)?;
        Some((request.clone(), now.checked_duration_since(*due)?))
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.lock().due.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_overdue_request_is_told_until_it_is_answered() {
        let unanswered = Unanswered::default();
        assert_eq!(unanswered.longest(), None);
        let lasting = unanswered.enter("POST /stop", Duration::from_secs(3600));
        assert_eq!(unanswered.longest(), None);
        let first = unanswered.enter("GET /info", Duration::ZERO);
        let second = unanswered.clone().enter("GET /version", Duration::ZERO);
        assert_eq!(unanswered.longest().unwrap().0, "GET /info");
        drop(first);
        assert_eq!(unanswered.longest().unwrap().0, "GET /version");
        drop((second, lasting));
        assert_eq!(unanswered.longest(), None);
    }
}
