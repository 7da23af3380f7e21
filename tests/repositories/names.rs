//! Names in any encoding, symbolic links to anywhere, and files that nobody may read.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use crate::common::repository::Repository;
use crate::common::{User, text_of};

use super::{create, inside};

/// Names that a program may take for something else.
fn names() -> Vec<Vec<u8>> {
    let names: [&[u8]; 26] = [
        b"caf\xe9",
        b"caf\xc3\xa9",
        b"cafe\xcc\x81",
        b"\xff\xfe",
        "🦀".as_bytes(),
        b"new\nline",
        b"\nfirst",
        b"tab\t",
        b"cr\r",
        b"bell\x07\x1b[31m",
        b" ",
        b"trailing ",
        b"dot.",
        b"..two",
        b"...",
        b"-rf",
        b"--help",
        b"quote\"",
        b"it's",
        b"back\\slash",
        b"$(touch x)",
        b"`id`",
        b"a*?[b]",
        b"C:",
        b"README.md",
        b"readme.MD",
    ];
    let mut names: Vec<_> = names.map(<[u8]>::to_vec).into();
    names.push(vec![b'l'; 255]);
    names.push("é".repeat(127).into_bytes());
    names
}

/// Puts a file of each name below each directory.
fn write(repository: &Repository, below: &str, text: &str) -> Vec<PathBuf> {
    let mut written = Vec::new();
    for name in names() {
        let name = OsStr::from_bytes(&name);
        for directory in
            [repository.path.join(below), repository.path.join(below).join("d").join(name)]
        {
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(name), text).unwrap();
            written.push(directory.join(name));
        }
    }
    written
}

/// Runs git in a taskspace, and returns what it wrote, byte for byte.
fn git(user: &User, id: &str, arguments: &[&str]) -> String {
    let exec = [&["exec", id, "--", "git"], arguments].concat();
    let output = user.taskspace(&exec).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    output.stdout.escape_ascii().to_string()
}

#[test]
fn files_of_any_name_are_in_the_checkout() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.git(&["config", "core.precomposeUnicode", "false"]);
    write(&repository, "committed", "committed\n");
    // A path as long as they are.
    let deep = format!("{}/deep", vec!["x".repeat(200); 18].join("/"));
    let mut far = repository.path.clone();
    for part in deep.split('/') {
        far.push(part);
    }
    let has_deep =
        fs::create_dir_all(far.parent().unwrap()).is_ok() && fs::write(far, "deep\n").is_ok();
    repository.commit("last", "x\n");
    let changed = write(&repository, "committed", "changed\n");
    write(&repository, "untracked", "untracked\n");
    for path in changed.iter().step_by(3) {
        fs::remove_file(path).unwrap();
    }
    create(&user, &repository, "r-names");
    user.run(&["create", "--dirty", "--project", repository.as_str(), "r-names-2"]);

    let list = ["ls-tree", "-r", "-z", "HEAD"];
    assert_eq!(git(&user, "r-names", &list), git(&user, "r-names-2", &list));
    assert_eq!(
        git(&user, "r-names", &["status", "--porcelain", "--ignored"]),
        "!! .build-cache/\\n"
    );
    assert_eq!(git(&user, "r-names", &["diff", "HEAD", "--stat"]), "");
    let count = inside(&user, "r-names", "find committed -type f -exec cat {} + | sort | uniq -c");
    assert_eq!(count.trim(), format!("{} committed", changed.len()));
    assert!(has_deep && inside(&user, "r-names", &format!("cat {deep}")) == "deep\n");

    let status = ["status", "--porcelain", "-z", "--untracked-files=all"];
    let mut outside = user.command("git");
    let outside = outside.arg("-C").arg(&repository.path).args(status).output().unwrap().stdout;
    assert_eq!(git(&user, "r-names-2", &status), outside.escape_ascii().to_string());
    inside(&user, "r-names-2", "git add --all && git stash --quiet && git status --porcelain");
    inside(&user, "r-names-2", "git stash pop --quiet --index && rm -r committed untracked");
    inside(&user, "r-names-2", "git reset --quiet --hard && test -z \"$(git status --porcelain)\"");
    inside(&user, "r-names-2", "test ! -e x && test ! -e committed/x");
    // What shows names to a terminal shows none of their bytes that it would obey.
    let shown = user.taskspace(&["diff", "r-names-2"]).output().unwrap();
    assert!(shown.status.success() && !text_of(&shown).contains('\u{1b}'));
}

