//! Operations are coordinated: what may run side by side does, the rest waits or is refused, and nobody
//! holds anything longer than it may.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use taskspace::client::{Client, ClientError};
use taskspace::model::{
    Code, Operation, OperationClass, OperationRequest, OperationState, OperationUpdate, Outcome,
};

use crate::common::containers::Own;
use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, succeed, text_of, wait_until};

/// The containers of a user that other tests know nothing of.
const DEPENDS: [(&str, &[&str]); 8] = [
    ("api", &[]),
    ("webui", &["api"]),
    ("worker", &["api", "redis", "postgres"]),
    ("postgres", &[]),
    ("redis", &[]),
    ("voice", &["api"]),
    ("chat", &["api"]),
    ("prometheus", &[]),
];

/// How many agents contend, and for how many seconds unless the environment says something else.
const AGENTS: usize = 50;
const SECONDS: u64 = 10;

/// A user who has registered the eight.
fn user(coordination: &str) -> User {
    let user = User::new();
    let mut yaml = format!("{coordination}containers:\n");
    for (name, needs) in DEPENDS {
        writeln!(yaml, "  {name}: {{depends_on: [{}]}}", needs.join(", ")).unwrap();
    }
    user.settings("coordination.yaml", &yaml);
    user
}

/// Somebody who asks for operations.
struct Agent {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Agent {
    /// There must be a service already.
    fn new(user: &User) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::new(user.path("run/symposium/taskspace.sock"));
        Self { client, runtime }
    }

    fn ask(&self, request: &OperationRequest) -> Result<Operation, Code> {
        self.runtime.block_on(self.client.request_operation(request)).map_err(code)
    }

    fn asked(&self, kind: OperationClass, target: &str) -> Operation {
        self.ask(&request(kind, target)).unwrap()
    }

    fn refused(&self, kind: OperationClass, target: &str) -> String {
        let asked = self.runtime.block_on(self.client.request_operation(&request(kind, target)));
        match asked.unwrap_err() {
            ClientError::Problem(problem) => {
                assert_eq!(problem.code, Code::OperationConflict);
                problem.detail
            }
            other => panic!("{other}"),
        }
    }

    fn update(&self, number: u64, update: &OperationUpdate) -> Result<Operation, Code> {
        self.runtime.block_on(self.client.update_operation(number, update)).map_err(code)
    }

    fn renew(&self, held: &Operation) -> Result<Operation, Code> {
        self.update(held.id, &OperationUpdate { token: held.token, ..Default::default() })
    }

    fn done(&self, held: &Operation) -> Result<Operation, Code> {
        let outcome = Some(Outcome::Done);
        self.update(held.id, &OperationUpdate { token: held.token, outcome, reason: None })
    }

    fn look(&self, number: u64) -> Operation {
        self.runtime.block_on(self.client.operation(number)).unwrap()
    }

    fn state(&self, number: u64) -> OperationState {
        self.look(number).state
    }

    fn cancel(&self, number: u64) -> Result<Operation, Code> {
        self.runtime.block_on(self.client.cancel_operation(number)).map_err(code)
    }
}

fn code(error: ClientError) -> Code {
    match error {
        ClientError::Problem(problem) => problem.code,
        other => panic!("{other}"),
    }
}

fn request(kind: OperationClass, target: &str) -> OperationRequest {
    OperationRequest {
        kind,
        target: target.parse().unwrap(),
        agent: "agent-1".parse().unwrap(),
        priority: Default::default(),
        estimated_seconds: None,
        timeout_seconds: None,
        lease_seconds: None,
        description: None,
    }
}

use OperationClass::{Config, Health, Read, Restart};
use OperationState::{Cancelled, Done, Failed, Queued, Running, TimedOut};

