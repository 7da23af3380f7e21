//! The walk: the service is killed at every point of every operation, and every step is made to fail.
//! Afterwards the taskspace is whole or gone, and everything agrees with the registry.
//!
//! Which points there are is learnt from a run without faults. `make fault-walk` prints the table, and
//! kills at every write of the registry too; as a part of `make test` only some of those are taken,
//! since a write between two steps leaves nothing else than the points around it.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, end, succeed, terminate, text_of, wait_until};

/// How long a service may take to reach its point when the client has gone on already.
const REACHED: Duration = Duration::from_secs(3);

/// Of the writes of the registry, the share that is taken in `make test`.
const SAMPLE: usize = 5;

/// What stands for the commit in the names of points: it changes from run to run.
const COMMIT: &str = "COMMIT";

/// What the client says when nobody knows what became of the operation: the service that knew of it is
/// gone, or was when it was asked.
const LOST: [&str; 2] = ["the service ended before", "the exchange with the service broke off"];

/// How a taskspace is, in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Running,
    Stopped,
    Gone,
    Failed,
}

/// An operation.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    /// How the taskspace is before.
    before: End,
    /// How it is afterwards.
    after: End,
    /// What somebody does while no service runs.
    meanwhile: fn(&Walk),
    /// What is asked for.
    ask: fn(&Walk) -> Output,
    /// A step that always fails.
    failing: Option<&'static str>,
}

fn nothing(_: &Walk) {}

const CREATE: Case = Case {
    name: "create",
    before: End::Gone,
    after: End::Running,
    meanwhile: nothing,
    ask: |walk| walk.create(&[]),
    failing: None,
};

/// The first taskspace of a commit, whose base has to be made.
const CREATE_WITH_BASE: Case = Case {
    name: "create with base",
    meanwhile: |walk| {
        let commits = walk.commits.replace(walk.commits.get() + 1);
        walk.repository.commit("file", &format!("{commits}"));
    },
    ..CREATE
};

/// A creation that fails in the end, and is taken back.
const CREATE_IN_VAIN: Case = Case {
    name: "create in vain",
    after: End::Gone,
    failing: Some("create: wait for the dev container's sshd: fail#1"),
    ..CREATE_WITH_BASE
};

const KEEP: Case = Case {
    name: "create --keep-on-failure",
    ask: |walk| walk.create(&["--keep-on-failure"]),
    ..CREATE
};

const START: Case = Case {
    name: "start",
    before: End::Stopped,
    after: End::Running,
    ask: |walk| walk.run(&["start"]),
    ..CREATE
};

const STOP: Case = Case {
    name: "stop",
    before: End::Running,
    after: End::Stopped,
    ask: |walk| walk.run(&["stop"]),
    ..CREATE
};

const RESTART: Case = Case {
    name: "restart",
    before: End::Running,
    after: End::Running,
    ask: |walk| walk.run(&["restart"]),
    ..CREATE
};

const DELETE: Case = Case {
    name: "delete",
    before: End::Running,
    after: End::Gone,
    ask: |walk| walk.run(&["delete", "--force", "--purge"]),
    ..CREATE
};

/// The agent's state stays, so that the next taskspace must have another id.
const DELETE_AND_KEEP: Case =
    Case { name: "delete, state kept", ask: |walk| walk.run(&["delete", "--force"]), ..DELETE };

/// The last taskspace on a commit that is no longer the newest one: its base goes with it.
const DELETE_OLD: Case = Case {
    name: "delete with base",
    meanwhile: |walk| {
        (CREATE_WITH_BASE.meanwhile)(walk);
        let newer = "w-newer";
        walk.user.run(&["create", "--project", walk.repository.as_str(), newer]);
        walk.user.run(&["delete", "--force", "--purge", newer]);
        walk.end_service();
    },
    ..DELETE
};

/// Somebody removed the pod of a taskspace that is stopped.
const REBUILD: Case = Case {
    name: "rebuild",
    meanwhile: |walk| {
        podman(&["pod", "rm", "--force", &walk.pod()]);
    },
    ..START
};

