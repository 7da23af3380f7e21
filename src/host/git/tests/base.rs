use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

#[tokio::test]
async fn repositories_of_other_kinds_work() {
    let world = World::new();
    let sha256 = world.init("sha256", &["--object-format=sha256"]);
    let commit = world.commit(&sha256, "file", "text");
    let source = world.source(&sha256);
    world.fetch(&source).await.unwrap();
    assert_eq!(world.resolve(&source, "HEAD").await.unwrap(), commit);
    let base = world.path("base");
    fs::create_dir(&base).unwrap();
    world.make_base(&source, &commit, &base, None).await.unwrap();
    assert_eq!(world.run(&base, &["rev-parse", "HEAD"]), commit);

    let full = world.repository("full");
    let shallow = world.path("shallow");
    let url = format!("file://{}", full.display());
    world.run(&full, &["clone", "--quiet", "--depth=1", &url, shallow.to_str().unwrap()]);
    let source = world.source(&shallow);
    world.fetch(&source).await.unwrap();
    let commit = world.resolve(&source, "HEAD").await.unwrap();
    let base = world.path("shallow-base");
    fs::create_dir(&base).unwrap();
    world.make_base(&source, &commit, &base, None).await.unwrap();
    assert_eq!(world.run(&base, &["status", "--porcelain"]), "");
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
    world.make_base(&source, &commit, &base, None).await.unwrap();
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
    assert!(!config.contains("url") && !config.contains("checkStat"), "{config}");
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
    world.fetch(&source).await.unwrap();
    let commit = world.resolve(&source, "HEAD").await.unwrap();
    let (base, upper) = (world.path("base"), world.path("upper"));
    fs::create_dir(&base).unwrap();
    fs::create_dir(&upper).unwrap();
    world.make_base(&source, &commit, &base, None).await.unwrap();
    let mut commits = world.git.commit_settings(&source).await;
    let author = commits.author.as_mut().unwrap();
    assert_eq!(author.email, "ada@example.org");
    author.name = "Ada \"L\" \\ #1\n".to_owned();
    let seed = SeedSpec {
        branch: "taskspace/fix-1".to_owned(),
        commit: commit.clone(),
        origin_url: "https://example.org/a \"b\\c;#d".to_owned(),
        push_url: None,
        commits,
    };
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
    assert_eq!(config("core.autocrlf"), "input");
    assert!(base.join(".build-cache").is_dir());
    world.commit(&base, "more", "works");
    assert_eq!(world.run(&base, &["log", "--format=%s", "-1"]), "works");
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
    world.fetch(&source).await.unwrap();
    let base = small.join("base");
    fs::create_dir(&base).unwrap();
    let error = world.make_base(&source, &commit, &base, None).await.unwrap_err();
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
        other => panic!("{test} needs a user and mount namespace (unshare): {other:?}"),
    }
}
