//! What Podman leaves behind when it is ended while it starts a container: the container's monitor, with
//! a process in the container.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::common::own_podman::OwnPodman;
use crate::common::repository::Repository;
use crate::common::{User, processes, wait_until};

/// Gives the container whose name `victim` has the runtime `runtime`.
const CONMON: &str = r#"#!/bin/sh
place=${0%/*}
case " $* " in
*" -n $(cat "$place/victim" 2>/dev/null) "*)
    rm "$place/victim"
    echo $PPID > "$place/podman"
    "$place/meanwhile"
    exec conmon "$@" -r "$place/runtime"
    ;;
esac
exec conmon "$@"
"#;

/// Ends the Podman that starts the container.
const END_PODMAN: &str = r#"kill -9 "$(cat "${0%/*}/podman")""#;

/// When Podman is ended.
#[derive(Clone, Copy, Debug)]
enum When {
    /// Before it has brought the monitor into its scope, and the monitor's runtime is never done.
    Early,
    /// When the container is made, and Podman does not know it yet.
    Late,
}

impl When {
    /// What is done before the monitor starts, and what its runtime does.
    fn scripts(self) -> [String; 2] {
        match self {
            Self::Early => [END_PODMAN.to_owned(), "exec sleep infinity".to_owned()],
            Self::Late => [String::new(), format!("crun \"$@\"\n{END_PODMAN}")],
        }
    }
}

/// A user whose Podman is ended while it starts a container.
struct Endangered {
    user: User,
    podman: OwnPodman,
    directory: tempfile::TempDir,
}

impl Endangered {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        write_program(&directory.path().join("conmon"), CONMON);
        let podman = OwnPodman::with_conmon(&directory.path().join("conmon"));
        let user = User::with_podman(&podman.container_host());
        user.settings("settings.yaml", "reconcile_interval: 1s\n");
        Self { user, podman, directory }
    }

    /// Has Podman ended by the start of a container; it is back soon after.
    fn end_podman(&mut self, when: When, container: &str, arguments: &[&str]) {
        let place = self.directory.path();
        for (name, script) in ["meanwhile", "runtime"].into_iter().zip(when.scripts()) {
            write_program(&place.join(name), &format!("#!/bin/sh\n{script}\n"));
        }
        let victim = place.join("victim");
        fs::write(&victim, container).unwrap();
        let mut client = self.user.taskspace(arguments).spawn().unwrap();
        wait_until("the container is started", || !victim.exists());
        self.podman.await_end();
        wait_until("its monitor runs", || !monitors(container).is_empty());
        self.podman.revive();
        client.wait().unwrap();
    }
}

fn write_program(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Returns the monitors of a container.
fn monitors(container: &str) -> Vec<i32> {
    let is_monitor = |process: &i32| {
        let words = processes::arguments(*process);
        let program = words.first().map(Path::new).and_then(Path::file_name);
        program.is_some_and(|name| name == "conmon")
    };
    processes::with_argument(container).into_iter().filter(is_monitor).collect()
}

#[test]
fn what_podman_left_of_a_start_does_not_keep_it_from_starting_again() {
    let mut endangered = Endangered::new();
    let repository = Repository::new(&endangered.user, "app");
    endangered.user.run(&["create", "--project", repository.as_str(), "left"]);
    let containers = ["taskspace-left-agent", "taskspace-left-dev"];
    for (container, when) in containers.into_iter().zip([When::Early, When::Late]) {
        endangered.user.run(&["stop", "left"]);
        endangered.end_podman(when, container, &["start", "left"]);
        wait_until("it is brought back", || {
            endangered.user.json(&["show", "left"])["status"] == "running"
        });
        for container in containers {
            wait_until("each container has one monitor", || monitors(container).len() == 1);
        }
    }
}

#[test]
fn nothing_is_left_of_a_creation_in_which_podman_was_ended() {
    let mut endangered = Endangered::new();
    let repository = Repository::new(&endangered.user, "app");
    let create = ["create", "--project", repository.as_str(), "orphaned"];
    for when in [When::Early, When::Late] {
        endangered.end_podman(when, "taskspace-orphaned-dev", &create);
        wait_until("it is taken back", || endangered.user.json(&["list"]) == json!([]));
        wait_until("its monitor has ended", || monitors("taskspace-orphaned-dev").is_empty());
    }
}

#[test]
fn a_command_in_a_container_runs_as_long_as_it_takes() {
    let user = User::new();
    user.settings("settings.yaml", "reconcile_interval: 1s\n");
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "busy"]);
    // Longer than a monitor is left alone that is of no use.
    user.run(&["exec", "busy", "--container", "dev", "--", "sleep", "13"]);
}
