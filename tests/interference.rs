//! What others do behind the service's back, and requests that cross each other.

use std::process::Stdio;

use serde_json::json;

use crate::common::others::{Other, forwarders, hide_network};
use crate::common::podman::TestPodman;
use crate::common::podman_proxy::PodmanProxy;
use crate::common::repository::Repository;
use crate::common::{User, succeed, text_of, wait_until};

fn podman(arguments: &[&str]) -> String {
    succeed(TestPodman::shared().command().args(arguments))
}

#[test]
fn what_was_removed_by_hand_is_made_anew_but_never_the_work() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "mended"]);
    succeed(&mut user.ssh("mended-dev", &["echo kept > /workspace/work"]));
    let work = || succeed(&mut user.ssh("mended-dev", &["cat /workspace/work"]));

    // The pod is gone, and the record still says running.
    podman(&["pod", "rm", "--force", "taskspace-mended"]);
    user.run(&["start", "mended"]);
    assert_eq!(work(), "kept\n");
    podman(&["kill", "taskspace-mended-dev"]);
    user.run(&["start", "mended"]);
    assert_eq!(work(), "kept\n");

    // Volumes that can be made anew.
    user.run(&["stop", "mended"]);
    let gone = ["taskspace-mended-project", "taskspace-mended-build-cache"];
    podman(&["pod", "rm", "--force", "taskspace-mended"]);
    TestPodman::shared().remove_volumes(&gone);
    user.run(&["start", "mended"]);
    assert_eq!(work(), "kept\n");

    // And the one that cannot.
    user.run(&["stop", "mended"]);
    podman(&["pod", "rm", "--force", "taskspace-mended"]);
    TestPodman::shared().remove_volumes(&["taskspace-mended-changes"]);
    let text = user.fail(4, &["start", "mended"]);
    assert!(text.contains("taskspace-mended-changes") && text.contains("hint:"), "{text}");
    assert_eq!(user.json(&["show", "mended"])["status"], "failed");
    // Nobody can tell whether a failed one has unsaved work.
    user.fail(4, &["delete", "mended"]);
    user.run(&["delete", "--force", "--purge", "mended"]);
    let left = user.left_in_podman();
    assert!(left.iter().all(|name| name.starts_with("project-base-")), "{left:?}");
}

#[test]
fn no_volume_that_podman_makes_by_itself_takes_the_place_of_one_that_is_removed() {
    let proxy = PodmanProxy::new();
    let user = User::with_podman(&proxy.container_host());
    let repository = Repository::new(&user, "app");
    for part in ["project", "build-cache", "agent-state"] {
        const MAKING: &str = "/containers/create";
        proxy.set(None);
        proxy.hold(Some(MAKING));
        let mut create = user.taskspace(&["create", "--project", repository.as_str(), "hollow"]);
        let create = create.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let is_held = |request: &String| request.contains(MAKING);
        wait_until("both are made", || proxy.requests().into_iter().filter(is_held).count() == 2);
        let volume = format!("taskspace-hollow-{part}");
        TestPodman::shared().remove_volumes(&[&volume]);
        proxy.hold(None);
        let text = text_of(&create.wait_with_output().unwrap());
        let told = match part {
            "project" => format!("removed the volume '{volume}'"),
            _ => format!("{volume}/_data"),
        };
        assert!(text.contains(&told), "{text}");
        assert_eq!(user.json(&["list"]), json!([]));
        let volumes = podman(&["volume", "ls", "--format={{.Name}}"]);
        assert!(!volumes.contains("taskspace-hollow-"), "{volumes}");
    }
}

#[test]
fn what_podman_makes_late_for_a_service_that_was_ended_is_in_nobodys_way() {
    let proxy = PodmanProxy::new();
    let user = User::with_podman(&proxy.container_host());
    let repository = Repository::new(&user, "app");
    user.run(&["list"]);
    let registry = user.registry()["registry"].as_str().unwrap().to_owned();
    let labels = [
        format!("--label=io.symposium.registry={registry}"),
        "--label=io.symposium.taskspace=late".to_owned(),
    ];
    let labels = labels.each_ref().map(String::as_str);
    let pod = ["pod", "create", "--name=taskspace-late"];
    let dev = ["create", "--pod=taskspace-late", "--name=taskspace-late-dev"];
    for (making, late) in [
        ("/pods/create", [pod.as_slice(), &labels].concat()),
        ("/containers/create", [&dev, labels.as_slice(), &["localhost/symposium/agent"]].concat()),
    ] {
        proxy.set(None);
        proxy.hold(Some(making));
        let mut create = user.taskspace(&["create", "--project", repository.as_str(), "late"]);
        let create = create.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let is_held = |request: &String| request.contains(making);
        wait_until("it is asked for", || proxy.requests().iter().any(is_held));
        podman(&late);
        proxy.hold(None);
        let output = create.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text_of(&output));
        succeed(&mut user.ssh("late-dev", &["true"]));
        user.run(&["delete", "--force", "--purge", "late"]);
    }
}

