//! How long what failed is left alone before it is tried again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::TaskspaceId;

/// The first pause; pauses double up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// Which taskspaces are left alone, and until when.
#[derive(Debug, Default)]
pub(super) struct Patience {
    waiting: Mutex<HashMap<TaskspaceId, (Duration, Instant)>>,
}

impl Patience {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskspaceId, (Duration, Instant)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It failed (again).
    pub(super) fn failed(&self, id: &TaskspaceId) {
        self.failed_at(id, Instant::now());
    }

    fn failed_at(&self, id: &TaskspaceId, now: Instant) {
        let mut waiting = self.lock();
        let pause = waiting.get(id).map_or(FIRST_PAUSE, |(last, _)| (*last * 2).min(LONGEST_PAUSE));
        waiting.insert(id.clone(), (pause, now + pause));
    }

    /// There is nothing to wait for any more.
    pub(super) fn over(&self, id: &TaskspaceId) {
        self.lock().remove(id);
    }

    /// Returns until when it is left alone, if it is.
    pub(super) fn until(&self, id: &TaskspaceId) -> Option<Instant> {
        self.until_after(id, Instant::now())
    }

    fn until_after(&self, id: &TaskspaceId, now: Instant) -> Option<Instant> {
        self.lock().get(id).map(|(_, until)| *until).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_it_is_over() {
        let (patience, id) = (Patience::default(), "a".parse().unwrap());
        let now = Instant::now();
        assert_eq!(patience.until_after(&id, now), None);
        for seconds in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            patience.failed_at(&id, now);
            let until = patience.until_after(&id, now).unwrap();
            assert_eq!(until - now, Duration::from_secs(seconds));
        }
        assert_eq!(patience.until_after(&id, now + LONGEST_PAUSE), None);
        patience.over(&id);
        patience.failed_at(&id, now);
        assert_eq!(patience.until_after(&id, now).unwrap() - now, FIRST_PAUSE);
    }
}
