//! A Podman that is missing, answers as none would, or breaks off in the middle of an operation.
//!
//! Whatever it does to an operation: when it is well again, the taskspace is whole, gone, or has
//! failed with a reason and can be started or removed, and everything agrees with the registry.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::agreement::quiescent;
use crate::common::podman::TestPodman;
use crate::common::podman_proxy::{Fault, PodmanProxy};
use crate::common::repository::Repository;
use crate::common::{User, is_deep, terminate, text_of, wait_until};

/// As long as an answer takes on a busy disk, and longer than the service waits for it.
const PAUSE: Duration = Duration::from_secs(10);
const LONG_SILENCE: Duration = Duration::from_secs(61);

fn create(user: &User) -> String {
    let repository = Repository::new(user, "app");
    let text = user.fail(6, &["create", "--project", repository.as_str(), "a"]);
    assert!(text.contains("hint:"), "{text}");
    assert_eq!(user.run(&["list", "--json"]).trim(), "[]");
    assert!(!user.path("state/symposium/taskspaces/a").exists());
    text
}

#[test]
fn a_missing_socket() {
    let user = User::with_podman("unix:///nonexistent/podman.sock");
    let text = create(&user);
    assert!(text.contains("/nonexistent/podman.sock"), "{text}");
    assert_eq!(user.json(&["status"])["podman"]["state"], "unavailable");
}

#[test]
fn an_address_that_is_no_unix_socket() {
    let user = User::with_podman("ssh://somewhere/run/podman.sock");
    let text = create(&user);
    assert!(text.contains("CONTAINER_HOST") && text.contains("unix://"), "{text}");
}

#[test]
fn answers_that_are_nonsense() {
    for answer in
        ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "SSH-2.0-OpenSSH_10.0\r\n", ""]
    {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("podman.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // Read the request first: a client that is cut off while writing sees another error.
                let head = BufReader::new(&stream).lines().map_while(Result::ok);
                head.take_while(|line| !line.is_empty()).for_each(drop);
                stream.write_all(answer.as_bytes()).ok();
            }
        });
        let user = User::with_podman(&format!("unix://{}", socket.display()));
        create(&user);
    }
}

/// One of so many requests of an operation meets with a fault where the run is not deep.
const SAMPLE: usize = 3;

/// A user whose service talks to Podman through a proxy.
struct Interrupted {
    user: User,
    proxy: PodmanProxy,
    repository: Repository,
    id: &'static str,
    wrong: Vec<String>,
}

impl Interrupted {
    fn new(id: &'static str) -> Self {
        let proxy = PodmanProxy::new();
        let user = User::with_own_ports(&proxy.container_host());
        let repository = Repository::new(&user, id);
        let new = Self { user, proxy, repository, id, wrong: Vec::new() };
        // The images and the base are there from now on.
        new.ask("create");
        new.ask("delete");
        new
    }

    fn status(&self) -> Option<String> {
        self.user.registry()["taskspaces"][self.id]["status"].as_str().map(str::to_owned)
    }

    fn command(&self, verb: &str) -> Command {
        let project = ["create", "--project", self.repository.as_str()];
        let verb: &[&str] = match verb {
            "create" => &project,
            "delete" => &["delete", "--force", "--purge"],
            verb => &[verb],
        };
        self.user.taskspace(&[verb, &[self.id]].concat())
    }

    fn ask(&self, verb: &str) -> Output {
        self.command(verb).output().unwrap()
    }

    /// Brings the taskspace to the state in which `verb` makes sense.
    fn prepare(&self, verb: &str) {
        let wanted = match verb {
            "create" => None,
            "start" => Some("stopped"),
            _ => Some("running"),
        };
        // What failed to stop is stopped again by itself, sooner or later.
        wait_until("it is as it should be before", || {
            quiescent(&self.user);
            self.bring(wanted);
            self.status().as_deref() == wanted
        });
    }

    fn bring(&self, wanted: Option<&str>) {
        let status = self.status();
        let verbs: &[&str] = match (status.as_deref(), wanted) {
            (Some(_), None) => &["delete"],
            (None, Some("stopped")) => &["create", "stop"],
            (None, Some(_)) => &["create"],
            (Some("failed"), Some("stopped")) => &["start", "stop"],
            (Some("stopped" | "failed"), Some("running")) => &["start"],
            (Some("running"), Some("stopped")) => &["stop"],
            _ => &[],
        };
        for verb in verbs {
            let output = self.ask(verb);
            assert!(output.status.success(), "{verb}: {}", text_of(&output));
        }
    }

