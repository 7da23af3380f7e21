//! Build caches: tools use them, and later taskspaces of a project begin with that of an earlier one.

use serde_json::{Value, json};

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, succeed};

fn dev(user: &User, id: &str, script: &str) -> String {
    succeed(&mut user.ssh(&format!("{id}-dev"), &[script]))
}

fn podman(arguments: &[&str]) -> String {
    succeed(TestPodman::shared().command().args(arguments))
}

fn create(user: &User, repository: &Repository, id: &str) {
    user.run(&["create", "--project", repository.as_str(), id]);
}

/// Returns the only project as it is shown.
fn project(user: &User) -> Value {
    let projects = user.json(&["projects"]);
    let [project] = projects.as_array().unwrap().as_slice() else { panic!("{projects}") };
    project.clone()
}

/// Returns all that is in a volume, with owners, modes, times and digests of the contents.
fn contents(volume: &str) -> String {
    let script = "cd \"$0\" && find . -printf '%p %y %U %G %m %T@ %s %l\\n' | sort && \
                  find . -type f -exec sha256sum {} + | sort";
    let directory = TestPodman::shared().files(volume);
    podman(&["unshare", "sh", "-c", script, directory.to_str().unwrap()])
}

#[test]
fn tools_keep_what_they_build_and_download_in_the_cache() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "tools");
    let script = "printf '%s\\n' $CARGO_TARGET_DIR $npm_config_cache $PIP_CACHE_DIR \
                  $PYTHONPYCACHEPREFIX $GOMODCACHE $GOCACHE; \
                  touch ~/.cargo/registry/seen ~/.cargo/git/seen; \
                  git -C /workspace status --porcelain";
    let expected: String = ["target", "npm", "pip", "pycache", "go/mod", "go/build"]
        .iter()
        .map(|place| format!("/workspace/.build-cache/{place}\n"))
        .collect();
    assert_eq!(dev(&user, "tools", script), expected);
    assert_eq!(succeed(&mut user.ssh("tools-agent", &[script])), expected);
    let seen = dev(&user, "tools", "cd /workspace/.build-cache && find . -name seen | sort");
    assert_eq!(seen, "./cargo/git/seen\n./cargo/registry/seen\n");
}

#[test]
fn later_taskspaces_begin_with_a_promoted_cache_and_change_only_their_own() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.commit(".gitignore", "web/node_modules/\n");
    // What the project itself has is of its commit, whatever it is called.
    repository.commit("test/node_modules/dep/index.js", "of the project\n");
    create(&user, &repository, "warm-a");
    dev(
        &user,
        "warm-a",
        "cd /workspace/.build-cache && mkdir target && echo old > target/kept && \
         echo old > target/changed && echo old > target/gone && \
         touch -d '2020-02-02 02:02:02.123456789' target/kept && \
         echo secret | sudo tee target/root > /dev/null && sudo chmod 600 target/root && \
         mkdir -p /workspace/web/node_modules/left-pad /workspace/src && \
         echo pad > /workspace/web/node_modules/left-pad/index.js && echo x > /workspace/src/own && \
         echo changed > /workspace/test/node_modules/dep/index.js",
    );
    user.run(&["cache", "promote", "warm-a"]);
    let shown = project(&user);
    let cache = &shown["caches"][0];
    assert_eq!((&cache["from"], &cache["current"]), (&json!("warm-a"), &json!(true)));
    assert!(cache["bytes"].as_u64().unwrap() > 0, "{shown}");
    let volume = cache["volume"].as_str().unwrap();
    let before = contents(volume);

    create(&user, &repository, "warm-b");
    let look = "cd /workspace/.build-cache/target && stat -c '%n %U %a' kept root && \
                stat -c %.Y kept && sudo cat root && \
                cat ../../web/node_modules/left-pad/index.js \
                    ../../test/node_modules/dep/index.js; ls -A ../../src 2> /dev/null; \
                git -C /workspace status --porcelain";
    let seen =
        "kept developer 644\nroot root 600\n1580608922.123456789\nsecret\npad\nof the project\n";
    assert_eq!(dev(&user, "warm-b", look), seen);
    let change = "cd /workspace/.build-cache/target && echo new > changed && rm gone && \
                  echo new > added && rm -r /workspace/web/node_modules/left-pad && \
                  mkdir /workspace/web/node_modules/right-pad";
    dev(&user, "warm-b", change);
    let list =
        "cd /workspace/.build-cache/target && ls && cat changed && ls ../../web/node_modules";
    assert_eq!(dev(&user, "warm-a", list), "changed\ngone\nkept\nroot\nold\nleft-pad\n");
    let changed = "added\nchanged\nkept\nroot\nnew\nright-pad\n";
    assert_eq!(dev(&user, "warm-b", list), changed);
    assert_eq!(contents(volume), before);
    assert_eq!(project(&user)["caches"][0]["taskspaces"], json!(["warm-b"]));

    // The next one is made of both, and the former stays for who has it.
    user.run(&["restart", "warm-b"]);
    user.run(&["cache", "promote", "warm-b"]);
    assert_eq!(contents(volume), before);
    create(&user, &repository, "warm-c");
    assert_eq!(dev(&user, "warm-c", list), changed);
    let shown = project(&user);
    assert_eq!(shown["caches"][1]["volume"], volume);
    let newer = shown["caches"][0]["volume"].as_str().unwrap();
    // What is the same in both is there once.
    let names = "stat -c %h \"$0\"/files/target/kept";
    let directory = TestPodman::shared().files(newer);
    assert_eq!(podman(&["unshare", "sh", "-c", names, directory.to_str().unwrap()]), "2\n");
    user.run(&["delete", "--force", "--purge", "warm-b"]);
    let shown = project(&user);
    assert_eq!(shown["caches"].as_array().unwrap().len(), 1, "{shown}");

    // Without it new ones begin empty again; it goes with the last that has it.
    user.run(&["cache", "withdraw", "app"]);
    assert_eq!(project(&user)["caches"][0]["current"], false);
    create(&user, &repository, "warm-d");
    assert_eq!(dev(&user, "warm-d", "ls /workspace/.build-cache"), "cargo\n");
    user.run(&["delete", "--force", "--purge", "warm-c"]);
    assert_eq!(project(&user)["caches"], json!([]));
    user.fail(3, &["cache", "withdraw", "nobody"]);
    user.fail(3, &["cache", "promote", "nobody"]);
}

