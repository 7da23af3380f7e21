//! The service: its API as other programs meet it, its start by the client, its end.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getuid};
use serde_json::{Value, json};

use crate::common::http::http;
use crate::common::repository::Repository;
use crate::common::{User, text_of, wait_until};

#[test]
fn the_contract_over_plain_http() {
    let user = User::new();
    user.run(&["list"]);
    let (status, head, body) = http(&user, "GET", "/v1/version", "");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let version: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));

    let (status, head, body) = http(&user, "GET", "/metrics", "");
    assert!(status == 200 && head.contains("content-type: application/openmetrics-text"), "{head}");
    let has = |line: &str| body.lines().any(|it| it == line);
    assert!(has("taskspace_taskspaces{status=\"running\"} 0") && has("# EOF"), "{body}");

    let problems = [
        ("POST", "/v1/operations", "{\"kind\": \"read\"}", 400, "MESSAGE_FORMAT_INVALID"),
        (
            "POST",
            "/v1/operations",
            "{\"kind\": \"read\", \"target\": \"api\", \"agent\": \"me\"}",
            404,
            "NOT_FOUND",
        ),
        (
            "POST",
            "/v1/operations",
            "{\"kind\": \"read\", \"target\": \"api\", \"agent\": \"me\", \"priority\": 11}",
            400,
            "MESSAGE_FORMAT_INVALID",
        ),
        ("PUT", "/v1/operations/999", "{}", 404, "NOT_FOUND"),
        ("DELETE", "/v1/operations/999", "", 404, "NOT_FOUND"),
        ("GET", "/v1/operations/999/hold", "", 404, "NOT_FOUND"),
        ("GET", "/v1/taskspaces/nobody", "", 404, "TASKSPACE_NOT_FOUND"),
        ("GET", "/v1/taskspaces/nobody/health", "", 404, "TASKSPACE_NOT_FOUND"),
        ("DELETE", "/v1/taskspaces/nobody?dry_run=true", "", 404, "TASKSPACE_NOT_FOUND"),
        ("GET", "/v1/events?follow=perhaps", "", 400, "MESSAGE_FORMAT_INVALID"),
        ("GET", "/v1/taskspaces/Bad", "", 400, "MESSAGE_FORMAT_INVALID"),
        ("GET", "/v1/nothing", "", 404, "NOT_FOUND"),
        ("PUT", "/v1/taskspaces", "", 405, "MESSAGE_FORMAT_INVALID"),
        ("POST", "/v1/taskspaces", "{\"project\": 7}", 400, "MESSAGE_FORMAT_INVALID"),
        ("POST", "/v1/taskspaces", "{", 400, "MESSAGE_FORMAT_INVALID"),
        (
            "POST",
            "/v1/taskspaces",
            "{\"project\": \"/x\", \"colour\": 1}",
            400,
            "MESSAGE_FORMAT_INVALID",
        ),
        ("GET", "/v1/operations/999", "", 404, "NOT_FOUND"),
        (
            "POST",
            "/v1/images/build",
            "{\"images\": [\"dev-cobol\"]}",
            400,
            "MESSAGE_FORMAT_INVALID",
        ),
    ];
    for (method, path, body, expected, code) in problems {
        let (status, head, body) = http(&user, method, path, body);
        assert_eq!(status, expected, "{method} {path}: {body}");
        assert!(head.contains("content-type: application/problem+json"), "{method} {path}: {head}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["code"], code, "{method} {path}");
        assert_eq!(problem["status"], expected, "{method} {path}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    let status = user.json(&["status"]);
    assert_eq!(status["taskspaces"], 0);
    assert_eq!(status["podman"]["state"], "available");
}

#[test]
fn a_creation_over_http_is_an_operation_with_events() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["list"]);
    let request = json!({"id": "h", "project": repository.as_str()}).to_string();
    let (status, head, body) = http(&user, "POST", "/v1/taskspaces", &request);
    assert_eq!(status, 202, "{body}");
    let operation: Value = serde_json::from_str(&body).unwrap();
    let number = operation["id"].as_u64().unwrap();
    assert!(head.contains(&format!("location: /v1/operations/{number}")), "{head}");
    let (_, _, events) = http(&user, "GET", &format!("/v1/events?after=0&operation={number}"), "");
    for event in ["event: operation-requested", "event: step-ended", "event: operation-finished"] {
        assert!(events.contains(event), "no {event} in\n{events}");
    }
    let (status, _, body) = http(&user, "GET", &format!("/v1/operations/{number}?wait=true"), "");
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["state"], "done", "{body}");
    let (status, _, body) = http(&user, "POST", "/v1/taskspaces", &request);
    assert_eq!(status, 409, "{body}");
    let (status, _, body) = http(&user, "GET", "/v1/taskspaces/h/health", "");
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &health["status"]), (200, &json!("running")), "{body}");
    for container in health["containers"].as_array().unwrap() {
        assert_eq!(container["state"], "running", "{body}");
    }
    let (status, _, body) = http(&user, "DELETE", "/v1/taskspaces/h?force=true&dry_run=true", "");
    let plan: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &plan["name"]), (200, &json!("delete")), "{body}");
    let (status, _, body) =
        http(&user, "DELETE", "/v1/taskspaces/h?force=true&purge=true&wait=true", "");
    assert_eq!(status, 200, "{body}");
}

