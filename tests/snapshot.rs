//! Snapshots: what a taskspace had comes back exactly, whatever became of it since.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, end, succeed, text_of, wait_until};

fn dev(user: &User, id: &str, script: &str) -> String {
    succeed(&mut user.ssh(&format!("{id}-dev"), &[script]))
}

fn agent(user: &User, id: &str, script: &str) -> String {
    succeed(&mut user.ssh(&format!("{id}-agent"), &[script]))
}

fn create(user: &User, repository: &Repository, id: &str) {
    user.run(&["create", "--project", repository.as_str(), id]);
}

fn podman(arguments: &[&str]) -> String {
    succeed(TestPodman::shared().command().args(arguments))
}

/// All that is in the checkout and the build cache as the container has them: kinds, owners, modes,
/// times, sizes, targets and digests.
const TREE: &str = "cd /workspace && \
    sudo find . -printf '%p %y %U %G %m %T@ %l %n ' \
        \\( -type f -printf '%s' -o -true \\) -printf '\\n' | sort && \
    sudo find . -type f -print0 | sort -z | sudo xargs -0 sha256sum";

/// The extended attributes of everything in a directory.
const ATTRIBUTES: &str = "
import os, sys
for at, directories, files in sorted(os.walk(sys.argv[1])):
    for path in [os.path.join(at, name) for name in sorted(directories + files)]:
        for name in os.listxattr(path, follow_symlinks=False):
            print(path, name, os.getxattr(path, name, follow_symlinks=False))
";

fn tree(user: &User, id: &str) -> String {
    let tree = dev(user, id, TREE);
    assert!(tree.lines().count() > 20, "{tree}");
    tree + &podman(&["unshare", "python3", "-c", ATTRIBUTES, &checkout(id)])
}

/// Compares two trees, and says where they differ.
#[track_caller]
fn assert_same(found: &str, wanted: &str) {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (found, wanted) = (lines(found), lines(wanted));
    let missing: Vec<_> = wanted.difference(&found).collect();
    let superfluous: Vec<_> = found.difference(&wanted).collect();
    assert!(found == wanted, "missing: {missing:#?}\ntoo much: {superfluous:#?}");
}

/// Where Podman has the checkout of a taskspace that runs.
fn checkout(id: &str) -> String {
    let volume = format!("taskspace-{id}-project");
    TestPodman::shared().files(&volume).display().to_string()
}

/// Does something of everything to a checkout.
fn work(user: &User, id: &str) {
    dev(user, id, WORK);
    let set = "import os, sys; os.setxattr(sys.argv[1], 'user.note', b'one')";
    podman(&["unshare", "python3", "-c", set, &format!("{}/mode", checkout(id))]);
}

/// Of everything that can be done to a checkout, something.
const WORK: &str = "cd /workspace && echo committed > new && git add new && \
    git -c user.name=x -c user.email=x@example.invalid commit -qm new && \
    echo staged > staged && git add staged && echo untracked > untracked && \
    echo ignored > ignored.log && echo edited >> edited && git rm -q --cached edited && \
    rm -r gone && rm file-gone && rm replaced && mkdir replaced && echo in > replaced/in && \
    rm -r opaque && mkdir opaque && echo only > opaque/only && mv moved renamed && \
    ln -s nowhere link && ln untracked second && mkfifo pipe && mkdir empty && \
    echo root | sudo tee root > /dev/null && sudo chmod 4600 root && chmod 0751 mode && \
    echo hidden > hidden && chmod 0 hidden && truncate -s 1G sparse && \
    touch -d '2020-02-02 02:02:02.123456789' untracked && touch -d 2019-01-01 empty && \
    mkdir -p .build-cache/target && echo built > .build-cache/target/x && \
    rm -f .build-cache/below && echo 1 > .build-cache/changed";

/// The same, to what was made of that.
const MORE: &str = "cd /workspace && git -c user.name=x -c user.email=x@example.invalid \
    commit -qam later && rm -rf staged untracked second empty pipe link opaque renamed && \
    mkdir gone untracked && echo back > gone/other && echo back > file-gone && \
    rm -rf replaced && echo file > replaced && sudo rm root hidden && echo other >> edited && \
    rm -rf .build-cache/target && touch .build-cache/cargo/git/x && \
    echo 2 > .build-cache/changed && mkdir -p deep/er && echo x > deep/er/x";

