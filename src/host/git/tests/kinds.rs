//! Repositories and files of kinds that are seldom seen.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;

use super::*;

/// Makes a base of what a source's HEAD is, and returns its commit.
async fn base(
    world: &World,
    source: &Source,
    name: &str,
    sibling: Option<&Sibling>,
) -> (PathBuf, String) {
    let mirror = world.fetch(source).await.unwrap();
    let commit = world.resolve(source, "HEAD").await.unwrap();
    let mirrors = mirror.parent().unwrap();
    world.git.fetch_contents(source, mirrors, &commit, |_| {}).await.unwrap();
    let dir = world.path(name);
    fs::create_dir(&dir).unwrap();
    world.make_base(source, &commit, &dir, sibling).await.unwrap();
    assert_eq!(world.run(&dir, &["rev-parse", "HEAD"]), commit);
    assert_eq!(world.run(&dir, &["status", "--porcelain"]), "");
    world.run(&dir, &["fsck", "--strict"]);
    (dir, commit)
}

#[tokio::test]
async fn sha256_does_all_that_sha1_does() {
    let world = World::new();
    let lib = world.init("lib", &["--object-format=sha256"]);
    world.commit(&lib, "lib.txt", "lib");
    let dir = world.init("app", &["--object-format=sha256"]);
    world.commit(&dir, "same", "same");
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../lib"];
    world.run(&dir, &add);
    let old = world.commit(&dir, "changes", "one");
    assert_eq!(old.len(), 64);
    let source = world.source(&dir);
    let (first, _) = base(&world, &source, "first", None).await;
    assert_eq!(world.resolve(&source, &old[..8]).await.unwrap(), old);
    world.commit(&dir, "changes", "two");
    let sibling = Sibling::new(first.clone(), old);
    let (second, new) = base(&world, &source, "second", Some(&sibling)).await;
    let inode =
        |dir: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.join("same")).unwrap());
    assert_eq!(inode(&first), inode(&second));
    assert!(second.join("lib/lib.txt").exists());
    fs::write(dir.join("changes"), "three").unwrap();
    let upper = world.path("upper");
    fs::create_dir(&upper).unwrap();
    let carried = world.git.carry_changes(&dir, &new, &second, &upper).await.unwrap();
    assert_eq!((carried.copied, carried.removed), (1, 0));
}

#[tokio::test]
async fn a_shallow_repository_grows_and_becomes_whole() {
    let world = World::new();
    let full = world.repository("full");
    let url = format!("file://{}", full.display());
    let shallow = world.path("shallow");
    world.run(&full, &["clone", "--quiet", "--depth=1", &url, shallow.to_str().unwrap()]);
    let source = world.source(&shallow);
    let (first, old) = base(&world, &source, "first", None).await;
    world.commit(&shallow, "more", "more");
    let sibling = Sibling::new(first, old);
    let (second, _) = base(&world, &source, "second", Some(&sibling)).await;
    assert_eq!(world.run(&second, &["rev-list", "--count", "HEAD"]), "2");
    world.run(&shallow, &["fetch", "--quiet", "--unshallow"]);
    let (third, _) = base(&world, &source, "third", None).await;
    assert_eq!(world.run(&third, &["rev-list", "--count", "HEAD"]), "3");
    assert!(!third.join(".git/shallow").exists());
    world.fetch(&source).await.unwrap();
    // The other way round: a repository that loses its past.
    let (_, _) = base(&world, &world.source(&full), "whole", None).await;
    fs::write(full.join(".git/shallow"), format!("{}\n", world.run(&full, &["rev-parse", "HEAD"])))
        .unwrap();
    let (last, _) = base(&world, &world.source(&full), "last", None).await;
    assert_eq!(world.run(&last, &["log", "--format=%s", "-1"]), "two");
}

