use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn a_mirror_follows_its_repository() {
    let world = World::new();
    let dir = world.repository("repo");
    let source = world.source(&dir);
    world.fetch(&source).await.unwrap();
    world.run(&dir, &["branch", "-D", "feature/deep/x"]);
    // A branch where there was a directory of branches, and a rewritten one.
    world.run(&dir, &["branch", "feature/deep"]);
    world.run(&dir, &["commit", "--quiet", "--amend", "-m", "other"]);
    let head = world.run(&dir, &["rev-parse", "HEAD"]);
    world.fetch(&source).await.unwrap();
    assert_eq!(world.resolve(&source, "HEAD").await.unwrap(), head);
    assert!(world.resolve(&source, "feature/deep/x").await.is_err());
    assert!(world.resolve(&source, "feature/deep").await.is_ok());
}

#[tokio::test]
async fn what_is_no_repository_is_told_and_leaves_nothing() {
    let world = World::new();
    let plain = world.path("plain");
    fs::create_dir(&plain).unwrap();
    for text in [plain.to_str().unwrap(), "/nowhere/at/all", "file:///nowhere"] {
        let error = world.fetch(&Source::parse(text).unwrap()).await.unwrap_err();
        assert!(matches!(error, GitError::RepositoryUnavailable { .. }), "{text}: {error:?}");
        assert!(error.hint().is_some(), "{text}: {error:?}");
    }
    // Nobody listens on the discard port; the address needs no name server.
    let text = "http://user:secret@127.0.0.1:9/x";
    let error = world.fetch(&Source::parse(text).unwrap()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("--offline"), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"));
    assert_eq!(world.left_in_cache(), Vec::<String>::new());
}

#[tokio::test]
async fn a_password_goes_to_its_server_and_is_not_kept() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let count = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&request[..count]).into_owned()
    });
    let source = Source::parse(&format!("http://user:secret@127.0.0.1:{port}/x")).unwrap();
    let error = world.fetch(&source).await.unwrap_err();
    assert!(matches!(error, GitError::RepositoryUnavailable { .. }), "{error:?}");
    let request = server.await.unwrap();
    assert!(request.contains("Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"), "{request}");
}

#[tokio::test]
async fn offline_nothing_is_asked() {
    let world = World::new();
    let dir = world.repository("repo");
    let source = world.source(&dir);
    let offline = world.git.clone().offline(true);
    let mirror = world.mirror(&source);
    let error = offline.update_mirror(&source, &mirror, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("no copy of it on this host"), "{error}");
    world.fetch(&source).await.unwrap();
    fs::remove_dir_all(&dir).unwrap();
    offline.update_mirror(&source, &mirror, |_| {}).await.unwrap();
    offline.resolve(&source, &mirror, Some("v1.0")).await.unwrap();
    // A fetch that fails leaves the mirror as it was.
    world.fetch(&source).await.unwrap_err();
    offline.resolve(&source, &mirror, Some("v1.0")).await.unwrap();
}

#[tokio::test]
async fn what_killed_processes_leave_does_not_stop_a_fetch() {
    let world = World::new();
    let dir = world.repository("repo");
    let source = world.source(&dir);
    let mirror = world.fetch(&source).await.unwrap();
    for name in
        ["packed-refs.lock", "config.lock", "refs/heads/main.lock", "objects/pack/tmp_pack_x"]
    {
        fs::write(mirror.join(name), "").unwrap();
    }
    let making = PathBuf::from(format!("{}.making", mirror.display()));
    fs::create_dir_all(making.join("objects")).unwrap();
    world.commit(&dir, "more", "more");
    world.fetch(&source).await.unwrap();
    assert!(!making.exists() && !mirror.join("objects/pack/tmp_pack_x").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_share_one_mirror() {
    let world = World::new();
    let source = world.source(&world.repository("repo"));
    let mirror = world.mirror(&source);
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (git, source, mirror) = (world.git.clone(), source.clone(), mirror.clone());
        tasks.spawn(async move {
            git.update_mirror(&source, &mirror, |_| {}).await?;
            git.resolve(&source, &mirror, None).await
        });
    }
    let commits: Vec<String> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
    assert!(commits.iter().all(|commit| *commit == commits[0]));
    assert_eq!(world.left_in_cache().len(), 1);
}

#[tokio::test]
async fn without_git_that_is_said() {
    let git = Git { variables: vec![("PATH", "/nowhere".to_owned())], ..Git::default() };
    let dir = tempfile::tempdir().unwrap();
    let source = Source::parse("https://example.org/x").unwrap();
    let error = git.update_mirror(&source, &mirror_path(dir.path(), &source), |_| {}).await;
    let error = error.unwrap_err();
    assert!(matches!(error, GitError::NotInstalled(_)), "{error:?}");
    assert_eq!(error.hint().as_deref(), Some("install git"));
}