    /// Checks that everything agrees, and that what has failed can be started and removed.
    fn check(&mut self, what: &str, output: &Output) {
        let start = Instant::now();
        let told = output.status.code();
        let differences = self.user.disagreement(&[self.id]);
        let status = self.status();
        let mut wrong = differences.join("; ");
        if status.as_deref() == Some("failed") {
            let reason = &self.user.registry()["taskspaces"][self.id]["failure"]["detail"];
            let repaired = self.ask("start");
            let agrees = self.user.disagreement(&[self.id]);
            if !reason.is_string() || !repaired.status.success() || !agrees.is_empty() {
                wrong += &format!("not repaired: {} {agrees:?}", text_of(&repaired));
            }
        } else if wrong.is_empty()
            && !matches!(status.as_deref(), None | Some("running" | "stopped"))
        {
            wrong = format!("it is {status:?}");
        }
        let end = status.unwrap_or_else(|| "gone".to_owned());
        println!("{what} | exit {told:?}, {end} | {} ms {wrong}", start.elapsed().as_millis());
        if !wrong.is_empty() {
            self.wrong.push(format!("{what}: {wrong}; {}", text_of(output)));
        }
    }

    /// Has every request of an operation meet with a fault, or a sample of them.
    fn walk(&mut self, verb: &str, fault: impl Fn(usize) -> Fault) {
        self.prepare(verb);
        self.proxy.set(None);
        let output = self.ask(verb);
        assert!(output.status.success(), "{}", text_of(&output));
        let requests = self.proxy.requests();
        let every = if is_deep() { 1 } else { SAMPLE };
        for (n, request) in requests.iter().enumerate().step_by(every) {
            self.prepare(verb);
            let fault = fault(n);
            self.proxy.set(Some((n + 1, fault)));
            let output = self.ask(verb);
            self.proxy.set(None);
            let short = request.split('?').next().unwrap_or_default();
            self.check(&format!("{verb} | {} {short} | {fault:?}", n + 1), &output);
        }
    }

    fn finish(self) {
        assert!(self.wrong.is_empty(), "{} of them:\n{}", self.wrong.len(), self.wrong.join("\n"));
    }
}

#[test]
fn answers_to_a_creation_that_are_cut_off() {
    let mut test = Interrupted::new("w-cut");
    test.walk("create", |_| Fault::Cut);
    test.finish();
}

#[test]
fn answers_to_a_creation_that_are_refusals() {
    let mut test = Interrupted::new("w-refused");
    let kinds = [Fault::RefusedInstead, Fault::RefusedAfterwards];
    test.walk("create", |n| kinds[n % 2]);
    test.finish();
}

#[test]
fn answers_to_other_operations_that_are_cut_off() {
    let mut test = Interrupted::new("w-cuts");
    for verb in ["start", "stop", "delete"] {
        test.walk(verb, |_| Fault::Cut);
    }
    test.finish();
}

#[test]
fn answers_to_other_operations_that_are_refusals() {
    let mut test = Interrupted::new("w-refusals");
    for kind in [Fault::RefusedInstead, Fault::RefusedAfterwards] {
        for verb in ["start", "stop", "delete"] {
            test.walk(verb, |_| kind);
        }
    }
    test.finish();
}

#[test]
fn a_podman_that_is_silent_for_a_while() {
    let mut test = Interrupted::new("w-silent");
    let cases =
        [("create", "POST /v5.0.0/libpod/containers/create", PAUSE), ("stop", "GET", LONG_SILENCE)];
    for (verb, request, silence) in cases {
        test.prepare(verb);
        test.proxy.set(None);
        test.ask(verb);
        let requests = test.proxy.requests();
        let number = requests.iter().position(|seen| seen.starts_with(request)).unwrap() + 1;
        test.prepare(verb);
        test.proxy.set(Some((number, Fault::Silence(silence))));
        let output = test.ask(verb);
        test.proxy.set(None);
        test.check(&format!("{verb} | {number} {request} | silence"), &output);
    }
    test.finish();
}

