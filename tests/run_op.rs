//! `taskspace run-op`: a command under a lock, which is let go whatever happens.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::repository::Repository;
use crate::common::{TASKSPACE, User, end, text_of, wait_until};

/// A user who has told of two services.
fn user() -> User {
    let user = User::new();
    user.settings("coordination.yaml", "containers:\n  r-op-api: {}\n  r-op-db: {}\n");
    user
}

/// Makes a command that acts on a target, and runs a script with the user's directory as `$DIR`.
fn run_op(user: &User, target: &str, kind: &str, options: &[&str], script: &str) -> Command {
    // Whoever runs the tests may want to have signals ignored that these are about.
    let mut command = user.command("env");
    command.args(["--default-signal=HUP,INT", TASKSPACE]);
    command.args(["run-op", "--target", target, "--kind", kind]);
    command.args(options).args(["--", "sh", "-c", script]);
    command.env("DIR", user.path("home")).env("TASKSPACE", TASKSPACE);
    command
}

/// A command that runs under a lock until it is told to go on.
struct Held {
    child: Child,
    /// The command's own process.
    command: i32,
    go: PathBuf,
}

impl Held {
    /// Runs it; what it does before it waits and after it is given, for `sh`.
    fn start(user: &User, name: &str, kind: &str, before: &str, after: &str) -> Self {
        let script = format!(
            "{before}\necho $$ > $DIR/{name}.new; mv $DIR/{name}.new $DIR/{name}.pid\n\
             until [ -e $DIR/{name}.go ]; do sleep 0.02; done\n{after}"
        );
        // Longer than anything is waited for here: nothing is free because a lease has ended.
        let options = ["--agent", name, "--lease", "10m"];
        let mut run = run_op(user, "r-op-api", kind, &options, &script);
        let child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = user.path("home").join(format!("{name}.pid"));
        wait_until("the command runs", || pid.exists());
        let command = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        Self { child, command, go: user.path("home").join(format!("{name}.go")) }
    }

    fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    fn go_on(self) -> Output {
        std::fs::write(&self.go, "").unwrap();
        self.child.wait_with_output().unwrap()
    }

    /// Waits for its end, which something else brings about.
    fn ended(self) -> Output {
        self.child.wait_with_output().unwrap()
    }
}

fn is_alive(process: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // A zombie does nothing any more.
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
}

fn locks(user: &User) -> Vec<Value> {
    user.json(&["locks"]).as_array().unwrap().clone()
}

/// Returns the newest operation.
fn last(user: &User) -> Value {
    user.json(&["operations", "--all"]).as_array().unwrap().last().unwrap().clone()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", text_of(output));
}

