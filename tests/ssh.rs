//! SSH as people and editors use it, with nothing but what the program wrote.

mod keywords;
mod sharing;
mod start;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use crate::common::repository::Repository;
use crate::common::{User, succeed, wait_until};

/// Makes a taskspace; all tests share one Podman, so each has an id of its own.
fn with_taskspace(id: &str) -> User {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), id]);
    user
}

/// Ends a process when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn files_go_both_ways_and_ports_are_forwarded() {
    let user = with_taskspace("files");
    let home = user.path("home");
    std::fs::write(home.join("in"), "over\n").unwrap();
    let config = user.ssh_config();
    succeed(user.command("scp").arg("-F").arg(&config).args(["in", "files-dev:/workspace/over"]));
    succeed(user.command("scp").arg("-F").arg(&config).args(["files-dev:/workspace/over", "out"]));
    assert_eq!(std::fs::read_to_string(home.join("out")).unwrap(), "over\n");
    let mut sftp = user.command("sftp");
    sftp.arg("-F").arg(&config).args(["-b", "-", "files-dev"]);
    let mut sftp = sftp.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sftp.stdin.take().unwrap().write_all(b"ls /workspace\n").unwrap();
    assert!(String::from_utf8(sftp.wait_with_output().unwrap().stdout).unwrap().contains("over"));

    // -L to a TCP port and to a Unix socket inside, as VS Code and JetBrains do.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let socket = home.join("fwd");
    let mut forward = user.ssh("files-dev", &[]);
    forward.args(["-N", "-o", "ExitOnForwardFailure=yes"]);
    forward.arg("-L").arg(format!("127.0.0.1:{port}:127.0.0.1:2222"));
    forward.arg("-L").arg(format!("{}:/tmp/answer", socket.display()));
    let _forward = Running(forward.spawn().unwrap());
    wait_until("the port is forwarded", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut banner = [0; 8];
    TcpStream::connect(("127.0.0.1", port)).unwrap().read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-2.0-");
    let answer = "bash -c 'rm -f /tmp/answer; exec 3<>/dev/null; \
        perl -MIO::Socket::UNIX -e \"\\$s=IO::Socket::UNIX->new(Local=>q(/tmp/answer),Listen=>1) or die; \
        \\$|=1; print qq(ready\\n); \\$c=\\$s->accept; print \\$c qq(inside\\n)\"'";
    let mut server = user.ssh("files-dev", &[answer]);
    let mut server = Running(server.stdout(Stdio::piped()).spawn().unwrap());
    let mut ready = [0; 6];
    server.0.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let mut text = String::new();
    UnixStream::connect(&socket).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "inside\n");
}

#[test]
fn the_users_agent_reaches_dev_only_when_asked_for() {
    let user = with_taskspace("forward");
    let socket = user.path("a");
    let agent = user.command("ssh-agent").args(["-D", "-a"]).arg(&socket).spawn().unwrap();
    let _agent = Running(agent);
    wait_until("ssh-agent listens", || UnixStream::connect(&socket).is_ok());
    let key = user.path("home/key");
    succeed(user.command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    succeed(user.command("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket));
    let ask = |host: &str, option: &[&str]| {
        let mut ssh = user.ssh(host, &[]);
        ssh.args(option).arg("ssh-add -l").env("SSH_AUTH_SOCK", &socket);
        ssh.output().unwrap().status.success()
    };
    // Options may follow the host on ssh's command line.
    assert!(ask("forward-dev", &["-A"]));
    assert!(!ask("forward-dev", &[]));
    assert!(!ask("forward-agent", &["-A"]));
}

#[test]
fn host_keys_are_checked() {
    let user = with_taskspace("keys");
    let config = std::fs::read_to_string(user.ssh_config()).unwrap();
    let agents_port = config.rsplit("Port ").next().unwrap().split_whitespace().next().unwrap();
    // The agent's sshd has a key of our CA, but not for this name.
    let mut ssh = user.ssh("keys-dev", &[]);
    let refused = ssh.args(["-p", agents_port, "true"]).output().unwrap();
    assert!(!refused.status.success());
    let known = user.path("home/.symposium/ssh/known_hosts");
    let text = std::fs::read_to_string(&known).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(text.starts_with("@cert-authority "), "{text}");
    std::fs::write(&known, "").unwrap();
    let refused = user.ssh("keys-dev", &["true"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Host key verification failed"));
}

#[test]
fn the_agents_session_outlives_its_visitors() {
    let user = with_taskspace("session");
    let pane =
        || succeed(&mut user.ssh("session-agent", &["tmux capture-pane -p -t agent-session"]));
    let mut visitor = user.ssh("session-agent", &[]);
    visitor.arg("-tt").env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut visitor = visitor.spawn().unwrap();
    let mut keys = visitor.stdin.take().unwrap();
    keys.write_all(b"echo was-$((40+2))-here; pwd\r").unwrap();
    wait_until("the visitor's command was run", || pane().contains("was-42-here\n/workspace"));
    // Detach: ssh ends, the session goes on.
    keys.write_all(b"\x02d").unwrap();
    assert!(visitor.wait().unwrap().success());
    assert!(pane().contains("was-42-here"));
    succeed(
        &mut user
            .ssh("session-agent", &["tmux send-keys -t agent-session 'echo sent-$((1+1))' Enter"]),
    );
    wait_until("sent keys arrive", || pane().contains("sent-2"));
}

#[test]
fn ssh_verb_and_include() {
    let user = with_taskspace("verb");
    assert_eq!(user.run(&["ssh", "verb", "--", "hostname"]), "verb\n");
    let failed = user.taskspace(&["ssh", "verb", "--", "exit 5"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(5));
    let ssh = user.path("home/.ssh");
    std::fs::create_dir(&ssh).unwrap();
    std::fs::write(ssh.join("config"), "Host other\n    Port 1\n").unwrap();
    user.run(&["ssh-config", "--install"]);
    user.run(&["ssh-config", "--install"]);
    let config = std::fs::read_to_string(ssh.join("config")).unwrap();
    assert_eq!(config.matches("Include").count(), 1, "{config}");
    assert!(config.find("Include").unwrap() < config.find("Host other").unwrap(), "{config}");
    let mut through = user.command("ssh");
    through.arg("-F").arg(ssh.join("config")).args(["verb-dev", "hostname"]);
    assert_eq!(succeed(&mut through), "verb\n");
}
