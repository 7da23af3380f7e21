//! Takes the time of what is done several times.

use std::time::{Duration, Instant};

/// Returns how long something takes.
pub fn timed(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}

/// Returns the time in the middle.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
