//! The soak: random operations, kills and acts of others, against a model of what was asked for. After
//! each phase everything is left alone for a while, and the model, the registry, Podman and the host
//! have to agree; in the end nothing may be left.
//!
//! `make soak` goes on for `SOAK_MINUTES`. A seed (`SOAK_SEED`) repeats the choices, not the timing.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::common::agreement::quiescent;
use crate::common::expectation::{Answer, Asked, Expectation, Meant, Verb};
use crate::common::others::{OTHERS, Other, forwarders};
use crate::common::own_podman::OwnPodman;
use crate::common::repository::Repository;
use crate::common::{TASKSPACE, User, processes, terminate, text_of, wait_until};

/// Quick enough, and with a limit of recoveries that so many acts of others do not reach; the pauses
/// between them stay short since the window is.
const SETTINGS: &str = "\
reconcile_interval: 2s
stop_timeout: 1s
ready_timeout: 20s
health: {interval: 500ms, timeout: 1s, retries: 2}
restart: {limit: 50, window: 5s, delay: 100ms}
";

/// How many taskspaces there are at a time.
const MOST: usize = 8;

/// How many clients wait at a time.
const CLIENTS: usize = 6;

/// How long a client may take when everything goes on.
const CLIENT_PATIENCE: Duration = Duration::from_secs(240);

/// How often to look what has ended.
const TICK: Duration = Duration::from_millis(20);

/// How many of the last actions are told when something is wrong.
const JOURNAL: usize = 150;

/// How many files a service that has nothing to do may have open.
const FILES_AT_REST: usize = 64;

/// How long Podman's helpers may take to go.
const AFTERMATH: Duration = Duration::from_secs(10);

/// What clients say when the service that knew of their request is gone.
const UNSURE: &[&str] = &[
    "the service ended before",
    "next start of the service goes on",
    "the exchange with the service broke off",
    "the service was started and was ended by signal",
    "its creation broke off",
];

/// What Podman says now and then when much is asked of it at the same time, whoever asks: its processes
/// get in each other's way at the database, and crun at a new network. Such refusals are counted.
const PODMANS_OWN: &[&str] = &["disk I/O error", "ping_group_range"];

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
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

/// What people do.
const ASKED: &[(Action, u32)] = &[
    (Action::Create, 10),
    (Action::CreateAndKeep, 2),
    (Action::Start, 6),
    (Action::Stop, 6),
    (Action::Restart, 4),
    (Action::Delete, 4),
    (Action::DeleteAndKeepState, 2),
    (Action::Commit, 1),
    (Action::KillClient, 4),
];

/// What each kind of phase has beside that.
const PHASES: &[(&str, &[(Action, u32)])] = &[
    (
        "everything",
        &[
            (Action::KillService, 3),
            (Action::EndService, 2),
            (Action::KillAtPoint, 4),
            (Action::FailAtPoint, 3),
            (Action::KillPodman, 2),
            (Action::Interfere, 16),
        ],
    ),
    ("calm", &[]),
    ("others", &[(Action::Interfere, 40)]),
    ("kills", &[(Action::KillService, 8), (Action::EndService, 5), (Action::KillAtPoint, 10)]),
    ("failures", &[(Action::FailAtPoint, 8), (Action::KillPodman, 6)]),
];

/// A client that waits for its answer.
struct Client {
    id: String,
    verb: Verb,
    what: String,
    child: Child,
    from: Instant,
    killed_at: Option<Instant>,
    output: PathBuf,
}

/// What has been done so far.
#[derive(Clone, Copy, Default)]
struct Tally {
    operations: usize,
    kills: usize,
    acts: usize,
    /// What Podman refused for reasons of its own.
    refusals: usize,
}

impl Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { operations, kills, acts, refusals } = self;
        write!(f, "{operations} operations, {kills} kills, {acts} acts of others")?;
        if *refusals > 0 {
            write!(f, " (Podman refused {refusals} for reasons of its own)")?;
        }
        Ok(())
    }
}

/// What the service takes up of the machine.
#[derive(Clone, Copy, PartialEq)]
struct Sample {
    process: i32,
    resident: u64,
    files: usize,
}