fn repository(user: &User) -> Repository {
    let repository = Repository::new(user, "app");
    for file in ["gone/a", "gone/b/c", "file-gone", "replaced", "opaque/base", "moved", "mode"] {
        repository.commit(file, "of the base\n");
    }
    repository.commit("edited", "of the base\n");
    repository.commit(".gitignore", "*.log\n");
    repository
}

/// The snapshots of a taskspace, by name.
fn names(user: &User, id: &str) -> Vec<String> {
    let listed = user.json(&["snapshots", id]);
    let name = |entry: &Value| entry["name"].as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(name).collect()
}

#[test]
fn all_that_there_was_comes_back_exactly() {
    let user = User::new();
    let repository = repository(&user);
    create(&user, &repository, "snap-a");
    work(&user, "snap-a");
    agent(&user, "snap-a", "echo then > /agent/state/thought");
    let first = tree(&user, "snap-a");
    assert!(first.contains("/mode user.note b'one'"), "{first}");
    let taken = user.run(&["snapshot", "snap-a", "first", "--note", "all is well"]);
    assert_eq!(taken, "first is a snapshot of snap-a\n");
    let listed = user.json(&["snapshots", "snap-a"]);
    let [entry] = &listed.as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&entry["name"], &entry["note"]), (&json!("first"), &json!("all is well")));
    assert!(entry["bytes"].as_u64().unwrap() > 0, "{entry}");
    // It goes on, and its second snapshot has all of that, and what the agent knows.
    dev(&user, "snap-a", MORE);
    let second = tree(&user, "snap-a");
    assert_ne!(first, second);
    user.run(&["snapshot", "snap-a", "second", "--agent-state"]);
    agent(&user, "snap-a", "echo now > /agent/state/thought");
    dev(&user, "snap-a", "echo lost > /workspace/lost");
    let before = user.json(&["show", "snap-a"]);
    let host_key = podman(&["inspect", "--format={{.Id}}", "taskspace-snap-a-dev"]);

    user.run(&["restore", "--force", "snap-a", "first"]);
    assert_same(&tree(&user, "snap-a"), &first);
    assert_eq!(agent(&user, "snap-a", "cat /agent/state/thought"), "now\n");
    let after = user.json(&["show", "snap-a"]);
    for same in ["status", "dev_port", "agent_port", "spec", "warnings"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    // The containers are the same, with what was installed in them.
    assert_eq!(podman(&["inspect", "--format={{.Id}}", "taskspace-snap-a-dev"]), host_key);
    // Back and forth, and as often as one likes; while it does not run it stays so.
    user.run(&["restore", "--force", "--agent-state", "snap-a", "second"]);
    assert_same(&tree(&user, "snap-a"), &second);
    assert_eq!(agent(&user, "snap-a", "cat /agent/state/thought"), "then\n");
    user.run(&["stop", "snap-a"]);
    for _ in 0..2 {
        user.run(&["restore", "--force", "snap-a", "first"]);
        assert_eq!(user.json(&["show", "snap-a"])["status"], "stopped");
    }
    user.run(&["start", "snap-a"]);
    assert_same(&tree(&user, "snap-a"), &first);
    assert_eq!(dev(&user, "snap-a", "du -sk /workspace/sparse | cut -f1"), "0\n");
    assert_eq!(user.disagreement(&["snap-a"]), Vec::<String>::new());
}

#[test]
fn the_build_cache_over_that_of_a_project_comes_back_and_others_keep_theirs() {
    let user = User::new();
    let repository = repository(&user);
    create(&user, &repository, "over-a");
    dev(
        &user,
        "over-a",
        "cd /workspace && mkdir -p .build-cache/dir web/node_modules/x && \
         touch .build-cache/below .build-cache/dir/in web/node_modules/x/y",
    );
    user.run(&["cache", "promote", "over-a"]);
    create(&user, &repository, "over-b");
    create(&user, &repository, "over-c");
    let others = tree(&user, "over-c");
    work(&user, "over-b");
    dev(&user, "over-b", "cd /workspace && rm -r .build-cache/dir web/node_modules/x");
    let then = tree(&user, "over-b");
    user.run(&["snapshot", "over-b", "then"]);
    // The project's next cache is none of its business.
    dev(&user, "over-b", MORE);
    user.run(&["cache", "promote", "over-b"]);
    user.run(&["delete", "--force", "--purge", "over-a"]);
    user.run(&["stop", "over-b"]);
    user.run(&["restore", "--save", "later", "over-b", "then"]);
    user.run(&["start", "over-b"]);
    assert_same(&tree(&user, "over-b"), &then);
    assert_same(&tree(&user, "over-c"), &others);
    assert_eq!(names(&user, "over-b"), ["then", "later"]);
    user.run(&["restore", "--force", "over-b", "later"]);
    assert_eq!(dev(&user, "over-b", "cat /workspace/gone/other"), "back\n");
    assert_eq!(user.disagreement(&["over-a", "over-b", "over-c"]), Vec::<String>::new());
}

