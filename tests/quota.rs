//! Storage quotas where they are measured: what is told, what is done when a taskspace is full, and
//! that it is taken back.

use serde_json::Value;

use crate::common::http::metric;
use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, succeed, wait_until};

/// A user whose taskspaces are looked at often.
fn user() -> User {
    let user = User::new();
    user.more_settings("settings.yaml", "storage: {interval: 100ms, reserve: 0}\n");
    user
}

fn create(user: &User, repository: &Repository, id: &str, options: &[&str]) {
    user.run(&[&["create", "--project", repository.as_str(), id], options].concat());
}

fn dev(user: &User, id: &str, script: &str) -> String {
    succeed(&mut user.ssh(&format!("{id}-dev"), &[script]))
}

/// Has a taskspace write so many MiB into a file of its checkout. It may be paused meanwhile, so nobody
/// waits for it.
fn write(id: &str, file: &str, mebibytes: u32) {
    let dd = format!("dd if=/dev/urandom of={file} bs=1M count={mebibytes} conv=fsync");
    let mut exec = TestPodman::shared().command();
    exec.args(["exec", "--detach", "--user=developer", "--workdir=/workspace"]);
    succeed(exec.args([&format!("taskspace-{id}-dev"), "sh", "-c", &dd]));
}

/// Removes something from a taskspace's own build cache: it is no overlay, so that this may be done from
/// outside.
fn remove_outside(id: &str, file: &str) {
    let podman = TestPodman::shared();
    let path = podman.files(&format!("taskspace-{id}-build-cache")).join(file);
    succeed(podman.command().args(["unshare", "rm"]).arg(path));
}

/// How both containers are.
fn states(id: &str) -> [String; 2] {
    ["dev", "agent"].map(|role| {
        let mut inspect = TestPodman::shared().command();
        let name = format!("taskspace-{id}-{role}");
        inspect.args(["inspect", "--format={{.State.Status}}", &name]);
        succeed(&mut inspect).trim().to_owned()
    })
}

fn storage(user: &User, id: &str) -> Value {
    user.json(&["show", id])["storage"].clone()
}

fn used(user: &User, id: &str) -> u64 {
    user.json(&["show", id])["written"]["used"].as_u64().unwrap_or_default()
}

fn await_states(id: &str, state: &str) {
    wait_until(&format!("{id} is {state}"), || states(id).iter().all(|it| it == state));
}

/// The events about storage, oldest first: level and what was done.
fn told(user: &User, id: &str) -> Vec<(String, Option<String>)> {
    let text = user.run(&["events", "--taskspace", id, "--json"]);
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    events
        .filter(|event| event["body"]["type"] == "storage-changed")
        .map(|event| (text(&event["body"]["level"]).unwrap(), text(&event["body"]["held"])))
        .collect()
}

/// Waits until it has been looked whether something was written, so often.
fn await_looks(user: &User, looks: u64) {
    let before = metric(user, "taskspace_storage_looks_total");
    wait_until("it was looked", || metric(user, "taskspace_storage_looks_total") >= before + looks);
}

#[test]
fn a_warning_is_told_once_at_each_threshold_and_lasts_until_there_is_room() {
    let user = user();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "warned", &["--storage", "20Mi", "--on-full", "warn"]);
    wait_until("it is measured", || used(&user, "warned") > 0);
    assert!(used(&user, "warned") < 1 << 20);
    write("warned", "a", 17);
    wait_until("80 % are told", || storage(&user, "warned")["level"] == "high");
    let list = user.run(&["list"]);
    assert!(list.contains("STORAGE") && list.contains("Mi/20Mi"), "{list}");
    assert!(list.contains("storage 80 % full"), "{list}");
    let shown = user.run(&["show", "warned"]);
    assert!(shown.contains("of 20Mi (8") && shown.contains("as asked for, measured"), "{shown}");
    write("warned", "b", 2);
    wait_until("95 % are told", || storage(&user, "warned")["level"] == "critical");
    write("warned", "c", 4);
    wait_until("100 % are told", || storage(&user, "warned")["level"] == "full");
    assert_eq!(states("warned"), ["running", "running"]);
    let events = user.run(&["events", "--taskspace", "warned"]);
    assert!(events.contains("STORAGE IS FULL"), "{events}");
    dev(&user, "warned", "rm /workspace/a /workspace/b /workspace/c");
    wait_until("there is room", || storage(&user, "warned")["level"] == "ample");
    let told = told(&user, "warned");
    let levels: Vec<&str> = told.iter().map(|(level, _)| level.as_str()).collect();
    // How it got there may be seen in more steps or fewer, but each only once.
    let rising: Vec<&str> = levels.iter().copied().take_while(|it| *it != "full").collect();
    assert_eq!(rising, ["high", "critical"], "{levels:?}");
    assert_eq!(levels.last(), Some(&"ample"));
    assert!(told.iter().all(|(_, held)| held.is_none()), "{told:?}");
    // It goes on over the limit, and it can be started again so.
    write("warned", "d", 21);
    wait_until("it is full again", || storage(&user, "warned")["level"] == "full");
    user.run(&["restart", "warned"]);
}