#[test]
fn the_socket_is_the_users_alone_and_one_service_serves_it() {
    let user = User::new();
    let children: Vec<_> = (0..6)
        .map(|_| user.taskspace(&["status", "--json"]).stdout(Stdio::piped()).spawn().unwrap())
        .collect();
    let mut pids: Vec<Value> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            serde_json::from_slice::<Value>(&output.stdout).unwrap()["pid"].clone()
        })
        .collect();
    pids.dedup();
    assert_eq!(pids.len(), 1, "{pids:?}");
    let socket = std::fs::metadata(user.path("run/symposium/taskspace.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    assert_eq!(socket.uid(), getuid().as_raw());
    let registry = std::fs::metadata(user.path("state/symposium/taskspace-registry.json")).unwrap();
    assert_eq!(registry.permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_idle_service_goes_and_comes_back() {
    let user = User::new();
    user.settings("settings.yaml", "service:\n  idle_timeout: 200ms\n");
    let first = user.json(&["status"])["pid"].clone();
    let process = PathBuf::from(format!("/proc/{first}"));
    wait_until("the idle service has ended", || !process.exists());
    let second = user.json(&["status"])["pid"].clone();
    assert_ne!(first, second);
}

#[test]
fn a_client_that_waits_sees_the_end_although_the_service_is_killed() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "keep"]);
    let mut create = user.taskspace(&["create", "--project", repository.as_str(), "follow"]);
    let create = create.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the creation is recorded", || {
        user.registry()["taskspaces"]["follow"]["status"] == "creating"
    });
    user.kill_service();
    let output = create.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    for host in ["follow-dev", "keep-dev"] {
        assert!(user.ssh(host, &["true"]).status().unwrap().success());
    }
}

#[test]
fn a_service_that_is_told_to_end_finishes_what_it_does_before_the_next_one_begins() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "--no-wait", "handed"]);
    wait_until("the creation is recorded", || {
        user.registry()["taskspaces"]["handed"]["status"] == "creating"
    });
    let first = user.service().unwrap();
    kill(Pid::from_raw(first), Signal::SIGTERM).unwrap();
    wait_until("another one serves", || user.json(&["status"])["pid"] != first);
    assert_eq!(user.json(&["list"])[0]["status"], "running");
    let log = std::fs::read_to_string(user.path("state/symposium/taskspaced.log")).unwrap();
    assert!(!log.contains("taking up"), "{log}");
}

#[test]
fn completions_and_help_name_every_verb() {
    let user = User::new();
    let help = user.run(&["--help"]);
    for verb in [
        "create",
        "list",
        "show",
        "start",
        "stop",
        "restart",
        "delete",
        "ssh",
        "exec",
        "logs",
        "events",
        "operations",
        "locks",
        "run-op",
        "ssh-config",
        "images",
        "serve",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {verb} ")), "--help does not name {verb}:\n{help}");
        assert!(user.run(&[verb, "--help"]).contains("Usage: taskspace"));
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(user.run(&["completions", shell]).contains("taskspace"));
    }
    assert!(help.contains("6    Podman"), "exit codes are documented:\n{help}");
}

#[test]
fn who_has_come_in_is_answered_although_the_service_is_told_to_end() {
    let user = User::new();
    user.run(&["list"]);
    let socket = user.path("run/symposium/taskspace.sock");
    let mut early = UnixStream::connect(&socket).unwrap();
    // It has been let in before this is answered.
    user.run(&["list"]);
    kill(Pid::from_raw(user.service().unwrap()), Signal::SIGTERM).unwrap();
    wait_until("nobody is let in any more", || !socket.exists());
    write!(early, "GET /v1/version HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    early.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply:?}");
}
