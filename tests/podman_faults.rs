//! A Podman that is missing, or answers as none would.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;

use crate::common::User;
use crate::common::repository::Repository;

fn create(user: &User) -> String {
    let repository = Repository::new(user, "app");
    let text = user.fail(6, &["create", "--project", repository.as_str(), "a"]);
    assert!(text.contains("hint:"), "{text}");
    assert_eq!(user.run(&["list", "--json"]).trim(), "[]");
    assert!(!user.path("state/symposium/taskspaces/a").exists());
    text
}

#[test]
fn a_missing_socket() {
    let user = User::with_podman("unix:///nonexistent/podman.sock");
    let text = create(&user);
    assert!(text.contains("/nonexistent/podman.sock"), "{text}");
    assert_eq!(user.json(&["status"])["podman"]["state"], "unavailable");
}

#[test]
fn an_address_that_is_no_unix_socket() {
    let user = User::with_podman("ssh://somewhere/run/podman.sock");
    let text = create(&user);
    assert!(text.contains("CONTAINER_HOST") && text.contains("unix://"), "{text}");
}

#[test]
fn answers_that_are_nonsense() {
    for answer in
        ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "SSH-2.0-OpenSSH_10.0\r\n", ""]
    {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("podman.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // Read the request first: a client that is cut off while writing sees another error.
                let head = BufReader::new(&stream).lines().map_while(Result::ok);
                head.take_while(|line| !line.is_empty()).for_each(drop);
                stream.write_all(answer.as_bytes()).ok();
            }
        });
        let user = User::with_podman(&format!("unix://{}", socket.display()));
        create(&user);
    }
}
