use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// A home directory with a configuration of its own, repositories, and mirrors.
struct World {
    root: tempfile::TempDir,
    git: Git,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let config = root.path().join("gitconfig");
        fs::write(
            &config,
            "[user]\n\tname = Ada \"L\" Lovelace\n\temail = ada@example.org\n[core]\n\tautocrlf = true\n\
             [init]\n\tdefaultBranch = trunk\n",
        )
        .unwrap();
        let variables = vec![
            ("GIT_CONFIG_GLOBAL", config.to_str().unwrap().to_owned()),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ];
        Self { git: Git { variables, ..Git::default() }, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Runs git by hand.
    fn run(&self, dir: &Path, args: &[&str]) -> String {
        let output = Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(args)
            .envs(self.git.variables.iter().map(|(name, value)| (name, value)))
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn init(&self, name: &str, args: &[&str]) -> PathBuf {
        let dir = self.path(name);
        fs::create_dir_all(&dir).unwrap();
        self.run(&dir, &[&["init", "--quiet", "--initial-branch=main"], args].concat());
        dir
    }

    fn commit(&self, dir: &Path, file: &str, text: &str) -> String {
        if let Some(parent) = dir.join(file).parent() {
            fs::create_dir_all(parent).unwrap();
        }
        fs::write(dir.join(file), text).unwrap();
        self.run(dir, &["add", "--all"]);
        self.run(dir, &["commit", "--quiet", "--message", text]);
        self.run(dir, &["rev-parse", "HEAD"])
    }

    /// A repository with a branch, a branch with a slash, and an annotated tag.
    fn repository(&self, name: &str) -> PathBuf {
        let dir = self.init(name, &[]);
        self.commit(&dir, "Cargo.toml", "one");
        self.run(&dir, &["tag", "-a", "-m", "first", "v1.0"]);
        self.run(&dir, &["branch", "feature/deep/x"]);
        self.commit(&dir, "src/with space", "two");
        dir
    }

    fn source(&self, path: &Path) -> Source {
        Source::parse(path.to_str().unwrap()).unwrap()
    }

    fn mirror(&self, source: &Source) -> PathBuf {
        mirror_path(&self.path("cache/mirrors"), source)
    }

    async fn fetch(&self, source: &Source) -> Result<PathBuf, GitError> {
        let mirror = self.mirror(source);
        self.git.update_mirror(source, &mirror, |_| {}).await.map(|()| mirror)
    }

    async fn resolve(&self, source: &Source, git_ref: &str) -> Result<String, GitError> {
        self.git.resolve(source, &self.mirror(source), Some(git_ref)).await
    }

    /// What lies beside the mirrors.
    fn left_in_cache(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("cache/mirrors")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".lock")).collect()
    }
}

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
async fn repositories_of_other_kinds_work() {
    let world = World::new();
    let sha256 = world.init("sha256", &["--object-format=sha256"]);
    let commit = world.commit(&sha256, "file", "text");
    let source = world.source(&sha256);
    let mirror = world.fetch(&source).await.unwrap();
    assert_eq!(world.resolve(&source, "HEAD").await.unwrap(), commit);
    let base = world.path("base");
    fs::create_dir(&base).unwrap();
    world.git.make_base(&mirror, &commit, &base).await.unwrap();
    assert_eq!(world.run(&base, &["rev-parse", "HEAD"]), commit);

    let full = world.repository("full");
    let shallow = world.path("shallow");
    let url = format!("file://{}", full.display());
    world.run(&full, &["clone", "--quiet", "--depth=1", &url, shallow.to_str().unwrap()]);
    let source = world.source(&shallow);
    let mirror = world.fetch(&source).await.unwrap();
    let commit = world.resolve(&source, "HEAD").await.unwrap();
    let base = world.path("shallow-base");
    fs::create_dir(&base).unwrap();
    world.git.make_base(&mirror, &commit, &base).await.unwrap();
    assert_eq!(world.run(&base, &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn what_is_no_repository_is_told_and_leaves_nothing() {
    let world = World::new();
    let plain = world.path("plain");
    fs::create_dir(&plain).unwrap();
    for text in [plain.to_str().unwrap(), "/nowhere/at/all", "file:///nowhere"] {
        let error = world.fetch(&Source::parse(text).unwrap()).await.unwrap_err();
        assert!(matches!(error, GitError::RepositoryUnavailable { .. }), "{text}: {error:?}");
        assert!(error.hint().is_some() && !error.log().is_empty(), "{text}: {error:?}");
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
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
    let mut tasks = tokio::task::JoinSet::new();
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
async fn a_base_is_whole_by_itself() {
    let world = World::new();
    let dir = world.repository("repo");
    fs::write(dir.join("run"), "#!/bin/sh\r\n").unwrap();
    fs::set_permissions(dir.join("run"), fs::Permissions::from_mode(0o775)).unwrap();
    let commit = world.commit(&dir, "lines", "one\ntwo\n");
    let source = world.source(&dir);
    let mirror = world.fetch(&source).await.unwrap();
    let base = world.path("base");
    fs::create_dir(&base).unwrap();
    world.git.make_base(&mirror, &commit, &base).await.unwrap();
    let object = |root: &Path| {
        let pack = fs::read_dir(root.join("objects/pack")).unwrap().next();
        let loose = root.join("objects").join(&commit[..2]).join(&commit[2..]);
        fs::metadata(pack.map_or(loose, |entry| entry.unwrap().path())).unwrap().ino()
    };
    assert_eq!(object(&mirror), object(&base.join(".git")), "objects are not linked");
    fs::remove_dir_all(&mirror).unwrap();
    fs::remove_dir_all(&dir).unwrap();

    world.run(&base, &["fsck", "--strict"]);
    assert_eq!(world.run(&base, &["status", "--porcelain"]), "");
    assert_eq!(world.run(&base, &["rev-parse", "HEAD"]), commit);
    assert_eq!(world.run(&base, &["branch", "--list"]), "* (no branch)");
    assert_eq!(
        world.run(&base, &["for-each-ref", "--format=%(refname)"]),
        "refs/remotes/origin/HEAD\nrefs/remotes/origin/feature/deep/x\nrefs/remotes/origin/main\n\
         refs/tags/v1.0"
    );
    assert_eq!(
        world.run(&base, &["symbolic-ref", "refs/remotes/origin/HEAD"]),
        "refs/remotes/origin/main"
    );
    // The user's own autocrlf plays no part, and nothing tells where the base was made.
    assert_eq!(fs::read_to_string(base.join("lines")).unwrap(), "one\ntwo\n");
    for name in ["logs", "objects/info/alternates", "hooks"] {
        assert!(!base.join(".git").join(name).exists(), "{name}");
    }
    let config = fs::read_to_string(base.join(".git/config")).unwrap();
    assert!(!config.contains("url") && config.contains("checkStat = minimal"), "{config}");
    fs::create_dir(base.join(".build-cache")).unwrap();
    fs::write(base.join(".build-cache/x"), "").unwrap();
    assert_eq!(world.run(&base, &["status", "--porcelain"]), "");
    fn check(path: &Path) {
        let found = fs::symlink_metadata(path).unwrap();
        assert_eq!(found.permissions().mode() & 0o022, 0, "{}", path.display());
        if found.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| check(&entry.unwrap().path()));
        }
    }
    check(&base);
    assert_eq!(fs::metadata(base.join("run")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[tokio::test]
async fn a_seeded_upper_directory_puts_the_checkout_on_a_branch() {
    let world = World::new();
    let source = world.source(&world.repository("repo"));
    let mirror = world.fetch(&source).await.unwrap();
    let commit = world.resolve(&source, "HEAD").await.unwrap();
    let (base, upper) = (world.path("base"), world.path("upper"));
    fs::create_dir(&base).unwrap();
    fs::create_dir(&upper).unwrap();
    world.git.make_base(&mirror, &commit, &base).await.unwrap();
    let (user_name, user_email) = world.git.identity().await;
    assert_eq!(user_email.as_deref(), Some("ada@example.org"));
    let seed = SeedSpec {
        branch: "taskspace/fix-1".to_owned(),
        commit: commit.clone(),
        origin_url: "https://example.org/a \"b\\c;#d".to_owned(),
        user_name: Some("Ada \"L\" \\ #1\n".to_owned()),
        user_email,
    };
    assert!(user_name.is_some());
    world.git.seed_upper(&base, &upper, seed.clone()).await.unwrap();
    world.git.seed_upper(&base, &upper, seed).await.unwrap();
    // What an overlay shows: the upper directory's files laid over the base's.
    let merged = Command::new("cp").arg("-a").arg(upper.join(".")).arg(&base).status().unwrap();
    assert!(merged.success());
    assert_eq!(world.run(&base, &["status", "--porcelain", "--branch"]), "## taskspace/fix-1");
    assert_eq!(world.run(&base, &["rev-parse", "HEAD"]), commit);
    let config = |key: &str| world.run(&base, &["config", "--local", "--get", key]);
    assert_eq!(config("remote.origin.url"), "https://example.org/a \"b\\c;#d");
    assert_eq!(config("user.name"), "Ada \"L\" \\ #1");
    assert_eq!(config("user.email"), "ada@example.org");
    assert!(base.join(".build-cache").is_dir());
    world.commit(&base, "more", "works");
    assert_eq!(world.run(&base, &["log", "--format=%s", "-1"]), "works");
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

/// Where the test below tells its other half that a small file system is mounted.
const SMALL_DISK: &str = "TASKSPACE_TEST_SMALL_DISK";

#[tokio::test]
async fn a_full_disk_is_told_and_a_new_mirror_leaves_nothing_on_it() {
    let Some(small) = std::env::var_os(SMALL_DISK).map(PathBuf::from) else {
        return run_on_a_small_disk("a_full_disk_is_told_and_a_new_mirror_leaves_nothing_on_it");
    };
    let world = World::new();
    let dir = world.repository("repo");
    // Little in the repository, much in a checkout.
    let commit = world.commit(&dir, "large", &"much of the same\n".repeat(400_000));
    let source = world.source(&dir);
    let mirror = world.fetch(&source).await.unwrap();
    let base = small.join("base");
    fs::create_dir(&base).unwrap();
    let error = world.git.make_base(&mirror, &commit, &base).await.unwrap_err();
    assert!(matches!(error, GitError::NoSpace { .. }), "{error:?}");
    fs::remove_dir_all(&base).unwrap();

    // What does not compress.
    let mut noise = vec![0; 4_000_000];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut noise);
    fs::write(dir.join("noise"), &noise).unwrap();
    world.commit(&dir, "more", "more");
    let mirror = mirror_path(&small.join("mirrors"), &source);
    let error = world.git.update_mirror(&source, &mirror, |_| {}).await.unwrap_err();
    assert!(matches!(error, GitError::NoSpace { .. }), "{error:?}");
    let left: Vec<_> = fs::read_dir(small.join("mirrors")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "only the lock stays: {left:?}");
}

/// Runs one test of this program again, in a mount namespace with a file system of 3 MB.
fn run_on_a_small_disk(test: &str) {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=3m tmpfs \"$1\" || exit 77; exec \"$2\" \"$3\" --quiet";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(SMALL_DISK, dir.path())
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("test result: FAILED") => {
            panic!("{}", String::from_utf8_lossy(&output.stdout));
        }
        other => eprintln!("SKIPPED {test}: no mount namespace to be had: {other:?}"),
    }
}
