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
        (&first, &first),
        (&first[..8], &first),
    ];
    for (asked, commit) in cases {
        assert_eq!(&world.resolve(&source, asked).await.unwrap(), commit, "{asked}");
    }
    for asked in
        ["mian", "--all", "HEAD~1", "main^{tree}", "a\nb", "", "refs/heads/x", "0000000", "refs/x"]
    {
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