#[test]
fn a_fork_can_begin_with_a_snapshot() {
    let user = User::new();
    let repository = repository(&user);
    create(&user, &repository, "of-a");
    work(&user, "of-a");
    agent(&user, "of-a", "echo then > /agent/state/thought");
    let without_git = format!("{{ {TREE}; }} | grep -v '\\./\\.git\\|^\\. '");
    let then = dev(&user, "of-a", &without_git);
    user.run(&["snapshot", "of-a", "with", "--agent-state"]);
    user.run(&["snapshot", "of-a", "without"]);
    dev(&user, "of-a", MORE);
    agent(&user, "of-a", "echo now > /agent/state/thought");
    user.run(&["fork", "of-a", "of-b", "--snapshot", "with", "--agent-state"]);
    assert_same(&dev(&user, "of-b", &without_git), &then);
    assert_eq!(agent(&user, "of-b", "cat /agent/state/thought"), "then\n");
    assert_eq!(dev(&user, "of-b", "git -C /workspace branch"), "* taskspace/of-b\n");
    assert_eq!(user.json(&["show", "of-b"])["forked"]["snapshot"], "with");
    assert_eq!(names(&user, "of-b"), Vec::<String>::new());
    user.fail(3, &["fork", "of-a", "of-c", "--snapshot", "none"]);
    user.fail(4, &["fork", "of-a", "of-c", "--snapshot", "without", "--agent-state"]);
    assert_eq!(user.disagreement(&["of-a", "of-b", "of-c"]), Vec::<String>::new());
}

#[test]
fn what_cannot_be_meant_is_refused_and_what_would_be_lost_is_asked_for() {
    let user = User::new();
    let repository = repository(&user);
    create(&user, &repository, "no-a");
    user.run(&["snapshot", "no-a", "s"]);
    user.fail(3, &["snapshot", "nobody"]);
    user.fail(3, &["snapshots", "nobody"]);
    user.fail(3, &["restore", "--force", "nobody", "s"]);
    user.fail(3, &["restore", "--force", "no-a", "none"]);
    user.fail(3, &["snapshot", "--delete", "no-a", "none"]);
    user.fail(4, &["snapshot", "no-a", "s"]);
    user.fail(4, &["restore", "no-a", "s", "--save", "s"]);
    user.fail(4, &["restore", "--force", "no-a", "s", "--agent-state"]);
    for bad in ["S", "a.b", "../x", "-", &"x".repeat(41)] {
        user.fail(2, &["snapshot", "no-a", "--", bad]);
    }
    user.fail(2, &["snapshot", "no-a", "--note", "two\nlines"]);
    // Nobody is there to be asked.
    dev(&user, "no-a", "echo work > /workspace/work");
    let refused = user.fail(4, &["restore", "no-a", "s"]);
    assert!(refused.contains("what 'no-a' has now would be lost"), "{refused}");
    assert_eq!(dev(&user, "no-a", "cat /workspace/work"), "work\n");
    // A dry run tells what would be done.
    let plan = user.json(&["restore", "--dry-run", "no-a", "s"]);
    assert_eq!(plan["name"], "restore");
    assert_eq!(dev(&user, "no-a", "cat /workspace/work"), "work\n");
    // There is work in snapshots, too.
    dev(&user, "no-a", "rm /workspace/work");
    let refused = user.fail(4, &["delete", "no-a"]);
    assert!(refused.contains("the snapshot s of 'no-a' goes with it"), "{refused}");
    let name = user.run(&["snapshot", "--quiet", "no-a"]);
    assert_eq!(names(&user, "no-a"), ["s", name.trim()]);
    user.run(&["snapshot", "--delete", "no-a", "s"]);
    user.run(&["snapshot", "--delete", "no-a", name.trim()]);
    assert_eq!(names(&user, "no-a"), Vec::<String>::new());
    assert!(user.run(&["snapshots"]).starts_with("no snapshots"));
    assert_eq!(user.disagreement(&["no-a"]), Vec::<String>::new());
    user.run(&["delete", "--purge", "no-a"]);
    assert_eq!(user.disagreement(&["no-a"]), Vec::<String>::new());
}

