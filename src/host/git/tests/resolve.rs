use super::*;

#[tokio::test]
async fn refs_are_resolved_to_commits() {
    let world = World::new();
    let dir = world.repository("repo");
    let source = world.source(&dir);
    let mirror = world.fetch(&source).await.unwrap();
    let (head, first) =
        (world.run(&dir, &["rev-parse", "HEAD"]), world.run(&dir, &["rev-parse", "HEAD~1"]));
    assert_eq!(world.git.resolve(&source, &mirror, None).await.unwrap(), head);
    let cases = [
        ("HEAD", &head),
        ("main", &head),
        ("origin/main", &head),
        ("refs/heads/main", &head),
        ("v1.0", &first),
        ("refs/tags/v1.0", &first),
        ("feature/deep/x", &first),
        ("HEAD~1", &first),
        ("main^", &first),
        (":/one", &first),
        (&first, &first),
        (&first[..8], &first),
    ];
    for (asked, commit) in cases {
        assert_eq!(&world.resolve(&source, asked).await.unwrap(), commit, "{asked}");
    }
    for asked in [
        "mian",
        "--all",
        "HEAD~9",
        "main^{tree}",
        "a\nb",
        "",
        "refs/heads/x",
        "0000000",
        "refs/x",
        "v..main",
    ] {
        let error = world.resolve(&source, asked).await.unwrap_err();
        assert!(matches!(error, GitError::RefNotFound { .. }), "{asked}: {error:?}");
    }
    let error = world.resolve(&source, "mian").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} has no branch, tag or commit \"mian\"", dir.display())
    );
    assert!(error.hint().unwrap().starts_with("it has main, v1.0"), "{:?}", error.hint());
    assert!(world.git.has_commit(&mirror, &first).await);
    assert!(!world.git.has_commit(&mirror, &"0".repeat(40)).await);
    assert!(!world.git.has_commit(&mirror, "main").await);
    let names = world.git.top_level_names(&mirror, &head).await.unwrap();
    assert_eq!(names, ["Cargo.toml", "src"]);
}

#[tokio::test]
async fn names_outside_of_branches_and_tags_are_fetched_on_demand() {
    let world = World::new();
    let dir = world.repository("repo");
    let source = world.source(&dir);
    let mirror = world.fetch(&source).await.unwrap();
    world.run(&dir, &["checkout", "--quiet", "--detach"]);
    let mut proposed = world.commit(&dir, "new", "proposed");
    world.run(&dir, &["update-ref", "refs/pull/1/head", &proposed]);
    let offline = world.git.clone().offline(true);
    assert!(offline.resolve(&source, &mirror, Some("refs/pull/1/head")).await.is_err());
    assert_eq!(world.resolve(&source, "refs/pull/1/head").await.unwrap(), proposed);
    // It moves.
    proposed = world.commit(&dir, "new", "better");
    world.run(&dir, &["update-ref", "refs/pull/1/head", &proposed]);
    assert_eq!(world.resolve(&source, "refs/pull/1/head").await.unwrap(), proposed);
    let hidden = world.commit(&dir, "new", "hidden");
    world.run(&dir, &["update-ref", "refs/pull/2/head", &hidden]);
    assert_eq!(world.resolve(&source, &hidden).await.unwrap(), hidden);
    world.fetch(&source).await.unwrap();
    assert!(offline.resolve(&source, &mirror, Some("refs/pull/1/head")).await.is_ok());
}

