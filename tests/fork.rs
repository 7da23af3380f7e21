//! Forks: a taskspace begins where another one is, and each goes its own way.

use std::time::Instant;

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, succeed, wait_until};

fn dev(user: &User, id: &str, script: &str) -> String {
    succeed(&mut user.ssh(&format!("{id}-dev"), &[script]))
}

fn create(user: &User, repository: &Repository, id: &str) {
    user.run(&["create", "--project", repository.as_str(), id]);
}

/// When a container was started, and how it is.
fn state(container: &str) -> String {
    let mut inspect = TestPodman::shared().command();
    inspect.args(["inspect", "--format={{.State.Status}} {{.State.StartedAt}}", container]);
    succeed(&mut inspect)
}

/// All that is in a checkout, with owners, modes, times and contents; without what git wrote anew.
const CHECKOUT: &str = "cd /workspace && \
    sudo find . -path ./.git -prune -o -printf '%p %y %U %G %m %T@ %s %l %n\\n' | sort && \
    sudo find . -path ./.git -prune -o -type f -exec sha256sum {} + | sort && \
    git status --porcelain && git log --format=%H%d%s HEAD^{commit} | sed 's/taskspace.[a-z-]*//'";

#[test]
fn a_fork_has_all_that_the_other_one_has_and_goes_its_own_way() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.commit("dir/deep/file", "of the base\n");
    repository.commit("dir/replaced", "of the base\n");
    create(&user, &repository, "fork-a");
    dev(
        &user,
        "fork-a",
        "cd /workspace && echo committed > new && git add new && \
         git -c user.name=x -c user.email=x@example.invalid commit -qm 'a new file' && \
         echo staged > staged && git add staged && echo untracked > untracked && \
         rm -r dir/deep && rm dir/replaced && mkdir dir/replaced && echo in > dir/replaced/in && \
         ln -s nowhere link && ln untracked second && mkfifo pipe && \
         echo root | sudo tee root > /dev/null && sudo chmod 600 root && \
         echo hidden > .hidden && chmod 0 .hidden && truncate -s 1G sparse && \
         echo x > .build-cache/x && git stash list && mkdir empty",
    );
    succeed(&mut user.ssh("fork-a-agent", &["echo thought > /agent/state/thought"]));
    let states = ["fork-a-dev", "fork-a-agent"].map(|name| state(&format!("taskspace-{name}")));
    user.run(&["fork", "fork-a", "fork-b", "--agent-state"]);
    // The other one went on without a new start.
    let after = ["fork-a-dev", "fork-a-agent"].map(|name| state(&format!("taskspace-{name}")));
    assert_eq!(after, states);
    assert!(states.iter().all(|state| state.starts_with("running")), "{states:?}");
    assert_eq!(dev(&user, "fork-b", CHECKOUT), dev(&user, "fork-a", CHECKOUT));
    assert_eq!(dev(&user, "fork-b", "cat /workspace/.build-cache/x"), "x\n");
    let thought = succeed(&mut user.ssh("fork-b-agent", &["cat /agent/state/thought"]));
    assert_eq!(thought, "thought\n");
    // Holes are not filled.
    let room = dev(&user, "fork-b", "du -sk /workspace/sparse | cut -f1");
    assert!(room.trim().parse::<u64>().unwrap() < 1024, "{room}");
    assert_eq!(dev(&user, "fork-b", "git -C /workspace branch"), "* taskspace/fork-b\n");
    assert_eq!(dev(&user, "fork-a", "git -C /workspace branch"), "* taskspace/fork-a\n");
    let shown = user.json(&["show", "fork-b"]);
    assert_eq!(shown["forked"]["from"], "fork-a");

    dev(&user, "fork-a", "echo a > /workspace/new && echo a > /workspace/.build-cache/x");
    dev(&user, "fork-b", "rm /workspace/untracked && echo b > /workspace/dir/replaced/in");
    assert_eq!(
        dev(&user, "fork-b", "cat /workspace/new /workspace/.build-cache/x"),
        "committed\nx\n"
    );
    let other = "cat /workspace/untracked /workspace/dir/replaced/in";
    assert_eq!(dev(&user, "fork-a", other), "untracked\nin\n");
    // Without the one the other goes on, and starts again.
    user.run(&["delete", "--force", "--purge", "fork-a"]);
    user.run(&["restart", "fork-b"]);
    assert_eq!(dev(&user, "fork-b", "cat /workspace/staged"), "staged\n");
    // The agent's state is not taken along unless that is wished for; what is stopped can be forked.
    user.run(&["stop", "fork-b"]);
    user.run(&["fork", "fork-b", "fork-c"]);
    assert_eq!(dev(&user, "fork-c", "cat /workspace/staged"), "staged\n");
    succeed(&mut user.ssh("fork-c-agent", &["test ! -e /agent/state/thought"]));
    assert_eq!(user.json(&["show", "fork-b"])["status"], "stopped");
}