#[test]
fn a_command_passes_its_status_and_its_streams_on() {
    let user = user();
    let cases = [
        ("exit 0", 0, "done"),
        ("exit 7", 7, "failed"),
        ("kill -TERM $$", 143, "failed"),
        ("kill -KILL $$", 137, "failed"),
    ];
    for (script, code, state) in cases {
        let output = run_op(&user, "r-op-api", "config", &[], script).output().unwrap();
        assert_code(&output, code);
        // Who does not have to wait need not be told anything.
        assert_eq!(text_of(&output), "", "{script}");
        assert_eq!(last(&user)["state"], state, "{script}");
        assert_eq!(locks(&user), Vec::<Value>::new(), "{script}");
    }
    let base = ["run-op", "--target", "r-op-api", "--kind", "read", "--"];
    let none = user.fail(127, &[&base[..], &["/none/here"]].concat());
    assert!(none.contains("could not run /none/here"), "{none}");
    user.fail(126, &[&base[..], &["/"]].concat());
    assert_eq!(last(&user)["state"], "failed");

    let known = "cat; env | grep ^TASKSPACE_ | grep -v _TEST_ | sort; echo to-stderr >&2";
    let options = ["--agent", "me", "--priority", "7", "--description", "a test"];
    let mut command = run_op(&user, "r-op-api", "config", &options, known);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"from-stdin\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 0);
    let operation = last(&user);
    assert_eq!(operation["agent"], "me");
    assert_eq!(operation["priority"], 7);
    assert_eq!(operation["description"], "a test");
    let (number, token) = (&operation["id"], &operation["token"]);
    let expected = format!(
        "from-stdin\nTASKSPACE_AGENT=me\nTASKSPACE_LOCK={number}:{token}\n\
         TASKSPACE_OPERATION={number}\nTASKSPACE_TOKEN={token}\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "to-stderr\n");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let user = user();
    let unknown = ["run-op", "--target", "r-op-none", "--kind", "read", "--", "true"];
    assert!(user.fail(3, &unknown).contains("r-op-none"));
    for (name, value) in
        [("TASKSPACE_AGENT", "a b"), ("TASKSPACE_PRIORITY", "11"), ("TASKSPACE_LOCK", "x")]
    {
        let mut command = run_op(&user, "r-op-api", "read", &[], "true");
        let output = command.env(name, value).output().unwrap();
        assert_code(&output, 2);
        assert!(text_of(&output).contains(&format!("the variable {name}")), "{}", text_of(&output));
    }
}

#[test]
fn a_lock_is_taken_and_freed() {
    let user = user();
    let held = Held::start(&user, "first", "restart", "", "exit 3");
    let [lock] = &locks(&user)[..] else { panic!("one lock") };
    assert_eq!((&lock["target"], &lock["agent"]), (&"r-op-api".into(), &"first".into()));
    let table = user.run(&["locks"]);
    assert!(table.contains("r-op-api") && table.contains("first"), "{table}");
    assert!(user.run(&["operations"]).contains("running"));
    let number = lock["operation"].to_string();
    assert!(user.run(&["operations", "show", &number]).contains("r-op-api"));
    assert!(user.run(&["status"]).contains("restart by first"));

    // The same again makes no sense; something else may wait, or not.
    let refused = run_op(&user, "r-op-api", "restart", &[], "true").output().unwrap();
    assert_code(&refused, 4);
    assert!(text_of(&refused).contains(&format!("operation {number}")), "{}", text_of(&refused));
    let busy = run_op(&user, "r-op-api", "config", &["--no-wait"], "true").output().unwrap();
    assert_code(&busy, 4);
    assert!(text_of(&busy).contains("waits for operation"), "{}", text_of(&busy));
    let begun = Instant::now();
    let options = ["--wait-for", "500ms"];
    let late = run_op(&user, "r-op-api", "config", &options, "true").output().unwrap();
    assert_code(&late, 4);
    assert!(begun.elapsed() >= Duration::from_millis(500));
    // None of them is left to wait, nor in anybody's way.
    assert_eq!(user.json(&["operations"]).as_array().unwrap().len(), 1);
    assert_code(&run_op(&user, "r-op-db", "restart", &[], "true").output().unwrap(), 0);

    assert_code(&held.go_on(), 3);
    assert_eq!(locks(&user), Vec::<Value>::new());
    assert_code(&run_op(&user, "r-op-api", "restart", &[], "true").output().unwrap(), 0);
}

#[test]
fn the_second_one_waits_for_the_first() {
    let user = user();
    let held = Held::start(&user, "first", "restart", "", "echo first >> $DIR/order");
    let mut second = run_op(&user, "r-op-api", "config", &[], "echo second >> $DIR/order");
    let second = second.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the second one waits", || {
        locks(&user)[0]["waiting"].as_array().is_some_and(|waiting| waiting.len() == 1)
    });
    assert!(user.run(&["operations"]).contains("waits for operation"));
    assert_code(&held.go_on(), 0);
    let second = second.wait_with_output().unwrap();
    assert_code(&second, 0);
    assert!(text_of(&second).contains("waits for operation"), "{}", text_of(&second));
    let order = std::fs::read_to_string(user.path("home/order")).unwrap();
    assert_eq!(order, "first\nsecond\n");
}

#[test]
fn one_that_is_killed_frees_its_lock_at_once_and_takes_its_command_along() {
    let user = user();
    let held = Held::start(&user, "first", "restart", "", "");
    let command = held.command;
    end_child(held, Signal::SIGKILL);
    wait_until("the lock is free", || locks(&user).is_empty());
    wait_until("the command is gone", || !is_alive(command));
}

/// Ends it and takes its status, so that its process is gone.
fn end_child(mut held: Held, signal: Signal) -> ExitStatus {
    held.signal(signal);
    held.child.wait().unwrap()
}

#[test]
fn a_signal_reaches_the_command_and_the_lock_is_freed_after_it() {
    let user = user();
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130), (Signal::SIGHUP, 129)] {
        let name = signal.as_str().to_lowercase();
        let held = Held::start(&user, &name, "restart", "", "");
        let command = held.command;
        assert_eq!(end_child(held, signal).code(), Some(code));
        assert!(!is_alive(command), "{signal}");
        assert_eq!(last(&user)["state"], "failed");
        assert_eq!(locks(&user), Vec::<Value>::new(), "{signal}");
    }
    // A command that does something about it is waited for.
    let before = "trap 'echo $TASKSPACE_LOCK > $DIR/trapped; exit 5' TERM";
    let held = Held::start(&user, "trapping", "restart", before, "");
    assert_eq!(end_child(held, Signal::SIGTERM).code(), Some(5));
    assert!(user.path("home/trapped").exists());
}