#[test]
fn what_has_lost_its_monitor_is_stopped_and_removed_all_the_same() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "orphan"]);
    for verb in [["stop"].as_slice(), &["restart"], &["delete", "--force", "--purge"]] {
        user.run(&["start", "orphan"]);
        for role in ["agent", "dev"] {
            assert!(Other::KillMonitor.begin(&user, "orphan", role).is_none());
        }
        user.run(&[verb, &["orphan"]].concat());
    }
    assert_eq!(user.json(&["list"]), json!([]));
}

#[test]
fn what_forwards_to_a_network_that_is_gone_is_ended() {
    let user = User::with_own_ports(&TestPodman::shared().container_host);
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "forwarded"]);
    let ports = || {
        let record = &user.registry()["taskspaces"]["forwarded"];
        ["dev_port", "agent_port"].map(|name| record[name].as_u64().unwrap())
    };
    let before = ports();
    let pasta = || forwarders(&before);

    hide_network(&user, "forwarded");
    user.run(&["stop", "forwarded"]);
    assert_eq!(pasta(), [0; 0]);

    // The service was not there when it was left, and the ports are not given up for it.
    user.run(&["start", "forwarded"]);
    user.kill_service();
    hide_network(&user, "forwarded");
    podman(&["pod", "rm", "--force", "--time=0", "taskspace-forwarded"]);
    let left = pasta();
    assert_eq!(left.len(), 1);
    user.run(&["start", "forwarded"]);
    assert!(pasta() != left && ports() == before);

    // It is left by whoever starts and stops what the service has stopped.
    user.run(&["stop", "forwarded"]);
    user.kill_service();
    let permits = user.permits("forwarded");
    podman(&["pod", "start", "taskspace-forwarded"]);
    drop(permits);
    hide_network(&user, "forwarded");
    podman(&["pod", "stop", "--time=0", "taskspace-forwarded"]);
    assert_eq!(pasta().len(), 1);
    user.run(&["list"]);
    wait_until("nothing forwards", || pasta().is_empty());

    user.run(&["start", "forwarded"]);
    hide_network(&user, "forwarded");
    user.run(&["delete", "--force", "--purge", "forwarded"]);
    assert_eq!(pasta(), [0; 0]);
}

#[test]
fn the_network_of_another_registry_on_the_same_ports_is_left_alone() {
    let [ours, theirs] = [0, 1].map(|_| User::new());
    let holder = User::with_own_ports(&TestPodman::shared().container_host);
    let (dev, agent) = holder.own_ports().map(|ports| (*ports.start(), *ports.end())).unwrap();
    let taskspaces = [(&ours, "shares-a"), (&theirs, "shares-b")];
    for (user, id) in taskspaces {
        user.settings(
            "settings.yaml",
            &format!("ports: {{dev: {dev}-{dev}, agent: {agent}-{agent}}}\n"),
        );
        let repository = Repository::new(user, "app");
        user.run(&["create", "--project", repository.as_str(), id]);
        user.run(&["stop", id]);
    }
    theirs.run(&["start", "shares-b"]);
    let answers = || succeed(&mut theirs.ssh("shares-b-dev", &["echo here"])) == "here\n";
    let pasta = forwarders(&[dev.into(), agent.into()]);
    assert!(answers() && pasta.len() == 1);
    ours.fail(4, &["start", "shares-a"]);
    ours.run(&["stop", "shares-a"]);
    ours.run(&["delete", "--force", "--purge", "shares-a"]);
    assert_eq!(forwarders(&[dev.into(), agent.into()]), pasta);
    assert!(answers());
}

#[test]
fn what_is_removed_is_removed_although_the_bases_cannot_be_trimmed() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "trimmed"]);
    user.kill_service();
    let mut delete = user.taskspace(&["delete", "--force", "--purge", "trimmed"]);
    // The service that it starts has its environment.
    delete.env("TASKSPACE_FAULT_FAIL", "delete: trim the project's bases: fail#1");
    succeed(&mut delete);
    assert_eq!(user.json(&["list"]), json!([]));
}

#[test]
fn a_purge_that_is_cut_off_is_finished() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    for point in ["purge: remove the volume: before#1", "purge: remove the volume: after#1"] {
        user.run(&["create", "--project", repository.as_str(), "purged"]);
        user.run(&["delete", "--force", "purged"]);
        user.kill_service();
        let mut purge = user.taskspace(&["delete", "--purge", "purged"]);
        assert!(!purge.env("TASKSPACE_FAULT_KILL", point).output().unwrap().status.success());
        user.run(&["list"]);
        wait_until("the state is gone", || {
            user.registry().get("agent_states").is_none_or(|states| *states == json!({}))
        });
        let left = user.left_in_podman();
        assert!(left.iter().all(|name| name.starts_with("project-base-")), "{left:?}");
    }
}

