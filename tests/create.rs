//! The main job: make a taskspace, work in it, stop and start it, delete it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{TASKSPACE, User, succeed, text_of, wait_until};

#[test]
fn a_taskspace_from_a_local_repository_to_nothing_left() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let made = user.run(&["create", "--project", repository.as_str(), "fix"]);
    assert!(made.contains("fix-dev"), "{made}");

    // The checkout is on its branch, clean, points to the original, and can be written.
    let status =
        succeed(&mut user.ssh("fix-dev", &["git -C /workspace status --porcelain --branch"]));
    assert_eq!(status, "## taskspace/fix\n");
    let origin = succeed(&mut user.ssh("fix-dev", &["git -C /workspace remote get-url origin"]));
    assert_eq!(origin.trim(), repository.as_str());
    succeed(&mut user.ssh("fix-dev", &["touch /workspace/x && stat -c %U /workspace/x"]));
    let seen = succeed(&mut user.ssh("fix-agent", &["stat -c %U /workspace/x"]));
    assert_eq!(seen.trim(), "agent");

    // The base has not changed.
    let commit = repository.head();
    let base = TestPodman::shared().files(&format!("project-base-app-{commit}"));
    assert!(base.join("README.md").exists() && !base.join("x").exists());

    let list = user.json(&["list"]);
    assert_eq!(list[0]["id"], "fix");
    assert_eq!(list[0]["status"], "running");
    assert_eq!(list[0]["spec"]["project"]["commit"], json!(commit));
    let detail = user.json(&["show", "fix"]);
    assert_eq!(detail["containers"][0]["state"], "running");
    let registry = user.registry();
    let entry = &registry["taskspaces"]["fix"];
    assert_eq!(entry["status"], "running");
    assert!((10_000..=20_000).contains(&entry["dev_port"].as_u64().unwrap()));
    assert!((20_001..=30_000).contains(&entry["agent_port"].as_u64().unwrap()));

    // Stopping and starting keeps the work.
    user.run(&["stop", "fix"]);
    assert_eq!(user.json(&["list"])[0]["status"], "stopped");
    user.run(&["stop", "fix"]);
    user.run(&["start", "fix"]);
    succeed(&mut user.ssh("fix-dev", &["test -e /workspace/x"]));
    user.run(&["restart", "fix"]);
    succeed(&mut user.ssh("fix-dev", &["test -e /workspace/x"]));

    // Unsaved work is not thrown away by accident.
    let refused = user.fail(4, &["delete", "fix"]);
    assert!(refused.contains("?? x") && refused.contains("--force"), "{refused}");
    user.run(&["delete", "--force", "--purge", "fix"]);
    assert_eq!(user.run(&["list", "--json"]).trim(), "[]");
    let left = user.left_in_podman();
    assert!(left.iter().all(|name| name.starts_with("project-base-app-")), "{left:?}");
    assert!(!std::fs::read_to_string(user.ssh_config()).unwrap().contains("fix"));
    assert!(!user.path("state/symposium/taskspaces/fix").exists());
    assert_eq!(user.registry()["taskspaces"], json!({}));
}

#[test]
fn exec_and_logs_reach_both_containers() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "execs"]);
    let run = |arguments: &[&str]| user.run(&[&["exec", "execs"], arguments].concat());
    assert_eq!(run(&["--", "sh", "-c", "id -un; pwd"]), "developer\n/workspace\n");
    assert_eq!(run(&["--container", "agent", "--", "id", "-un"]), "agent\n");
    let output = user
        .taskspace(&["exec", "execs", "--", "sh", "-c", "echo e >&2; exit 7"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "e\n");

    let mut cat = user.taskspace(&["exec", "-i", "execs", "cat"]);
    cat.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut cat = cat.spawn().unwrap();
    let input = "line\n".repeat(100_000);
    let mut stdin = cat.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = cat.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(output.stdout.len(), 500_000);

    // Without -i, a command leaves the input of the loop around it alone.
    let each = "for n in 1 2 3; do echo $n; done | while read -r n; do \
                \"$0\" exec execs cat; \"$0\" show execs > seen; echo \"round $n\"; done";
    let rounds = succeed(user.command("sh").args(["-c", each, TASKSPACE]));
    assert_eq!(rounds, "round 1\nround 2\nround 3\n");

    let variables = ["-e", "A=-b c", "--env", "B=", "--env", "HERE", "-e", "NOT_HERE"];
    let mut shown = user.taskspace(&[&["exec"], &variables[..], &["execs", "printenv"]].concat());
    let shown = succeed(shown.env("HERE", "from here"));
    for line in ["A=-b c\n", "B=\n", "HERE=from here\n"] {
        assert!(shown.contains(line) && !shown.contains("NOT_HERE"), "{shown}");
    }
    assert_eq!(run(&["-u", "root", "-w", "/etc", "sh", "-c", "id -un; pwd"]), "root\n/etc\n");
    // As with podman and docker.
    for (status, command) in [
        (127, &["no-such-command"][..]),
        (126, &["/etc/passwd"]),
        (137, &["sh", "-c", "kill -KILL $$"]),
        (2, &["sh", "-c", "exit 2"]),
    ] {
        user.fail(status, &[&["exec", "execs"], command].concat());
    }
    user.fail(2, &["exec", "-e", "=x", "execs", "true"]);

    assert!(user.run(&["logs", "execs", "--container", "dev"]).contains("listening on"));
    assert!(user.fail(3, &["exec", "nobody", "--", "true"]).contains("no taskspace 'nobody'"));
}

