//! What goes wrong on real hosts: each error says what is wrong and what to do, and nothing stays.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;

use nix::sys::signal::Signal;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{TASKSPACE, User, end, succeed, terminate, text_of, wait_until};

#[test]
fn ids_repositories_and_refs() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let project = repository.as_str();
    let cases: &[(i32, &[&str], &[&str])] = &[
        (2, &["create", "--project", project, "Bad_Id"], &["Bad_Id", "a-z, 0-9 and dashes"]),
        (2, &["create", "--project", project, &"x".repeat(41)], &["longer than 40"]),
        (1, &["create", "--project", "--upload-pack=x", "a"], &["--upload-pack", "hint:"]),
        (1, &["create", "--project", "-oProxyCommand=true:x", "a"], &["-oProxyCommand"]),
        (3, &["create", "--project", project, "--ref", "--all", "a"], &["--all"]),
        (1, &["create", "--project", "ext::sh -c true", "a"], &["transport 'ext' not allowed"]),
        (1, &["create", "--project", "/nonexistent/repo", "a"], &["/nonexistent/repo", "hint:"]),
        (
            1,
            &["create", "--project", "https://nowhere.invalid/x.git", "a"],
            &["nowhere.invalid", "hint:"],
        ),
        (3, &["create", "--project", project, "--ref", "no-such", "a"], &["no-such", "main"]),
        (3, &["create", "--project", project, "--ref=--all", "a"], &["--all"]),
        (4, &["create", "--project", project, "--agent-state-of", "gone", "a"], &["'gone'"]),
        (3, &["show", "nobody"], &["no taskspace 'nobody'", "hint:"]),
        (3, &["stop", "nobody"], &["no taskspace 'nobody'"]),
        (3, &["delete", "--force", "nobody"], &["no taskspace 'nobody'"]),
    ];
    for (code, arguments, words) in cases {
        let output = user.taskspace(arguments).output().unwrap();
        let text = text_of(&output);
        assert!(output.status.code() == Some(*code), "{arguments:?}: {:?}\n{text}", output.status);
        for word in *words {
            assert!(text.contains(word), "{arguments:?} does not say {word:?}:\n{text}");
        }
    }
    let empty = user.path("home/empty");
    std::fs::create_dir(&empty).unwrap();
    let text = user.fail(1, &["create", "--project", empty.to_str().unwrap(), "a"]);
    assert!(text.contains("empty"), "{text}");
    assert_eq!(user.run(&["list", "--json"]).trim(), "[]");
    assert_eq!(user.left_in_podman(), Vec::<String>::new());

    user.run(&["create", "--project", project, "inputs"]);
    let taken = user.fail(4, &["create", "--project", project, "inputs"]);
    assert!(taken.contains("'inputs' already"), "{taken}");
    assert_eq!(user.json(&["show", "inputs"])["status"], "running");
}

#[test]
fn awkward_paths_work() {
    let user = User::new();
    for (n, name) in ["a,b", "c:d", "e f", "ünïcode", "g'h\"i"].iter().enumerate() {
        let repository = Repository::new(&user, name);
        let id = format!("p{n}");
        user.run(&["create", "--project", repository.as_str(), &id]);
        let origin = succeed(
            &mut user.ssh(&format!("{id}-dev"), &["git -C /workspace remote get-url origin"]),
        );
        assert_eq!(origin.trim_end_matches('\n'), repository.as_str());
        user.run(&["delete", "--force", "--purge", &id]);
    }
}

#[test]
fn a_failing_image_build_leaves_nothing() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.more_settings(
        "images.yaml",
        "dev:\n  go:\n    packages: [make]\n    install: |\n      echo almost done\n      exit 7\n",
    );
    let text = user.fail(1, &["create", "--project", repository.as_str(), "--type", "go", "a"]);
    assert!(text.contains("dev-go") && text.contains("almost done"), "{text}");
    assert_eq!(user.run(&["list", "--json"]).trim(), "[]");
    assert_eq!(user.left_in_podman(), Vec::<String>::new());
    assert!(!user.path("state/symposium/taskspaces/a").exists());

    // What was there before stays.
    user.run(&["create", "--project", repository.as_str(), "before"]);
    user.run(&["delete", "before", "--purge"]);
    let base = user.left_in_podman();
    assert_eq!(base.len(), 1);
    user.fail(1, &["create", "--project", repository.as_str(), "--type", "go", "a"]);
    assert_eq!(user.left_in_podman(), base);
}