/// Somebody killed a container while the service did not run.
const RECOVER: Case = Case {
    name: "recover",
    before: End::Running,
    after: End::Running,
    meanwhile: |walk| {
        podman(&["kill", &format!("{}-dev", walk.pod())]);
    },
    ask: Walk::await_recovery,
    failing: None,
};

/// Somebody removed a container while the service did not run.
const RECOVER_REMOVED: Case = Case {
    name: "recover a removed container",
    meanwhile: |walk| {
        podman(&["rm", "--force", &format!("{}-agent", walk.pod())]);
    },
    ..RECOVER
};

fn podman(arguments: &[&str]) -> String {
    succeed(TestPodman::shared().command().args(arguments))
}

/// A user who goes through one operation again and again.
struct Walk {
    user: User,
    repository: Repository,
    name: &'static str,
    /// How many ids have been used up.
    used: Cell<usize>,
    commits: Cell<usize>,
    rows: RefCell<Vec<(String, String, u128)>>,
    wrong: RefCell<Vec<String>>,
}

/// A service with faults.
struct Faulty(Child);

impl Drop for Faulty {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Faulty {
    /// Whether it has been killed, soon.
    fn was_killed(&mut self) -> bool {
        let deadline = Instant::now() + REACHED;
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return status.signal() == Some(nix::libc::SIGKILL),
                None if Instant::now() > deadline => return false,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Walk {
    /// `name` is the first part of the taskspaces' ids.
    fn new(name: &'static str) -> Self {
        let user = User::with_own_ports(&TestPodman::shared().container_host);
        // Whatever is recovered is killed more often than it may; and what could not be recorded is
        // found again by the next regular look.
        user.more_settings(
            "settings.yaml",
            "restart: {limit: 100, window: 1s, delay: 200ms}\nreconcile_interval: 2s\n",
        );
        user.run(&["list"]);
        let repository = Repository::new(&user, name);
        let (used, commits) = (Cell::new(0), Cell::new(0));
        let (rows, wrong) = (RefCell::default(), RefCell::default());
        Self { user, repository, name, used, commits, rows, wrong }
    }

    fn id(&self) -> String {
        format!("{}-{}", self.name, self.used.get())
    }

    fn ids(&self) -> Vec<String> {
        (0..=self.used.get()).map(|n| format!("{}-{n}", self.name)).collect()
    }

    fn pod(&self) -> String {
        format!("taskspace-{}", self.id())
    }

    fn record(&self) -> Value {
        self.user.registry()["taskspaces"][self.id()].clone()
    }

    fn end(&self) -> Result<End, String> {
        let record = self.record();
        match record["status"].as_str() {
            None => Ok(End::Gone),
            Some("running") => Ok(End::Running),
            Some("stopped") => Ok(End::Stopped),
            Some("failed") if record["failure"]["detail"].is_string() => Ok(End::Failed),
            Some(_) => Err(format!("it is {record}")),
        }
    }

    fn run(&self, verb: &[&str]) -> Output {
        self.user.taskspace(&[verb, &[&self.id()]].concat()).output().unwrap()
    }

    fn create(&self, more: &[&str]) -> Output {
        let project = ["create", "--project", self.repository.as_str()];
        self.run(&[&project, more].concat())
    }

    /// Waits until the service has recovered the taskspace.
    fn await_recovery(&self) -> Output {
        // Whatever is still wrong then is told by the look that follows.
        self.disagreement();
        self.user.taskspace(&["list", "--json"]).output().unwrap()
    }

    /// Brings the taskspace to what it should be like, with a service without faults.
    fn bring(&self, wanted: End) {
        let id = self.id();
        let project = self.repository.as_str();
        match (self.end().unwrap_or(End::Failed), wanted) {
            (End::Failed, End::Gone) | (End::Running | End::Stopped, End::Gone) => {
                drop(self.user.run(&["delete", "--force", "--purge", &id]));
            }
            (End::Gone, End::Running | End::Stopped) => {
                if self.user.registry()["agent_states"].get(&id).is_some() {
                    self.used.set(self.used.get() + 1);
                }
                self.user.run(&["create", "--project", project, &self.id()]);
            }
            (End::Failed | End::Stopped, End::Running) => drop(self.user.run(&["start", &id])),
            (End::Failed, End::Stopped) => drop(self.user.run(&["start", &id])),
            _ => {}
        }
        if wanted == End::Stopped && self.end() != Ok(End::Stopped) {
            self.user.run(&["stop", &self.id()]);
        }
    }

    fn end_service(&self) {
        if let Some(pid) = self.user.service() {
            end(pid, nix::sys::signal::Signal::SIGTERM);
        }
    }

    /// Starts a service with faults.
    fn serve(&self, faults: &[(&str, String)]) -> Faulty {
        let mut service = Faulty(self.user.serve(faults));
        let socket = self.user.path("run/symposium/taskspace.sock");
        wait_until("the service listens, or is gone", || {
            UnixStream::connect(&socket).is_ok() || service.0.try_wait().unwrap().is_some()
        });
        service
    }

    /// Makes everything ready for an operation, and starts a service with faults for it.
    fn set_out(&self, case: Case, faults: &[(&str, &str)]) -> Faulty {
        self.bring(case.before);
        self.end_service();
        (case.meanwhile)(self);
        let always = case.failing.map(|failing| ("FAIL", failing));
        let faults = faults.iter().copied().chain(always);
        let faults = faults.map(|(name, value)| (name, value.replace(COMMIT, &self.commit())));
        self.serve(&faults.collect::<Vec<_>>())
    }

    /// The commit as the names of points have it.
    fn commit(&self) -> String {
        self.repository.head()[..12].to_owned()
    }

    /// Learns the names of an operation's points from a run without faults.
    fn points(&self, case: Case) -> Vec<String> {
        let log = self.user.path("points");
        std::fs::remove_file(&log).ok();
        // The first taskspace makes what later ones find.
        self.bring(End::Running);
        let mut service = self.set_out(case, &[("LOG", log.to_str().unwrap())]);
        let output = (case.ask)(self);
        assert_eq!(output.status.success(), case.failing.is_none(), "{}", text_of(&output));
        assert_eq!(self.end(), Ok(case.after));
        assert_eq!(self.disagreement(), Vec::<String>::new());
        terminate(&mut service.0);
        let text = std::fs::read_to_string(log).unwrap();
        text.lines().map(|point| point.replace(&self.commit(), COMMIT)).collect()
    }

    fn disagreement(&self) -> Vec<String> {
        let ids = self.ids();
        self.user.disagreement(&ids.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Notes how a run ended.
    fn note(&self, case: Case, what: &str, outcome: Result<String, String>, start: Instant) {
        let what = format!("{} | {what}", case.name);
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(wrong) => {
                self.wrong.borrow_mut().push(format!("{what}: {wrong}"));
                format!("WRONG: {wrong}")
            }
        };
        self.rows.borrow_mut().push((what, outcome, start.elapsed().as_millis()));
    }

    /// Kills the service at a point of an operation.
    fn kill(&self, case: Case, point: &str) {
        let mut service = self.set_out(case, &[("KILL", point)]);
        let start = Instant::now();
        let output = (case.ask)(self);
        let reached = service.was_killed();
        drop(service);
        let outcome = self.judge(case, &output, reached, point);
        self.note(case, point, outcome, start);
    }

    fn judge(
        &self,
        case: Case,
        output: &Output,
        reached: bool,
        point: &str,
    ) -> Result<String, String> {
        let differences = self.disagreement();
        if !differences.is_empty() {
            return Err(differences.join("; "));
        }
        if !reached && !is_write(point) {
            return Err(format!("it was not reached; {}", text_of(output)));
        }
        let end = self.end()?;
        let text = text_of(output);
        let fits = match output.status.success() {
            // A creation that fails in vain may be gone on with after the kill.
            true => end == case.after || case.failing.is_some() && end == End::Running,
            // Whoever asked is told that nobody knows: it may have been recorded or not.
            false if LOST.iter().any(|lost| text.contains(lost)) => {
                end == case.after || end == case.before
            }
            false => case.failing.is_some() && end == End::Gone,
        };
        if !fits {
            return Err(format!("it is {end:?}, and the client was told: {text}"));
        }
        let told = if output.status.success() { "done" } else { "not done" };
        let reached = if reached { "" } else { ", not reached" };
        Ok(format!("{end:?}, told {told}{reached}"))
    }

    /// Makes a step of an operation fail.
    fn fail(&self, case: Case, point: &str, n: usize) {
        let mut service = self.set_out(case, &[("FAIL", point)]);
        let start = Instant::now();
        let output = (case.ask)(self);
        if !self.user.taskspace(&["status"]).output().unwrap().status.success() {
            // It could not even begin; the next one can.
            terminate(&mut service.0);
        }
        let outcome = self.judge_failure(case, &output, point, n);
        drop(service);
        self.note(case, point, outcome, start);
    }

    fn judge_failure(
        &self,
        case: Case,
        output: &Output,
        point: &str,
        n: usize,
    ) -> Result<String, String> {
        let text = text_of(output);
        let point = point.replace(COMMIT, &self.commit());
        let step = point.split(": ").nth(1).unwrap();
        let is_write = is_write(&point);
        // What is recovered is tried again by itself.
        let by_itself = case.name.starts_with("recover");
        let told = output.status.code() == Some(1) && text.contains(step);
        // A removal whose last steps fail has removed the taskspace all the same.
        let removed = output.status.success() && case.after == End::Gone;
        if !is_write && !by_itself && !removed && !told {
            return Err(format!("{:?}: {text}", output.status));
        }
        let rests = self.disagreement();
        if !rests.is_empty() {
            return Err(rests.join("; "));
        }
        let end = self.end()?;
        let expected = match case.name {
            "create" | "create with base" => End::Gone,
            "delete" | "delete, state kept" => End::Gone,
            _ if by_itself => End::Running,
            _ => End::Failed,
        };
        if end != expected && !is_write {
            return Err(format!("it is {end:?}: {text}"));
        }
        if end != End::Failed {
            return Ok(format!("{end:?}"));
        }
        let reason = self.record()["failure"]["detail"].to_string();
        if !reason.contains(step) && !is_write {
            return Err(format!("the reason does not name the step: {reason}"));
        }
        // One half is gone on with, the other half removed.
        let then = if n.is_multiple_of(2) { case.after } else { End::Gone };
        self.bring(then);
        let rests = self.disagreement();
        if !rests.is_empty() || self.end() != Ok(then) {
            return Err(format!("then it is {:?}: {}", self.end(), rests.join("; ")));
        }
        Ok(format!("Failed, then {then:?}"))
    }

    /// Prints the table, and fails if anything was wrong.
    fn finish(self) {
        let mut table = String::new();
        for (what, outcome, milliseconds) in self.rows.borrow().iter() {
            writeln!(table, "{what} | {outcome} | {milliseconds} ms").unwrap();
        }
        println!("{table}");
        let wrong = self.wrong.borrow();
        assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// What a service writes when it starts.
const FIRST_WRITE: &str = "registry: write: fail#1";

fn is_write(point: &str) -> bool {
    point.starts_with("registry: write: ")
}

/// Whether a point is taken in this run.
fn is_taken(n: usize, point: &str) -> bool {
    let all = std::env::var("TASKSPACE_FAULT_WALK").is_ok_and(|value| value == "all");
    all || !is_write(point) || n.is_multiple_of(SAMPLE)
}

/// Walks over all points of an operation; with `part` of `parts` over some of them.
fn kill_everywhere(walk: &Walk, case: Case, part: usize, parts: usize) {
    let points = walk.points(case);
    let kills = points.iter().filter(|point| !point.contains(": fail#"));
    for (n, point) in kills.enumerate().filter(|(n, point)| is_taken(*n, point)) {
        if n % parts == part {
            walk.kill(case, point);
        }
    }
}

/// Makes every step of an operation fail; with `part` of `parts` some of them.
fn fail_everywhere(walk: &Walk, case: Case, part: usize, parts: usize) {
    let points = walk.points(case);
    // Where something is missing beforehand, it stays so when the service cannot even begin, or
    // cannot record that it is to be mended.
    let unheard = |point: &str| match case.name {
        "rebuild" => is_write(point),
        name => name.starts_with("recover") && point == FIRST_WRITE,
    };
    let fails = points.iter().filter(|point| point.contains(": fail#") && !unheard(point));
    for (n, point) in fails.enumerate().filter(|(n, point)| is_taken(*n, point)) {
        if n % parts == part {
            walk.fail(case, point, n / parts);
        }
    }
}

#[test]
fn a_creation_is_killed() {
    let walk = Walk::new("w-create");
    kill_everywhere(&walk, CREATE, 0, 2);
    walk.finish();
}

#[test]
fn a_creation_is_killed_at_other_points() {
    let walk = Walk::new("w-other");
    kill_everywhere(&walk, CREATE, 1, 2);
    walk.finish();
}

#[test]
fn a_creation_with_a_base_is_killed() {
    let walk = Walk::new("w-base");
    let points = walk.points(CREATE_WITH_BASE);
    for point in points.iter().filter(|point| point.starts_with("base: ")) {
        walk.kill(CREATE_WITH_BASE, point);
    }
    walk.finish();
}

#[test]
fn the_removal_of_a_base_is_killed() {
    let walk = Walk::new("w-old");
    let points = walk.points(DELETE_OLD);
    let late = points.iter().skip_while(|point| !point.starts_with("forget: "));
    for point in late.filter(|point| !point.contains(": fail#")) {
        walk.kill(DELETE_OLD, point);
    }
    walk.finish();
}

#[test]
fn a_creation_is_killed_while_it_is_taken_back() {
    let walk = Walk::new("w-vain");
    let points = walk.points(CREATE_IN_VAIN);
    let undo = points.iter().filter(|point| point.contains("undo ") || point.starts_with("forget"));
    for point in undo {
        walk.kill(CREATE_IN_VAIN, point);
    }
    walk.finish();
}

#[test]
fn starts_and_stops_are_killed() {
    let walk = Walk::new("w-start");
    kill_everywhere(&walk, START, 0, 1);
    kill_everywhere(&walk, STOP, 0, 1);
    kill_everywhere(&walk, RESTART, 0, 1);
    walk.finish();
}

#[test]
fn removals_are_killed() {
    let walk = Walk::new("w-delete");
    kill_everywhere(&walk, DELETE, 0, 1);
    kill_everywhere(&walk, DELETE_AND_KEEP, 0, 1);
    walk.finish();
}

#[test]
fn repairs_are_killed() {
    let walk = Walk::new("w-repair");
    // Without those at which nobody has heard yet that it is to be started.
    let points = walk.points(REBUILD);
    for point in points.iter().filter(|point| point.starts_with("rebuild: ")) {
        if !point.contains(": fail#") {
            walk.kill(REBUILD, point);
        }
    }
    walk.finish();
}

#[test]
fn recoveries_are_killed() {
    let walk = Walk::new("w-recover");
    kill_everywhere(&walk, RECOVER, 0, 1);
    kill_everywhere(&walk, RECOVER_REMOVED, 0, 1);
    walk.finish();
}

#[test]
fn steps_of_a_creation_fail() {
    let walk = Walk::new("w-fails");
    fail_everywhere(&walk, CREATE, 0, 1);
    walk.finish();
}

#[test]
fn steps_of_a_creation_fail_and_what_was_made_is_kept() {
    let walk = Walk::new("w-keep");
    fail_everywhere(&walk, KEEP, 0, 1);
    walk.finish();
}

#[test]
fn steps_of_other_operations_fail() {
    let walk = Walk::new("w-steps");
    for case in [START, STOP, DELETE, DELETE_AND_KEEP, REBUILD, RECOVER, RECOVER_REMOVED] {
        fail_everywhere(&walk, case, 0, 1);
    }
    walk.finish();
}
