//! Files that Podman leaves when it has forgotten their volume.

use std::path::PathBuf;

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, succeed};

fn podman(arguments: &[&str]) -> String {
    succeed(TestPodman::shared().command().args(arguments))
}

fn volumes() -> PathBuf {
    TestPodman::shared().volume_path()
}

#[test]
fn a_tree_that_is_too_deep_for_podman_goes_with_its_taskspace() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "deep"]);
    // Podman has a directory open for each on the way, and a test host's may have 20,000.
    let deep = "for (1..21000) { mkdir 'a' or die; chdir 'a' or die }";
    let mut make =
        user.ssh("deep-dev", &[&format!("cd /workspace/.build-cache && perl -e \"{deep}\"")]);
    succeed(&mut make);
    user.run(&["delete", "--force", "--purge", "deep"]);
    assert!(!volumes().join("taskspace-deep-build-cache").exists());
}

#[test]
fn what_is_left_of_an_earlier_volume_is_not_in_a_new_one() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let left =
        ["left-changes/_data/upper", "left-build-cache/_data/cargo", "left-agent-state/_data"];
    for directory in left {
        let directory = volumes().join(format!("taskspace-{directory}"));
        let script =
            "mkdir -p \"$0\" && echo old > \"$0/old\" && chown -R 5:5 \"$0\" && chmod 700 \"$0\"";
        podman(&["unshare", "sh", "-euc", script, &directory.display().to_string()]);
    }
    user.run(&["create", "--project", repository.as_str(), "left"]);
    let find = "find /workspace /agent/state -name old";
    assert_eq!(succeed(&mut user.ssh("left-agent", &[find])), "");
    user.run(&["fork", "left", "left-copy"]);
}