#[test]
fn hardening_is_what_was_asked_for() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "hard"]);
    let agent =
        user.run(&["exec", "hard", "--container", "agent", "--", "cat", "/proc/self/status"]);
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(field(&agent, "NoNewPrivs:"), "1");
    assert_eq!(u64::from_str_radix(&field(&agent, "CapBnd:"), 16).unwrap(), 0);
    let dev = user.run(&["exec", "hard", "--user", "root", "--", "cat", "/proc/self/status"]);
    let bounding = u64::from_str_radix(&field(&dev, "CapBnd:"), 16).unwrap();
    let (net_admin, net_raw, sys_admin) = (1 << 12, 1 << 13, 1 << 21);
    assert_eq!(bounding & (net_admin | net_raw | sys_admin), 0, "{bounding:x}");
    assert_eq!(succeed(&mut user.ssh("hard-dev", &["sudo id -u"])), "0\n");
    // What is mounted read-only cannot be written, not even by root inside.
    let output =
        user.taskspace(&["exec", "hard", "--user", "root", "--", "touch", "/etc/symposium/ssh/x"]);
    assert!(!{ output }.output().unwrap().status.success());
}

#[test]
fn refs_types_and_names() {
    let user = User::new();
    let repository = Repository::new(&user, "My App");
    let first = repository.head();
    repository.git(&["checkout", "--quiet", "-b", "feature/deep"]);
    let second = repository.commit("pyproject.toml", "[project]\nname = \"a\"\n");
    repository.git(&["tag", "v1"]);
    repository.git(&["checkout", "--quiet", "main"]);
    repository.git(&["branch", "--quiet", "-D", "feature/deep"]);
    repository.git(&["branch", "--quiet", "feature/deep", &second]);
    let url = format!("file://{}", repository.as_str().replace(' ', "%20"));

    user.run(&[
        "create",
        "--project",
        repository.as_str(),
        "--no-wait",
        "--type",
        "generic",
        "--ref",
        "feature/deep",
        "deep",
    ]);
    let by_commit = user.json(&["create", "--project", &url, "--ref", &first[..10], "by-commit"]);
    let spec = |value: &serde_json::Value| value["spec"]["project"]["commit"].clone();
    assert_eq!(spec(&by_commit), json!(first));
    wait_until("the other one runs", || user.json(&["show", "deep"])["status"] == "running");
    let deep = user.json(&["show", "deep"]);
    assert_eq!(spec(&deep), json!(second));
    assert_eq!(deep["spec"]["type"], "generic");
    // A derived id, and the type that the files tell.
    let derived = user.json(&["create", "--project", repository.as_str(), "--ref", "v1"]);
    assert!(derived["id"].as_str().unwrap().starts_with("my-app-"), "{derived}");
    assert_eq!(derived["spec"]["type"], "python");
}

