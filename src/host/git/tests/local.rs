//! What a path leads to.

use super::*;

/// Returns what a path is taken for, relative to the world's directory.
async fn located(world: &World, path: &str) -> String {
    let found = world.git.locate(&world.source(&world.path(path))).await.unwrap();
    let found = fs::canonicalize(found.local_path().unwrap()).unwrap();
    let root = fs::canonicalize(world.root.path()).unwrap();
    found.strip_prefix(root).unwrap().to_str().unwrap().to_owned()
}

/// Returns the commit that HEAD of a path is, by way of its mirror.
async fn head(world: &World, path: &str) -> String {
    let source = world.source(&world.path(path));
    let source = world.git.locate(&source).await.unwrap();
    world.fetch(&source).await.unwrap();
    world.resolve(&source, "HEAD").await.unwrap()
}

#[tokio::test]
async fn every_form_that_git_clone_takes_is_found() {
    let world = World::new();
    let dir = world.repository("app");
    let commit = world.run(&dir, &["rev-parse", "HEAD"]);
    let target = |name: &str| world.path(name).display().to_string();
    world.run(&dir, &["clone", "--quiet", "--bare", ".", &target("srv/lib.git")]);
    world.run(&dir, &["clone", "--quiet", ".", &target("odd.git")]);
    world.run(
        &dir,
        &["clone", "--quiet", "--separate-git-dir", &target("apart"), ".", &target("sep")],
    );
    world.run(&dir, &["worktree", "add", "--quiet", "--detach", &target("linked")]);
    world.run(&dir, &["bundle", "create", "--quiet", &target("all.bundle"), "--all"]);
    world.run(&dir, &["bundle", "create", "--quiet", &target("head.bundle"), "HEAD"]);
    std::os::unix::fs::symlink("app", world.path("link")).unwrap();
    let cases = [
        ("app", "app"),
        ("app/src", "app"),
        ("app/.git", "app"),
        ("link", "app"),
        ("srv/lib", "srv/lib.git"),
        ("srv/lib.git", "srv/lib.git"),
        ("odd", "odd.git"),
        ("sep", "sep"),
        ("sep/.git", "sep"),
        ("apart", "apart"),
        ("linked", "linked"),
        ("linked/.git", "linked"),
        ("all", "all.bundle"),
        ("head.bundle", "head.bundle"),
    ];
    for (path, expected) in cases {
        assert_eq!(located(&world, path).await, expected, "{path}");
        assert_eq!(head(&world, path).await, commit, "{path}");
    }
    let bundle = world.source(&world.path("all.bundle"));
    assert_eq!(bundle.project_name(), "all");
    assert_eq!(
        world.resolve(&bundle, "origin/main~1").await.unwrap(),
        world.resolve(&bundle, "v1.0").await.unwrap()
    );
    let error = world.git.work_tree_head(&world.path("all.bundle")).await.unwrap_err();
    assert!(matches!(error, GitError::NoWorkTree { .. }), "{error:?}");
}

#[tokio::test]
async fn a_bundle_without_head_names_its_branches() {
    let world = World::new();
    let dir = world.repository("app");
    let bundle = world.path("main.bundle");
    world.run(&dir, &["bundle", "create", "--quiet", bundle.to_str().unwrap(), "main"]);
    let source = world.source(&bundle);
    world.fetch(&source).await.unwrap();
    let error = world.resolve(&source, "HEAD").await.unwrap_err();
    assert!(error.hint().unwrap().contains("main"), "{error:?}");
    let commit = world.run(&dir, &["rev-parse", "main"]);
    assert_eq!(world.resolve(&source, "main").await.unwrap(), commit);
    fs::write(world.path("text"), "no bundle").unwrap();
    let error = world.git.locate(&world.source(&world.path("text"))).await.unwrap_err();
    assert!(error.to_string().contains("the file is no bundle"), "{error}");
}

#[tokio::test]
async fn files_may_lie_apart_from_the_repository() {
    let world = World::new();
    let (git_dir, files) = (world.path("dots.git"), world.path("dot"));
    world.init("dots.git", &["--bare"]);
    fs::create_dir(&files).unwrap();
    world.run(&git_dir, &["config", "core.bare", "false"]);
    world.run(&git_dir, &["config", "core.worktree", files.to_str().unwrap()]);
    fs::write(files.join("bashrc"), "set -o vi\n").unwrap();
    world.run(&git_dir, &["--git-dir=.", "add", "--all"]);
    world.run(&git_dir, &["--git-dir=.", "commit", "--quiet", "-m", "first"]);
    let commit = head(&world, "dots.git").await;
    fs::write(files.join("bashrc"), "changed\n").unwrap();
    assert_eq!(world.git.work_tree_head(&git_dir).await.unwrap(), commit);
    assert_eq!(world.git.uncommitted(&git_dir).await.unwrap().count(), 1);
    let (base, upper) = (world.path("base"), world.path("upper"));
    fs::create_dir_all(&base).and_then(|()| fs::create_dir(&upper)).unwrap();
    let source = world.source(&git_dir);
    world.make_base(&source, &commit, &base, None).await.unwrap();
    world.git.carry_changes(&git_dir, &commit, &base, &upper).await.unwrap();
    assert_eq!(fs::read_to_string(upper.join("bashrc")).unwrap(), "changed\n");
}

#[tokio::test]
async fn settings_for_repositories_elsewhere_do_not_lead_away_from_a_path() {
    let world = World::new();
    let dir = world.repository("app");
    let config = format!(
        "[safe]\n\tbareRepository = explicit\n[protocol]\n\tallow = never\n\
         [url \"https://elsewhere.example/\"]\n\tinsteadOf = {0}/\n\tinsteadOf = {0}\n\
         [transfer]\n\tfsckObjects = true\n[fetch]\n\tpruneTags = true\n\toutput = compact\n\
         [core]\n\tfsmonitor = /nowhere\n\thooksPath = /nowhere\n[init]\n\ttemplateDir = /nowhere\n",
        world.root.path().display()
    );
    fs::write(world.path("gitconfig"), format!("[user]\n\tname = A\n\temail = a@b\n{config}"))
        .unwrap();
    // `git fsck` complains about this commit, which `git worktree add` checks out all the same.
    let tree = world.run(&dir, &["rev-parse", "HEAD^{tree}"]);
    let text = format!("tree {tree}\nauthor A <a@b 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n");
    fs::write(world.path("commit"), text).unwrap();
    let bad = world.path("commit").display().to_string();
    let bad = world.run(&dir, &["hash-object", "-t", "commit", "--literally", "-w", &bad]);
    world.run(&dir, &["reset", "--quiet", "--hard", &bad]);
    assert_eq!(head(&world, "app").await, bad);
    let bare = world.path("bare.git");
    fs::rename(dir.join(".git"), &bare).unwrap();
    world.run(&bare, &["--git-dir=.", "config", "core.bare", "true"]);
    assert_eq!(head(&world, "bare.git").await, bad);
    let mirror = world.mirror(&world.source(&bare));
    assert!(world.git.kept_commits(&mirror, &[&bad]).await.unwrap().contains(&bad));
    assert_eq!(world.git.refs(&bare, "refs/heads/main").await.unwrap().len(), 1);
}