#[test]
fn what_ran_before_a_crash_runs_again() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    for id in ["again", "stays", "leaves"] {
        user.run(&["create", "--project", repository.as_str(), id]);
    }
    user.run(&["stop", "stays"]);
    user.kill_service();
    podman(&["pod", "stop", "taskspace-again", "taskspace-leaves"]);
    user.run(&["delete", "--force", "--purge", "leaves"]);
    wait_until("it runs again", || {
        user.ssh("again-dev", &["true"]).status().is_ok_and(|status| status.success())
    });
    let list = user.json(&["list"]);
    let ids: Vec<_> = list.as_array().unwrap().iter().map(|entry| entry["id"].clone()).collect();
    assert_eq!(ids, [json!("again"), json!("stays")]);
    assert_eq!(list[1]["status"], "stopped");
}

#[test]
fn no_kept_agent_state_is_lost() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let create = ["create", "--project", repository.as_str()];
    for id in ["kept-a", "kept-b"] {
        user.run(&[create.as_slice(), &[id]].concat());
        user.run(&["delete", "--force", id]);
    }
    // Another state under an id whose own is kept: one of the two would have no name.
    let text =
        user.fail(4, &[create.as_slice(), &["--agent-state-of", "kept-a", "kept-b"]].concat());
    assert!(text.contains("'kept-b' is kept"), "{text}");
    // A creation that is cut off and gone on with has the state that it was to have.
    let more = ["--agent-state-of", "kept-a", "--no-wait", "kept-c"];
    user.run(&[create.as_slice(), &more].concat());
    wait_until("the creation is recorded", || {
        user.registry()["taskspaces"]["kept-c"]["status"] == "creating"
    });
    user.kill_service();
    wait_until("it is finished", || user.json(&["list"])[0]["status"] == "running");
    let volume = user.json(&["list"])[0]["agent_state_volume"].clone();
    assert_eq!(volume, "taskspace-kept-a-agent-state");
    user.run(&["delete", "--force", "kept-c"]);
    let registry = user.registry();
    let kept: Vec<&String> = registry["agent_states"].as_object().unwrap().keys().collect();
    assert_eq!(kept, ["kept-b", "kept-c"]);
    for id in ["kept-b", "kept-c"] {
        user.run(&["delete", "--purge", id]);
    }
    let left = user.left_in_podman();
    assert!(left.iter().all(|name| name.starts_with("project-base-")), "{left:?}");
}

#[test]
fn work_on_other_branches_and_in_stashes_is_unsaved_work() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "branches"]);
    let git = |script: &str| {
        let script = format!(
            "cd /workspace && git config user.name T && git config user.email t@e.org && {script}"
        );
        succeed(&mut user.ssh("branches-dev", &[&script]));
    };
    git("git checkout -q -b side && git commit -q --allow-empty -m side && git tag t && \
         git checkout -q taskspace/branches");
    assert!(user.fail(4, &["delete", "branches"]).contains("side"));
    git("git tag -d t && git branch -q -D side && echo x > README.md && git stash -q");
    assert!(user.fail(4, &["delete", "branches"]).contains("stash@{0}"));
    git("git stash drop -q");
    user.run(&["delete", "branches"]);
}

#[test]
fn a_taskspace_that_is_still_being_made_can_be_deleted() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "--no-wait", "brief"]);
    user.run(&["delete", "--force", "--purge", "brief"]);
    assert_eq!(user.json(&["list"]), json!([]));
}

#[test]
fn nobody_but_the_service_starts_what_is_down() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "guarded"]);
    user.kill_service();
    let by_hand = |arguments: &[&str]| {
        TestPodman::shared().command().args(arguments).output().unwrap().status.success()
    };
    let answers = || user.ssh("guarded-dev", &["true"]).status().unwrap().success();
    let states = || {
        let filter = "--filter=label=io.symposium.taskspace=guarded";
        podman(&["ps", "--all", filter, "--format={{.IsInfra}} {{.State}}"])
    };
    // The pod's own container, which has the network, runs nothing of the taskspace.
    assert!(!by_hand(&["pod", "restart", "taskspace-guarded"]));
    assert!(!states().contains("false running"), "{}", states());
    by_hand(&["pod", "stop", "--time=0", "taskspace-guarded"]);
    assert!(!by_hand(&["pod", "start", "taskspace-guarded"]));
    assert!(!by_hand(&["start", "taskspace-guarded-dev"]));
    assert!(!states().contains("false running"), "{}", states());
    // Nor does it help that a service that was killed while it started them left its permits.
    user.run(&["start", "guarded"]);
    assert!(answers());
    user.kill_service();
    let infra = podman(&["pod", "inspect", "--format={{.InfraContainerID}}", "taskspace-guarded"]);
    let keeper = podman(&["inspect", "--format={{.State.Pid}}", infra.trim()]);
    for name in ["guarded.agent", "guarded.dev"] {
        let permit = user.path("run/symposium/permits").join(name);
        std::os::unix::fs::symlink(format!("/proc/{}/comm", keeper.trim()), permit).unwrap();
    }
    assert!(!by_hand(&["pod", "restart", "taskspace-guarded"]));
    assert!(!states().contains("false running"), "{}", states());
    user.run(&["start", "guarded"]);
    assert!(answers());
    // One alone is brought back by the service.
    by_hand(&["restart", "--time=0", "taskspace-guarded-dev"]);
    wait_until("it is brought back", answers);
}
