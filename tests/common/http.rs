//! Asks the service over plain HTTP.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::User;

/// Speaks plain HTTP over the socket and returns status, headers and body.
pub fn http(user: &User, method: &str, path: &str, body: &str) -> (u16, String, String) {
    let mut stream = UnixStream::connect(user.path("run/symposium/taskspace.sock")).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

/// Returns one of the numbers that the service tells of how it does.
pub fn metric(user: &User, name: &str) -> u64 {
    let (_, _, text) = http(user, "GET", "/metrics", "");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}
