//! The points at which the service is killed, or an act fails.

use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::Signal;
use rand::RngExt;

use super::Soak;
use crate::common::wait_until;

/// The names of the points of every operation.
#[derive(Default)]
pub(super) struct Points {
    pub(super) kill: Vec<String>,
    pub(super) fail: Vec<String>,
}

impl Points {
    /// Reads what a service noted that was started without faults.
    fn read(log: &Path) -> Self {
        let text = std::fs::read_to_string(log).unwrap();
        let names = text.lines().filter_map(|line| line.split_once('#')).map(|(name, _)| name);
        let (mut fail, mut kill): (Vec<_>, Vec<_>) =
            names.map(str::to_owned).partition(|name| name.ends_with(": fail"));
        for points in [&mut fail, &mut kill] {
            points.sort();
            points.dedup();
        }
        Self { kill, fail }
    }
}

impl Soak {
    /// Learns the names of the points from a run of every operation without faults.
    pub(super) fn learn_points(&mut self) {
        let log = self.user.path("points");
        self.services.serve(&self.user, "LOG", log.to_str().unwrap());
        // A client that finds nobody starts another one.
        let socket = self.user.path("run/symposium/taskspace.sock");
        wait_until("the service listens", || UnixStream::connect(&socket).is_ok());
        let id = self.new_id();
        let user = &self.user;
        user.run(&["create", "--project", self.repositories[0].as_str(), &id]);
        user.run(&["stop", &id]);
        user.run(&["start", &id]);
        user.run(&["delete", "--force", "--purge", &id]);
        self.services.signal(user, Signal::SIGTERM);
        self.points = Points::read(&log);
    }

    /// Has a service with a fault follow the one that runs.
    pub(super) fn arm(&mut self, fault: &str, point: Option<String>) {
        let point = format!("{}#{}", point.unwrap(), self.rng.random_range(1..=3));
        self.report.note(format!("serve with {fault} {point}"));
        self.report.tally.kills += 1;
        self.services.signal(&self.user, Signal::SIGTERM);
        self.services.serve(&self.user, fault, &point);
    }
}
