//! What happens behind the service's back is noticed, and what the user wants is brought about again.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::common::others::Other;
use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, end, processes, succeed, wait_until};

/// Quick enough for a test, and with few retries.
const IMPATIENT: &str = "\
reconcile_interval: 2s
stop_timeout: 1s
health: {interval: 200ms, timeout: 2s, retries: 3}
restart: {limit: 3, window: 10m, delay: 100ms}
";

fn podman(arguments: &[&str]) -> String {
    succeed(TestPodman::shared().command().args(arguments))
}

/// A user with one taskspace.
fn with_taskspace(id: &str) -> (User, Repository) {
    let user = User::new();
    user.settings("settings.yaml", IMPATIENT);
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), id]);
    (user, repository)
}

fn show(user: &User, id: &str) -> Value {
    user.json(&["show", id])
}

fn answers(mut ssh: Command) -> bool {
    ssh.output().unwrap().status.success()
}

/// Waits until a taskspace was recovered so many times and runs.
#[track_caller]
fn wait_recovered(user: &User, id: &str, times: u64) {
    wait_until(&format!("{id} was recovered {times} times"), || {
        let shown = show(user, id);
        assert_ne!(shown["status"], "failed", "{shown:#}");
        shown["status"] == "running" && shown["restarts"] == times
    });
    for role in ["dev", "agent"] {
        assert!(answers(user.ssh(&format!("{id}-{role}"), &["true"])));
    }
}

fn started_at(container: &str) -> String {
    podman(&["inspect", "--format={{.State.StartedAt}}", container])
}

#[test]
fn what_ends_or_is_removed_comes_back_alone() {
    let (user, _repository) = with_taskspace("r-parts");
    succeed(&mut user.ssh("r-parts-dev", &["echo work > /workspace/work.txt"]));
    let agent = started_at("taskspace-r-parts-agent");

    podman(&["kill", "taskspace-r-parts-dev"]);
    wait_recovered(&user, "r-parts", 1);
    let ending = &show(&user, "r-parts")["endings"][0];
    assert_eq!((&ending["role"], &ending["exit_code"]), (&json!("dev"), &json!(137)), "{ending}");
    assert_eq!(ending["oom_killed"], false);

    podman(&["rm", "--force", "--time=0", "taskspace-r-parts-dev"]);
    wait_recovered(&user, "r-parts", 2);
    // The other container was left alone.
    assert_eq!(started_at("taskspace-r-parts-agent"), agent);
    assert_eq!(succeed(&mut user.ssh("r-parts-dev", &["cat /workspace/work.txt"])), "work\n");
}

#[test]
fn a_pod_that_is_stopped_removed_or_without_network_comes_back() {
    let (user, _repository) = with_taskspace("r-pod");
    succeed(&mut user.ssh("r-pod-dev", &["echo work > /workspace/work.txt"]));
    podman(&["pod", "stop", "--time=0", "taskspace-r-pod"]);
    wait_recovered(&user, "r-pod", 1);
    podman(&["pod", "rm", "--force", "--time=0", "taskspace-r-pod"]);
    wait_recovered(&user, "r-pod", 2);
    let infra = podman(&["pod", "inspect", "--format={{.InfraContainerID}}", "taskspace-r-pod"]);
    podman(&["kill", infra.trim()]);
    wait_recovered(&user, "r-pod", 3);
    assert_eq!(succeed(&mut user.ssh("r-pod-agent", &["cat /workspace/work.txt"])), "work\n");
}

#[test]
fn a_new_network_under_containers_that_run_is_noticed() {
    let (user, _repository) = with_taskspace("r-cut-off");
    let pid = user.service().unwrap();
    end(pid, Signal::SIGTERM);
    // Podman calls all three running, and two of them are on a network that is gone.
    let infra =
        podman(&["pod", "inspect", "--format={{.InfraContainerID}}", "taskspace-r-cut-off"]);
    let since = started_at("taskspace-r-cut-off-dev");
    wait_until("the clock has moved on by a second", || {
        let now = jiff::Timestamp::now();
        let since: jiff::Timestamp = go_time(&since);
        now.as_second() > since.as_second()
    });
    podman(&["kill", infra.trim()]);
    wait_until("the network is down", || {
        podman(&["inspect", "--format={{.State.Status}}", infra.trim()]).trim() == "exited"
    });
    let permits = user.permits("r-cut-off");
    podman(&["start", infra.trim()]);
    drop(permits);
    wait_recovered(&user, "r-cut-off", 1);
}

/// Reads a time as Go prints it: `2026-11-21 07:05:57.47 +0000 UTC`.
fn go_time(text: &str) -> jiff::Timestamp {
    let words: Vec<&str> = text.split_whitespace().collect();
    format!("{}T{}{}", words[0], words[1], words[2]).parse().unwrap()
}