#[test]
fn the_examples_of_old() {
    let user = user("");
    user.run(&["containers"]);
    let agent = Agent::new(&user);
    // Two restarts of one container.
    let first = agent.asked(Restart, "api");
    let detail = agent.refused(Restart, "api");
    assert!(detail.contains(&format!("operation {}, restart of api", first.id)), "{detail}");
    // A change of the configuration during a restart.
    let config = agent.asked(Config, "api");
    assert_eq!((config.state, config.behind[0].operation), (Queued, first.id));
    agent.done(&first).unwrap();
    assert_eq!(agent.state(config.id), Running);
    let config = agent.look(config.id);
    // And a restart during a change of the configuration.
    let restart = agent.ask(&OperationRequest {
        priority: 8.try_into().unwrap(),
        agent: "restart-agent".parse().unwrap(),
        ..request(Restart, "api")
    });
    let restart = restart.unwrap();
    assert_eq!(restart.state, Queued);
    agent.done(&config).unwrap();
    assert_eq!(agent.state(restart.id), Running);
    agent.done(&agent.look(restart.id)).unwrap();
    // Reading different containers, and the same one.
    let reads = ["api", "webui", "api"].map(|target| agent.asked(Read, target));
    assert!(reads.iter().all(|read| read.state == Running && read.cautions.is_empty()));
    // Two changes of the configuration may disturb each other, which is recorded.
    let configs = [Config, Config].map(|kind| agent.asked(kind, "redis"));
    assert_eq!(configs[1].cautions[0].operation, configs[0].id);
    let status = user.json(&["status"]);
    let coordination = &status["coordination"];
    assert_eq!(coordination["containers"], 8);
    assert_eq!(coordination["active"], 5);
    assert_eq!(coordination["today"]["requested"], 9);
    assert_eq!(coordination["today"]["rejected"], 1);
}

#[test]
fn real_containers_are_restarted_one_at_a_time() {
    let user = User::new();
    let mut own = Own::default();
    let mut yaml = "containers:\n".to_owned();
    for (name, needs) in DEPENDS {
        let container = Own::name(&user, name);
        let needs = needs.join(", ");
        writeln!(yaml, "  {name}: {{container: {container}, depends_on: [{needs}]}}").unwrap();
        own.run(&container, &[]);
    }
    std::fs::write(user.path("home/containers.yaml"), yaml).unwrap();
    user.run(&["containers", "register", "containers.yaml"]);
    let state = |name: &str| {
        let containers = user.json(&["containers"]);
        let found = containers.as_array().unwrap().iter().find(|it| it["name"] == name);
        found.unwrap()["state"].as_str().unwrap().to_owned()
    };
    wait_until("all of them run", || DEPENDS.iter().all(|(name, _)| state(name) == "running"));
    let api = Own::name(&user, "api");
    let started = || {
        let mut inspect = TestPodman::shared().command();
        succeed(inspect.args(["inspect", "--format={{.State.StartedAt}}", &api]))
    };
    let before = started();

    let log = user.path("home/log");
    let begun = user.path("home/begun");
    let run_op = |kind: &str, agent: &str, script: &str| {
        let mut run = user.taskspace(&["run-op", "-t", "api", "-k", kind, "--agent", agent, "--"]);
        run.args(["sh", "-c", script]).stderr(Stdio::piped());
        run
    };
    // It takes a while: its process does not heed the signal that asks it to end.
    let restart = format!(
        "touch {}; podman restart --time=2 {api} && echo restarted >> {}",
        begun.display(),
        log.display()
    );
    let first = run_op("restart", "agent-1", &restart).spawn().unwrap();
    wait_until("the restart has begun", || begun.exists());
    assert_eq!(state("api"), "restarting");
    let second = run_op("restart", "agent-2", &restart).output().unwrap();
    assert_eq!(second.status.code(), Some(4), "{}", text_of(&second));
    let change = format!("echo changed >> {}", log.display());
    let config = run_op("config", "config-agent", &change).output().unwrap();
    assert!(text_of(&config).contains("restart of api by agent-1 (high)"), "{}", text_of(&config));
    let first = first.wait_with_output().unwrap();
    assert!(first.status.success(), "{}", text_of(&first));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "restarted\nchanged\n");
    assert_ne!(started(), before);
    wait_until("it runs again", || state("api") == "running");
    let operations = user.json(&["operations", "--all"]);
    let states: Vec<&Value> =
        operations.as_array().unwrap().iter().map(|operation| &operation["state"]).collect();
    assert_eq!(states, ["done", "rejected", "done"]);
}

#[test]
fn what_others_depend_on_is_not_restarted_under_them() {
    let user = user("");
    user.run(&["containers"]);
    let agent = Agent::new(&user);
    let worker = agent.asked(Config, "worker");
    for needed in ["api", "redis", "postgres"] {
        let restart = agent.asked(Restart, needed);
        assert_eq!(restart.state, Queued, "{needed}");
        let said = restart.behind[0].to_string();
        assert!(said.ends_with(&format!("(high: worker depends on {needed})")), "{said}");
        agent.cancel(restart.id).unwrap();
    }
    // Nothing that has to do with the worker.
    assert_eq!(agent.asked(Restart, "prometheus").state, Running);
    assert_eq!(agent.asked(Restart, "webui").state, Running);
    agent.done(&worker).unwrap();
    let restart = agent.asked(Restart, "postgres");
    assert_eq!(restart.state, Running);
    assert_eq!(agent.asked(Config, "worker").state, Queued);
    assert_eq!(agent.asked(Health, "worker").cautions[0].operation, restart.id);
}

