//! The service in the user's systemd: started by its socket, gone when idle, back on the next call.

use std::path::PathBuf;
use std::process::Command;

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{TASKSPACE, User, succeed, wait_until};

/// The user units under a name of their own, for as long as this lives.
struct Units {
    name: String,
    directory: PathBuf,
}

fn systemctl(arguments: &[&str]) -> Command {
    let mut command = Command::new("systemctl");
    command.arg("--user").args(arguments);
    command
}

impl Units {
    fn install(user: &User, test: &str) -> Self {
        let runtime = std::env::var("XDG_RUNTIME_DIR").unwrap();
        let directory = PathBuf::from(runtime).join("systemd/user");
        std::fs::create_dir_all(&directory).unwrap();
        let name = format!("taskspaced-test-{}-{test}", std::process::id());
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("systemd");
        let read = |file: &str| std::fs::read_to_string(source.join(file)).unwrap();
        let socket = user.path("run/symposium/taskspace.sock");
        let socket_unit = read("taskspaced.socket")
            .replace("%t/symposium/taskspace.sock", socket.to_str().unwrap());
        let environment: String = user
            .environment()
            .into_iter()
            .map(|(key, value)| format!("Environment=\"{key}={value}\"\n"))
            .collect();
        let service_unit = read("taskspaced.service")
            .replace("%h/.local/bin/taskspace", TASKSPACE)
            .replace("taskspaced.socket", &format!("{name}.socket"))
            .replace("[Service]\n", &format!("[Service]\n{environment}"));
        std::fs::write(directory.join(format!("{name}.socket")), socket_unit).unwrap();
        std::fs::write(directory.join(format!("{name}.service")), service_unit).unwrap();
        succeed(&mut systemctl(&["daemon-reload"]));
        Self { name, directory }
    }

    fn property(&self, unit: &str, property: &str) -> String {
        let unit = format!("{}.{unit}", self.name);
        succeed(&mut systemctl(&["show", "--value", "--property", property, &unit]))
            .trim()
            .to_owned()
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for unit in ["socket", "service"] {
            let unit = format!("{}.{unit}", self.name);
            systemctl(&["stop", &unit]).output().ok();
            systemctl(&["disable", "--runtime", "--quiet", &unit]).output().ok();
            std::fs::remove_file(self.directory.join(&unit)).ok();
        }
        systemctl(&["daemon-reload"]).output().ok();
    }
}

#[test]
fn the_socket_starts_the_service_which_goes_when_idle_and_comes_back() {
    let user = User::new();
    user.settings("settings.yaml", "service:\n  idle_timeout: 300ms\n");
    let units = Units::install(&user, "socket");
    succeed(&mut systemctl(&["start", &format!("{}.socket", units.name)]));
    assert_eq!(units.property("service", "ActiveState"), "inactive");

    let first = user.json(&["status"])["pid"].clone();
    assert_eq!(units.property("service", "MainPID"), first.to_string());
    wait_until("the idle service is gone", || {
        units.property("service", "ActiveState") == "inactive"
    });
    assert_eq!(units.property("service", "Result"), "success");
    assert_eq!(units.property("socket", "ActiveState"), "active");

    let second = user.json(&["status"])["pid"].clone();
    assert_ne!(first, second);
    assert!(units.property("service", "Type") == "notify");
    assert_ne!(units.property("service", "WatchdogUSec"), "0");
    drop(units);
}

#[test]
fn a_boot_starts_the_service_which_goes_when_there_is_nothing_to_bring_back() {
    let user = User::new();
    user.settings("settings.yaml", "service:\n  idle_timeout: 300ms\n");
    let units = Units::install(&user, "boot");
    let service = format!("{}.service", units.name);
    succeed(&mut systemctl(&["enable", "--runtime", "--quiet", &service]));
    let boot = ["show", "--value", "--property", "Wants", "default.target"];
    assert!(succeed(&mut systemctl(&boot)).split_whitespace().any(|unit| unit == service));

    // As default.target does it: no client, and the socket not asked for.
    succeed(&mut systemctl(&["start", &service]));
    assert_eq!(units.property("socket", "ActiveState"), "active");
    wait_until("the idle service is gone", || {
        units.property("service", "ActiveState") == "inactive"
    });
    assert_eq!(units.property("service", "Result"), "success");
    assert_eq!(units.property("socket", "ActiveState"), "active");
}

#[test]
fn a_restart_under_load_loses_nothing_and_touches_no_taskspace() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let units = Units::install(&user, "load");
    succeed(&mut systemctl(&["start", &format!("{}.socket", units.name)]));
    user.run(&["create", "--project", repository.as_str(), "g-steady"]);
    let since = || {
        let mut inspect = TestPodman::shared().command();
        inspect.args(["inspect", "--format={{.State.StartedAt}}", "taskspace-g-steady-dev"]);
        succeed(&mut inspect)
    };
    let steady = since();
    std::thread::scope(|scope| {
        let work = |worker| {
            let (user, repository) = (&user, &repository);
            scope.spawn(move || {
                let id = format!("g-load-{worker}");
                // Whatever a restart of the service cuts in two, no request fails.
                for _ in 0..2 {
                    user.run(&["create", "--project", repository.as_str(), &id]);
                    user.run(&["stop", &id]);
                    user.run(&["start", &id]);
                    user.run(&["delete", "--force", "--purge", &id]);
                }
            })
        };
        let workers: Vec<_> = (0..3).map(work).collect();
        let mut restarts = 0;
        while workers.iter().any(|worker| !worker.is_finished()) {
            succeed(&mut systemctl(&["restart", &format!("{}.service", units.name)]));
            assert_eq!(units.property("service", "Result"), "success");
            restarts += 1;
        }
        assert!(restarts > 2, "{restarts}");
    });
    assert_eq!(user.disagreement(&["g-load-0", "g-load-1", "g-load-2"]), Vec::<String>::new());
    assert_eq!(user.json(&["list"])[0]["status"], "running");
    assert_eq!(since(), steady);
}