#[test]
fn what_is_to_be_stopped_is_stopped_again() {
    let (user, _repository) = with_taskspace("r-stopped");
    user.run(&["stop", "r-stopped"]);
    let _permits = user.permits("r-stopped");
    podman(&["pod", "start", "taskspace-r-stopped"]);
    wait_until("it is stopped again", || {
        let states = podman(&[
            "ps",
            "--all",
            "--filter=label=io.symposium.taskspace=r-stopped",
            "--format={{.State}}",
        ]);
        states.lines().all(|state| state == "exited")
            && show(&user, "r-stopped")["status"] == "stopped"
    });
    user.run(&["start", "r-stopped"]);
    assert!(answers(user.ssh("r-stopped-dev", &["true"])));
}

#[test]
fn lost_work_is_told_whether_it_runs_or_not() {
    let (user, repository) = with_taskspace("r-lost-up");
    user.run(&["create", "--project", repository.as_str(), "r-lost-down"]);
    user.run(&["stop", "r-lost-down"]);
    for id in ["r-lost-up", "r-lost-down"] {
        TestPodman::shared().remove_volumes(&[&format!("taskspace-{id}-changes")]);
        wait_until("the loss is noticed", || show(&user, id)["status"] == "failed");
        let detail = show(&user, id)["failure"]["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("'taskspace-{id}-changes' is gone")), "{detail}");
        user.run(&["delete", "--force", "--purge", id]);
    }
}

#[test]
fn what_ends_again_and_again_has_failed_in_the_end() {
    let (user, _repository) = with_taskspace("r-loop");
    let mut kills = 0;
    wait_until("it has failed", || {
        let mut kill = TestPodman::shared().command();
        let killed = kill.args(["kill", "taskspace-r-loop-dev"]).output().unwrap();
        kills += u32::from(killed.status.success());
        show(&user, "r-loop")["status"] == "failed"
    });
    assert!(kills > 3, "{kills}");
    let shown = show(&user, "r-loop");
    let failure = &shown["failure"];
    let detail = failure["detail"].as_str().unwrap();
    assert!(detail.contains("3 times within 10 minutes"), "{failure:#}");
    assert!(!failure["log"].as_array().unwrap().is_empty(), "{failure:#}");
    assert!(user.run(&["show", "r-loop"]).contains("Reason"));
    // It stays so until somebody wants it to run.
    user.run(&["start", "r-loop"]);
    assert!(answers(user.ssh("r-loop-dev", &["true"])));
    assert_eq!(show(&user, "r-loop")["status"], "running");
}

#[test]
fn a_network_whose_process_is_gone_or_hangs_is_replaced() {
    let user = User::with_own_ports(&TestPodman::shared().container_host);
    user.more_settings("settings.yaml", &format!("{IMPATIENT}ready_timeout: 20s\n"));
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "r-network"]);
    // Podman goes on calling both containers running.
    assert!(Other::KillNetwork.begin(&user, "r-network", "dev").is_none());
    wait_recovered(&user, "r-network", 1);
    let port = || user.registry()["taskspaces"]["r-network"]["dev_port"].clone();
    let before = port();
    // That one keeps its ports, so it is ended.
    assert!(Other::FreezeNetwork.begin(&user, "r-network", "dev").is_none());
    wait_recovered(&user, "r-network", 2);
    assert_eq!(port(), before);
}

#[test]
fn an_sshd_that_hangs_is_replaced() {
    let (user, _repository) = with_taskspace("r-deaf");
    let listener = "kill -STOP $(pgrep -o -x sshd || pgrep -o sshd)";
    podman(&["exec", "--user=0", "taskspace-r-deaf-dev", "sh", "-c", listener]);
    wait_recovered(&user, "r-deaf", 1);
    wait_until("who asks is told", || http_events(&user).contains("event: health-changed"));
}

#[test]
fn what_a_podman_that_was_killed_was_about_to_stop_comes_back() {
    let (user, _repository) = with_taskspace("r-stuck");
    let dev = "taskspace-r-stuck-dev";
    let pid = podman(&["inspect", "--format={{.State.Pid}}", dev]);
    // It does not end of itself, so that the stop is under way for as long as is needed.
    let pid = Pid::from_raw(pid.trim().parse().unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    let state = || podman(&["inspect", "--format={{.State.Status}}", dev]);
    let mut stop = TestPodman::shared().command();
    let mut stop = stop.args(["stop", "--time=300", dev]).spawn().unwrap();
    wait_until("it is being stopped", || state().trim() == "stopping");
    // What waits runs in the user namespace, as a child of what was started.
    for process in processes::with_argument("--time=300") {
        kill(Pid::from_raw(process), Signal::SIGKILL).ok();
    }
    stop.wait().unwrap();
    assert_eq!(state().trim(), "stopping");
    wait_recovered(&user, "r-stuck", 1);
    assert!(answers(user.ssh("r-stuck-dev", &["true"])));
}

/// Returns what the service keeps of the events.
fn http_events(user: &User) -> String {
    let socket = user.path("run/symposium/taskspace.sock");
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "GET /v1/events?after=0 HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut bytes = Vec::new();
    // It ends with the silence: the stream has no end.
    stream.read_to_end(&mut bytes).ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn what_was_killed_between_its_making_and_its_start_starts_all_the_same() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "inited"]);
    user.run(&["stop", "inited"]);
    let format = "--format={{.InfraContainerID}}";
    let infra = podman(&["pod", "inspect", format, "taskspace-inited"]).trim().to_owned();
    for container in [infra.as_str(), "taskspace-inited-dev"] {
        let permits = user.permits("inited");
        podman(&["init", container]);
        drop(permits);
        let pid = podman(&["inspect", "--format={{.State.Pid}}", container]);
        kill(Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
        user.run(&["start", "inited"]);
        user.run(&["stop", "inited"]);
    }
}

