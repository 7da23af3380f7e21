//! The overlay that a checkout is: for people and tools it is a directory like any other, but for
//! what `README.md` says of it; and no matter what is done in it, its base never changes.

mod files;
mod git;
mod links;
mod many;
mod renames;
mod together;
mod tools;

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, succeed};

/// A taskspace whose base is watched.
struct Space<'a> {
    user: &'a User,
    id: &'static str,
    base: String,
    digest: String,
}

impl<'a> Space<'a> {
    /// Makes a taskspace of a repository's HEAD.
    fn new(user: &'a User, repository: &Repository, kind: &str, id: &'static str) -> Self {
        let identity = "[user]\n\tname = Test\n\temail = test@example.org\n";
        std::fs::write(user.path("home/.gitconfig"), identity).unwrap();
        user.run(&["create", "--project", repository.as_str(), "--type", kind, id]);
        let project = &user.json(&["show", id])["spec"]["project"];
        let [name, commit] = ["name", "commit"].map(|key| project[key].as_str().unwrap());
        let base = directory(&format!("project-base-{name}-{commit}"));
        Self { user, id, digest: digest(&base), base }
    }

    /// Runs a script in the checkout, in the dev container.
    #[track_caller]
    fn dev(&self, script: &str) -> String {
        self.run("dev", &["bash", "-ec", script])
    }

    /// Runs a script in the checkout, in the agent container.
    #[track_caller]
    fn agent(&self, script: &str) -> String {
        self.run("agent", &["bash", "-ec", script])
    }

    /// Runs a Python script in the checkout, in the dev container.
    #[track_caller]
    fn python(&self, script: &str) -> String {
        self.run("dev", &["python3", "-c", script])
    }

    #[track_caller]
    fn run(&self, container: &str, command: &[&str]) -> String {
        self.user.run(&[&["exec", self.id, "--container", container, "--"], command].concat())
    }

    /// Makes a command that runs in the checkout.
    fn command(&self, container: &str, command: &[&str]) -> std::process::Command {
        let exec = ["exec", self.id, "--container", container, "--"];
        self.user.taskspace(&[&exec, command].concat())
    }

    /// What both containers see in the checkout, which has to be the same.
    #[track_caller]
    fn seen(&self) -> String {
        const LOOK: &str = "find . \\( -path ./.git -o -path ./.build-cache \\) -prune -o \
                            -printf '%p %y %m %U %G %s %T@ %l\\n' | grep -v '^\\. ' | sort";
        let (dev, agent) = (self.dev(LOOK), self.agent(LOOK));
        assert_eq!(dev, agent, "the containers see different things");
        dev
    }

    /// Mounts the overlay anew.
    fn restart(&self) {
        self.user.run(&["restart", self.id]);
    }

    #[track_caller]
    fn assert_base_unchanged(&self) {
        assert_eq!(digest(&self.base), self.digest, "the base has changed");
    }
}

/// Returns where a volume is.
fn directory(volume: &str) -> String {
    TestPodman::shared().files(volume).display().to_string()
}

/// Returns a digest of all that is in a directory: names, types, owners, modes, times of modification,
/// link targets, hard links, extended attributes and contents.
fn digest(directory: &str) -> String {
    const SCRIPT: &str = "set -o pipefail; tar --create --directory=\"$0\" --sort=name \
        --format=posix --pax-option=exthdr.name=%d/%f,delete=atime,delete=ctime \
        --xattrs --xattrs-include='*' . | sha256sum";
    succeed(TestPodman::shared().command().args(["unshare", "bash", "-c", SCRIPT, directory]))
}
