//! The comparison with the registry, which other tests rely on, sees what differs.

use std::net::TcpListener;

use nix::sys::signal::Signal;

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, end, succeed};

#[test]
fn what_differs_is_seen() {
    let user = User::with_own_ports(&TestPodman::shared().container_host);
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "x-agrees"]);
    assert_eq!(user.disagreement(&[]), Vec::<String>::new());
    // Nobody is to mend what is done from here on.
    end(user.service().unwrap(), Signal::SIGTERM);
    let sees = |what: &str| {
        let differences = user.differences(&["x-ghost"]);
        assert!(differences.iter().any(|told| told.contains(what)), "{what}: {differences:?}");
    };
    let podman = |arguments: &[&str]| succeed(TestPodman::shared().command().args(arguments));

    let label = format!("io.symposium.registry={}", user.registry()["registry"].as_str().unwrap());
    podman(&["volume", "create", "--label", &label, "x-ghost-volume"]);
    sees("x-ghost-volume");
    podman(&["volume", "rm", "x-ghost-volume"]);

    podman(&["pod", "create", "--label", &label, "--name", "taskspace-x-ghost"]);
    sees("taskspace-x-ghost");
    podman(&["pod", "rm", "--force", "taskspace-x-ghost"]);

    let aside = ["--label=io.symposium.role=aside", "--label=io.symposium.taskspace=x-agrees"];
    let image = "localhost/symposium/dev-generic:latest";
    let create = ["create", "--label", &label, "--name", "taskspace-x-agrees-aside-x"];
    podman(&[&create, aside.as_slice(), &[image]].concat());
    sees("taskspace-x-agrees-aside-x");
    podman(&["rm", "--force", "taskspace-x-agrees-aside-x"]);

    let directory = user.path("state/symposium/taskspaces/x-ghost");
    std::fs::create_dir(&directory).unwrap();
    sees("x-ghost");
    std::fs::remove_dir(directory).unwrap();

    let temporary = user.path("state/symposium/.taskspace-registry-x");
    std::fs::write(&temporary, "").unwrap();
    sees(".taskspace-registry-x");
    std::fs::remove_file(temporary).unwrap();

    let config = std::fs::read_to_string(user.ssh_config()).unwrap();
    std::fs::write(user.ssh_config(), format!("{config}\nHost x-ghost-dev\n  Port 1\n")).unwrap();
    sees("x-ghost-dev");
    std::fs::write(user.ssh_config(), config).unwrap();

    // One that is not the taskspace's own.
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).ok().map(|it| (*port, it));
    let (port, listener) = user.own_ports().unwrap().find_map(|port| free(&port)).unwrap();
    sees(&port.to_string());
    drop(listener);
    assert_eq!(user.differences(&["x-ghost"]), Vec::<String>::new());

    podman(&["kill", "taskspace-x-agrees-dev"]);
    sees("the containers of taskspace-x-agrees");
    podman(&["pod", "rm", "--force", "--time=0", "taskspace-x-agrees"]);
    sees("missing: pod taskspace-x-agrees");
    TestPodman::shared().remove_volumes(&["taskspace-x-agrees-build-cache"]);
    sees("missing: volume taskspace-x-agrees-build-cache");
}
