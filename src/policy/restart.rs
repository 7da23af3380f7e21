//! When a recovery is tried again, and when no more.

use std::time::Duration;

use jiff::Timestamp;

/// How often a taskspace is recovered by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// So many times within the window; then it has failed. With 0 it has failed at once.
    pub limit: usize,
    /// The window.
    pub window: Duration,
    /// The pause after the first attempt; it doubles with each one in the window.
    pub delay: Duration,
}

/// When the next attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Now.
    Now,
    /// Then.
    At(Timestamp),
    /// There is none: it has been tried too often.
    Never,
}

impl RestartPolicy {
    /// Tells when the next attempt is, from those that were made, the oldest first.
    pub fn next(&self, attempts: &[Timestamp], now: Timestamp) -> Next {
        let recent = self.recent(attempts, now);
        if recent.len() >= self.limit {
            return Next::Never;
        }
        let Some(last) = recent.last() else { return Next::Now };
        let doublings = u32::try_from(recent.len() - 1).unwrap_or(u32::MAX);
        let pause = self.delay.saturating_mul(2u32.saturating_pow(doublings));
        match last.checked_add(pause) {
            Ok(due) if due > now => Next::At(due),
            Ok(_) => Next::Now,
            Err(_) => Next::Never,
        }
    }

    /// Returns the attempts that still count. Those of a clock that was set back count not.
    pub fn recent(&self, attempts: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
        let counts = |attempt: &&Timestamp| {
            **attempt <= now && now.duration_since(**attempt).unsigned_abs() < self.window
        };
        attempts.iter().filter(counts).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy =
        RestartPolicy { limit: 5, window: Duration::from_secs(600), delay: Duration::from_secs(2) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn pauses_double_until_the_limit_and_old_attempts_are_forgotten() {
        let mut attempts = Vec::new();
        let mut now = at(0);
        let mut pauses = Vec::new();
        loop {
            match POLICY.next(&attempts, now) {
                Next::Now => attempts.push(now),
                Next::At(due) => {
                    pauses.push(due.duration_since(now).as_secs());
                    now = due;
                }
                Next::Never => break,
            }
        }
        assert_eq!(pauses, [2, 4, 8, 16]);
        assert_eq!(attempts.len(), POLICY.limit);
        assert_eq!(POLICY.next(&attempts, at(599)), Next::Never);
        // The first attempt has left the window.
        assert_eq!(POLICY.next(&attempts, at(600)), Next::Now);
        assert!(POLICY.recent(&attempts, at(-1)).is_empty());
        assert_eq!(RestartPolicy { limit: 0, ..POLICY }.next(&[], at(0)), Next::Never);
    }
}