#[tokio::test]
async fn odd_paths_subdirectories_and_work_trees_are_sources() {
    let world = World::new();
    let dir = world.repository("a,b: c%20d");
    let source = world.source(&dir);
    assert_eq!(source.project_name(), "a-b-c-20d");
    world.fetch(&source).await.unwrap();
    let head = world.resolve(&source, "HEAD").await.unwrap();

    let below = world.source(&dir.join("src"));
    assert_eq!(world.git.locate(&below).await.unwrap().local_path(), Some(dir.as_path()));
    world.fetch(&below).await.unwrap();
    assert_eq!(world.resolve(&below, "HEAD").await.unwrap(), head);

    let tree = world.path("tree");
    world.run(&dir, &["worktree", "add", "--quiet", tree.to_str().unwrap(), "feature/deep/x"]);
    let tree = world.source(&tree);
    world.fetch(&tree).await.unwrap();
    let first = world.run(&dir, &["rev-parse", "HEAD~1"]);
    assert_eq!(world.resolve(&tree, "HEAD").await.unwrap(), first);

    let bare = world.path("bare.git");
    world.run(&dir, &["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    let bare = world.source(&bare);
    assert_eq!(world.git.locate(&bare).await.unwrap(), bare);
    world.fetch(&bare).await.unwrap();

    let url = Source::parse(&format!("file://{}/repo", world.root.path().display())).unwrap();
    world.repository("repo");
    world.fetch(&url).await.unwrap();
    assert!(world.resolve(&url, "v1.0").await.is_ok());
}

#[tokio::test]
async fn an_empty_repository_is_told_and_fills_up_later() {
    let world = World::new();
    let dir = world.init("empty", &[]);
    let source = world.source(&dir);
    world.fetch(&source).await.unwrap();
    let error = world.resolve(&source, "HEAD").await.unwrap_err();
    assert!(matches!(error, GitError::Empty { .. }), "{error:?}");
    let commit = world.commit(&dir, "file", "text");
    world.fetch(&source).await.unwrap();
    assert_eq!(world.resolve(&source, "HEAD").await.unwrap(), commit);
    // A HEAD that leads nowhere, beside a branch that does.
    world.run(&dir, &["symbolic-ref", "HEAD", "refs/heads/nothing"]);
    world.fetch(&source).await.unwrap();
    assert!(matches!(
        world.resolve(&source, "HEAD").await.unwrap_err(),
        GitError::RefNotFound { similar, .. } if similar == ["main"]
    ));
}

#[tokio::test]
async fn a_clone_says_itself_what_the_branches_of_its_remotes_are() {
    let world = World::new();
    let full = world.repository("full");
    let clone = world.path("clone");
    world.run(&full, &["clone", "--quiet", ".", clone.to_str().unwrap()]);
    world.run(&clone, &["remote", "add", "upstream", full.to_str().unwrap()]);
    let own = world.run(&clone, &["rev-parse", "main"]);
    let newer = world.commit(&full, "new", "newer");
    world.run(&full, &["branch", "topic"]);
    world.run(&full, &["branch", "both"]);
    world.run(&full, &["branch", "v1.0", "feature/deep/x"]);
    world.run(&clone, &["fetch", "--quiet", "origin"]);
    world.run(&clone, &["branch", "v1.0", "main"]);
    fs::write(clone.join("Cargo.toml"), "stashed").unwrap();
    world.run(&clone, &["stash", "--quiet"]);
    let stash = world.run(&clone, &["rev-parse", "stash"]);
    let source = world.source(&clone);
    let mirror = world.fetch(&source).await.unwrap();
    let cases = [
        ("main", &own),
        ("origin/main", &newer),
        ("origin", &newer),
        ("origin/HEAD", &newer),
        ("@{upstream}", &newer),
        ("main@{u}", &newer),
        ("origin/topic", &newer),
        ("remotes/origin/topic", &newer),
        ("refs/remotes/origin/topic", &newer),
        // Only one remote has it.
        ("topic", &newer),
        ("stash@{0}", &stash),
        (&newer[..10], &newer),
        // A branch goes before a tag of the same name.
        ("v1.0", &own),
    ];
    for (asked, commit) in cases {
        assert_eq!(&world.resolve(&source, asked).await.unwrap(), commit, "{asked}");
    }
    world.run(&clone, &["fetch", "--quiet", "upstream"]);
    assert_eq!(world.resolve(&source, "upstream/both").await.unwrap(), newer);
    let error = world.resolve(&source, "both").await.unwrap_err();
    let hint = error.hint().unwrap();
    assert!(hint.contains("origin/both") && hint.contains("upstream/both"), "{hint}");
    // It has an `origin`, so its own branches are none of that.
    world.run(&clone, &["branch", "mine"]);
    assert!(world.resolve(&source, "origin/mine").await.is_err());
    // Without asking, what is known of it by its own names is there, even when it is gone.
    let offline = world.git.clone().offline(true);
    world.commit(&clone, "unseen", "unseen");
    assert_eq!(offline.resolve(&source, &mirror, Some("main")).await.unwrap(), own);
    assert!(offline.resolve(&source, &mirror, Some("origin/mine")).await.is_err());
}

#[tokio::test]
async fn a_repository_elsewhere_is_origin_and_steps_lead_to_ancestors() {
    let world = World::new();
    let dir = world.repository("repo");
    let source = Source::parse(&format!("file://{}", dir.display())).unwrap();
    world.fetch(&source).await.unwrap();
    let head = world.run(&dir, &["rev-parse", "HEAD"]);
    let first = world.run(&dir, &["rev-parse", "HEAD~1"]);
    let cases = [
        ("origin/main", &head),
        ("origin", &head),
        ("origin/HEAD", &head),
        ("refs/remotes/origin/main", &head),
        ("heads/main", &head),
        ("tags/v1.0", &first),
        ("HEAD~1", &first),
        ("origin/main^", &first),
        ("main~0", &head),
        (&head[..12], &head),
    ];
    for (asked, commit) in cases {
        assert_eq!(&world.resolve(&source, asked).await.unwrap(), commit, "{asked}");
    }
    for asked in ["upstream/main", "HEAD~9", "main@{u}", "stash@{0}", "main^{tree}", "~1", ":/one"]
    {
        let error = world.resolve(&source, asked).await.unwrap_err();
        assert!(matches!(error, GitError::RefNotFound { .. }), "{asked}: {error:?}");
    }
}
