//! What may happen in a soak, and how it is done.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::Soak;
use crate::common::expectation::{Expectation, Meant, Verb};

/// How many taskspaces there are at a time.
const MOST: usize = 8;

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    CreateAndKeep,
    Start,
    Stop,
    Restart,
    Delete,
    DeleteAndKeepState,
    Commit,
    KillClient,
    KillService,
    EndService,
    KillAtPoint,
    FailAtPoint,
    KillPodman,
    Interfere,
}

impl Soak {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Create => self.create(false),
            Action::CreateAndKeep => self.create(true),
            Action::Start => self.ask_for(Verb::Start, &["start"]),
            Action::Stop => self.ask_for(Verb::Stop, &["stop"]),
            Action::Restart => self.ask_for(Verb::Restart, &["restart"]),
            Action::Delete => self.ask_for(Verb::Delete, &["delete", "--force", "--purge"]),
            Action::DeleteAndKeepState => self.ask_for(Verb::Delete, &["delete", "--force"]),
            Action::Commit => self.commit(),
            Action::KillClient => self.kill_client(),
            Action::KillService => self.signal_service("kill", Signal::SIGKILL),
            Action::EndService => self.signal_service("end", Signal::SIGTERM),
            Action::KillAtPoint => {
                let point = self.points.kill.choose(&mut self.rng).cloned();
                self.arm("KILL", point);
            }
            Action::FailAtPoint => {
                self.disturbed = true;
                let point = self.points.fail.choose(&mut self.rng).cloned();
                self.arm("FAIL", point);
            }
            Action::KillPodman => self.kill_podman(),
            Action::Interfere => self.interfere(),
        }
    }

    /// Picks a taskspace, rather often the same one as before.
    pub(super) fn pick(&mut self) -> Option<String> {
        let ids: Vec<String> = self.living();
        let again = self.rng.random_bool(0.3);
        if !self.last.as_ref().is_some_and(|last| again && ids.contains(last)) {
            self.last = ids.choose(&mut self.rng).cloned();
        }
        self.last.clone()
    }

    /// Those that may be there.
    fn living(&self) -> Vec<String> {
        let is = |it: &Expectation| it.meant().into_iter().any(|meant| meant != Meant::Absent);
        let busy = |id: &String| self.clients.iter().any(|client| client.id == *id);
        let ids = self.expected.iter().filter(|(id, it)| is(it) || busy(id));
        ids.map(|(id, _)| id.clone()).collect()
    }

    fn create(&mut self, keep: bool) {
        if self.living().len() >= MOST {
            return;
        }
        let id = self.new_id();
        self.expected.insert(id.clone(), Expectation::of_none());
        let project = self.repositories.choose(&mut self.rng).unwrap().as_str().to_owned();
        let mut arguments = vec!["create", "--project", &project, &id];
        if keep {
            arguments.push("--keep-on-failure");
        }
        self.ask(&id, Verb::Create { keep }, &arguments);
        self.last = Some(id);
    }

    /// Asks for an operation on a taskspace that there may be.
    fn ask_for(&mut self, verb: Verb, words: &[&str]) {
        let Some(id) = self.pick() else { return };
        self.ask(&id, verb, &[words, &[&id]].concat());
    }

    fn commit(&mut self) {
        self.commits += 1;
        let content = format!("{} {}", self.prefix, self.commits);
        self.repositories.choose(&mut self.rng).unwrap().commit("file", &content);
    }

    fn kill_client(&mut self) {
        let range = 0..self.clients.len();
        if range.is_empty() {
            return;
        }
        let client = &mut self.clients[self.rng.random_range(range)];
        client.child.kill().ok();
        client.killed_at.get_or_insert_with(Instant::now);
        self.report.note(format!("kill the client: {}", client.what));
        self.report.tally.kills += 1;
    }

    fn signal_service(&mut self, what: &str, signal: Signal) {
        self.report.note(format!("{what} the service"));
        self.report.tally.kills += 1;
        self.services.signal(&self.user, signal);
    }

    fn kill_podman(&mut self) {
        self.report.note("kill Podman");
        self.report.tally.kills += 1;
        self.disturbed = true;
        self.podman.kill();
        let down = Duration::from_millis(self.rng.random_range(0..1500));
        self.podman_back = Some(Instant::now() + down);
    }
}
