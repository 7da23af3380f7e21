//! Podman's own housekeeping loses no work: not of taskspaces, nor snapshots, nor kept agent states.

use serde_json::Value;

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, is_deep, succeed, wait_until};

fn dev(user: &User, id: &str, script: &str) -> String {
    succeed(&mut user.ssh(&format!("{id}-dev"), &[script]))
}

fn agent(user: &User, id: &str, script: &str) -> String {
    succeed(&mut user.ssh(&format!("{id}-agent"), &[script]))
}

fn status(user: &User, id: &str) -> Value {
    user.json(&["show", id])["status"].clone()
}

/// What people run to make room; Podman 5 removes named volumes with them, too.
const HOUSEKEEPING: &[&[&str]] = &[
    &["volume", "prune", "--force"],
    &["container", "prune", "--force"],
    &["pod", "prune", "--force"],
    &["network", "prune", "--force"],
    &["image", "prune", "--force"],
    &["system", "prune", "--force", "--volumes"],
    &["auto-update"],
];

#[test]
fn housekeeping_loses_no_work_of_running_or_stopped_taskspaces() {
    let podman = TestPodman::alone();
    let user = User::with_podman(&podman.container_host);
    user.settings("settings.yaml", "reconcile_interval: 2s\n");
    let repository = Repository::new(&user, "app");
    let create = |id: &str| user.run(&["create", "--project", repository.as_str(), id]);
    for id in ["hk-runs", "hk-rests", "hk-gone"] {
        create(id);
        dev(&user, id, "echo precious > /workspace/work && rm /workspace/README.md");
        agent(&user, id, "echo remembered > /agent/state/note");
    }
    user.run(&["snapshot", "--agent-state", "hk-rests", "then"]);
    user.run(&["cache", "promote", "hk-rests"]);
    user.run(&["stop", "hk-rests"]);
    user.run(&["delete", "--force", "hk-gone"]);

    let before = podman.data_volumes(user.registry()["registry"].as_str().unwrap());
    for command in HOUSEKEEPING {
        succeed(podman.command().args(*command));
    }
    if is_deep()
        && let Ok(base) = std::env::var("TASKSPACE_TEST_BASE_IMAGE")
    {
        // The base image can be had nowhere; the others are built anew, by this test and by later ones.
        succeed(podman.command().args(["create", "--name", "hk-base", &base, "true"]));
        succeed(podman.command().args(["image", "prune", "--all", "--force"]));
        succeed(podman.command().args(["rm", "hk-base"]));
        create("hk-new");
        dev(&user, "hk-new", "test -e /workspace/README.md");
    }
    let after = podman.data_volumes(user.registry()["registry"].as_str().unwrap());
    let lost: Vec<_> = before.iter().filter(|volume| !after.contains(volume)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    // The stopped one has lost its pod, and nothing else.
    let pods = succeed(podman.command().args(["pod", "ps", "--format={{.Name}}"]));
    assert_eq!(pods.trim(), "taskspace-hk-runs");
    let work = "cat /workspace/work && test ! -e /workspace/README.md";
    assert_eq!(dev(&user, "hk-runs", work), "precious\n");
    user.run(&["restart", "hk-runs"]);
    assert_eq!(dev(&user, "hk-runs", work), "precious\n");

    assert_eq!(status(&user, "hk-rests"), "stopped");
    let stat = user.run(&["diff", "hk-rests", "--stat"]);
    assert!(stat.contains("work"), "{stat}");
    user.run(&["start", "hk-rests"]);
    assert_eq!(dev(&user, "hk-rests", work), "precious\n");
    assert_eq!(agent(&user, "hk-rests", "cat /agent/state/note"), "remembered\n");
    dev(&user, "hk-rests", "echo spoilt > /workspace/work");
    user.run(&["restore", "--force", "--agent-state", "hk-rests", "then"]);
    assert_eq!(dev(&user, "hk-rests", work), "precious\n");

    // The agent state that a deleted taskspace left is still there to go on with.
    user.run(&[
        "create",
        "--project",
        repository.as_str(),
        "--agent-state-of",
        "hk-gone",
        "hk-heir",
    ]);
    assert_eq!(agent(&user, "hk-heir", "cat /agent/state/note"), "remembered\n");

    // `system migrate` stops every container; the service brings back those that are to run.
    succeed(podman.command().args(["system", "migrate"]));
    wait_until("they run again", || {
        ["hk-runs", "hk-rests", "hk-heir"].iter().all(|id| {
            user.ssh(&format!("{id}-dev"), &["true"]).status().is_ok_and(|status| status.success())
        })
    });
    for id in ["hk-runs", "hk-rests", "hk-heir"] {
        user.run(&["delete", "--force", "--purge", id]);
    }
}

#[test]
fn volumes_that_an_earlier_release_left_in_podman_become_data_volumes() {
    let user = User::new();
    user.settings("settings.yaml", "reconcile_interval: 2s\n");
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "hk-old"]);
    dev(&user, "hk-old", "echo precious > /workspace/work");
    user.run(&["stop", "hk-old"]);
    user.kill_service();
    let podman = TestPodman::shared();
    succeed(podman.command().args(["pod", "rm", "--force", "taskspace-hk-old"]));
    let registry = user.registry()["registry"].as_str().unwrap().to_owned();
    let before = podman.data_volumes(&registry);
    assert!(before.iter().any(|name| name == "taskspace-hk-old-changes"), "{before:?}");
    for name in &before {
        let owner = podman.volume_path().join(name).join("taskspace.json");
        let labels: Value = serde_json::from_slice(&std::fs::read(&owner).unwrap()).unwrap();
        let labels = labels["labels"].as_object().unwrap().iter();
        let labels =
            labels.map(|(key, value)| format!("--label={key}={}", value.as_str().unwrap()));
        std::fs::remove_file(owner).unwrap();
        succeed(podman.command().args(["volume", "create"]).args(labels).arg(name));
    }
    assert_eq!(podman.data_volumes(&registry), Vec::<String>::new());
    // The service takes them over when it compares, without being asked.
    user.run(&["list"]);
    let mut before = before;
    before.sort();
    wait_until("they are taken over", || {
        let mut now = podman.data_volumes(&registry);
        now.sort();
        now == before
    });
    user.run(&["start", "hk-old"]);
    assert_eq!(dev(&user, "hk-old", "cat /workspace/work"), "precious\n");
}
