//! For how long answers and grants hold.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How many seconds an answer may be remembered by who asked.
///
/// Not none: there are clients that take a zero for an error. Not longer than an hour: whoever
/// keeps an address for days loses it with the next change of the rules that does not carry it on.
const TIME_TO_LIVE: RangeInclusive<u32> = 1..=3600;

/// How much longer than its answer a grant lasts at least when it is made: a client may connect at
/// the last moment, or once more with what it remembers.
const MARGIN: Duration = Duration::from_secs(60);

/// How long a grant lasts at least: many names have seconds to live, and many clients use what they
/// looked up for a minute or more. It also spares the warden a call every few seconds.
const SHORTEST: Duration = Duration::from_secs(300);

/// How much longer than the answer a grant has to be in force for not to be made anew; below
/// `MARGIN`, so that what comes from a cache needs no new one.
const SLACK: Duration = Duration::from_secs(30);

/// Returns the time to live that is told.
pub(super) fn told(seconds: u32) -> u32 {
    seconds.clamp(*TIME_TO_LIVE.start(), *TIME_TO_LIVE.end())
}

/// Returns how long a grant is made for, by the time to live of its answer.
pub(in crate::dns) fn lasting(told: u32) -> Duration {
    (seconds(told) + MARGIN).max(SHORTEST)
}

/// Returns how long a grant still has to be in force for such an answer.
pub(in crate::dns) fn needed(told: u32) -> Duration {
    seconds(told) + SLACK
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_neither_none_nor_long() {
        assert_eq!([0, 1, 300, 3601, u32::MAX].map(told), [1, 1, 300, 3600, 3600]);
    }

    #[test]
    fn a_grant_outlasts_what_was_told() {
        for seconds in [1, 60, 300, 3600] {
            let told = told(seconds);
            assert!(lasting(told) > needed(told));
            assert!(needed(told) > Duration::from_secs(told.into()));
        }
        assert_eq!(lasting(1), Duration::from_secs(300));
        assert_eq!(lasting(3600), Duration::from_secs(3660));
    }
}