#[test]
fn a_socket_that_vanishes_for_ten_seconds() {
    let mut test = Interrupted::new("w-vanish");
    for verb in ["create", "stop", "start", "delete"] {
        test.prepare(verb);
        let before = test.status();
        let running = test.command(verb).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let running = running.unwrap();
        wait_until("it has begun", || test.status() != before);
        test.proxy.hide(true);
        std::thread::sleep(Duration::from_secs(10));
        test.proxy.hide(false);
        let output = running.wait_with_output().unwrap();
        test.check(&format!("{verb} | the socket vanishes"), &output);
    }
    test.finish();
}

/// A Podman service of our own on the storage of the test's Podman.
struct OwnPodman {
    socket: PathBuf,
    child: Child,
}

impl OwnPodman {
    fn start(directory: &Path) -> Self {
        let socket = directory.join("podman.sock");
        let child = Self::run(&socket);
        Self { socket, child }
    }

    fn run(socket: &Path) -> Child {
        let mut podman = TestPodman::shared().command();
        podman.args(["system", "service", "--time=0", &format!("unix://{}", socket.display())]);
        let child = podman.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("Podman answers", || UnixStream::connect(socket).is_ok());
        child
    }

    /// Kills it, and starts another one in its place.
    fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_file(&self.socket).unwrap();
        self.child = Self::run(&self.socket);
    }
}

impl Drop for OwnPodman {
    fn drop(&mut self) {
        terminate(&mut self.child);
    }
}

#[test]
fn a_podman_that_is_killed_in_the_middle() {
    let directory = tempfile::tempdir().unwrap();
    let mut podman = OwnPodman::start(directory.path());
    let user = User::with_own_ports(&format!("unix://{}", podman.socket.display()));
    let repository = Repository::new(&user, "w-killed");
    let create = ["create", "--project", repository.as_str(), "w-killed"];
    user.run(&create);
    user.run(&["delete", "--force", "--purge", "w-killed"]);
    let steps = [
        "volume for the changes",
        "pod",
        "agent container",
        "start the network",
        "start the dev container",
    ];
    for step in steps {
        let running = user.taskspace(&create).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let running = running.unwrap();
        let record = || user.registry()["taskspaces"]["w-killed"].clone();
        wait_until("the step is done", || {
            let done = &record()["underway"]["done"];
            done.as_array().is_some_and(|done| done.iter().any(|title| title == step))
                || record()["status"] == "running"
        });
        podman.kill_and_start();
        let output = running.wait_with_output().unwrap();
        let mut differences = user.disagreement(&["w-killed"]);
        // What it had mounted when it was killed stays mounted in its user namespace, where nobody but
        // Podman gets.
        let is_mounted = "the checkout of w-killed is mounted ";
        differences.retain(|difference| !difference.starts_with(is_mounted));
        assert!(differences.is_empty(), "{step}: {differences:?}\n{}", text_of(&output));
        let status = record()["status"].as_str().map(str::to_owned);
        println!("killed after '{step}' | {:?} {status:?}", output.status.code());
        match status.as_deref() {
            None => {}
            Some("running" | "failed") => {
                drop(user.run(&["delete", "--force", "--purge", "w-killed"]));
            }
            other => panic!("{step}: it is {other:?}"),
        }
    }
    // The service that it ends with must be there for the last removals.
    drop(user);
}

#[test]
fn a_client_that_goes_away_does_not_stop_the_operation() {
    let user = User::with_own_ports(&TestPodman::shared().container_host);
    let repository = Repository::new(&user, "w-leaves");
    let mut create = user.taskspace(&["create", "--project", repository.as_str(), "w-leaves"]);
    let mut create = create.stderr(Stdio::null()).spawn().unwrap();
    wait_until("the creation is recorded", || {
        user.path("state/symposium/taskspace-registry.json").exists()
            && user.registry()["taskspaces"]["w-leaves"]["status"] == "creating"
    });
    create.kill().unwrap();
    create.wait().unwrap();
    assert_eq!(user.disagreement(&["w-leaves"]), Vec::<String>::new());
    assert_eq!(user.registry()["taskspaces"]["w-leaves"]["status"], "running");
}
