//! Files in Git LFS. A repository of which git-lfs has fetched everything is made by hand: pointers
//! are committed, and their contents are where git-lfs keeps them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use sha2::{Digest, Sha256};

use super::*;

/// Keeps a content as git-lfs does, and returns its pointer.
fn keep(git_dir: &Path, content: &str) -> String {
    let digest = Sha256::digest(content);
    let oid: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let dir = git_dir.join("lfs/objects").join(&oid[..2]).join(&oid[2..4]);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(&oid), content).unwrap();
    let size = content.len();
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
}

/// Fetches what HEAD of a source is, and makes a base of it; returns what it lacks.
async fn base(
    world: &World,
    source: &Source,
    name: &str,
    sibling: Option<&Sibling>,
) -> (PathBuf, Option<String>) {
    let mirror = world.fetch(source).await.unwrap();
    let commit = world.resolve(source, "HEAD").await.unwrap();
    let mirrors = mirror.parent().unwrap();
    world.git.fetch_contents(source, mirrors, &commit, |_| {}).await.unwrap();
    let dir = world.path(name);
    fs::create_dir(&dir).unwrap();
    let lacks = world.make_base(source, &commit, &dir, sibling).await.unwrap();
    (dir, lacks)
}

fn read(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap()
}

fn objects(dir: &Path) -> usize {
    let mut find = Command::new("find");
    let files = find.arg(dir.join(".git/lfs/objects")).args(["-type", "f"]).output().unwrap();
    String::from_utf8(files.stdout).unwrap().lines().count()
}

/// `git status` of a base, which is looked at from outside: its index has the owners that a container sees.
const STATUS: [&str; 6] =
    ["-c", "core.checkStat=minimal", "-c", "core.trustctime=false", "status", "--porcelain"];

