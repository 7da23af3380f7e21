//! A service, or a Podman, that runs and does not answer: every command says so, and what to do.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::common::repository::Repository;
use crate::common::{User, text_of, wait_until};

/// Stops the service as a debugger or a Ctrl-Z would, until it is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(user: &User) -> Self {
        let pid = Pid::from_raw(user.service().unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill(self.0, Signal::SIGCONT).ok();
    }
}

/// Starts a command, and returns it with the first line that it writes to standard error.
fn first_line(user: &User, arguments: &[&str]) -> (Child, String) {
    let mut command = user.taskspace(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

#[test]
fn a_stopped_service_is_named_and_reading_commands_answer_from_the_registry() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "hung"]);
    let stopped = Stopped::new(&user);
    let pid = stopped.0.to_string();

    let output = user.taskspace(&["list", "--json"]).output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&list[0]["id"], &list[0]["stale"]), (&json!("hung"), &json!(true)));
    for part in [&pid, "stopped by a signal", "registry", "taskspace service restart"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    assert_eq!(user.json(&["show", "hung"])["stale"], true);
    user.fail(3, &["show", "gone"]);
    assert_eq!(user.run(&["ssh", "hung", "--", "echo", "in"]), "in\n");

    // What is not in the registry is waited for, with a word about it.
    let (mut status, line) = first_line(&user, &["status", "--json"]);
    assert!(line.contains(&pid) && line.contains("service restart"), "{line}");
    // A command whose answer is an operation is not cut by that, nor repeated.
    let (mut stop, line) = first_line(&user, &["stop", "hung"]);
    assert!(line.contains(&pid), "{line}");
    let told = user.fail(1, &["service", "status"]);
    assert!(told.contains("stopped by a signal") && told.contains("Answers"), "{told}");
    drop(stopped);
    assert!(status.wait().unwrap().success() && stop.wait().unwrap().success());
    let list = user.json(&["list"]);
    assert!(list[0].get("stale").is_none() && list[0]["status"] == "stopped", "{list}");
}

#[test]
fn a_service_that_does_not_answer_is_ended_by_force_and_started_again() {
    let user = User::new();
    user.run(&["list"]);
    let stopped = Stopped::new(&user);
    let restarted = user.run(&["service", "restart"]);
    let pid = user.service().unwrap();
    assert_ne!(pid, stopped.0.as_raw());
    assert_eq!(restarted, format!("the service runs as process {pid}\n"));
    let status = user.json(&["service", "status"]);
    assert_eq!((&status["pid"], &status["answers"]), (&json!(pid), &json!(true)));
    assert!(user.run(&["service", "logs"]).contains("listening on"));
    // One that answers ends by itself.
    user.run(&["service", "stop"]);
    wait_until("it is gone", || !PathBuf::from(format!("/proc/{pid}")).exists());
    assert!(user.run(&["service", "stop"]).contains("does not run"));
    let told = user.fail(1, &["service", "status"]);
    assert!(told.contains("does not run"), "{told}");
}

#[test]
fn a_socket_without_a_listener_is_replaced_and_one_that_lets_nobody_in_is_told() {
    let user = User::new();
    let socket = user.path("run/symposium/taskspace.sock");
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    user.run(&["list"]);
    user.run(&["service", "stop"]);
    // A listener that accepts nothing is no service; the registry is there all the same.
    let _listener = UnixListener::bind(&socket).unwrap();
    let output = user.taskspace(&["list"]).output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success() && text.contains("does not answer"), "{text}");
    std::fs::remove_file(&socket).unwrap();
}

#[test]
fn a_podman_that_does_not_answer_is_named_and_not_the_service() {
    let directory = tempfile::tempdir().unwrap();
    let podman = directory.path().join("podman.sock");
    let listener = UnixListener::bind(&podman).unwrap();
    let user = User::with_podman(&format!("unix://{}", podman.display()));
    let (mut images, line) = first_line(&user, &["images"]);
    assert!(line.contains("Podman does not answer") && line.contains("podman info"), "{line}");
    // What needs no Podman is answered, and at once.
    assert_eq!(user.run(&["list", "--json"]).trim(), "[]");
    drop(listener);
    assert_eq!(images.wait().unwrap().code(), Some(6));
}
