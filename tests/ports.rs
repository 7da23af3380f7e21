//! Ports of the host: who gets them when others want them, and what of a taskspace is reached by them.

use std::net::TcpListener;
use std::process::Stdio;

use crate::common::podman_proxy::PodmanProxy;
use crate::common::repository::Repository;
use crate::common::{User, succeed, text_of, wait_until};

/// A port of the host that a taskspace has.
fn host_port(user: &User, id: &str, name: &str) -> u16 {
    user.registry()["taskspaces"][id][name].as_u64().unwrap().try_into().unwrap()
}

/// Asks for something, and takes ports of a taskspace as soon as Podman is to start its network.
fn race(user: &User, proxy: &PodmanProxy, asked: &[&str], id: &str, lost: &[&str]) -> Vec<u16> {
    proxy.set(None);
    proxy.hold(Some("/start"));
    let mut command = user.taskspace(asked);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let is_held = |request: &String| request.contains("/start");
    wait_until("the network is to start", || proxy.requests().iter().any(is_held));
    let ports: Vec<u16> = lost.iter().map(|name| host_port(user, id, name)).collect();
    let thieves: Vec<_> =
        ports.iter().map(|port| TcpListener::bind(("127.0.0.1", *port)).unwrap()).collect();
    proxy.hold(None);
    let output = command.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    drop(thieves);
    ports
}

#[test]
fn a_port_that_another_program_takes_at_the_last_moment_is_replaced() {
    let proxy = PodmanProxy::new();
    let mut user = User::with_podman(&proxy.container_host());
    user.take_own_ports();
    let repository = Repository::new(&user, "app");
    let create = ["create", "--project", repository.as_str(), "p-race"];
    for lost in [&["dev_port"][..], &["agent_port"], &["dev_port", "agent_port"]] {
        let ports = race(&user, &proxy, &create, "p-race", lost);
        for (name, port) in lost.iter().zip(ports) {
            assert_ne!(host_port(&user, "p-race", name), port);
        }
        succeed(&mut user.ssh("p-race-dev", &["true"]));
        succeed(&mut user.ssh("p-race-agent", &["true"]));
        user.run(&["delete", "--force", "--purge", "p-race"]);
    }
    user.run(&create);
    user.run(&["stop", "p-race"]);
    let ports = race(&user, &proxy, &["start", "p-race"], "p-race", &["dev_port"]);
    assert_ne!(host_port(&user, "p-race", "dev_port"), ports[0]);
    succeed(&mut user.ssh("p-race-dev", &["true"]));
    assert_eq!(user.disagreement(&["p-race"]), Vec::<String>::new());
}

#[test]
fn the_ports_of_a_deleted_taskspace_rest() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let create = |id: &str| {
        user.run(&["create", "--project", repository.as_str(), id]);
        host_port(&user, id, "dev_port")
    };
    // Three ports, below those that outgoing connections get.
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let first = (16_000..18_000).step_by(3).find(|port| (*port..port + 3).all(|it| free(&it)));
    let ports = first.unwrap()..=first.unwrap() + 2;
    let settings = |rest: &str| {
        let (first, last) = (ports.start(), ports.end());
        user.settings("settings.yaml", &format!("ports: {{dev: {first}-{last}, rest: {rest}}}\n"));
    };
    settings("1h");
    let rested = create("p-first");
    user.run(&["delete", "--force", "--purge", "p-first"]);
    assert!(user.registry()["resting_ports"][rested.to_string()].is_string());
    // Also for another run of the service.
    user.kill_service();
    let (second, third) = (create("p-second"), create("p-third"));
    assert!(![second, third].contains(&rested), "{rested}: {second}, {third}");
    // There is no other one.
    assert_eq!(create("p-fourth"), rested);
    assert!(user.registry()["resting_ports"][rested.to_string()].is_null());
    user.run(&["delete", "--force", "--purge", "p-second"]);
    user.run(&["delete", "--force", "--purge", "p-third"]);
    // The one that has rested longest.
    assert_eq!(create("p-fifth"), second);
    user.kill_service();
    settings("1ms");
    // What has rested is not remembered.
    user.run(&["delete", "--force", "--purge", "p-fifth"]);
    assert!(user.registry()["resting_ports"][third.to_string()].is_null());
}