#[test]
fn links_lead_where_they_led_and_nothing_follows_them() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let secret = user.path("home/secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "of the host\n").unwrap();
    let outside = secret.to_str().unwrap().to_owned();
    let links = [
        ("dangling", "nowhere/at all"),
        ("absolute", "/etc/hostname"),
        ("up", "../../../../etc/passwd"),
        ("host", outside.as_str()),
        ("loop", "loop"),
        ("dir", "real"),
        ("real/back", ".."),
        (".git-link", ".git/config"),
    ];
    fs::create_dir(repository.path.join("real")).unwrap();
    fs::write(repository.path.join("real/file"), "x\n").unwrap();
    for (name, target) in links {
        symlink(target, repository.path.join(name)).unwrap();
    }
    repository.commit("last", "x\n");
    // Not committed: links in the place of directories, with files of the base below.
    fs::remove_dir_all(repository.path.join("real")).unwrap();
    symlink(&secret, repository.path.join("real")).unwrap();
    symlink("/nowhere", repository.path.join("new")).unwrap();
    create(&user, &repository, "r-links");
    user.run(&["create", "--dirty", "--project", repository.as_str(), "r-links-2"]);
    for (name, target) in links {
        assert_eq!(inside(&user, "r-links", &format!("readlink {name}")), format!("{target}\n"));
    }
    let led = "git status --short; cat dir/file; cat real/back/dir/file; ! cat dangling loop host/key 2>&1 \
               | grep -v 'No such\\|Too many'; cat absolute";
    assert_eq!(inside(&user, "r-links", led), "x\nx\nr-links\n");
    let changed = "git status --short; readlink real new; ! cat real/key 2> /dev/null; git diff --stat \
                   | tail -1 > /dev/null; git checkout --quiet . && cat dir/file";
    let expected = format!(" D real/back\n D real/file\n?? new\n?? real\n{outside}\n/nowhere\nx\n");
    assert_eq!(inside(&user, "r-links-2", changed), expected);
    // A fork and a diff follow none of them, either.
    inside(&user, "r-links", "ln -s /etc/shadow own && rm dir && ln -s / dir");
    user.run(&["fork", "r-links", "r-links-3"]);
    assert_eq!(inside(&user, "r-links-3", "readlink own dir loop"), "/etc/shadow\n/\nloop\n");
    assert_eq!(fs::read_to_string(secret.join("key")).unwrap(), "of the host\n");
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
}

#[test]
fn files_that_nobody_may_read_are_told_and_the_rest_comes_along() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.commit("dir/committed", "committed\n");
    repository.commit("dir/other", "other\n");
    repository.commit("closed/in", "in\n");
    let set = |path: &str, mode: u32| {
        fs::set_permissions(repository.path.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, mode) in [("untracked", 0o000), ("write-only", 0o200), ("read-only", 0o400)] {
        fs::write(repository.path.join(path), path).unwrap();
        set(path, mode);
    }
    fs::create_dir(repository.path.join("no-entry")).unwrap();
    fs::write(repository.path.join("no-entry/x"), "x").unwrap();
    set("dir/committed", 0o000);
    set("no-entry", 0o000);
    set("closed", 0o000);
    let created =
        user.taskspace(&["create", "--dirty", "--project", repository.as_str(), "r-modes"]);
    let created = { created }.output().unwrap();
    // So that the directory can be removed.
    set("closed", 0o755);
    set("no-entry", 0o755);
    assert!(created.status.success(), "{}", text_of(&created));
    let shown = user.run(&["show", "r-modes"]);
    for told in [
        "they cannot be read, so they do not come along: dir/committed, untracked, write-only",
        "these directories cannot be read, so nothing in them comes along: closed, no-entry",
    ] {
        assert!(shown.contains(told), "no {told:?} in {shown}");
    }
    let look = "git status --short; cat dir/* closed/in read-only; stat -c %a read-only";
    let expected = "?? read-only\ncommitted\nother\nin\nread-only400\n";
    assert_eq!(inside(&user, "r-modes", look), expected);
}
