//! What is in a checkout: files shared between commits, and uncommitted changes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, wait_until};

/// Returns where the base of a commit is.
fn base_of(project: &str, commit: &str) -> PathBuf {
    TestPodman::shared().files(&format!("project-base-{project}-{commit}"))
}

/// Runs git in a taskspace's checkout and returns what it wrote, byte for byte.
fn git_inside(user: &User, id: &str, arguments: &[&str]) -> Vec<u8> {
    let git = [&["exec", id, "--", "git", "-C", "/workspace"], arguments].concat();
    let output = user.taskspace(&git).output().unwrap();
    assert!(output.status.success(), "{}", crate::common::text_of(&output));
    output.stdout
}

/// What a tree is, its times of modification included.
fn digest(dir: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let content = if found.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if found.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        all.insert(path, (found.mode(), found.mtime(), found.mtime_nsec(), content));
    }
    all
}

#[test]
fn two_commits_share_what_did_not_change() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.commit("src/same", "the same\n");
    let old = repository.commit("src/changes", "one\n");
    user.run(&["create", "--project", repository.as_str(), "b-old"]);
    let sibling = base_of("app", &old);
    let before = digest(&sibling);
    let new = repository.commit("src/changes", "two\n");
    user.run(&["create", "--project", repository.as_str(), "b-new"]);
    assert!(digest(&sibling) == before, "the older base has changed");
    let base = base_of("app", &new);
    let found = |dir: &Path, file: &str| fs::metadata(dir.join(file)).unwrap();
    for file in ["src/same", "README.md"] {
        let (one, other) = (found(&sibling, file), found(&base, file));
        assert_eq!((one.ino(), one.mtime_nsec()), (other.ino(), other.mtime_nsec()), "{file}");
    }
    assert_ne!(found(&sibling, "src/changes").ino(), found(&base, "src/changes").ino());
    let read = |id: &str, file: &str| {
        user.run(&["exec", id, "--", "cat", &format!("/workspace/src/{file}")])
    };
    for (id, changed) in [("b-old", "one\n"), ("b-new", "two\n")] {
        assert_eq!(git_inside(&user, id, &["status", "--porcelain"]), b"");
        assert_eq!((read(id, "changes"), read(id, "same")), (changed.into(), "the same\n".into()));
    }
    // What one writes, nobody else sees; and the older base may go first.
    user.run(&["exec", "b-old", "--", "sh", "-c", "echo mine > /workspace/src/same"]);
    assert_eq!(read("b-new", "same"), "the same\n");
    user.run(&["delete", "--force", "--purge", "b-old"]);
    assert!(!sibling.exists());
    assert_eq!(read("b-new", "same"), "the same\n");
}