#[test]
fn who_is_silent_or_slow_loses_what_it_holds_and_cannot_act_any_more() {
    let user = user("");
    user.run(&["containers"]);
    let agent = Agent::new(&user);
    let lease = OperationRequest { lease_seconds: Some(1), ..request(Restart, "api") };
    let silent = agent.ask(&lease).unwrap();
    let waits = agent.asked(Config, "api");
    wait_until("its lease ends", || agent.state(silent.id) == Failed);
    assert_eq!(agent.look(silent.id).problem.unwrap().code, Code::LeaseLost);
    let next = agent.look(waits.id);
    assert!(next.state == Running && next.token > silent.token);
    assert_eq!(agent.renew(&silent), Err(Code::LeaseLost));
    assert_eq!(agent.done(&silent), Err(Code::LeaseLost));
    let stolen = OperationUpdate { token: silent.token, ..Default::default() };
    assert_eq!(agent.update(next.id, &stolen), Err(Code::LeaseLost));
    assert!(agent.renew(&next).is_ok());

    let slow = OperationRequest { timeout_seconds: Some(1), ..request(Restart, "redis") };
    let slow = agent.ask(&slow).unwrap();
    let after = agent.asked(Config, "redis");
    wait_until("its time is over", || agent.state(slow.id) == TimedOut);
    assert_eq!(agent.state(after.id), Running);
    assert_eq!(agent.cancel(after.id).unwrap().state, Cancelled);
    assert_eq!(agent.cancel(after.id), Err(Code::StateConflict));
    assert_eq!(user.json(&["locks"]).as_array().unwrap().len(), 1);
}

#[test]
fn the_queue_has_an_end_and_an_order() {
    let user = user("limits: {queue: 4, per_container: 2}\n");
    user.run(&["containers"]);
    let agent = Agent::new(&user);
    let holder = agent.asked(Restart, "api");
    let with = |priority: u8| {
        let priority = priority.try_into().unwrap();
        agent.ask(&OperationRequest { priority, ..request(Config, "api") })
    };
    let [low, usual, high, later] = [1, 5, 10, 5].map(|priority| with(priority).unwrap().id);
    assert_eq!(with(10), Err(Code::QueueFull));
    let output =
        user.fail(4, &["run-op", "-t", "api", "-k", "config", "--agent", "me", "--", "true"]);
    assert!(output.contains("4 operations wait already"), "{output}");
    agent.done(&holder).unwrap();
    let states = || [low, usual, high, later].map(|number| agent.state(number));
    assert_eq!(states(), [Queued, Running, Running, Queued]);
    assert_eq!(agent.look(later).full.unwrap().to_string(), "api");
    agent.done(&agent.look(high)).unwrap();
    assert_eq!(states()[3], Running);
    agent.done(&agent.look(usual)).unwrap();
    assert_eq!(states()[0], Running);
}

#[test]
fn what_is_held_and_what_waits_survives_the_service() {
    let user = user("");
    user.run(&["containers"]);
    let agent = Agent::new(&user);
    let held = agent.asked(Restart, "api");
    let waits = agent.asked(Config, "api");
    for kill in [true, false] {
        if kill {
            user.kill_service();
        } else {
            crate::common::end(user.service().unwrap(), nix::sys::signal::Signal::SIGTERM);
        }
        user.run(&["status"]);
        let agent = Agent::new(&user);
        assert_eq!(agent.renew(&held).unwrap().token, held.token);
        assert_eq!(agent.look(waits.id).behind[0].operation, held.id);
        agent.refused(Restart, "api");
    }
    let agent = Agent::new(&user);
    agent.done(&held).unwrap();
    let waits = agent.look(waits.id);
    assert!(waits.state == Running && waits.token > held.token);
}

