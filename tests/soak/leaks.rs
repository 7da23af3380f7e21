//! The end of a soak: everything is deleted, and nothing may be left.

use std::time::{Duration, Instant};

use super::Soak;
use super::rest::TICK;
use crate::common::agreement::quiescent;
use crate::common::others::forwarders;
use crate::common::processes;

/// How long Podman's helpers may take to go.
const AFTERMATH: Duration = Duration::from_secs(10);

impl Soak {
    /// Deletes everything; nothing may be left.
    pub(super) fn end(mut self) {
        let registry = self.user.registry();
        let ids: Vec<&String> = registry["taskspaces"].as_object().unwrap().keys().collect();
        for id in ids {
            self.user.run(&["delete", "--force", "--purge", id]);
        }
        quiescent(&self.user);
        let registry = self.user.registry();
        for id in registry["agent_states"].as_object().unwrap().keys() {
            self.user.run(&["delete", "--purge", id]);
        }
        for difference in self.disagreement() {
            self.report.tell(difference);
        }
        let left = self.user.left_in_podman();
        let bases = left.iter().filter(|name| name.starts_with("project-base-")).count();
        if bases != left.len() || bases > self.repositories.len() {
            self.report.tell(format!("left in Podman: {left:?}"));
        }
        for (process, arguments) in self.helpers() {
            self.report.tell(format!("left: process {process}: {}", arguments.join(" ")));
        }
        self.report.check();
        println!("seed {}: {}: 0 leaks", self.report.seed, self.report.tally);
    }

    /// Returns the processes that Podman started for this user and that do not go.
    fn helpers(&self) -> Vec<(i32, Vec<String>)> {
        let deadline = Instant::now() + AFTERMATH;
        let ports: Vec<u64> = self.user.own_ports().unwrap().map(u64::from).collect();
        loop {
            let mut left = processes::with_variable(&self.podman.mark());
            left.extend(forwarders(&ports));
            let left = left.into_iter().map(|process| (process, processes::arguments(process)));
            // Podman itself, and what keeps the user namespace of all of the user's containers.
            let left: Vec<_> = left
                .filter(|(_, arguments)| {
                    !arguments.contains(&self.podman.container_host())
                        && !arguments.first().is_none_or(|program| program.ends_with("catatonit"))
                })
                .collect();
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(TICK);
        }
    }
}
