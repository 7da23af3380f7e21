//! Waiting in a soak: for what ends meanwhile, and until all is at rest.

use std::time::{Duration, Instant};

use super::Soak;
use crate::common::agreement::quiescent;

/// How long a client may take when everything goes on.
const CLIENT_PATIENCE: Duration = Duration::from_secs(240);

/// How often to look what has ended.
pub(super) const TICK: Duration = Duration::from_millis(20);

impl Soak {
    /// Takes in what has ended.
    fn look(&mut self) {
        if self.podman_back.is_some_and(|back| back <= Instant::now()) {
            self.podman_back = None;
            self.podman.revive();
            self.report.note("Podman is back");
        }
        self.look_at_clients();
        self.look_at_others();
        self.services.reap();
    }

    /// Waits, and looks at what ends meanwhile.
    pub(super) fn pause(&mut self, long: Duration) {
        let until = Instant::now() + long;
        loop {
            self.look();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(TICK));
        }
    }

    /// Waits until everybody has been answered, and all is at rest; then everything has to agree.
    pub(super) fn rest(&mut self) {
        let deadline = Instant::now() + CLIENT_PATIENCE;
        while !(self.clients.is_empty() && self.others.is_empty() && self.podman_back.is_none()) {
            self.pause(TICK);
            if Instant::now() > deadline {
                let clients = self.clients.iter().map(|it| &it.what);
                let hang: Vec<&String> =
                    clients.chain(self.others.iter().map(|it| &it.what)).collect();
                self.report.tell(format!("these hang: {hang:?}"));
                return;
            }
        }
        self.report.note("rest");
        // What it still has in store must not meet those who are not prepared for it.
        self.services.end_faulty();
        quiescent(&self.user);
        self.compare();
        self.services.ended = false;
        self.disturbed = false;
    }
}