#[test]
fn nothing_is_given_that_a_crash_would_lose() {
    let user = user("");
    user.run(&["containers"]);
    let agent = Agent::new(&user);
    let held = agent.asked(Restart, "api");
    let mut waits = user.taskspace(&["run-op", "--target=api", "--kind=config", "--", "touch"]);
    let waits = waits.arg(user.path("begun")).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("it waits", || user.json(&["status"])["coordination"]["queued"] == 1);
    let state = user.path("state/symposium");
    let allow = |mode| set_permissions(&state, Permissions::from_mode(mode)).unwrap();
    allow(0o500);
    assert_eq!(agent.ask(&request(Read, "redis")), Err(Code::RegistryUnusable));
    // Who waited is not let in, nor does it stay in the way.
    assert_eq!(agent.done(&held), Err(Code::RegistryUnusable));
    let waited = waits.wait_with_output().unwrap();
    assert!(!waited.status.success() && text_of(&waited).contains("registry"), "{waited:?}");
    assert!(!user.path("begun").exists());
    assert_eq!(user.json(&["locks"]), json!([]));
    allow(0o700);
    let again = agent.asked(Restart, "api");
    assert!(again.token > held.token);
    user.kill_service();
    user.run(&["status"]);
    let agent = Agent::new(&user);
    assert_eq!(agent.renew(&again).unwrap().token, again.token);
    assert_eq!(user.json(&["locks"]).as_array().unwrap().len(), 1);
    assert!(agent.asked(Read, "redis").token > again.token);
}

#[test]
fn what_waited_is_begun_once_although_the_service_is_killed_in_it() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "co-killed"]);
    let agent = Agent::new(&user);
    let held = agent.asked(Restart, "taskspace:co-killed");
    let stop = user.run(&["stop", "--no-wait", "--json", "co-killed"]);
    let stop: Value = serde_json::from_str(&stop).unwrap();
    let stop = stop["id"].as_u64().unwrap();
    user.kill_service();
    // The next one is killed when it has begun with what waited.
    let mut service = user.serve(&[("KILL", "stop: stop the containers: before#1".to_owned())]);
    user.run(&["status"]);
    let agent = Agent::new(&user);
    // The service may be killed before it replies.
    let done = OperationUpdate { outcome: Some(Outcome::Done), token: held.token, reason: None };
    agent.runtime.block_on(agent.client.update_operation(held.id, &done)).ok();
    assert_eq!(service.wait().unwrap().signal(), Some(9));
    user.run(&["status"]);
    let agent = Agent::new(&user);
    // Or before the end was kept.
    let again = agent.done(&held);
    assert!(matches!(again, Ok(_) | Err(Code::LeaseLost | Code::NotFound)), "{again:?}");
    wait_until("it is stopped", || user.json(&["show", "co-killed"])["status"] == "stopped");
    wait_until("the operation is over", || agent.state(stop) == Done);
    assert_eq!(user.json(&["locks"]), json!([]));
    user.run(&["delete", "--force", "--purge", "co-killed"]);
}

#[test]
fn what_waits_for_a_creation_waits_for_it_after_a_crash_too() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let late = "create: wait for the dev container's sshd: after#1";
    let mut service = user.serve(&[("KILL", late.to_owned())]);
    user.run(&["create", "--no-wait", "--project", repository.as_str(), "co-half"]);
    let stop = user.run(&["stop", "--no-wait", "--json", "co-half"]);
    let stop: Value = serde_json::from_str(&stop).unwrap();
    assert_eq!(stop["state"], "queued");
    assert_eq!(service.wait().unwrap().signal(), Some(9));
    user.run(&["status"]);
    let agent = Agent::new(&user);
    wait_until("the stop is over", || agent.state(stop["id"].as_u64().unwrap()).is_over());
    assert_eq!(agent.state(stop["id"].as_u64().unwrap()), Done);
    assert_eq!(user.json(&["show", "co-half"])["status"], "stopped");
    user.run(&["delete", "--force", "--purge", "co-half"]);
}

