//! A service with faults.

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::libc;

use super::points::is_write;
use crate::common::{User, terminate};

/// How long a service may take to reach its point when the client has gone on already.
const REACHED: Duration = Duration::from_secs(30);

/// The same for a point that not every run reaches.
const PERHAPS_REACHED: Duration = Duration::from_secs(3);

/// A service with faults.
pub(super) struct Faulty(Child);

impl Faulty {
    /// Starts one, each fault as `User::serve` takes it.
    pub(super) fn start(user: &User, faults: &[(&str, String)]) -> Self {
        Self(user.serve(faults))
    }

    /// Whether it has been killed at a point, soon.
    pub(super) fn was_killed(&mut self, point: &str) -> bool {
        let soon = if is_write(point) { PERHAPS_REACHED } else { REACHED };
        let deadline = Instant::now() + soon;
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return status.signal() == Some(libc::SIGKILL),
                None if Instant::now() > deadline => return false,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Asks it to end, and waits for it.
    pub(super) fn end(&mut self) {
        terminate(&mut self.0);
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
