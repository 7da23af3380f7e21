//! The comparison at rest: Podman and the host with the registry, the registry with the model, and what
//! can be logged in to with what was left there.

use std::time::{Duration, Instant};

use super::Soak;
use crate::common::agreement::quiescent;
use crate::common::expectation::Meant;
use crate::common::{User, text_of};

/// How long it may take until it is noticed that a sshd is silent, on a machine that is busy.
const NOTICED: Duration = Duration::from_secs(60);

impl Soak {
    /// Compares what there is with what is expected.
    pub(super) fn compare(&mut self) {
        for difference in self.lasting_disagreement() {
            self.report.tell(difference);
        }
        let running = self.compare_with_model();
        self.log_in(&running);
    }

    /// Returns what goes on differing. That a network holds still is only known once its silence has
    /// lasted: until then nothing is under way, and yet not all is at rest.
    fn lasting_disagreement(&self) -> Vec<String> {
        let deadline = Instant::now() + NOTICED;
        loop {
            let mut found = self.disagreement();
            found.retain(|difference| !self.is_left_until_its_start(difference));
            if found.is_empty() || Instant::now() > deadline {
                return found;
            }
            quiescent(&self.user);
        }
    }

    /// Returns how Podman and the host differ from the registry.
    pub(super) fn disagreement(&self) -> Vec<String> {
        let ids: Vec<&str> = self.ids.iter().map(String::as_str).collect();
        self.user.disagreement(&ids)
    }

    /// Whether something is missing that is made anew when a taskspace is started that is stopped.
    /// Or it is still mounted: a Podman whose client was killed goes no further than to end the
    /// containers, and does not give a second one a chance to go on.
    fn is_left_until_its_start(&self, difference: &str) -> bool {
        let registry = self.user.registry();
        let is_stopped = |id: &str| registry["taskspaces"][id]["status"] == "stopped";
        if self.services.interrupted
            && let Some(rest) = difference.strip_prefix("the checkout of ")
            && let Some(id) = rest.strip_suffix(" is mounted 1 times")
        {
            return is_stopped(id);
        }
        self.expected.iter().filter(|(_, it)| it.torn).any(|(id, _)| {
            let missing = [
                format!("missing: pod taskspace-{id}"),
                format!("missing: volume taskspace-{id}-project"),
                format!("missing: volume taskspace-{id}-build-cache"),
            ];
            let lifeless = difference.starts_with(&format!("the containers of taskspace-{id} are"))
                && !difference.contains("running");
            is_stopped(id) && (lifeless || missing.iter().any(|it| it == difference))
        })
    }

    /// Compares the registry with the model, and takes over how it is. Returns the taskspaces that
    /// run, and whether somebody may have removed their work.
    fn compare_with_model(&mut self) -> Vec<(String, bool)> {
        let registry = self.user.registry();
        let mut running = Vec::new();
        for (id, expectation) in &mut self.expected {
            expectation.disturbed |= self.disturbed;
            let record = &registry["taskspaces"][id];
            let found = match record["desired"].as_str() {
                None => Meant::Absent,
                Some("stopped") => Meant::Stopped,
                Some("running") => Meant::Running,
                Some(other) => {
                    self.report.tell(format!("{id} is to be {other}"));
                    continue;
                }
            };
            let failed = record["status"] == "failed";
            let fits = expectation.meant().contains(&found) || failed && found != Meant::Absent;
            if !fits {
                let meant = expectation.meant();
                self.report.tell(format!(
                    "{id} is to be {found:?}, not {meant:?}: {:?}",
                    expectation.asked
                ));
            }
            if expectation.is_lost && !failed && found != Meant::Absent {
                self.report.tell(format!("the loss of the work of {id} is not told"));
            }
            if failed && !expectation.may_have_failed() {
                let (reason, asked) = (&record["failure"], &expectation.asked);
                self.report.tell(format!("{id} has failed: {reason}; {asked:?}"));
            }
            if record["status"] == "running" {
                expectation.torn = false;
                running.push((id.clone(), expectation.lost));
            }
            expectation.settle(found, failed);
        }
        self.expected.retain(|_, it| it.before != Meant::Absent);
        running
    }

    /// Logs in to those that run, finds the files of earlier, and leaves one.
    fn log_in(&mut self, running: &[(String, bool)]) {
        let (user, marked) = (&self.user, &self.marked);
        let wrong: Vec<String> = std::thread::scope(|scope| {
            let each = running.iter().map(|(id, lost)| {
                let is_marked = marked.contains(id) && !lost;
                scope.spawn(move || log_in_to(user, id, is_marked))
            });
            let each: Vec<_> = each.collect();
            each.into_iter().flat_map(|it| it.join().unwrap()).collect()
        });
        self.marked = running.iter().map(|(id, _)| id.clone()).chain(self.marked.clone()).collect();
        for what in wrong {
            self.report.tell(what);
        }
    }
}

/// Logs in to both containers of a taskspace, and returns what failed.
fn log_in_to(user: &User, id: &str, is_marked: bool) -> Vec<String> {
    let script = match is_marked {
        true => format!("grep -qx {id} /workspace/mark"),
        false => format!("echo {id} > /workspace/mark"),
    };
    let dev = user.ssh(&format!("{id}-dev"), &[&script]).output().unwrap();
    let agent = user.ssh(&format!("{id}-agent"), &["true"]).output().unwrap();
    let failed = [(script.as_str(), dev), ("true", agent)];
    let failed = failed.into_iter().filter(|(_, output)| !output.status.success());
    failed.map(|(what, output)| format!("{id}: {what}: {}", text_of(&output))).collect()
}