#[test]
fn agent_state_outlives_its_taskspace() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let create =
        |more: &[&str]| user.run(&[&["create", "--project", repository.as_str()], more].concat());
    create(&["old"]);
    let note =
        "test -d /agent/state/tmux -a -d /agent/state/logs && echo memory > /agent/state/note";
    succeed(&mut user.ssh("old-agent", &[note]));
    let in_use = user
        .fail(4, &["create", "--project", repository.as_str(), "--agent-state-of", "old", "new"]);
    assert!(in_use.contains("still exists"), "{in_use}");
    user.run(&["delete", "--force", "old"]);
    let kept = user.fail(4, &["create", "--project", repository.as_str(), "old"]);
    assert!(kept.contains("--agent-state-of old"), "{kept}");
    create(&["--agent-state-of", "old", "new"]);
    assert_eq!(succeed(&mut user.ssh("new-agent", &["cat /agent/state/note"])), "memory\n");
    // The old id is free again, with a state of its own.
    create(&["old"]);
    let fresh = user.ssh("old-agent", &["test -e /agent/state/note"]).status().unwrap();
    assert!(!fresh.success());
    user.run(&["delete", "--force", "new"]);
    user.run(&["delete", "--purge", "new"]);
    assert_eq!(user.registry()["agent_states"], json!({}));
    user.run(&["delete", "--force", "--purge", "old"]);
    let left = user.left_in_podman();
    assert!(left.iter().all(|name| name.starts_with("project-base-")), "{left:?}");
}

#[test]
fn eight_at_once() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let children: Vec<_> = (0..8)
        .map(|n| {
            let id = format!("t{n}");
            let mut command = user.taskspace(&["create", "--project", repository.as_str(), &id]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text_of(&output));
    }
    let list = user.json(&["list"]);
    let entries = list.as_array().unwrap();
    assert_eq!(entries.len(), 8);
    let mut ports: Vec<_> = entries
        .iter()
        .flat_map(|entry| [entry["dev_port"].as_u64(), entry["agent_port"].as_u64()])
        .collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 16);
    for n in 0..8 {
        let name = succeed(&mut user.ssh(&format!("t{n}-dev"), &["hostname"]));
        assert_eq!(name.trim(), format!("t{n}"));
    }
    let ids: Vec<String> = (0..8).map(|n| format!("t{n}")).collect();
    let arguments: Vec<&str> = ["delete", "--force", "--purge"]
        .into_iter()
        .chain(ids.iter().map(String::as_str))
        .collect();
    user.run(&arguments);
    assert_eq!(user.json(&["list"]), json!([]));
}

#[test]
fn repositories_over_ssh_and_http() {
    let user = User::new();
    let repository = Repository::new(&user, "origin");
    user.run(&["create", "--project", repository.as_str(), "over-file"]);

    // A taskspace is an ssh server too; the user's own configuration of git and ssh is heeded.
    let ssh = format!("ssh -F {}", user.ssh_config().display());
    succeed(user.command("git").args(["config", "--global", "core.sshCommand", &ssh]));
    user.run(&["create", "--project", "over-file-dev:/workspace", "over-ssh"]);
    let origin = ["git -C /workspace remote get-url origin"];
    let origin = succeed(&mut user.ssh("over-ssh-dev", &origin));
    assert_eq!(origin, "over-file-dev:/workspace\n");

    // A password is used and then told to nobody.
    repository.git(&["update-server-info"]);
    let (address, authorized) = serve_files(repository.path.join(".git"));
    let url = format!("http://someone:s3cret@{address}/origin.git");
    user.run(&["create", "--project", &url, "over-http"]);
    assert!(authorized.load(Ordering::Relaxed) > 0);
    let everything = succeed(&mut user.ssh("over-http-dev", &["cat /workspace/.git/config"]))
        + &user.registry().to_string()
        + &user.run(&["show", "over-http"]);
    assert!(everything.contains(&address) && !everything.contains("s3cret"), "{everything}");
}

/// Serves the files below a directory over HTTP to whoever has a password, which git's client can
/// make a repository of; returns the address, and how many requests had one.
fn serve_files(directory: PathBuf) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let authorized = Arc::new(AtomicUsize::new(0));
    let counted = authorized.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head: Vec<String> = BufReader::new(&stream)
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let Some(path) = head.first().and_then(|line| line.split_whitespace().nth(1)) else {
                continue;
            };
            let path =
                path.trim_start_matches("/origin.git/").split('?').next().unwrap_or_default();
            let has_password =
                head.iter().any(|line| line.to_lowercase().starts_with("authorization: basic "));
            let (status, body) = match std::fs::read(directory.join(path)) {
                _ if !has_password => ("401 Unauthorized", Vec::new()),
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            counted.fetch_add(usize::from(has_password), Ordering::Relaxed);
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(&[head.as_bytes(), &body].concat()).ok();
        }
    });
    (address, authorized)
}