impl Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { process, resident, files } = self;
        write!(f, "{process}: {} MiB, {files} files", resident / 1024)
    }
}

/// A user to whom everything happens.
struct Soak {
    user: User,
    podman: OwnPodman,
    repositories: Vec<Repository>,
    commits: usize,
    rng: StdRng,
    seed: u64,
    /// The first part of the taskspaces' ids: no other test's, and no other run's.
    prefix: String,
    ids: Vec<String>,
    expected: BTreeMap<String, Expectation>,
    /// Those that have a file in their checkout that must not go.
    marked: Vec<String>,
    last: Option<String>,
    clients: Vec<Client>,
    others: Vec<(Child, String, Option<String>)>,
    services: Vec<Child>,
    podman_back: Option<Instant>,
    /// The service was ended since the last rest: not every client gets its answer.
    ended: bool,
    /// The service was ended, ever: Podman may not have done all that was asked of it.
    interrupted: bool,
    /// Everything may have failed since the last rest.
    disturbed: bool,
    kill_points: Vec<String>,
    fail_points: Vec<String>,
    tally: Tally,
    begun: Instant,
    journal: VecDeque<String>,
    wrong: Vec<String>,
    outputs: Cell<usize>,
}

impl Soak {
    fn new(seed: u64) -> Self {
        let podman = OwnPodman::start();
        let mut user = User::with_podman(&podman.container_host());
        user.settings("settings.yaml", SETTINGS);
        user.take_own_ports();
        let repositories = vec![Repository::new(&user, "one"), Repository::new(&user, "two")];
        let mut soak = Self {
            user,
            podman,
            repositories,
            commits: 0,
            rng: StdRng::seed_from_u64(seed),
            seed,
            prefix: format!("s{:05x}", rand::rng().random_range(0..0x10_0000)),
            ids: Vec::new(),
            expected: BTreeMap::new(),
            marked: Vec::new(),
            last: None,
            clients: Vec::new(),
            others: Vec::new(),
            services: Vec::new(),
            podman_back: None,
            ended: false,
            interrupted: false,
            disturbed: false,
            kill_points: Vec::new(),
            fail_points: Vec::new(),
            tally: Tally::default(),
            begun: Instant::now(),
            journal: VecDeque::new(),
            wrong: Vec::new(),
            outputs: Cell::new(0),
        };
        soak.learn_points();
        soak
    }

    fn note(&mut self, what: impl Display) {
        let at = self.begun.elapsed().as_secs_f64();
        self.journal.push_back(format!("{at:8.2} {what}"));
        if self.journal.len() > JOURNAL {
            self.journal.pop_front();
        }
    }

    fn tell(&mut self, wrong: impl Display) {
        self.note(format!("WRONG: {wrong}"));
        self.wrong.push(wrong.to_string());
    }

    fn new_id(&mut self) -> String {
        let id = format!("{}-{}", self.prefix, self.ids.len());
        self.ids.push(id.clone());
        id
    }

    /// Learns the names of the points from a run of every operation without faults.
    fn learn_points(&mut self) {
        let log = self.user.path("points");
        self.serve("LOG", log.to_str().unwrap());
        // A client that finds nobody starts another one.
        let socket = self.user.path("run/symposium/taskspace.sock");
        wait_until("the service listens", || UnixStream::connect(&socket).is_ok());
        let id = self.new_id();
        let user = &self.user;
        user.run(&["create", "--project", self.repositories[0].as_str(), &id]);
        user.run(&["stop", &id]);
        user.run(&["start", &id]);
        user.run(&["delete", "--force", "--purge", &id]);
        self.signal_services(Signal::SIGTERM);
        let text = std::fs::read_to_string(log).unwrap();
        let names = text.lines().filter_map(|line| line.split_once('#')).map(|(name, _)| name);
        let (mut fails, mut kills): (Vec<_>, Vec<_>) =
            names.map(str::to_owned).partition(|name| name.ends_with(": fail"));
        for points in [&mut fails, &mut kills] {
            points.sort();
            points.dedup();
        }
        (self.fail_points, self.kill_points) = (fails, kills);
    }