#[test]
fn ports_that_others_have_are_left_alone() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    // Two ports in a row, below those that outgoing connections get, of which one is taken.
    let (taken, free) = (14_000..16_000)
        .step_by(2)
        .find_map(|port| {
            let taken = TcpListener::bind(("127.0.0.1", port)).ok()?;
            TcpListener::bind(("127.0.0.1", port + 1)).is_ok().then_some((taken, port + 1))
        })
        .unwrap();
    let port = taken.local_addr().unwrap().port();
    user.settings("settings.yaml", &format!("ports:\n  dev: {port}-{free}\n"));
    user.run(&["create", "--project", repository.as_str(), "ports"]);
    assert_eq!(user.json(&["show", "ports"])["dev_port"], free);
    let text = user.fail(4, &["create", "--project", repository.as_str(), "more-ports"]);
    assert!(text.contains(&format!("between {port} and {free}")), "{text}");
    assert_eq!(user.json(&["list"]).as_array().unwrap().len(), 1);

    // A port that was taken while the taskspace did not run: it comes back with another one.
    user.run(&["stop", "ports"]);
    drop(taken);
    let mut thief = None;
    wait_until("the pod has let go of its port", || {
        thief = TcpListener::bind(("127.0.0.1", free)).ok();
        thief.is_some()
    });
    user.run(&["start", "ports"]);
    assert_eq!(user.json(&["show", "ports"])["dev_port"], port);
    succeed(&mut user.ssh("ports-dev", &["true"]));
    drop(thief);
}

#[test]
fn a_registry_that_cannot_be_read_stops_everything_and_is_kept() {
    for (content, word) in [("{\"version\": 1, oops", "damaged"), ("{\"version\": 99}", "99")] {
        let user = User::new();
        let file = user.path("state/symposium/taskspace-registry.json");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        let text = user.fail(1, &["list"]);
        assert!(text.contains(word) && text.contains("taskspace-registry.json"), "{text}");
        assert!(text.contains("hint:"), "{text}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
        if let Some(pid) = service_of(&user) {
            end(pid, Signal::SIGTERM);
        }
        std::fs::remove_file(&file).unwrap();
    }
}

/// Returns the service of a user whose registry is broken: it answers for its version only.
fn service_of(user: &User) -> Option<i32> {
    let socket = user.path("run/symposium/taskspace.sock");
    let stream = UnixStream::connect(socket).ok()?;
    let peer = getsockopt(&stream, PeerCredentials);
    Some(peer.unwrap().pid())
}

/// Starts the service in a mount namespace of its own in which `directory` is a file system of
/// `size`: for the kernel a full disk is a full disk.
fn serve_with_small(user: &User, directory: &Path, size: &str) -> Child {
    std::fs::create_dir_all(directory).unwrap();
    let mut serve = user.command("unshare");
    serve.args(["--user", "--map-current-user", "--mount", "--keep-caps", "sh", "-c"]);
    serve.arg("mount -t tmpfs -o size=\"$2\" none \"$1\" && exec \"$3\" serve");
    serve.arg("sh").arg(directory).args([size, TASKSPACE]);
    let child = serve.spawn().unwrap();
    wait_until("the service listens", || {
        UnixStream::connect(user.path("run/symposium/taskspace.sock")).is_ok()
    });
    child
}

#[test]
fn a_full_disk_while_the_mirror_or_the_base_is_made() {
    // Not compressible, so that git needs the room.
    let mut noise = Vec::new();
    let urandom = File::open("/dev/urandom").unwrap();
    urandom.take(8 << 20).read_to_end(&mut noise).unwrap();

    for base in [false, true] {
        let user = User::new();
        let repository = Repository::new(&user, "big");
        std::fs::write(repository.path.join("noise"), &noise).unwrap();
        let commit = repository.commit("more", "more");
        let volumes = TestPodman::shared().volume_path();
        let base_directory = volumes.join(format!("project-base-big-{commit}"));
        let full = if base { base_directory.join("_data") } else { user.path("cache") };
        let mut service = serve_with_small(&user, &full, "2m");
        let text = user.fail(1, &["create", "--project", repository.as_str(), "full"]);
        assert!(text.contains("No space left on device") && text.contains("hint:"), "{text}");
        assert_eq!(user.run(&["list", "--json"]).trim(), "[]");
        assert_eq!(user.left_in_podman(), Vec::<String>::new());
        terminate(&mut service);
        if base {
            std::fs::remove_dir_all(&base_directory).ok();
        }
        // With room it works: nothing half done was kept.
        user.run(&["create", "--project", repository.as_str(), "full"]);
    }
}

#[test]
fn two_registries_on_one_storage_leave_each_other_alone() {
    let (first, second) = (User::new(), User::new());
    let repository = Repository::new(&first, "shared");
    first.run(&["create", "--project", repository.as_str(), "twin"]);
    let before = first.left_in_podman();
    // The same commit is the same base, and the same id the same pod: both are refused, and what is
    // taken back is not the other's.
    let text = second.fail(1, &["create", "--project", repository.as_str(), "other"]);
    assert!(text.contains("does not belong to this registry"), "{text}");
    let own = Repository::new(&second, "own");
    let text = second.fail(4, &["create", "--project", own.as_str(), "twin"]);
    assert!(text.contains("this registry"), "{text}");
    assert_eq!(first.left_in_podman(), before);
    assert!(first.ssh("twin-dev", &["true"]).status().unwrap().success());
    assert_eq!(second.left_in_podman(), Vec::<String>::new());
}