#[test]
fn a_full_taskspace_is_paused_until_its_quota_is_larger() {
    let user = user();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "frozen", &["--storage", "20Mi", "--on-full", "freeze"]);
    dev(
        &user,
        "frozen",
        "nohup sleep 1000 < /dev/null > /dev/null 2>&1 & echo $! > /workspace/pid",
    );
    write("frozen", "big", 24);
    await_states("frozen", "paused");
    let shown = user.run(&["show", "frozen"]);
    assert!(shown.contains("it is paused: it has written 2"), "{shown}");
    assert!(shown.contains("taskspace resize frozen --storage"), "{shown}");
    let list = user.run(&["list"]);
    assert!(list.contains("paused, storage full"), "{list}");
    // A service that comes back keeps it so, though Podman or somebody lets it go on.
    user.kill_service();
    succeed(TestPodman::shared().command().args(["unpause", "taskspace-frozen-dev"]));
    assert_eq!(user.json(&["show", "frozen"])["status"], "running");
    await_states("frozen", "paused");
    await_looks(&user, 3);
    assert_eq!(states("frozen"), ["paused", "paused"]);
    let frozen = user.json(&["show", "frozen"]);
    assert_eq!(
        (&frozen["storage"]["held"]["action"], &frozen["restarts"]),
        (&"frozen".into(), &0.into())
    );
    let refused = user.fail(5, &["start", "frozen"]);
    assert!(refused.contains("may write 20Mi"), "{refused}");
    user.fail(5, &["restart", "frozen"]);
    user.fail(4, &["exec", "frozen", "--", "true"]);
    for verb in [&["ssh", "frozen", "--", "true"][..], &["fetch", "frozen"]] {
        let refused = user.fail(4, verb);
        assert!(refused.contains("it is paused") && refused.contains("--storage"), "{refused}");
    }
    user.run(&["resize", "frozen", "--storage", "40Mi"]);
    await_states("frozen", "running");
    // As it was: nothing was started anew.
    dev(&user, "frozen", "kill -0 $(cat /workspace/pid)");
    let resized = user.json(&["show", "frozen"]);
    assert_eq!(resized["storage"]["limit"], 40 << 20);
    assert!(resized["storage"]["held"].is_null(), "{resized}");
    assert_eq!((&resized["status"], &resized["restarts"]), (&"running".into(), &0.into()));
    // Smaller again is full at once, and another policy lets it go on.
    user.run(&["resize", "frozen", "--storage", "1Mi"]);
    await_states("frozen", "paused");
    user.run(&["resize", "frozen", "--on-full", "warn"]);
    await_states("frozen", "running");
    user.run(&["resize", "frozen", "--on-full", "freeze"]);
    await_states("frozen", "paused");
    // What it has is looked at from beside it, for nothing in it can answer.
    let refused = user.fail(4, &["delete", "frozen"]);
    assert!(refused.contains("'frozen' has unsaved work"), "{refused}");
    assert!(user.run(&["diff", "--stat", "frozen"]).contains("big"));
    assert_eq!(states("frozen"), ["paused", "paused"]);
    user.run(&["delete", "--force", "frozen"]);
}

#[test]
fn a_paused_taskspace_goes_on_when_room_is_made_or_stops_when_asked() {
    let user = user();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "room", &["--storage", "20Mi", "--on-full", "freeze"]);
    write("room", ".build-cache/big", 24);
    await_states("room", "paused");
    // A copy is made of it as it is, with its quota; it stays paused, and the copy is, too.
    user.run(&["fork", "room", "copy"]);
    assert_eq!(states("room"), ["paused", "paused"]);
    assert_eq!(storage(&user, "copy")["limit"], 20 << 20);
    await_states("copy", "paused");
    remove_outside("room", "big");
    await_states("room", "running");
    dev(&user, "room", "test ! -e /workspace/.build-cache/big");
    let told = told(&user, "room");
    let held: Vec<_> = told.iter().filter_map(|(_, held)| held.as_deref()).collect();
    assert!(held.contains(&"frozen"), "{told:?}");
    assert_eq!(told.last(), Some(&("ample".to_owned(), None)));
    user.run(&["stop", "copy"]);
    let stopped = user.json(&["show", "copy"]);
    assert_eq!((&stopped["status"], &stopped["desired"]), (&"stopped".into(), &"stopped".into()));
    assert!(stopped["storage"]["held"].is_null(), "{stopped}");
    user.fail(5, &["start", "copy"]);
    remove_outside("copy", "big");
    user.run(&["start", "copy"]);
    assert_eq!(states("copy"), ["running", "running"]);
}

