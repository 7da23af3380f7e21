//! Containers and services outside of all taskspaces: how they are registered, and how they are.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::common::containers::Own;
use crate::common::podman::TestPodman;
use crate::common::{User, end, succeed, text_of, wait_until};

/// Quick enough for a test.
const IMPATIENT: &str = "\
reconcile_interval: 10s
health: {interval: 100ms, timeout: 1s, retries: 2}
";

fn podman(arguments: &[&str]) -> String {
    succeed(TestPodman::shared().command().args(arguments))
}

fn user() -> User {
    let user = User::new();
    user.settings("settings.yaml", IMPATIENT);
    user
}

/// Returns how a registered container is.
fn of(user: &User, name: &str) -> Value {
    let containers = user.json(&["containers"]);
    let found = containers.as_array().unwrap().iter().find(|it| it["name"] == name);
    found.cloned().unwrap_or(Value::Null)
}

/// Returns what is registered by calls; containers with labels may be those of other tests.
fn registered(user: &User) -> Vec<String> {
    let containers = user.json(&["containers"]);
    let by_call = containers.as_array().unwrap().iter().filter(|it| it["source"] == "api");
    by_call.map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn wait_state(user: &User, name: &str, state: &str) -> Value {
    wait_until(&format!("{name} is {state}"), || of(user, name)["state"] == state);
    of(user, name)
}

/// What happens, as one who follows is told it.
struct Follower {
    process: Child,
    events: Receiver<Value>,
}

impl Follower {
    fn new(user: &User) -> Self {
        let mut follow = user.taskspace(&["events", "--follow", "--json"]);
        let mut process = follow.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, events) = mpsc::channel();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // Nobody listens any more when the test has failed.
                sender.send(serde_json::from_str(&line).unwrap()).ok();
            }
        });
        Self { process, events }
    }

    /// Waits until it is told that a container is in a state, and returns why.
    #[track_caller]
    fn until(&self, container: &str, state: &str) -> Option<String> {
        let event = self.until_some(&format!("{container} → {state}"), |body| {
            body["type"] == "container-changed"
                && body["container"] == container
                && body["to"] == state
        });
        event["reason"].as_str().map(str::to_owned)
    }

    #[track_caller]
    fn until_some(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.events.recv_timeout(Duration::from_secs(60));
            let event = event.unwrap_or_else(|_| panic!("waited in vain for {what}"));
            if holds(&event["body"]) {
                return event["body"].clone();
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The containers of an ordinary system, those in Podman under names of this test.
fn eight(user: &User) -> String {
    let in_podman = |name: &str| format!("container: {}", Own::name(user, name));
    let [api, webui, worker] = ["api", "webui", "worker"].map(in_podman);
    format!(
        "\
containers:
  api: {{{api}}}
  webui: {{{webui}, depends_on: [api]}}
  worker: {{{worker}, depends_on: [api, redis, postgres]}}
  postgres: {{ports: [5432]}}
  redis: {{ports: [6379]}}
  voice-interaction-service: {{ports: [8006], depends_on: [api]}}
  chat-service: {{ports: [8007], depends_on: [api]}}
  prometheus: {{ports: [9090]}}
"
    )
}

#[test]
fn eight_containers_are_registered_from_one_file_and_what_happens_to_them_is_told() {
    let user = user();
    let mut own = Own::default();
    let [api, webui, worker] = ["api", "webui", "worker"].map(|name| Own::name(&user, name));
    own.run(&api, &[]);
    own.run(&webui, &[]);
    std::fs::write(user.path("home/containers.yaml"), eight(&user)).unwrap();
    let printed = user.run(&["containers", "register", "containers.yaml"]);
    let line = |name: &str| printed.lines().find(|line| line.starts_with(name)).unwrap();
    assert_eq!(registered(&user).len(), 8, "{printed}");
    assert!(line("api ").contains("running"), "{printed}");
    assert!(line("worker ").contains("api, redis, postgres"), "{printed}");
    assert!(line("worker ").contains("unknown"), "{printed}");
    // The same again changes nothing.
    user.run(&["containers", "register", "containers.yaml"]);
    assert_eq!(registered(&user).len(), 8);

    let follower = Follower::new(&user);
    wait_state(&user, "webui", "running");
    own.run(&worker, &[]);
    follower.until("worker", "running");
    podman(&["stop", "--time=0", &api]);
    follower.until("api", "stopped");
    podman(&["start", &api]);
    follower.until("api", "running");
    podman(&["pause", &api]);
    assert_eq!(follower.until("api", "stopped").as_deref(), Some("it is paused"));
    podman(&["unpause", &api]);
    follower.until("api", "running");
    podman(&["restart", "--time=0", &api]);
    // Its first process, behind Podman's back.
    let pid = podman(&["inspect", "--format={{.State.Pid}}", &webui]);
    kill(Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    let reason = follower.until("webui", "error");
    assert_eq!(reason.as_deref(), Some("it ended with status 137"));
    podman(&["start", &webui]);
    follower.until("webui", "running");
    podman(&["rename", &webui, &format!("{webui}-2")]);
    own.adopt(&format!("{webui}-2"));
    follower.until("webui", "unknown");
    podman(&["rename", &format!("{webui}-2"), &webui]);
    follower.until("webui", "running");
    podman(&["rm", "--force", "--time=0", &worker]);
    let reason = follower.until("worker", "unknown").unwrap();
    assert!(reason.starts_with("it is not in Podman"), "{reason}");
    wait_state(&user, "api", "running");

    // The service remembers, and looks again.
    end(user.service().unwrap(), Signal::SIGTERM);
    podman(&["stop", "--time=0", &api]);
    let again = wait_state(&user, "api", "stopped");
    assert_eq!((&again["source"], &again["container"]), (&json!("api"), &json!(api)));
    user.kill_service();
    assert_eq!(registered(&user).len(), 8);
}

#[test]
fn labels_register_and_bad_ones_are_told() {
    let user = user();
    let mut own = Own::default();
    let name = |name: &str| Own::name(&user, name);
    let (first, second, bad) = (name("first"), name("second"), name("bad"));
    let label = |key: &str, value: &str| format!("--label=io.symposium.{key}={value}");
    let yes = label("coordinate", "true");
    own.run(&first, &[&yes, "--publish=127.0.0.1::80"]);
    // Nothing is registered otherwise: the question itself has Podman looked at.
    let found = of(&user, &first);
    assert_eq!((&found["source"], &found["state"]), (&json!("label"), &json!("running")));
    let published = podman(&["port", &first, "80/tcp"]);
    let port: u16 = published.trim().rsplit(':').next().unwrap().parse().unwrap();
    assert_eq!(found["ports"], json!([port]));
    // Nothing listens in the container, whoever takes the connections outside of it.
    let silent = wait_state(&user, &first, "error");
    assert_eq!(silent["reason"], format!("nothing answers on port {port}"));

    let follower = Follower::new(&user);
    let called = name("called");
    let depends_on = label("depends-on", &format!("{first}, taskspace:x/dev"));
    own.run(&second, &[&yes, &label("name", &called), &depends_on]);
    follower.until(&called, "running");
    let found = of(&user, &called);
    assert_eq!(found["depends_on"], json!([first, "taskspace:x/dev"]));
    assert_eq!(found["container"], json!(second));

    own.run(&bad, &[&yes, &label("depends-on", "a b")]);
    let warned = |about: &str| {
        let warning = follower.until_some("the warning", |body| body["type"] == "warning");
        let message = warning["message"].as_str().unwrap().to_owned();
        assert!(message.contains(about), "{message}");
        message
    };
    warned(&format!("the container '{bad}' is not registered by its labels"));
    assert_eq!(of(&user, &bad), Value::Null);

    // A circle of labels, and a call that would make one.
    podman(&["rm", "--force", "--time=0", &bad]);
    own.run(&bad, &[&yes, &label("depends-on", &bad)]);
    warned(&format!("{bad} depends on {bad}"));
    assert_eq!(of(&user, &bad)["depends_on"], Value::Null);
    let refused =
        user.fail(5, &["containers", "register", "--name", &first, "--depends-on", &called]);
    assert!(refused.contains("would be a circle") && refused.contains(&called), "{refused}");
    assert_eq!(of(&user, &first)["source"], "label");

    // A call takes the label's place until it is forgotten.
    user.run(&["containers", "register", "--name", &first, "--port", "1"]);
    assert_eq!(of(&user, &first)["source"], "api");
    let forgotten = user.run(&["containers", "forget", &first]);
    assert_eq!(forgotten, format!("forgot {first}\n"));
    assert_eq!(of(&user, &first)["source"], "label");
    let refused = user.fail(4, &["containers", "forget", &first]);
    assert!(refused.contains(&format!("the labels of the container '{first}'")), "{refused}");
    podman(&["rm", "--force", "--time=0", &second]);
    wait_until("it is gone with its container", || of(&user, &called) == Value::Null);
}

#[test]
fn a_service_outside_of_podman_is_asked_at_its_ports() {
    let user = user();
    let name = Own::name(&user, "outside");
    let [first, second] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let (a, b) = (port(&first), port(&second));
    let (port_a, port_b) = (a.to_string(), b.to_string());
    user.run(&["containers", "register", "--name", &name, "--port", &port_a, "--port", &port_b]);
    assert_eq!(of(&user, &name)["state"], "running");
    let follower = Follower::new(&user);
    drop(second);
    let reason = follower.until(&name, "error");
    assert_eq!(reason, Some(format!("nothing answers on port {b}")));
    drop(first);
    follower.until(&name, "stopped");
    let _again = [a, b].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    follower.until(&name, "running");
}

#[test]
fn what_cannot_be_registered_is_refused_as_a_whole() {
    let user = user();
    let register = |text: &str, code: i32| {
        let mut register = user.taskspace(&["containers", "register", "-"]);
        register.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut register = register.spawn().unwrap();
        register.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = register.wait_with_output().unwrap();
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    };
    let told = register("containers:\n  k-a: {ports: [1]}\n  k-b:\n    prots: [2]\n", 2);
    assert!(told.contains("standard input:4:5: "), "{told}");
    let circle = "containers:\n  k-a: {depends_on: [k-b]}\n  k-b: {depends_on: [k-c, k-a]}\n";
    let told = register(circle, 5);
    assert!(told.contains("a circle: k-a depends on k-b depends on k-a"), "{told}");
    register("containers: {k-a: {ports: [0]}}", 2);
    register("containers: {k-a: {container: k-x}, k-b: {container: k-x}}", 4);
    assert_eq!(registered(&user), Vec::<String>::new());
    user.fail(2, &["containers", "register", "missing.yaml"]);
    user.fail(3, &["containers", "forget", "k-nobody"]);

    // What others depend on can be forgotten, and what is not there can be depended on.
    register("containers: {k-a: {depends_on: [k-b]}, k-b: {}}", 0);
    let told = user.fail(5, &["containers", "register", "--name=k-b", "--depends-on=k-a"]);
    assert!(told.contains("k-a depends on k-b depends on k-a"), "{told}");
    user.run(&["containers", "forget", "k-b"]);
    assert_eq!(of(&user, "k-a")["depends_on"], json!(["k-b"]));
    assert_eq!(
        user.registry()["coordination"]["containers"],
        json!({"k-a": {"depends_on": ["k-b"]}})
    );
}