#[tokio::test]
async fn names_of_any_bytes_and_links_to_anywhere_are_kept() {
    let world = World::new();
    let dir = world.init("odd", &[]);
    let names: [&[u8]; 6] =
        [b"caf\xe9", b"new\nline", b"tab\there", b"back\\slash", b" spaces ", b"-rf"];
    for name in names {
        let below = dir.join(OsStr::from_bytes(name));
        fs::create_dir(&below).unwrap();
        fs::write(below.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let links = [("dangling", "nowhere/at all"), ("absolute", "/etc/passwd"), ("up", "../../..")];
    for (name, target) in links {
        symlink(target, dir.join(name)).unwrap();
    }
    symlink(OsStr::from_bytes(b"to\xff\n"), dir.join("bytes")).unwrap();
    let old = world.commit(&dir, "last", "one");
    let branch = OsStr::from_bytes(b"refs/heads/br\xe4nch/x");
    let mut rename = Command::new("git");
    rename.arg("-C").arg(&dir).args(["symbolic-ref", "HEAD"]).arg(branch);
    assert!(rename.status().unwrap().success());
    world.run(&dir, &["commit", "--quiet", "--allow-empty", "-m", "on an odd branch"]);
    world.run(&dir, &["reset", "--quiet", "--hard", &old]);
    world.run(&dir, &["branch", "-D", "main"]);

    let source = world.source(&dir);
    let (first, _) = base(&world, &source, "first", None).await;
    world.commit(&dir, "last", "two");
    let (second, _) = base(&world, &source, "second", Some(&Sibling::new(first, old))).await;
    for name in names {
        let name = OsStr::from_bytes(name);
        assert_eq!(fs::read(second.join(name).join(name)).unwrap(), name.as_bytes());
    }
    for (name, target) in links {
        assert_eq!(fs::read_link(second.join(name)).unwrap(), Path::new(target));
    }
    let bytes = OsString::from_vec(b"to\xff\n".to_vec());
    assert_eq!(fs::read_link(second.join("bytes")).unwrap(), bytes);
    // What is a default branch is one, whatever it is called.
    world.run(&second, &["rev-parse", "--verify", "refs/remotes/origin/HEAD"]);
}

/// Makes a partial clone of a repository with three commits, and returns it with its remote.
fn partial_clone(world: &World, filter: &str) -> (PathBuf, PathBuf) {
    let full = world.repository("full");
    for text in ["1", "2", "3"] {
        world.commit(&full, "src/file", text);
    }
    world.run(&full, &["branch", "topic", "HEAD~1"]);
    world.run(&full, &["config", "uploadpack.allowFilter", "true"]);
    world.run(&full, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let (url, clone) = (format!("file://{}", full.display()), world.path("partial"));
    let filter = format!("--filter={filter}");
    world.run(&full, &["clone", "--quiet", &filter, &url, clone.to_str().unwrap()]);
    (full, clone)
}

#[tokio::test]
async fn a_partial_clone_fetches_what_the_checkout_of_a_commit_needs() {
    for filter in ["blob:none", "tree:0", "blob:limit=1"] {
        let world = World::new();
        let (full, clone) = partial_clone(&world, filter);
        let source = world.source(&clone);
        let (first, old) = base(&world, &source, "first", None).await;
        assert_eq!(fs::read_to_string(first.join("src/file")).unwrap(), "3", "{filter}");
        let config = world.run(&first, &["config", "extensions.partialClone"]);
        assert_eq!(config, "promisor");
        world.run(&first, &["gc", "--quiet"]);

        // A commit of its own, an earlier one, and one that only the remote has a branch of.
        world.commit(&clone, "own", "own");
        let (second, _) =
            base(&world, &source, "second", Some(&Sibling::new(first.clone(), old))).await;
        assert_eq!(fs::read_to_string(second.join("own")).unwrap(), "own");
        for (asked, text) in [("HEAD~3", "1"), ("origin/topic", "2")] {
            let commit = world.resolve(&source, asked).await.unwrap();
            let dir = world.path(&format!("base-{text}"));
            fs::create_dir(&dir).unwrap();
            world.make_base(&source, &commit, &dir, None).await.unwrap();
            assert_eq!(fs::read_to_string(dir.join("src/file")).unwrap(), text, "{filter}");
        }

        // Without its remote, what it has is still there, and the rest is told.
        let away = world.path("away");
        fs::rename(&full, &away).unwrap();
        world.fetch(&source).await.unwrap();
        world.resolve(&source, "HEAD").await.unwrap();
        let error = world.resolve(&source, "v1.0").await;
        if let Err(error) = error {
            assert!(error.to_string().contains("it is a partial clone"), "{filter}: {error}");
            assert!(error.hint().unwrap().contains("git fetch"), "{error:?}");
        }
        fs::rename(&away, &full).unwrap();

        // It becomes a whole one, and so does its mirror.
        world.run(&clone, &["config", "--unset", "remote.origin.partialclonefilter"]);
        world.run(&clone, &["fetch", "--quiet", "--refetch"]);
        world.run(&clone, &["config", "--unset", "remote.origin.promisor"]);
        let (third, _) = base(&world, &source, "third", None).await;
        world.run(&third, &["rev-list", "--objects", "--all", "--quiet"]);
        assert_eq!(world.run(&third, &["config", "--default", "", "extensions.partialClone"]), "");
    }
}