#[test]
fn what_did_not_end_in_time_starts_all_the_same() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "slow-end"]);
    user.run(&["stop", "slow-end"]);
    let container = podman(&["inspect", "--format={{.Id}}", "taskspace-slow-end-dev"]);
    let pod = podman(&["pod", "inspect", "--format={{.Id}}", "taskspace-slow-end"]);
    // As when the end of a monitor takes longer than systemd waits, which then remembers the failure.
    let scope = format!("libpod-conmon-{}.scope", container.trim());
    let slice = format!("user-libpod_pod_{}.slice", pod.trim());
    let manager = |arguments: &[&str]| {
        Command::new("systemctl").arg("--user").args(arguments).output().unwrap()
    };
    let mut stubborn = Command::new("systemd-run")
        .args(["--user", "--scope", "--property=TimeoutStopSec=100ms"])
        .args([format!("--unit={scope}"), format!("--slice={slice}")])
        .args(["sh", "-c", "trap '' TERM; echo; while :; do read -r line; done"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(stubborn.stdout.take().unwrap()).read_line(&mut line).unwrap();
    manager(&["stop", &scope, &slice]);
    stubborn.wait().unwrap();
    assert!(manager(&["is-failed", &scope]).status.success());
    user.run(&["start", "slow-end"]);
    assert!(!manager(&["is-failed", &scope]).status.success());
}

#[test]
fn many_health_checks_lock_nobody_out() {
    let user = User::new();
    user.settings("settings.yaml", "health: {interval: 10ms}\n");
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "r-probed"]);
    let mut seen = HashSet::new();
    wait_until("it was asked many times", || {
        seen.insert(show(&user, "r-probed")["health"]["dev"]["checked"].to_string());
        seen.len() > 100
    });
    for _ in 0..10 {
        assert!(answers(user.ssh("r-probed-dev", &["true"])));
    }
    assert_eq!(show(&user, "r-probed")["health"]["dev"]["healthy"], true);
}

#[test]
fn a_registry_from_a_backup_harms_nothing() {
    let (user, repository) = with_taskspace("r-old");
    user.run(&["create", "--project", repository.as_str(), "r-deleted"]);
    let file = user.path("state/symposium/taskspace-registry.json");
    let backup = std::fs::read(&file).unwrap();
    user.run(&["delete", "--force", "--purge", "r-deleted"]);
    user.run(&["create", "--project", repository.as_str(), "r-new"]);
    user.kill_service();
    let now = std::fs::read(&file).unwrap();
    std::fs::write(&file, backup).unwrap();
    wait_until("what has no entry is told", || {
        user.json(&["status"])["strays"].as_array().unwrap().len() >= 5
    });
    let strays = user.json(&["status"])["strays"].to_string();
    assert!(strays.contains("pod taskspace-r-new") && !strays.contains("r-old"), "{strays}");
    // What was deleted since cannot come back, and is not said to be there.
    wait_until("the loss is told", || show(&user, "r-deleted")["status"] == "failed");
    let failure = show(&user, "r-deleted")["failure"]["detail"].to_string();
    assert!(failure.contains("taskspace-r-deleted-changes"), "{failure}");
    user.run(&["delete", "--force", "--purge", "r-deleted"]);
    // The other runs on, untouched, and is known again with the newer registry.
    assert_eq!(podman(&["pod", "inspect", "--format={{.State}}", "taskspace-r-new"]), "Running\n");
    user.kill_service();
    std::fs::write(&file, now).unwrap();
    wait_until("nothing is astray", || user.json(&["status"])["strays"] == json!([]));
    assert!(answers(user.ssh("r-new-dev", &["true"])));
}

#[test]
fn what_is_paused_goes_on_or_is_stopped() {
    let (user, _repository) = with_taskspace("r-paused");
    podman(&["pod", "pause", "taskspace-r-paused"]);
    wait_recovered(&user, "r-paused", 1);
    user.run(&["stop", "r-paused"]);
    let _permits = user.permits("r-paused");
    podman(&["pod", "start", "taskspace-r-paused"]);
    podman(&["pod", "pause", "taskspace-r-paused"]);
    wait_until("it is stopped again", || {
        let filter = "--filter=label=io.symposium.taskspace=r-paused";
        let states = podman(&["ps", "--all", filter, "--format={{.State}}"]);
        states.lines().all(|state| state == "exited")
    });
    assert_eq!(show(&user, "r-paused")["status"], "stopped");
    // Once was enough.
    let stops = user.run(&["events"]).matches("somebody started it").count();
    assert!(stops <= 2, "{stops}");
}