#[test]
fn what_the_service_does_to_a_taskspace_waits_for_who_holds_it() {
    let user = User::new();
    user.settings("settings.yaml", "reconcile_interval: 1s\nstop_timeout: 1s\n");
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "co-held"]);
    let agent = Agent::new(&user);
    assert_eq!(agent.ask(&request(Config, "taskspace:none")), Err(Code::TaskspaceNotFound));
    assert_eq!(agent.ask(&request(Config, "co-held")), Err(Code::NotFound));
    let held = agent.asked(Restart, "taskspace:co-held/dev");

    // What the holder stops is left to it.
    let dev = "taskspace-co-held-dev";
    succeed(TestPodman::shared().command().args(["kill", dev]));
    let stop = user.run(&["stop", "--no-wait", "--json", "co-held"]);
    let stop: Value = serde_json::from_str(&stop).unwrap();
    assert_eq!(stop["state"], "queued");
    // It was looked at more than once meanwhile.
    let state = || {
        let mut inspect = TestPodman::shared().command();
        succeed(inspect.args(["inspect", "--format={{.State.Status}}", dev]))
    };
    let begun = Instant::now();
    wait_until("it was looked at", || begun.elapsed() > Duration::from_millis(2_500));
    assert_eq!(state().trim(), "exited");
    // The service may be killed meanwhile.
    user.kill_service();
    user.run(&["status"]);
    let agent = Agent::new(&user);
    assert_eq!(agent.state(stop["id"].as_u64().unwrap()), Queued);
    // Done under what is held, a restart does not wait for it.
    let hold = format!("{}:{}", held.id, held.token.unwrap());
    let whole = user.taskspace(&["restart", "co-held"]).env("TASKSPACE_LOCK", &hold).output();
    assert_eq!(whole.unwrap().status.code(), Some(4), "it holds one container only");
    agent.done(&held).unwrap();
    wait_until("it is stopped", || user.json(&["show", "co-held"])["status"] == "stopped");

    let held = agent.asked(Restart, "taskspace:co-held");
    let hold = format!("{}:{}", held.id, held.token.unwrap());
    let late = format!("{}:{}", held.id, held.token.unwrap() - 1);
    let start = |hold: &str| {
        let mut start = user.taskspace(&["start", "co-held"]);
        start.env("TASKSPACE_LOCK", hold).output().unwrap()
    };
    assert_eq!(start(&late).status.code(), Some(4));
    let started = start(&hold);
    assert!(started.status.success(), "{}", text_of(&started));
    let waits = agent.asked(Config, "taskspace:co-held/agent");
    assert_eq!(waits.state, Queued);
    let mut delete = user.taskspace(&["delete", "--force", "--purge", "co-held"]);
    assert!(delete.env("TASKSPACE_LOCK", &hold).status().unwrap().success());
    // Nobody can hold what is gone.
    assert_eq!(agent.state(waits.id), Cancelled);
    // But whose it was ends what it has begun by itself.
    assert_eq!(agent.state(held.id), Running);
    agent.done(&held).unwrap();
    assert_eq!(agent.state(held.id), Done);
}

/// Has the events written to a file until it is dropped.
struct Recorder {
    follow: Child,
    file: PathBuf,
}

impl Recorder {
    fn start(user: &User) -> Self {
        let file = user.path("events");
        let mut follow = user.taskspace(&["events", "--follow", "--after", "0", "--json"]);
        let follow = follow.stdout(File::create(&file).unwrap()).spawn().unwrap();
        Self { follow, file }
    }

    /// Waits until the end of an operation is recorded.
    fn until_over(&self, number: u64) {
        wait_until("its end is recorded", || {
            let text = std::fs::read_to_string(&self.file).unwrap();
            let ended = |line: &str| {
                let event: Value = serde_json::from_str(line).unwrap_or_default();
                event["operation"] == number && event["body"]["type"] == "operation-finished"
            };
            text.lines().any(ended)
        });
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.follow.kill().ok();
        self.follow.wait().ok();
    }
}

fn check_history(file: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/coordination/check-history");
    let mut check = Command::new(script);
    for (name, needs) in DEPENDS.iter().filter(|(_, needs)| !needs.is_empty()) {
        check.arg("--depends").arg(format!("{name}={}", needs.join(",")));
    }
    check.arg(file).output().unwrap()
}

#[test]
fn agents_that_contend_never_break_each_others_work() {
    let user = user("");
    user.run(&["containers"]);
    let recorder = Recorder::start(&user);
    let given = std::env::var("TASKSPACE_CONTENTION_SECONDS");
    let seconds = given.map_or(SECONDS, |given| given.parse().unwrap());
    let until = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for number in 0..AGENTS {
            let user = &user;
            scope.spawn(move || contend(user, number, until));
        }
    });
    let agent = Agent::new(&user);
    wait_until("everything is over", || {
        let coordination = &user.json(&["status"])["coordination"];
        coordination["active"] == 0 && coordination["queued"] == 0
    });
    assert_eq!(user.json(&["locks"]), json!([]));
    let last = agent.asked(Read, "api");
    agent.done(&last).unwrap();
    recorder.until_over(last.id);
    let checked = check_history(&recorder.file);
    println!("{AGENTS} agents, {} containers, {seconds} s: {}", DEPENDS.len(), text_of(&checked));
    assert!(checked.status.success(), "{}", text_of(&checked));
}

