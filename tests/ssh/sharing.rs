//! Connections that several sessions share (`ControlMaster`).

use std::path::Path;

use crate::common::repository::Repository;
use crate::common::{User, succeed, wait_until};

#[test]
fn shared_connections_lead_to_their_own_taskspace_and_end_with_it() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    for id in ["share-a", "share-b"] {
        user.run(&["create", "--project", repository.as_str(), id]);
    }
    // As many people have it: one path for every port.
    let config = user.path("home/config");
    let sections = "Host *\n  ControlMaster auto\n  ControlPath ~/%r@%h\n  ControlPersist yes\n";
    let text = format!("Include \"{}\"\n{sections}", user.ssh_config().display());
    std::fs::write(&config, text).unwrap();
    let hostname =
        |host: &str| succeed(user.command("ssh").arg("-F").arg(&config).args([host, "hostname"]));
    assert_eq!([hostname("share-a-dev"), hostname("share-b-dev")], ["share-a\n", "share-b\n"]);

    // Asked for on the command line, a connection is shared, by sessions of the same container and user.
    let shared = |host: &str, arguments: &[&str]| {
        let mut ssh = user.ssh(host, &[]);
        ssh.args(["-o", "ControlMaster=auto", "-o", "ControlPersist=yes"]).args(arguments);
        ssh
    };
    let is_shared = |host: &str| {
        let output = user.ssh(host, &["-O", "check"]).output().unwrap();
        output.status.success()
    };
    assert!(!is_shared("share-a-dev"));
    for _ in 0..2 {
        assert_eq!(succeed(&mut shared("share-a-dev", &["hostname"])), "share-a\n");
        assert!(is_shared("share-a-dev") && !is_shared("share-a-agent"));
    }
    assert_eq!(succeed(&mut shared("share-b-dev", &["hostname"])), "share-b\n");
    assert_eq!(succeed(&mut user.ssh("share-a-agent", &["id -un"])), "agent\n");

    // It ends with the pod's network, and leaves nothing in the way of the next one.
    user.run(&["restart", "share-a"]);
    wait_until("the shared connection has ended", || !is_shared("share-a-dev"));
    assert!(is_shared("share-b-dev"));
    assert_eq!(succeed(&mut shared("share-a-dev", &["hostname"])), "share-a\n");
    user.run(&["delete", "--force", "--purge", "share-a"]);
    succeed(&mut user.ssh("share-b-dev", &["-O", "exit"]));
    let sockets = user.path("run/symposium/ssh");
    wait_until("no socket is left", || is_empty(&sockets));
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}