    /// Starts a service with a fault in the place of the one that runs.
    fn serve(&mut self, fault: &str, value: &str) {
        self.services.push(self.user.serve(&[(fault, value.to_owned())]));
    }

    /// Returns the processes of this user's services: one, or two while they take turns.
    fn services(&self) -> Vec<i32> {
        let own = format!("XDG_RUNTIME_DIR={}", self.user.path("run").display());
        let serves = |process: &i32| {
            let arguments = processes::arguments(*process);
            arguments.first().is_some_and(|it| it == TASKSPACE)
                && arguments.get(1).is_some_and(|it| it == "serve")
        };
        processes::with_variable(&own).into_iter().filter(serves).collect()
    }

    fn signal_services(&mut self, signal: Signal) {
        (self.ended, self.interrupted) = (true, true);
        for process in self.services() {
            kill(Pid::from_raw(process), signal).ok();
        }
    }

    /// Picks a taskspace, rather often the same one as before.
    fn pick(&mut self) -> Option<String> {
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

    fn ask(&mut self, id: &str, verb: Verb, arguments: &[&str]) {
        let outputs = self.outputs.replace(self.outputs.get() + 1);
        let output = self.user.path(&format!("output-{}", outputs % (4 * CLIENTS)));
        let file = File::create(&output).unwrap();
        let mut ask = self.user.taskspace(arguments);
        let child = ask.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let what = arguments.join(" ");
        self.note(&what);
        self.tally.operations += 1;
        self.clients.push(Client {
            id: id.to_owned(),
            verb,
            what,
            child,
            from: Instant::now(),
            killed_at: None,
            output,
        });
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

    fn act(&mut self, action: Action) {
        match action {
            Action::Create => self.create(false),
            Action::CreateAndKeep => self.create(true),
            Action::Start | Action::Stop | Action::Restart => {
                let Some(id) = self.pick() else { return };
                let (verb, word) = match action {
                    Action::Start => (Verb::Start, "start"),
                    Action::Stop => (Verb::Stop, "stop"),
                    _ => (Verb::Restart, "restart"),
                };
                self.ask(&id, verb, &[word, &id]);
            }
            Action::Delete => {
                let Some(id) = self.pick() else { return };
                self.ask(&id, Verb::Delete, &["delete", "--force", "--purge", &id]);
            }
            Action::DeleteAndKeepState => {
                let Some(id) = self.pick() else { return };
                self.ask(&id, Verb::Delete, &["delete", "--force", &id]);
            }
            Action::Commit => {
                self.commits += 1;
                let content = format!("{} {}", self.prefix, self.commits);
                self.repositories.choose(&mut self.rng).unwrap().commit("file", &content);
            }
            Action::KillClient => {
                let range = 0..self.clients.len();
                if range.is_empty() {
                    return;
                }
                let client = self.rng.random_range(range);
                let client = &mut self.clients[client];
                client.child.kill().ok();
                client.killed_at.get_or_insert_with(Instant::now);
                let what = format!("kill the client: {}", client.what);
                self.note(what);
                self.tally.kills += 1;
            }
            Action::KillService => {
                self.note("kill the service");
                self.tally.kills += 1;
                self.signal_services(Signal::SIGKILL);
            }
            Action::EndService => {
                self.note("end the service");
                self.tally.kills += 1;
                self.signal_services(Signal::SIGTERM);
            }
            Action::KillAtPoint => {
                let point = self.kill_points.choose(&mut self.rng).cloned();
                self.arm("KILL", point);
            }
            Action::FailAtPoint => {
                self.disturbed = true;
                let point = self.fail_points.choose(&mut self.rng).cloned();
                self.arm("FAIL", point);
            }
            Action::KillPodman => {
                self.note("kill Podman");
                self.tally.kills += 1;
                self.disturbed = true;
                self.podman.kill();
                let down = Duration::from_millis(self.rng.random_range(0..1500));
                self.podman_back = Some(Instant::now() + down);
            }
            Action::Interfere => self.interfere(),
        }
    }

    /// Has a service with a fault follow the one that runs.
    fn arm(&mut self, fault: &str, point: Option<String>) {
        let point = format!("{}#{}", point.unwrap(), self.rng.random_range(1..=3));
        self.note(format!("serve with {fault} {point}"));
        self.tally.kills += 1;
        self.signal_services(Signal::SIGTERM);
        self.serve(fault, &point);
    }

    fn interfere(&mut self) {
        let Some(id) = self.pick() else { return };
        let (other, _) = OTHERS.choose_weighted(&mut self.rng, |(_, weight)| *weight).unwrap();
        let role = *["dev", "agent"].choose(&mut self.rng).unwrap();
        self.note(format!("{other:?} {id} {role}"));
        self.tally.acts += 1;
        let expected = self.expected.get_mut(&id).unwrap();
        let is_made = expected.before != Meant::Absent && !expected.had_failed;
        expected.disturbed = true;
        expected.torn = true;
        expected.lost |= *other == Other::RemoveChanges;
        if let Some(mut command) = other.begin(&self.user, &id, role) {
            // A creation that goes on may make it anew, or end for the lack of it.
            let loses = *other == Other::RemoveChanges && is_made;
            let lost = loses.then(|| id.clone());
            let what = format!("{other:?} {id} {role}");
            self.others.push((command.spawn().unwrap(), what, lost));
        }
    }

    /// Takes in what has ended.
    fn look(&mut self) {
        if self.podman_back.is_some_and(|back| back <= Instant::now()) {
            self.podman_back = None;
            self.podman.revive();
            self.note("Podman is back");
        }
        let waiting = std::mem::take(&mut self.clients);
        for mut client in waiting {
            match client.child.try_wait().unwrap() {
                Some(status) => self.answered(&client, status),
                None => self.clients.push(client),
            }
        }
        let mut ended = Vec::new();
        let expected = &mut self.expected;
        self.others.retain_mut(|(child, what, loses)| {
            let Some(status) = child.try_wait().unwrap() else { return true };
            ended.push(format!("  {what}: {status}"));
            if let Some(expectation) = loses.as_ref().and_then(|id| expected.get_mut(id)) {
                expectation.is_lost |= status.success();
            }
            false
        });
        for what in ended {
            self.note(what);
        }
        self.services.retain_mut(|service| service.try_wait().unwrap().is_none());
    }

    fn answered(&mut self, client: &Client, status: ExitStatus) {
        let text = std::fs::read_to_string(&client.output).unwrap_or_default();
        let unsure = UNSURE.iter().any(|words| text.contains(words));
        let answer = match status.code() {
            Some(0) => Answer::Done,
            Some(3) => Answer::Refused,
            None | Some(130) => Answer::Unknown,
            Some(_) if unsure => Answer::Unknown,
            Some(_) => Answer::Failed,
        };
        let told = text.lines().filter(|line| line.contains("error") || line.contains("hint"));
        let told = told.collect::<Vec<_>>().join("; ");
        self.note(format!("  {answer:?}: {}: {told}", client.what));
        let podmans_own =
            answer == Answer::Failed && PODMANS_OWN.iter().any(|words| text.contains(words));
        self.tally.refusals += usize::from(podmans_own);
        let expected = &self.expected[&client.id];
        // What was done to it may show only now.
        let torn = expected.torn || expected.lost;
        let excused = expected.disturbed || torn || self.disturbed || podmans_own;
        let killed = client.killed_at.is_some() && status.signal().is_some();
        let fits = match answer {
            Answer::Done => true,
            Answer::Unknown => killed || self.ended,
            Answer::Failed => excused || expected.had_failed,
            // It may be gone, or not be entered yet.
            Answer::Refused => {
                expected.meant().contains(&Meant::Absent)
                    || self.clients.iter().any(|it| it.id == client.id && it.verb == Verb::Delete)
            }
        };
        if !fits {
            self.tell(format!("{} ended with {status} and wrote: {text}", client.what));
        }
        let (verb, from, to) = (client.verb, client.from, Instant::now());
        let expected = self.expected.get_mut(&client.id).unwrap();
        expected.disturbed |= podmans_own;
        expected.asked.push(Asked { verb, from, to, answer });
    }

    /// Waits, and looks at what ends meanwhile.
    fn pause(&mut self, long: Duration) {
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
    fn rest(&mut self) {
        let deadline = Instant::now() + CLIENT_PATIENCE;
        while !(self.clients.is_empty() && self.others.is_empty() && self.podman_back.is_none()) {
            self.pause(TICK);
            if Instant::now() > deadline {
                let hang: Vec<String> = self.clients.iter().map(|it| it.what.clone()).collect();
                let others = self.others.iter().map(|(_, what, _)| what.clone());
                let hang: Vec<String> = hang.into_iter().chain(others).collect();
                self.tell(format!("these hang: {hang:?}"));
                return;
            }
        }
        self.note("rest");
        // What it still has in store must not meet those who are not prepared for it.
        for mut service in std::mem::take(&mut self.services) {
            terminate(&mut service);
        }
        quiescent(&self.user);
        let ids: Vec<&str> = self.ids.iter().map(String::as_str).collect();
        for difference in self.user.disagreement(&ids) {
            if !self.is_left_until_its_start(&difference) {
                self.tell(difference);
            }
        }
        self.compare();
        self.ended = false;
        self.disturbed = false;
    }

    /// Whether something is missing that is made anew when a taskspace is started that is stopped.
    /// Or it is still mounted: a Podman whose client was killed goes no further than to end the
    /// containers, and does not give a second one a chance to go on.
    fn is_left_until_its_start(&self, difference: &str) -> bool {
        let registry = self.user.registry();
        let is_stopped = |id: &str| registry["taskspaces"][id]["status"] == "stopped";
        if self.interrupted
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

    /// Compares what there is with what is expected.
    fn compare(&mut self) {
        let registry = self.user.registry();
        let mut expected = std::mem::take(&mut self.expected);
        let mut running = Vec::new();
        for (id, expectation) in &mut expected {
            expectation.disturbed |= self.disturbed;
            let record = &registry["taskspaces"][id];
            let found = match record["desired"].as_str() {
                None => Meant::Absent,
                Some("stopped") => Meant::Stopped,
                Some("running") => Meant::Running,
                Some(other) => {
                    self.tell(format!("{id} is to be {other}"));
                    continue;
                }
            };
            let failed = record["status"] == "failed";
            let fits = expectation.meant().contains(&found) || failed && found != Meant::Absent;
            if !fits {
                let meant = expectation.meant();
                self.tell(format!(
                    "{id} is to be {found:?}, not {meant:?}: {:?}",
                    expectation.asked
                ));
            }
            if expectation.is_lost && !failed && found != Meant::Absent {
                self.tell(format!("the loss of the work of {id} is not told"));
            }
            if failed && !expectation.may_have_failed() {
                let (reason, asked) = (&record["failure"], &expectation.asked);
                self.tell(format!("{id} has failed: {reason}; {asked:?}"));
            }
            if record["status"] == "running" {
                expectation.torn = false;
                running.push((id.clone(), expectation.lost));
            }
            expectation.settle(found, failed);
        }
        expected.retain(|_, it| it.before != Meant::Absent);
        self.expected = expected;
        self.log_in(&running);
    }

    /// Logs in to those that run, finds the files of earlier, and leaves one.
    fn log_in(&mut self, running: &[(String, bool)]) {
        let (user, marked) = (&self.user, &self.marked);
        let wrong: Vec<String> = std::thread::scope(|scope| {
            let each = running.iter().map(|(id, lost)| {
                scope.spawn(move || {
                    let is_marked = marked.contains(id) && !lost;
                    let script = match is_marked {
                        true => format!("grep -qx {id} /workspace/mark"),
                        false => format!("echo {id} > /workspace/mark"),
                    };
                    let dev = user.ssh(&format!("{id}-dev"), &[&script]).output().unwrap();
                    let agent = user.ssh(&format!("{id}-agent"), &["true"]).output().unwrap();
                    let failed = [(script.as_str(), dev), ("true", agent)];
                    let failed = failed.into_iter().filter(|(_, output)| !output.status.success());
                    failed
                        .map(|(what, output)| format!("{id}: {what}: {}", text_of(&output)))
                        .collect::<Vec<_>>()
                })
            });
            let each: Vec<_> = each.collect();
            each.into_iter().flat_map(|it| it.join().unwrap()).collect()
        });
        self.marked = running.iter().map(|(id, _)| id.clone()).chain(self.marked.clone()).collect();
        for what in wrong {
            self.tell(what);
        }
    }

    fn sample(&self) -> Option<Sample> {
        let process = *self.services().first()?;
        let (resident, files) = (processes::resident(process)?, processes::open_files(process)?);
        Some(Sample { process, resident, files })
    }

    fn phase(&mut self, number: usize, actions: usize) {
        let (name, own) = PHASES[number % PHASES.len()];
        let weights = [ASKED, own].concat();
        let (tally, begun) = (self.tally, Instant::now());
        self.note(format!("phase {number}: {name}"));
        let before = self.sample();
        for _ in 0..actions {
            while self.clients.len() >= CLIENTS {
                self.pause(TICK);
            }
            let (action, _) =
                *weights.choose_weighted(&mut self.rng, |(_, weight)| *weight).unwrap();
            self.act(action);
            let long = self.rng.random_range(0..400);
            self.pause(Duration::from_millis(long));
        }
        self.rest();
        let after = self.sample();
        if let Some(after) = after.filter(|after| after.files > FILES_AT_REST) {
            self.tell(format!("the service has too many files open: {after}"));
        }
        let mut states: BTreeMap<String, usize> = BTreeMap::new();
        for record in self.user.registry()["taskspaces"].as_object().unwrap().values() {
            *states.entry(record["status"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let show = |sample: Option<Sample>| sample.map_or("none".to_owned(), |it| it.to_string());
        let now = self.tally;
        println!(
            "phase {number:3} {name:10} {:3} operations {:3} kills {:3} acts | {states:?} | {} -> {} | {:.0} s",
            now.operations - tally.operations,
            now.kills - tally.kills,
            now.acts - tally.acts,
            show(before),
            show(after),
            begun.elapsed().as_secs_f64(),
        );
        self.check();
    }

    /// Ends the soak if anything was wrong.
    fn check(&mut self) {
        if self.wrong.is_empty() {
            return;
        }
        for line in &self.journal {
            eprintln!("{line}");
        }
        let (seed, tally) = (self.seed, self.tally);
        panic!("seed {seed}, after {tally}:\n{}", self.wrong.join("\n"));
    }

    /// Deletes everything; nothing may be left.
    fn end(mut self) {
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
        let ids: Vec<&str> = self.ids.iter().map(String::as_str).collect();
        for difference in self.user.disagreement(&ids) {
            self.tell(difference);
        }
        let left = self.user.left_in_podman();
        let bases = left.iter().filter(|name| name.starts_with("project-base-")).count();
        if bases != left.len() || bases > self.repositories.len() {
            self.tell(format!("left in Podman: {left:?}"));
        }
        for (process, arguments) in self.helpers() {
            self.tell(format!("left: process {process}: {}", arguments.join(" ")));
        }
        self.check();
        println!("seed {}: {}: 0 leaks", self.seed, self.tally);
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

impl Drop for Soak {
    fn drop(&mut self) {
        // What is removed last needs Podman.
        self.podman.revive();
        for client in &mut self.clients {
            client.child.kill().ok();
            client.child.wait().ok();
        }
        for (other, _, _) in &mut self.others {
            other.kill().ok();
            other.wait().ok();
        }
        self.signal_services(Signal::SIGTERM);
        for service in &mut self.services {
            service.wait().ok();
        }
    }
}

/// Reads a number that the environment may give.
fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is to be a number, not '{text}'")))
}

#[test]
fn whatever_happens_all_agree_in_the_end_and_nothing_is_left() {
    let seed = given("TASKSPACE_SOAK_SEED").unwrap_or_else(|| rand::rng().random_range(0..1 << 32));
    let minutes = given("TASKSPACE_SOAK_MINUTES");
    println!("seed {seed}");
    let mut soak = Soak::new(seed);
    match minutes {
        Some(minutes) => {
            let until = Instant::now() + Duration::from_secs(minutes * 60);
            let mut number = 0;
            while Instant::now() < until {
                let actions = soak.rng.random_range(20..60);
                soak.phase(number, actions);
                number += 1;
            }
        }
        None => soak.phase(0, 60),
    }
    soak.end();
}