#[test]
fn one_that_is_interrupted_while_it_waits_leaves_nothing() {
    let user = user();
    let held = Held::start(&user, "first", "restart", "", "");
    let mut second = run_op(&user, "r-op-api", "config", &[], "touch $DIR/ran").spawn().unwrap();
    wait_until("the second one waits", || {
        user.json(&["operations"]).as_array().unwrap().len() == 2
    });
    kill(Pid::from_raw(second.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(130));
    assert_eq!(user.json(&["operations"]).as_array().unwrap().len(), 1);
    assert_eq!(last(&user)["state"], "cancelled");
    assert_code(&held.go_on(), 0);
    assert!(!user.path("home/ran").exists());
}

#[test]
fn a_command_whose_operation_is_cancelled_is_ended() {
    let user = user();
    let held = Held::start(&user, "first", "restart", "", "");
    let command = held.command;
    let number = last(&user)["id"].to_string();
    let told = user.run(&["operations", "cancel", &number]);
    assert_eq!(told, format!("cancelled operation {number}, restart of r-op-api\n"));
    let output = held.ended();
    assert_code(&output, 4);
    assert!(text_of(&output).contains("The lock is lost"), "{}", text_of(&output));
    assert!(!is_alive(command));
    user.fail(3, &["operations", "cancel", "999999"]);
}

#[test]
fn a_command_that_does_not_end_without_its_lock_is_killed() {
    let user = user();
    let script = "trap '' TERM; while :; do sleep 0.1; done";
    let options = ["--timeout", "1s"];
    let begun = Instant::now();
    let output = run_op(&user, "r-op-api", "restart", &options, script).output().unwrap();
    assert_code(&output, 4);
    // A second until it is late, and ten more to end in.
    assert!(begun.elapsed() >= Duration::from_secs(11));
    assert_eq!(last(&user)["state"], "timed-out");
}

#[test]
fn a_lock_outlives_the_service() {
    let user = user();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let name = signal.as_str().to_lowercase();
        let held = Held::start(&user, &name, "restart", "", "exit 3");
        let before = locks(&user);
        end(user.service().expect("the service runs"), signal);
        // Whether our question or that of the holder starts the next service.
        let [lock] = &locks(&user)[..] else { panic!("the lock is kept") };
        for what in ["operation", "token", "agent"] {
            assert_eq!(lock[what], before[0][what], "{what}");
        }
        let refused = run_op(&user, "r-op-api", "config", &["--no-wait"], "true").output().unwrap();
        assert_code(&refused, 4);
        wait_until("it is held by a connection again", || {
            locks(&user)[0]["lease"]["expires"].is_null()
        });
        assert!(is_alive(held.command));
        assert_code(&held.go_on(), 3);
        assert_eq!(locks(&user), Vec::<Value>::new());
    }
}

#[test]
fn one_that_waits_outlives_the_service() {
    let user = user();
    let held = Held::start(&user, "first", "restart", "", "");
    let mut second = run_op(&user, "r-op-api", "config", &[], "touch $DIR/ran").spawn().unwrap();
    wait_until("the second one waits", || {
        user.json(&["operations"]).as_array().unwrap().len() == 2
    });
    user.kill_service();
    assert_eq!(user.json(&["operations"]).as_array().unwrap().len(), 2);
    assert_code(&held.go_on(), 0);
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert!(user.path("home/ran").exists());
}

#[test]
fn what_is_asked_under_a_lock_is_not_in_its_own_way() {
    let user = user();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "r-op"]);
    let script = "$TASKSPACE restart r-op && $TASKSPACE operations --json > $DIR/seen";
    let options = ["--agent", "me"];
    let output = run_op(&user, "taskspace:r-op", "restart", &options, script).output().unwrap();
    assert_code(&output, 0);
    let operations = user.json(&["operations", "--all"]);
    let operations = operations.as_array().unwrap();
    let [.., outer, inner] = &operations[..] else { panic!("two operations") };
    assert_eq!(inner["under"], outer["id"]);
    assert_eq!((&inner["agent"], &inner["state"]), (&"me".into(), &"done".into()));
    assert_eq!(user.json(&["list"])[0]["status"], "running");

    // A lock that is no longer held lets nobody do anything.
    let stale = format!("{}:{}", outer["id"], outer["token"]);
    let output =
        user.taskspace(&["restart", "r-op"]).env("TASKSPACE_LOCK", stale).output().unwrap();
    assert_code(&output, 4);
}

#[test]
fn every_change_is_watched() {
    let user = user();
    user.run(&["list"]);
    let watch = |arguments: &[&str]| {
        let mut watch = user.taskspace(arguments);
        watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let watches = [watch(&["operations", "--watch"]), watch(&["operations", "--watch", "--json"])];
    wait_until("both are connected", || user.json(&["status"])["clients"].as_u64() >= Some(3));
    assert_code(&run_op(&user, "r-op-api", "config", &[], "true").output().unwrap(), 0);
    let number = last(&user)["id"].clone();
    // What they were told is in their pipes soon after.
    std::thread::sleep(Duration::from_millis(500));
    let [lines, documents] = watches.map(|child| {
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_code(&output, 0);
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    for part in ["config of r-op-api by user", "begins, token", "done"] {
        assert!(lines.contains(&format!("operation {number}: {part}")), "{lines}");
    }
    let last: Value = serde_json::from_str(documents.lines().last().unwrap()).unwrap();
    assert_eq!((&last["id"], &last["state"]), (&number, &"done".into()));
}