#[tokio::test]
async fn contents_that_the_source_has_are_in_the_base() {
    const NAMES: [&str; 5] =
        ["a b.bin", "it's $(touch x) \"q\"`id`.bin", "-f.bin", "l\nf.bin", "é.bin"];
    let world = World::new();
    let dir = world.init("app", &[]);
    world.commit(&dir, ".gitattributes", "[attr]large filter=lfs -text\n*.bin large\n");
    for name in NAMES {
        fs::write(dir.join(name), keep(&dir.join(".git"), name)).unwrap();
    }
    fs::set_permissions(dir.join("a b.bin"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", dir.join("link.bin")).unwrap();
    world.commit(&dir, "deep/same.bin", &keep(&dir.join(".git"), "the same"));
    world.commit(&dir, "plain.txt", &keep(&dir.join(".git"), "not of LFS"));
    let source = world.source(&dir);
    let (first, lacks) = base(&world, &source, "first", None).await;
    assert_eq!(lacks, None);
    for name in NAMES {
        assert_eq!(read(&first, name), name);
    }
    assert_eq!(read(&first, "deep/same.bin"), "the same");
    assert_eq!(fs::metadata(first.join("a b.bin")).unwrap().mode() & 0o777, 0o755);
    assert!(fs::symlink_metadata(first.join("link.bin")).unwrap().is_symlink());
    // What only looks like a pointer is what it is.
    assert!(read(&first, "plain.txt").starts_with("version "));
    assert_eq!(world.run(&first, &STATUS), "");
    assert!(!first.join("x").exists(), "a name was run");
    assert_eq!(objects(&first), NAMES.len() + 2);

    // A newer base leaves the files of the older one alone, and has all that git-lfs needs.
    let old = world.run(&dir, &["rev-parse", "HEAD"]);
    world.commit(&dir, "a b.bin", &keep(&dir.join(".git"), "changed"));
    let sibling = Sibling::new(first.clone(), old);
    let (second, lacks) = base(&world, &source, "second", Some(&sibling)).await;
    assert_eq!(lacks, None);
    let links = |dir: &Path, file: &str| fs::metadata(dir.join(file)).unwrap().nlink();
    assert_eq!((links(&first, "deep/same.bin"), links(&first, "plain.txt")), (1, 2));
    assert_eq!(read(&second, "deep/same.bin"), "the same");
    let both = [&first, &second].map(|dir| read(dir, "a b.bin"));
    assert_eq!(both, ["a b.bin", "changed"]);
    assert_eq!(world.run(&second, &STATUS), "");
    assert_eq!(objects(&second), NAMES.len() + 2);
}

#[tokio::test]
async fn contents_that_come_later_are_in_the_next_base() {
    let world = World::new();
    let dir = world.init("app", &[]);
    world.commit(&dir, ".gitattributes", "*.bin filter=lfs\n");
    let elsewhere = world.path("elsewhere");
    world.commit(&dir, "x.bin", &keep(&elsewhere, "x"));
    let old = world.commit(&dir, "y.bin", &keep(&dir.join(".git"), "y"));
    let source = world.source(&dir);
    let (first, lacks) = base(&world, &source, "first", None).await;
    let lacks = lacks.unwrap();
    assert!(lacks.starts_with("1 file is in Git LFS, and only its pointer is here"), "{lacks}");
    assert!(read(&first, "x.bin").starts_with("version "));
    assert_eq!(read(&first, "y.bin"), "y");
    assert_eq!(world.run(&first, &STATUS), "");
    keep(&dir.join(".git"), "x");
    world.commit(&dir, "more", "more");
    let (second, lacks) =
        base(&world, &source, "second", Some(&Sibling::new(first.clone(), old))).await;
    assert_eq!((lacks, read(&second, "x.bin")), (None, "x".to_owned()));
    assert!(read(&first, "x.bin").starts_with("version "), "the older base has changed");
    assert_eq!(world.run(&second, &STATUS), "");
}

#[tokio::test]
async fn a_work_tree_beside_the_repository_has_its_contents() {
    let world = World::new();
    let dir = world.init("app", &[]);
    world.commit(&dir, ".gitattributes", "*.bin filter=lfs\n");
    world.commit(&dir, "x.bin", &keep(&dir.join(".git"), "x"));
    let beside = world.path("beside");
    world.run(&dir, &["worktree", "add", "--quiet", "--detach", beside.to_str().unwrap()]);
    let (base, lacks) = base(&world, &world.source(&beside), "base", None).await;
    assert_eq!((lacks, read(&base, "x.bin")), (None, "x".to_owned()));
}

#[tokio::test]
async fn files_that_git_takes_for_changed_are_no_error() {
    let world = World::new();
    let dir = world.init("app", &[]);
    // A pointer with the ends of lines of another system, which attributes added later convert.
    let pointer = keep(&dir.join(".git"), "x").replace('\n', "\r\n");
    world.run(&dir, &["config", "core.autocrlf", "false"]);
    world.commit(&dir, "x.bin", &pointer);
    fs::write(dir.join(".gitattributes"), "*.bin filter=lfs text\n").unwrap();
    world.run(&dir, &["add", ".gitattributes"]);
    world.run(&dir, &["commit", "--quiet", "--message", "attributes"]);
    let (base, lacks) = base(&world, &world.source(&dir), "base", None).await;
    assert_eq!((lacks, read(&base, "x.bin")), (None, "x".to_owned()));
}

#[tokio::test]
async fn submodules_have_their_contents() {
    let world = World::new();
    let lib = world.init("lib", &[]);
    world.commit(&lib, ".gitattributes", "*.bin filter=lfs\n");
    world.commit(&lib, "x.bin", &keep(&lib.join(".git"), "x"));
    let dir = world.init("app", &[]);
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../lib"];
    world.run(&dir, &add);
    // The clone in the project has the contents.
    keep(&dir.join(".git/modules/lib"), "x");
    world.commit(&dir, "file", "file");
    let (base, lacks) = base(&world, &world.source(&dir), "base", None).await;
    assert_eq!((lacks, read(&base, "lib/x.bin")), (None, "x".to_owned()));
    assert_eq!(world.run(&base, &STATUS), "");
    assert!(base.join(".git/modules/lib/lfs/objects").is_dir());
}
