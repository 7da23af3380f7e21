//! Creations of which a step fails.

use serde_json::json;

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, succeed};

/// A user whose service has the making of the first dev container fail.
fn user() -> User {
    let user = User::new();
    let mut status = user.taskspace(&["status"]);
    succeed(status.env("TASKSPACE_FAULT_FAIL", "create: dev container: fail#1"));
    user
}

#[test]
fn a_creation_that_fails_is_taken_back() {
    let user = user();
    let repository = Repository::new(&user, "app");
    let text = user.fail(1, &["create", "--project", repository.as_str(), "cback"]);
    assert!(text.contains("error: dev container: a test wants it to fail"), "{text}");
    assert_eq!(user.json(&["list"]), json!([]));
    assert_eq!(user.left_in_podman(), Vec::<String>::new());
    user.run(&["create", "--project", repository.as_str(), "cback"]);
}

#[test]
fn a_creation_that_fails_is_kept_on_request_and_can_be_gone_on_with() {
    let user = user();
    let repository = Repository::new(&user, "app");
    let text =
        user.fail(1, &["create", "--project", repository.as_str(), "--keep-on-failure", "ckeep"]);
    let reason = "dev container: a test wants it to fail";
    let hint = "what was made is kept: `taskspace start ckeep` goes on with it";
    assert!(text.contains(&format!("error: {reason}")), "{text}");
    assert!(text.contains(&format!("hint: {hint}")), "{text}");
    assert!(user.left_in_podman().contains(&"taskspace-ckeep-dev".to_owned()));

    let shown = user.run(&["show", "ckeep"]);
    for part in ["failed (wanted: running)", reason, hint, "create, not finished; steps done: "] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    let listed = user.run(&["list"]);
    assert!(listed.contains(&format!("create not finished: {reason}")), "{listed}");
    assert!(user.fail(4, &["stop", "ckeep"]).contains("has not been finished"));

    user.run(&["start", "ckeep"]);
    assert!(user.ssh("ckeep-dev", &["true"]).status().unwrap().success());
    let shown = user.run(&["show", "ckeep"]);
    assert!(shown.contains("running (wanted: running)") && !shown.contains(reason), "{shown}");
}

#[test]
fn work_in_one_that_was_handed_over_is_never_made_anew() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["list"]);
    user.kill_service();
    let project = ["create", "--project", repository.as_str(), "--keep-on-failure", "c-worked"];
    let mut create = user.taskspace(&project);
    // The service that it starts has its environment.
    create.env("TASKSPACE_FAULT_FAIL", "create: wait for the dev container's sshd: fail#1");
    assert!(!create.output().unwrap().status.success());
    let podman = |arguments: &[&str]| succeed(TestPodman::shared().command().args(arguments));
    let commit = "cd /workspace && git -c user.name=T -c user.email=t@e.org commit -q \
                  --allow-empty -m 'a day of work'";
    podman(&["exec", "--user=developer", "taskspace-c-worked-dev", "sh", "-c", commit]);
    let refused = user.fail(4, &["delete", "c-worked"]);
    assert!(refused.contains("unsaved work") && refused.contains("a day of work"), "{refused}");
    podman(&["pod", "rm", "--force", "--time=0", "taskspace-c-worked"]);
    user.run(&["start", "c-worked"]);
    let log = succeed(&mut user.ssh("c-worked-dev", &["cd /workspace && git log --oneline"]));
    assert!(log.contains("a day of work"), "{log}");
}
