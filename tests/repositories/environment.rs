//! The environment of the caller, when the service runs already.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::common::repository::Repository;
use crate::common::{User, text_of};

/// `user:p@ss` and `x:s3same`, as HTTP carries them.
const PROXY_LOGIN: &str = "Proxy-Authorization: Basic dXNlcjpwQHNz";
const LOGIN: &str = "Authorization: Basic eDpzM3NhbWU=";

/// Serves the files below a directory to those who come through it as a proxy with a password; the
/// repositories below `/private` want one more. Ends with the test.
fn serve_as_proxy(root: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // One that goes away is none of ours.
            let _ = answer(&stream, &root);
        }
    });
    port
}

fn answer(mut stream: &TcpStream, root: &Path) -> std::io::Result<()> {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let asked = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let path = asked.strip_prefix("http://git.test.example/").unwrap_or("none");
    let path = path.split('?').next().unwrap_or_default();
    let has = |header: &str| head.iter().any(|line| line == header);
    let (status, more, body) = if !has(PROXY_LOGIN) {
        ("407 Proxy", "Proxy-Authenticate: Basic realm=\"p\"\r\n", Vec::new())
    } else if path.starts_with("private/") && !has(LOGIN) {
        ("401 Who", "WWW-Authenticate: Basic realm=\"r\"\r\n", Vec::new())
    } else {
        match fs::read(root.join(path)) {
            Ok(body) => ("200 OK", "", body),
            Err(_) => ("404 None", "", Vec::new()),
        }
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

/// Returns the files below a directory that hold a text.
fn files_with(directory: &Path, text: &str) -> Vec<PathBuf> {
    let found = Command::new("grep").args(["-rlF", "--devices=skip", text]).arg(directory).output();
    String::from_utf8(found.unwrap().stdout).unwrap().lines().map(PathBuf::from).collect()
}

#[test]
fn proxies_helpers_and_settings_of_the_caller_count_when_the_service_runs_already() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let served = user.path("served");
    for name in ["app.git", "private/app.git"] {
        let target = served.join(name).display().to_string();
        repository.git(&["clone", "--quiet", "--bare", ".", &target]);
        repository.git(&["--git-dir", &target, "update-server-info"]);
    }
    let port = serve_as_proxy(served);
    user.run(&["list"]);
    let proxy = format!("user:p%40ss@127.0.0.1:{port}");
    let helpers = user.path("bin");
    fs::create_dir(&helpers).unwrap();
    let helper = helpers.join("git-credential-of-test");
    fs::write(&helper, "#!/bin/sh\necho username=x\necho \"password=$HELPER_TOKEN\"\n").unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let create = |url: &str| {
        let mut create = user.taskspace(&["create", "--dry-run", "--project", url]);
        let path = format!("{}:{}", helpers.display(), std::env::var("PATH").unwrap());
        create.env("http_proxy", &proxy).env("PATH", path).env("HELPER_TOKEN", "s3same");
        // As in a hook of another repository.
        create.env("GIT_DIR", "/nowhere").env("GIT_INDEX_FILE", "/nowhere/index");
        create.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "credential.helper");
        create.env("GIT_CONFIG_VALUE_0", "of-test");
        create
    };
    let commit = repository.head();
    for url in ["http://git.test.example/app.git", "http://git.test.example/private/app.git"] {
        let done = create(url).output().unwrap();
        let text = text_of(&done);
        assert!(done.status.success() && text.contains(&commit), "{url}: {text}");
    }
    // Another caller has no proxy: this host has no such name.
    let other =
        user.fail(1, &["create", "--dry-run", "--project", "http://git.test.example/app.git"]);
    assert!(other.contains("git.test.example"), "{other}");

    // Not even an error has the password, nor what this user has of it all.
    let wrong = create("http://git.test.example/app.git")
        .env("http_proxy", "user:p%40ss@127.0.0.1:1")
        .output()
        .unwrap();
    let text = text_of(&wrong);
    assert!(
        !wrong.status.success() && !text.contains("p%40ss") && !text.contains("p@ss"),
        "{text}"
    );
    let seen = user.run(&["events", "--json"]) + &user.run(&["operations", "--all", "--json"]);
    assert!(!seen.contains("p%40ss") && !seen.contains("p@ss"), "{seen}");
    for secret in ["p%40ss", "p@ss", "s3same"] {
        for place in ["state", "cache", "config"] {
            assert_eq!(files_with(&user.path(place), secret), Vec::<PathBuf>::new(), "{secret}");
        }
    }
    // Here, the repository around is meant, whatever the variables of a hook say.
    let here = create(".").current_dir(repository.path.join(".git")).output().unwrap();
    assert!(here.status.success() && text_of(&here).contains(&commit), "{}", text_of(&here));
}

#[test]
fn settings_of_the_caller_say_which_uncommitted_files_come_along() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let ignored = user.path("home/ignored-of-the-caller");
    fs::write(&ignored, "*.scratch\n").unwrap();
    for name in ["kept", "left.scratch"] {
        fs::write(repository.path.join(name), name).unwrap();
    }
    // The service runs already, and knows nothing of that.
    user.run(&["list"]);
    let project = ["--project", repository.as_str(), "--type", "generic"];
    let create = [&["create", "--dirty"], &project[..], &["r-dirty-env"]].concat();
    let mut create = user.taskspace(&create);
    create.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "core.excludesFile");
    let created = create.env("GIT_CONFIG_VALUE_0", &ignored).output().unwrap();
    assert!(created.status.success(), "{}", text_of(&created));
    let status = super::inside(&user, "r-dirty-env", "ls; git status --porcelain");
    assert_eq!(status, "README.md\nkept\n?? kept\n");
}

#[test]
fn origin_inside_needs_no_setting_of_the_caller() {
    let user = User::new();
    let repository = Repository::new(&user, "srv/app");
    let base = repository.path.parent().unwrap().display().to_string();
    user.run(&["list"]);
    let mut create =
        user.taskspace(&["create", "--project", "work/app", "--type", "generic", "r-origin"]);
    create.env("GIT_CONFIG_COUNT", "2");
    create.env("GIT_CONFIG_KEY_0", format!("url.file://{base}/.insteadOf"));
    create.env("GIT_CONFIG_VALUE_0", "work/");
    create.env("GIT_CONFIG_KEY_1", "url.ssh://git@git.test.example/.pushInsteadOf");
    create.env("GIT_CONFIG_VALUE_1", "work/");
    let created = create.output().unwrap();
    assert!(created.status.success(), "{}", text_of(&created));
    let urls = "git remote get-url origin; git remote get-url --push origin";
    let expected = format!("file://{base}/app\nssh://git@git.test.example/app\n");
    assert_eq!(super::inside(&user, "r-origin", urls), expected);
    user.run(&["fork", "r-origin", "r-origin-2"]);
    assert_eq!(super::inside(&user, "r-origin-2", urls), expected);
    assert_eq!(super::inside(&user, "r-origin", "git rev-parse HEAD").trim(), repository.head());
    // Without that setting it is a path, of nothing.
    let error = user.fail(1, &["create", "--project", "work/app", "r-origin-3"]);
    assert!(error.contains("work/app"), "{error}");
}