#[test]
fn a_full_taskspace_is_stopped_and_starts_when_there_is_room() {
    let user = user();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "halted", &["--storage", "20Mi", "--on-full", "stop"]);
    write("halted", "big", 24);
    wait_until("it is stopped", || user.json(&["show", "halted"])["status"] == "stopped");
    let shown = user.run(&["show", "halted"]);
    assert!(shown.contains("it is stopped: it has written 2"), "{shown}");
    assert!(shown.contains("then start it: `taskspace start halted`"), "{shown}");
    let refused = user.fail(5, &["start", "halted"]);
    assert!(refused.contains("--on-full warn"), "{refused}");
    user.kill_service();
    user.fail(5, &["start", "halted"]);
    assert_eq!(storage(&user, "halted")["held"]["action"], "stopped");
    // Nothing is measured of what does not run, once that was done.
    await_looks(&user, 2);
    let measured = metric(&user, "taskspace_storage_measurements_total");
    await_looks(&user, 5);
    assert_eq!(metric(&user, "taskspace_storage_measurements_total"), measured);
    user.run(&["resize", "halted", "--storage", "30Mi"]);
    let resized = user.json(&["show", "halted"]);
    assert_eq!(resized["status"], "stopped");
    assert!(resized["storage"]["held"].is_null(), "{resized}");
    user.run(&["start", "halted"]);
    assert_eq!(states("halted"), ["running", "running"]);
}

#[test]
fn only_what_a_taskspace_writes_itself_counts_and_by_its_blocks() {
    let user = user();
    let repository = Repository::new(&user, "app");
    repository.commit("of-the-base", &"x".repeat(8 << 20));
    create(&user, &repository, "counted", &["--tier", "minimal"]);
    let tier = storage(&user, "counted");
    assert_eq!((&tier["limit"], &tier["source"]), (&(5_u64 << 30).into(), &"tier".into()));
    assert_eq!(tier["on_full"], "freeze");
    let is_about = |id: &str, mebibytes: u64| {
        let (low, high) = (mebibytes << 20, (mebibytes + 1) << 20);
        wait_until(&format!("{id} has written {mebibytes} MiB"), || {
            (low..high).contains(&used(&user, id))
        });
    };
    is_about("counted", 0);
    let script = "cd /workspace && truncate -s 1G sparse && \
                  dd if=/dev/urandom of=once bs=1M count=3 conv=fsync status=none && ln once twice && \
                  dd if=/dev/urandom of=.build-cache/built bs=1M count=2 conv=fsync status=none";
    dev(&user, "counted", script);
    is_about("counted", 5);
    // What is promoted is the project's: who begins with it has written nothing.
    user.run(&["cache", "promote", "counted"]);
    create(&user, &repository, "begun", &[]);
    assert_eq!(storage(&user, "begun")["limit"], 20_u64 << 30);
    is_about("begun", 0);
    dev(&user, "begun", "head -c 1M /dev/urandom > /workspace/.build-cache/own && sync");
    is_about("begun", 1);
}

#[test]
fn what_cannot_be_is_refused() {
    let user = user();
    let repository = Repository::new(&user, "app");
    let create = |code, options: &[&str]| {
        user.fail(code, &[&["create", "--project", repository.as_str(), "no"], options].concat())
    };
    assert!(create(3, &["--tier", "gold"]).contains("there are: default, minimal, premium"));
    assert!(create(2, &["--storage", "much"]).contains("such as 10Gi"));
    assert!(create(2, &["--storage", "0"]).contains("may write nothing"));
    assert!(create(2, &["--storage", "15Ei"]).contains("no file system"));
    assert!(create(2, &["--on-full", "explode"]).contains("none of warn, freeze and stop"));
    user.fail(2, &["resize", "no"]);
    user.fail(3, &["resize", "no", "--storage", "1Gi"]);
}

