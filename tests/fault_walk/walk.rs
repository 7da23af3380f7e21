//! A user who goes through one operation again and again, with a fault each time.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::process::Output;
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::cases::{Case, End};
use super::points::COMMIT;
use super::service::Faulty;
use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, end, succeed, text_of};

/// A user who goes through one operation again and again.
pub(super) struct Walk {
    pub(super) user: User,
    pub(super) repository: Repository,
    name: &'static str,
    /// How many ids have been used up.
    used: Cell<usize>,
    commits: Cell<usize>,
    rows: RefCell<Vec<(String, String, u128)>>,
    wrong: RefCell<Vec<String>>,
}

impl Walk {
    /// `name` is the first part of the taskspaces' ids.
    pub(super) fn new(name: &'static str) -> Self {
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

    pub(super) fn id(&self) -> String {
        format!("{}-{}", self.name, self.used.get())
    }

    fn ids(&self) -> Vec<String> {
        let used = (0..=self.used.get()).map(|n| format!("{}-{n}", self.name));
        used.chain([self.original()]).collect()
    }

    /// The taskspace that is forked.
    pub(super) fn original(&self) -> String {
        format!("{}-original", self.name)
    }

    /// Makes the taskspace that is forked, unless it is there.
    pub(super) fn bring_original(&self) {
        let id = self.original();
        if self.user.registry()["taskspaces"].get(&id).is_none() {
            self.user.run(&["create", "--project", self.repository.as_str(), &id]);
            self.end_service();
        }
    }

    /// Makes a snapshot of the taskspace with two files, unless it is there.
    pub(super) fn bring_snapshot(&self) {
        if self.record()["snapshots"].get("s").is_none() {
            self.dev("cd /workspace && rm -f other && touch kept new");
            self.user.run(&["snapshot", &self.id(), "s"]);
        }
    }

    /// Publishes a port of the taskspace, or has it not published.
    pub(super) fn publish(&self, published: bool) {
        let is = self.record()["published"].is_array();
        let more: &[&str] = if published { &[] } else { &["--close"] };
        if is != published {
            self.user.run(&[&["port", &self.id(), "3000"], more].concat());
        }
        self.end_service();
    }

    /// Runs a script in the taskspace.
    pub(super) fn dev(&self, script: &str) -> String {
        succeed(&mut self.user.ssh(&format!("{}-dev", self.id()), &[script]))
    }

    pub(super) fn pod(&self) -> String {
        format!("taskspace-{}", self.id())
    }

    pub(super) fn record(&self) -> Value {
        self.user.registry()["taskspaces"][self.id()].clone()
    }

    /// How the taskspace is; an error when no operation may leave it so.
    pub(super) fn end(&self) -> Result<End, String> {
        let record = self.record();
        match record["status"].as_str() {
            None => Ok(End::Gone),
            Some("running") => Ok(End::Running),
            Some("stopped") => Ok(End::Stopped),
            Some("failed") if record["failure"]["detail"].is_string() => Ok(End::Failed),
            Some(_) => Err(format!("it is {record}")),
        }
    }

    /// Asks for an operation on the taskspace.
    pub(super) fn run(&self, verb: &[&str]) -> Output {
        self.user.taskspace(&[verb, &[&self.id()]].concat()).output().unwrap()
    }

    pub(super) fn create(&self, more: &[&str]) -> Output {
        let project = ["create", "--project", self.repository.as_str()];
        self.run(&[&project, more].concat())
    }

    /// Makes a commit, which has no base yet.
    pub(super) fn commit_anew(&self) {
        let commits = self.commits.replace(self.commits.get() + 1);
        self.repository.commit("file", &format!("{commits}"));
    }

    /// Leaves what goes with the next collection: a base, an agent's state and a volume of nothing.
    pub(super) fn leave_litter(&self) {
        let retention = |time: &str| {
            let text = format!("bases: {{unused: {time}}}\nagent_states: {time}\nstrays: {time}\n");
            self.user.settings("retention.yaml", &text);
        };
        retention("never");
        self.commit_anew();
        let litter = format!("{}-litter-{}", self.name, self.commits.get());
        self.user.run(&["create", "--project", self.repository.as_str(), &litter]);
        self.user.run(&["delete", "--force", &litter]);
        // Now there is a newer one than the one that it was on.
        self.commit_anew();
        self.user.run(&["projects", "refresh"]);
        self.end_service();
        retention("0s");
        let registry = self.user.registry()["registry"].as_str().unwrap().to_owned();
        let labels = [("registry", registry.as_str()), ("role", "project"), ("taskspace", &litter)];
        let labels = labels.map(|(key, value)| format!("--label=io.symposium.{key}={value}"));
        let mut create = TestPodman::shared().command();
        create.args(["volume", "create"]).args(labels).arg(format!("taskspace-{litter}-project"));
        succeed(&mut create);
    }

    /// Waits until the service has recovered the taskspace.
    pub(super) fn await_recovery(&self) -> Output {
        // Whatever is still wrong then is told by the look that follows.
        self.disagreement();
        self.user.taskspace(&["list", "--json"]).output().unwrap()
    }

    /// Brings the taskspace to what it should be like, with a service without faults.
    pub(super) fn bring(&self, wanted: End) {
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

    /// Ends the service that runs.
    pub(super) fn end_service(&self) {
        if let Some(pid) = self.user.service() {
            end(pid, Signal::SIGTERM);
        }
    }

    /// Makes everything ready for an operation, and starts a service with faults for it.
    fn set_out(&self, case: Case, faults: &[(&str, &str)]) -> Faulty {
        self.bring(case.before);
        self.end_service();
        (case.meanwhile)(self);
        let always = case.failing.map(|failing| ("FAIL", failing));
        let faults = faults.iter().copied().chain(always);
        let faults = faults.map(|(name, value)| (name, value.replace(COMMIT, &self.commit())));
        Faulty::start(&self.user, &faults.collect::<Vec<_>>())
    }

    /// The commit as the names of points have it.
    pub(super) fn commit(&self) -> String {
        self.repository.head()[..12].to_owned()
    }

    /// Learns the names of an operation's points from a run without faults.
    pub(super) fn points(&self, case: Case) -> Vec<String> {
        let log = self.user.path("points");
        std::fs::remove_file(&log).ok();
        // The first taskspace makes what later ones find.
        self.bring(End::Running);
        let mut service = self.set_out(case, &[("LOG", log.to_str().unwrap())]);
        let output = (case.ask)(self);
        assert_eq!(output.status.success(), case.failing.is_none(), "{}", text_of(&output));
        assert_eq!(self.end(), Ok(case.after));
        assert_eq!(self.disagreement(), Vec::<String>::new());
        service.end();
        let text = std::fs::read_to_string(log).unwrap();
        text.lines().map(|point| point.replace(&self.commit(), COMMIT)).collect()
    }

    /// How Podman and the host differ from the registry.
    pub(super) fn disagreement(&self) -> Vec<String> {
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
    pub(super) fn kill(&self, case: Case, point: &str) {
        let mut service = self.set_out(case, &[("KILL", point)]);
        let start = Instant::now();
        let output = (case.ask)(self);
        let reached = service.was_killed(point);
        drop(service);
        let outcome = self.judge(case, &output, reached, point);
        self.note(case, point, outcome, start);
    }

    /// Makes a step of an operation fail.
    pub(super) fn fail(&self, case: Case, point: &str, n: usize) {
        let mut service = self.set_out(case, &[("FAIL", point)]);
        let start = Instant::now();
        let output = (case.ask)(self);
        if !self.user.taskspace(&["status"]).output().unwrap().status.success() {
            // It could not even begin; the next one can.
            service.end();
        }
        let outcome = self.judge_failure(case, &output, point, n);
        drop(service);
        self.note(case, point, outcome, start);
    }

    /// Prints the table, and fails if anything was wrong.
    pub(super) fn finish(self) {
        let mut table = String::new();
        for (what, outcome, milliseconds) in self.rows.borrow().iter() {
            writeln!(table, "{what} | {outcome} | {milliseconds} ms").unwrap();
        }
        println!("{table}");
        let wrong = self.wrong.borrow();
        assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
    }
}