#[test]
fn a_fork_of_one_that_begins_with_a_promoted_cache_has_both() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "both-a");
    dev(&user, "both-a", "cd /workspace/.build-cache && echo old > kept && echo old > gone");
    user.run(&["cache", "promote", "both-a"]);
    create(&user, &repository, "both-b");
    dev(&user, "both-b", "cd /workspace/.build-cache && rm gone && echo new > own");
    // A later cache of the project is not that of the fork.
    dev(&user, "both-a", "echo later > /workspace/.build-cache/kept");
    user.run(&["cache", "promote", "both-a"]);
    user.run(&["fork", "both-b", "both-c"]);
    let list = "cd /workspace/.build-cache && ls && cat kept own";
    assert_eq!(dev(&user, "both-c", list), "cargo\nkept\nown\nold\nnew\n");
}

#[test]
fn what_is_copied_is_as_at_one_moment() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "moment-a");
    // Whatever is copied first, the second is never ahead of the first nor more than one step behind.
    dev(&user, "moment-a", "cd /workspace && mkdir m z && cd m && seq 3000 | xargs touch");
    let count = "nohup sh -c 'cd /workspace; n=0; while :; do n=$((n + 1)); \
                 echo $n > t && mv t a-first; echo $n > t && mv t z/second; done' \
                 < /dev/null > /dev/null 2>&1 &";
    dev(&user, "moment-a", count);
    wait_until("it counts", || dev(&user, "moment-a", "ls /workspace/z") == "second\n");
    for id in ["moment-b", "moment-c"] {
        user.run(&["fork", "moment-a", id]);
        let counted = dev(&user, id, "cd /workspace && cat a-first z/second");
        let counted: Vec<u64> = counted.lines().map(|line| line.parse().unwrap()).collect();
        let [first, second] = counted[..] else { panic!("{counted:?}") };
        assert!(first == second || first == second + 1, "{counted:?}");
    }
    // And it counts on.
    let before = dev(&user, "moment-a", "cat /workspace/a-first");
    wait_until("it counts on", || dev(&user, "moment-a", "cat /workspace/a-first") != before);
}

#[test]
fn many_changed_files_are_forked() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "many-a");
    let make = "mkdir /workspace/many && cd /workspace/many && \
                seq 10000 | split -l 1 -a 5 - f && find . -type f | wc -l";
    assert_eq!(dev(&user, "many-a", make), "10000\n");
    let begun = Instant::now();
    user.run(&["fork", "many-a", "many-b"]);
    eprintln!("10,000 changed files: {:?}", begun.elapsed());
    let look = "cd /workspace/many && find . -type f | wc -l && cat * | sha256sum";
    assert_eq!(dev(&user, "many-b", look), dev(&user, "many-a", look));
}

#[test]
fn what_cannot_be_forked_is_refused_and_leaves_nothing() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "not-a");
    user.fail(3, &["fork", "nobody", "not-b"]);
    user.fail(4, &["fork", "not-a", "not-a"]);
    user.fail(2, &["fork", "not-a", "Not"]);
    // Whatever is checked out, and whatever the repository has git run: the branch is renamed.
    let hook = ".git/hooks/reference-transaction";
    dev(
        &user,
        "not-a",
        &format!(
            "cd /workspace && git switch --quiet --create other && mkdir -p .git/hooks && \
             printf '#!/bin/sh\nexec sleep 1000\n' > {hook} && chmod +x {hook}"
        ),
    );
    user.run(&["fork", "not-a", "not-b"]);
    let branches = "git -C /workspace branch --format='%(refname:short)'";
    assert_eq!(dev(&user, "not-b", branches), "other\ntaskspace/not-b\n");
    user.run(&["fetch", "not-b"]);
    // Somebody broke off what git was doing: the branch keeps its name, and that is told.
    dev(&user, "not-a", "touch /workspace/.git/config.lock");
    user.run(&["fork", "not-a", "not-c"]);
    let warning = user.json(&["show", "not-c"])["warnings"][0].as_str().unwrap().to_owned();
    assert!(warning.starts_with("its branch could not be renamed to taskspace/not-c"), "{warning}");
    let id = user.run(&["fork", "--quiet", "not-a"]);
    assert!(id.starts_with("app-"), "{id}");
}