/// Asks for one thing after the other, and does what agents do: it waits, works, goes away, is silent,
/// changes its mind.
fn contend(user: &User, number: usize, until: Instant) {
    let agent = Agent::new(user);
    let mut rng: SmallRng = rand::make_rng();
    while Instant::now() < until {
        let kind = OperationClass::ALL[rng.random_range(0..OperationClass::ALL.len())];
        let (target, _) = DEPENDS[rng.random_range(0..DEPENDS.len())];
        let asked = agent.ask(&OperationRequest {
            agent: format!("agent-{number}").parse().unwrap(),
            priority: rng.random_range(1..=10).try_into().unwrap(),
            timeout_seconds: Some(rng.random_range(1..=5)),
            lease_seconds: Some(rng.random_range(1..=3)),
            ..request(kind, target)
        });
        let work = Duration::from_millis(rng.random_range(0..40));
        let operation = match asked {
            Ok(operation) => operation,
            Err(Code::OperationConflict | Code::QueueFull) => {
                std::thread::sleep(work);
                continue;
            }
            Err(other) => panic!("{other:?}"),
        };
        let fate = rng.random_range(0..20);
        let mut held = operation;
        while held.state == Queued && fate > 1 {
            std::thread::sleep(Duration::from_millis(20));
            // It may have lost its place meanwhile, and where it began it needs its token.
            agent.renew(&held).ok();
            let known = agent.runtime.block_on(agent.client.operation(held.id)).map_err(code);
            held = match known {
                Ok(known) => known,
                // Long over, it is not known any more.
                Err(Code::NotFound) => break,
                Err(other) => panic!("{other:?}"),
            };
        }
        std::thread::sleep(work);
        // Others neither renew nor end it: then the lease does.
        let ended = match fate {
            0 | 2 => continue,
            1 | 3 => agent.cancel(held.id),
            _ => agent.done(&held),
        };
        // Long over, it is not known any more.
        let allowed =
            matches!(ended, Ok(_) | Err(Code::LeaseLost | Code::StateConflict | Code::NotFound));
        assert!(allowed, "{ended:?}");
    }
}

#[test]
fn the_check_of_a_history_finds_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let check = |events: &[(u64, Value)]| {
        let line = |(id, (operation, body)): (usize, &(u64, Value))| {
            let time = "2026-01-01T05:30:00Z";
            format!("{}\n", json!({"id": id, "time": time, "operation": operation, "body": body}))
        };
        let text: String = events.iter().enumerate().map(line).collect();
        std::fs::write(&file, text).unwrap();
        let output = check_history(&file);
        (output.status.code(), text_of(&output))
    };
    let asked = |kind: &str, target: &str| json!({"type": "operation-requested", "kind": kind, "target": target, "priority": 5});
    let begun = |token: u64| json!({"type": "operation-admitted", "token": token});
    let over = || json!({"type": "operation-finished", "state": "done", "problem": null});
    let good = [
        (1, asked("restart", "api")),
        (1, begun(1)),
        (2, asked("read", "worker")),
        (2, begun(2)),
        (1, over()),
        (2, over()),
    ];
    assert_eq!(check(&good).0, Some(0));
    let wrongs: BTreeMap<&str, Vec<(u64, Value)>> = BTreeMap::from([
        ("runs beside 1", vec![(3, asked("config", "worker")), (3, begun(3)), (3, over())]),
        ("is not new", vec![(3, asked("read", "redis")), (3, begun(1)), (3, over())]),
        ("still runs in the end", vec![(3, asked("read", "redis")), (3, begun(3))]),
        ("is asked for twice", vec![(2, asked("read", "redis"))]),
        ("3 was over", vec![(3, asked("read", "redis")), (3, begun(3)), (3, over()), (3, over())]),
    ]);
    for (what, events) in wrongs {
        let mut history = good.to_vec();
        history.splice(4..4, events);
        let (code, text) = check(&history);
        assert!(code == Some(1) && text.contains(what), "{what}: {text}");
    }
    assert_eq!(check(&[]).0, Some(1), "nothing is no history");
}