/// Changes a work tree in all kinds of ways, and stages nothing.
fn make_dirty(repository: &Repository) {
    let dir = &repository.path;
    let odd = OsStr::from_bytes(b"caf\xe9 \n\t\\\"x");
    fs::write(dir.join("README.md"), "changed\n").unwrap();
    fs::remove_file(dir.join("src/gone")).unwrap();
    fs::remove_dir_all(dir.join("crates/old")).unwrap();
    fs::set_permissions(dir.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(dir.join("link")).unwrap();
    symlink("/nowhere/at/all", dir.join("link")).unwrap();
    fs::write(dir.join(odd), "odd\n").unwrap();
    fs::create_dir_all(dir.join("new/deep")).unwrap();
    fs::write(dir.join("new/deep/file"), "new\n").unwrap();
    fs::write(dir.join("new/ignored.o"), "ignored\n").unwrap();
}

fn to_be_changed(user: &User) -> Repository {
    let repository = Repository::new(user, "app");
    for file in ["src/kept", "src/gone", "crates/old/Cargo.toml", "crates/new/Cargo.toml", "run"] {
        let path = repository.path.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    symlink("README.md", repository.path.join("link")).unwrap();
    repository.commit(".gitignore", "*.o\n");
    repository
}

#[test]
fn uncommitted_changes_come_along() {
    let user = User::new();
    let repository = to_be_changed(&user);
    let head = repository.head();
    make_dirty(&repository);
    let project = ["create", "--project", repository.as_str()];
    let create = |more: &[&'static str]| [project.as_slice(), more].concat();

    let plan = user.json(&create(&["--dirty", "--dry-run", "b-dirty"]));
    assert_eq!(plan["uncommitted"], 7, "{plan}");
    let plan = user.run(&create(&["--dirty", "--dry-run", "b-dirty"]));
    assert!(plan.starts_with("7 changed or untracked files would come along"), "{plan}");
    user.run(&create(&["--dirty", "b-dirty"]));
    user.run(&create(&["b-clean"]));
    assert!(user.run(&["show", "b-dirty"]).contains("not committed in the source came along"));
    assert_eq!(user.json(&["show", "b-dirty"])["spec"]["project"]["dirty"], true);

    let status = ["status", "--porcelain", "-z", "--untracked-files=all"];
    let mut outside = user.command("git");
    let outside = outside.arg("-C").arg(&repository.path).args(status).output().unwrap().stdout;
    let inside = git_inside(&user, "b-dirty", &status);
    assert_eq!(
        inside.escape_ascii().to_string(),
        outside.escape_ascii().to_string(),
        "the checkout differs"
    );
    assert_eq!(
        git_inside(&user, "b-dirty", &["rev-parse", "HEAD"]),
        format!("{head}\n").as_bytes()
    );
    let diff = ["diff", "--binary"];
    let mut outside = user.command("git");
    let outside = outside.arg("-C").arg(&repository.path).args(diff).output().unwrap().stdout;
    assert!(git_inside(&user, "b-dirty", &diff) == outside, "the changes differ");
    let look = "cd /workspace && cat new/deep/file && stat -c %U new/deep/file && \
                ! test -e crates/old && ls crates && ! test -e new/ignored.o && \
                rm -r crates new src && git checkout --quiet --force HEAD && cat src/gone";
    assert_eq!(
        user.run(&["exec", "b-dirty", "--", "sh", "-c", look]),
        "new\ndeveloper\nnew\nsrc/gone"
    );
    assert_eq!(git_inside(&user, "b-clean", &["status", "--porcelain"]), b"");
    // The user's own files are as they were, and work in it counts as unsaved.
    assert_eq!(fs::read_to_string(repository.path.join("README.md")).unwrap(), "changed\n");
    assert!(user.fail(4, &["delete", "b-dirty"]).contains("has unsaved work: "));
}

#[test]
fn uncommitted_changes_of_what_has_none_are_refused() {
    let user = User::new();
    let repository = to_be_changed(&user);
    make_dirty(&repository);
    let bare = user.path("home/bare.git");
    repository.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    repository.git(&["branch", "here"]);
    let refused = |code, project: &str, more: &[&str]| {
        user.fail(code, &[&["create", "--dirty", "--project", project], more].concat())
    };
    let text = refused(4, "https://127.0.0.1:9/app.git", &[]);
    assert!(text.contains("only a local repository") && text.contains("--dirty"), "{text}");
    assert!(refused(2, bare.to_str().unwrap(), &[]).contains("no work tree"));
    let former = repository.git(&["rev-parse", "HEAD~1"]);
    let text = refused(2, repository.as_str(), &["--ref", former.trim()]);
    assert!(text.contains("the uncommitted changes are those to"), "{text}");
    // A ref that is the same commit says nothing else.
    user.run(&["create", "--dirty", "--project", repository.as_str(), "--ref", "here", "b-same"]);
    assert_eq!(user.json(&["list"]).as_array().unwrap().len(), 1);
}

#[test]
fn what_nobody_can_read_stays_behind_and_is_told() {
    let user = User::new();
    let repository = to_be_changed(&user);
    let secret = repository.path.join("unreadable");
    fs::write(&secret, "x").unwrap();
    fs::write(repository.path.join("readable"), "x").unwrap();
    for path in [secret, repository.path.join("src/kept")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    user.run(&["create", "--dirty", "--project", repository.as_str(), "b-most"]);
    let shown = user.run(&["show", "b-most"]);
    assert!(shown.contains("do not come along: src/kept, unreadable"), "{shown}");
    assert_eq!(git_inside(&user, "b-most", &["status", "--porcelain"]), b"?? readable\n");
}

#[test]
fn a_copy_that_broke_off_is_made_anew_from_what_is_there_then() {
    let user = User::new();
    let repository = to_be_changed(&user);
    make_dirty(&repository);
    let broken_off = |id: &str, meanwhile: &dyn Fn()| {
        let point = "seed: uncommitted changes: after#1".to_owned();
        let mut service = user.serve(&[("KILL", point)]);
        user.run(&["create", "--dirty", "--no-wait", "--project", repository.as_str(), id]);
        assert!(!service.wait().unwrap().success());
        meanwhile();
    };
    broken_off("b-again", &|| {
        fs::remove_file(repository.path.join("new/deep/file")).unwrap();
        fs::write(repository.path.join("later"), "later\n").unwrap();
    });
    wait_until("it runs", || user.json(&["show", "b-again"])["status"] == "running");
    let status = ["status", "--porcelain", "--untracked-files=all"];
    let inside = String::from_utf8(git_inside(&user, "b-again", &status)).unwrap();
    assert_eq!(inside, repository.git(&status));
    assert!(inside.contains("?? later") && !inside.contains("new/deep"), "{inside}");

    user.kill_service();
    broken_off("b-moved", &|| drop(repository.commit("more", "more")));
    let events = || user.run(&["events", "--json", "--taskspace", "b-moved"]);
    wait_until("it is taken back", || events().contains("operation-finished"));
    assert_eq!(user.json(&["list"]).as_array().unwrap().len(), 1);
    let events = events();
    assert!(events.contains(&format!(", and is at {} now", repository.head())), "{events}");
}

#[test]
fn submodules_are_checked_out_with_their_own() {
    let user = User::new();
    let (inner, lib) = (Repository::new(&user, "inner"), Repository::new(&user, "lib"));
    let app = Repository::new(&user, "app");
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add"];
    lib.git(&[&add, ["../inner"].as_slice()].concat());
    lib.git(&["commit", "--quiet", "-m", "a submodule"]);
    app.git(&[&add, ["../lib", "vendor/lib"].as_slice()].concat());
    app.git(&["commit", "--quiet", "-m", "a submodule"]);
    user.run(&["create", "--project", app.as_str(), "b-whole"]);
    assert_eq!(git_inside(&user, "b-whole", &["status", "--porcelain"]), b"");
    let status = git_inside(&user, "b-whole", &["submodule", "status", "--recursive"]);
    let status = String::from_utf8(status).unwrap();
    let (at_lib, at_inner) = (lib.head(), inner.head());
    for line in [format!(" {at_lib} vendor/lib ("), format!(" {at_inner} vendor/lib/inner (")] {
        assert!(status.contains(&line), "no {line:?} in\n{status}");
    }
    let work = "cd /workspace/vendor/lib/inner && test -e README.md && echo more > more && \
                git add more && git -c user.name=T -c user.email=t@e.org commit -qm more && \
                cd /workspace && git status --porcelain && git config submodule.vendor/lib.url";
    let seen = user.run(&["exec", "b-whole", "--", "sh", "-c", work]);
    assert_eq!(seen, format!(" M vendor/lib\n{}\n", lib.as_str()));

    // A newer commit of the project shares what stayed; one that is nowhere is told.
    app.commit("more", "more");
    user.run(&["create", "--project", app.as_str(), "b-newer"]);
    let [one, other] = ["b-whole", "b-newer"].map(|id| {
        let key = &user.json(&["show", id])["spec"]["project"]["base_key"];
        let base = base_of("app", key.as_str().unwrap());
        fs::metadata(base.join("vendor/lib/README.md")).unwrap().ino()
    });
    assert_eq!(one, other);
    let nothing = format!("160000,{},vendor/lib", "1".repeat(40));
    app.git(&["update-index", "--cacheinfo", &nothing]);
    app.git(&["commit", "--quiet", "-m", "nobody has it"]);
    user.run(&["create", "--project", app.as_str(), "b-none"]);
    let warnings = user.json(&["show", "b-none"])["warnings"].to_string();
    assert!(warnings.contains("the submodule vendor/lib"), "{warnings}");
}