#[test]
fn withdrawals_at_once_remove_a_cache() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "withdrawn");
    let script = "cd /workspace/.build-cache && mkdir -p target/{1..200}/{1..4}/deep";
    dev(&user, "withdrawn", script);
    user.run(&["cache", "promote", "withdrawn"]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| user.run(&["cache", "withdraw", "app"]));
        }
    });
    assert_eq!(project(&user)["caches"], json!([]));
}

#[test]
fn a_cache_that_somebody_removed_is_an_empty_one() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "lost-a");
    dev(&user, "lost-a", "echo x > /workspace/.build-cache/x");
    user.run(&["stop", "lost-a"]);
    user.run(&["cache", "promote", "lost-a"]);
    create(&user, &repository, "lost-b");
    dev(&user, "lost-b", "cat /workspace/.build-cache/x && echo y > /workspace/.build-cache/y");
    user.run(&["stop", "lost-b"]);
    let volume = project(&user)["caches"][0]["volume"].as_str().unwrap().to_owned();
    podman(&["pod", "rm", "--force", "taskspace-lost-b"]);
    TestPodman::shared().remove_volumes(&[&volume]);
    user.run(&["start", "lost-b"]);
    assert_eq!(dev(&user, "lost-b", "ls /workspace/.build-cache"), "cargo\ny\n");
}

#[test]
fn a_cache_can_be_kept_whenever_a_taskspace_goes() {
    let user = User::new();
    user.settings("settings.yaml", "cache: {promote: delete}\n");
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "goes-a");
    dev(&user, "goes-a", "echo x > /workspace/.build-cache/x");
    user.run(&["delete", "--force", "--purge", "goes-a"]);
    create(&user, &repository, "goes-b");
    assert_eq!(dev(&user, "goes-b", "ls /workspace/.build-cache"), "cargo\nx\n");
}

#[test]
fn a_cache_that_root_has_closed_is_in_nobodys_way() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "closed");
    let close = "chown root /workspace/.build-cache && chmod 700 /workspace/.build-cache";
    podman(&["exec", "--user=root", "taskspace-closed-dev", "sh", "-c", close]);
    user.run(&["fork", "closed", "closed-copy"]);
    dev(&user, "closed-copy", "sudo test -d /workspace/.build-cache/cargo");
    // Made anew.
    user.run(&["stop", "closed"]);
    podman(&["pod", "rm", "--force", "taskspace-closed"]);
    user.run(&["start", "closed"]);
    dev(&user, "closed", "sudo test -d /workspace/.build-cache/cargo");
}