#[test]
fn nothing_is_made_below_the_reserve() {
    let user = user();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "kept", &[]);
    user.kill_service();
    user.settings("settings.yaml", "storage: {reserve: 1000Pi}\n");
    let refused = user.fail(1, &["create", "--project", repository.as_str(), "refused"]);
    assert!(refused.contains("1000Pi are to stay so") && refused.contains("reserve"), "{refused}");
    user.fail(1, &["create", "--dry-run", "--project", repository.as_str(), "refused"]);
    user.fail(1, &["fork", "kept", "refused"]);
    user.fail(1, &["cache", "promote", "kept"]);
    assert!(!user.run(&["list"]).contains("refused"));
    // What there is goes on, and goes.
    user.run(&["restart", "kept"]);
    user.run(&["delete", "--force", "--purge", "kept"]);
}

#[test]
fn what_is_paused_and_let_go_on_survives_a_kill_at_any_instant() {
    let user = user();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "killed", &["--storage", "20Mi", "--on-full", "freeze"]);
    for when in ["before", "after"] {
        user.kill_service();
        write("killed", ".build-cache/big", 24);
        let big = "/workspace/.build-cache/big";
        let written = ["exec", "taskspace-killed-dev", "stat", "--format=%s", big];
        let is_written = || {
            let output = TestPodman::shared().command().args(written).output().unwrap();
            output.stdout == format!("{}\n", 24 << 20).into_bytes()
        };
        wait_until("it is written", is_written);
        let point = format!("freeze: pause the containers: {when}#1");
        user.serve(&[("KILL", point)]).wait().unwrap();
        assert_eq!(user.json(&["show", "killed"])["storage"]["held"]["action"], "frozen");
        await_states("killed", "paused");
        user.kill_service();
        remove_outside("killed", "big");
        let point = format!("let go: let the containers go on: {when}#1");
        user.serve(&[("KILL", point)]).wait().unwrap();
        assert!(user.json(&["show", "killed"])["storage"]["held"].is_null());
        await_states("killed", "running");
        wait_until("it is ready", || user.json(&["show", "killed"])["status"] == "running");
    }
}

#[test]
fn what_was_paused_before_a_reboot_comes_back_when_there_is_room() {
    let user = user();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "rebooted", &["--storage", "20Mi", "--on-full", "freeze"]);
    write("rebooted", "big", 24);
    await_states("rebooted", "paused");
    user.kill_service();
    succeed(TestPodman::shared().command().args(["pod", "kill", "taskspace-rebooted"]));
    await_states("rebooted", "exited");
    assert_eq!(storage(&user, "rebooted")["held"]["action"], "frozen");
    await_looks(&user, 3);
    assert_eq!(states("rebooted"), ["exited", "exited"]);
    user.run(&["resize", "rebooted", "--storage", "1Gi"]);
    await_states("rebooted", "running");
    wait_until("it is ready", || user.json(&["show", "rebooted"])["status"] == "running");
    assert_eq!(dev(&user, "rebooted", "stat --format=%s /workspace/big"), "25165824\n");
}

#[test]
fn it_is_told_once_when_nothing_can_be_measured() {
    let user = user();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "unmeasured", &[]);
    user.run(&["stop", "unmeasured"]);
    user.kill_service();
    let files = TestPodman::shared().files("taskspace-unmeasured-changes");
    let upper = format!("{}/upper", files.display());
    let away = format!("{upper}-away");
    succeed(TestPodman::shared().command().args(["unshare", "mv", &upper, &away]));
    let told = || {
        let events = user.run(&["events", "--taskspace", "unmeasured"]);
        events.matches("what it has written cannot be measured: ").count()
    };
    wait_until("it is told", || told() > 0);
    await_looks(&user, 3);
    assert_eq!(told(), 1);
    succeed(TestPodman::shared().command().args(["unshare", "mv", &away, &upper]));
    user.run(&["start", "unmeasured"]);
    wait_until("it is measured", || used(&user, "unmeasured") > 0);
}

#[test]
fn what_is_restored_and_full_says_both() {
    let user = user();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "again", &["--storage", "20Mi", "--on-full", "freeze"]);
    write("again", "big", 24);
    await_states("again", "paused");
    user.run(&["snapshot", "again", "full"]);
    let refused = user.fail(5, &["restore", "again", "full", "--force"]);
    assert!(refused.contains("it is restored, but does not start: 'again' has written 2"));
    user.run(&["resize", "again", "--storage", "40Mi"]);
    wait_until("it is ready", || user.json(&["show", "again"])["status"] == "running");
    await_states("again", "running");
    assert_eq!(dev(&user, "again", "stat --format=%s /workspace/big"), "25165824\n");
}