#[test]
fn files_that_somebody_else_uses_are_not_replaced() {
    let user = User::new();
    let repository = repository(&user);
    create(&user, &repository, "used-a");
    user.run(&["snapshot", "used-a", "s"]);
    dev(&user, "used-a", "echo work > /workspace/work");
    let image = podman(&["inspect", "--format={{.Image}}", "taskspace-used-a-dev"]);
    let (name, volume) = ("taskspace-test-used-a", "taskspace-used-a-project:/w");
    let run = ["run", "--detach", "--rm", "--network=none", "--name", name, "--volume", volume];
    podman(&[&run[..], &["--entrypoint=sleep", image.trim(), "600"]].concat());
    let refused = user.fail(4, &["restore", "--force", "used-a", "s"]);
    assert!(refused.contains(&format!("the container '{name}' runs and uses")), "{refused}");
    // It goes on as before.
    assert_eq!(user.json(&["show", "used-a"])["status"], "running");
    assert_eq!(dev(&user, "used-a", "cat /workspace/work"), "work\n");
    podman(&["rm", "--force", "--time=0", name]);
    user.run(&["restore", "--force", "used-a", "s"]);
    dev(&user, "used-a", "test ! -e /workspace/work");
    assert_eq!(user.disagreement(&["used-a"]), Vec::<String>::new());
}

#[test]
fn what_broke_off_is_gone_on_with_and_nothing_half_is_ever_started() {
    let user = User::new();
    let repository = repository(&user);
    create(&user, &repository, "half-a");
    work(&user, "half-a");
    let then = tree(&user, "half-a");
    user.run(&["snapshot", "half-a", "s"]);
    dev(&user, "half-a", MORE);
    // A step fails when the files are emptied; then nobody gets to see them but by the end of it.
    let serve = |faults: &[(&str, String)]| {
        if let Some(pid) = user.service() {
            end(pid, Signal::SIGTERM);
        }
        let service = user.serve(faults);
        // Whoever asks for it before would start another one.
        let socket = user.path("run/symposium/taskspace.sock");
        wait_until("the service listens", || UnixStream::connect(&socket).is_ok());
        service
    };
    let mut service = serve(&[("FAIL", "restore: replace what it has: fail#1".to_owned())]);
    let failed = user.taskspace(&["restore", "--force", "half-a", "s"]).output().unwrap();
    assert!(text_of(&failed).contains("goes on with it"), "{}", text_of(&failed));
    assert_eq!(user.json(&["show", "half-a"])["status"], "failed");
    for refused in [
        &["fork", "half-a", "half-b"][..],
        &["snapshot", "half-a", "t"],
        &["cache", "promote", "half-a"],
        &["diff", "half-a"],
        &["snapshot", "--delete", "half-a", "s"],
    ] {
        let refused = user.fail(4, refused);
        assert!(refused.contains("restored from 's'"), "{refused}");
    }
    crate::common::terminate(&mut service);
    user.run(&["start", "half-a"]);
    assert_same(&tree(&user, "half-a"), &then);

    // Killed when they are emptied.
    dev(&user, "half-a", "rm -rf /workspace/replaced");
    let mut service = serve(&[("KILL", "restore: replace what it has: emptied#1".to_owned())]);
    user.taskspace(&["restore", "--force", "half-a", "s"]).output().unwrap();
    service.wait().unwrap();
    wait_until("it runs again", || user.json(&["show", "half-a"])["status"] == "running");
    assert_same(&tree(&user, "half-a"), &then);
    assert_eq!(user.disagreement(&["half-a", "half-b"]), Vec::<String>::new());
}

#[test]
fn lost_work_comes_back_from_a_snapshot() {
    let user = User::new();
    let repository = repository(&user);
    create(&user, &repository, "lost-s");
    work(&user, "lost-s");
    let then = tree(&user, "lost-s");
    user.run(&["snapshot", "lost-s", "s"]);
    user.run(&["stop", "lost-s"]);
    podman(&["pod", "rm", "--force", "--time=0", "taskspace-lost-s"]);
    let gone = ["taskspace-lost-s-project", "taskspace-lost-s-changes"];
    TestPodman::shared().remove_volumes(&gone);
    wait_until("that is noticed", || user.json(&["show", "lost-s"])["status"] == "failed");
    user.run(&["restore", "--force", "lost-s", "s"]);
    user.run(&["start", "lost-s"]);
    assert_same(&tree(&user, "lost-s"), &then);
    assert_eq!(user.disagreement(&["lost-s"]), Vec::<String>::new());
}
