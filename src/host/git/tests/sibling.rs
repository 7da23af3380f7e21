use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use sha2::{Digest, Sha256};

use super::*;

/// What a tree is: for each path its mode, time of modification, inode, and content's digest.
fn digest(dir: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, u64, String)> {
    fn visit(root: &Path, dir: &Path, all: &mut BTreeMap<PathBuf, (u32, i64, i64, u64, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let content = match found.file_type() {
                kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
                kind if kind.is_dir() => String::new(),
                _ => format!("{:x?}", Sha256::digest(fs::read(&path).unwrap())),
            };
            let entry = (found.mode(), found.mtime(), found.mtime_nsec(), found.ino(), content);
            all.insert(path.strip_prefix(root).unwrap().to_owned(), entry);
            if found.is_dir() {
                visit(root, &path, all);
            }
        }
    }
    let mut all = BTreeMap::new();
    visit(dir, dir, &mut all);
    all
}

/// The same without what may differ between two checkouts of one commit.
fn content(dir: &Path) -> BTreeMap<PathBuf, (u32, String)> {
    let all = digest(dir).into_iter().filter(|(path, _)| !path.starts_with(".git"));
    all.map(|(path, (mode, _, _, _, content))| (path, (mode, content))).collect()
}

fn empty(world: &World, name: &str) -> PathBuf {
    let dir = world.path(name);
    fs::create_dir(&dir).unwrap();
    dir
}

/// A repository with two commits that differ in many ways; returns its source and the commits.
fn changing(world: &World) -> (Source, String, String) {
    let dir = world.init("repo", &[]);
    for file in ["same", "deep/er/same", "to-dir", "dir/one", "dir/two", "gone/x", "link-to-file"] {
        fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
        fs::write(dir.join(file), format!("{file}\n")).unwrap();
    }
    fs::create_dir(dir.join("crlf")).unwrap();
    fs::write(dir.join("crlf/lines"), "one\ntwo\n").unwrap();
    symlink("nowhere", dir.join("dangling")).unwrap();
    symlink("same", dir.join("moves")).unwrap();
    fs::write(dir.join("run"), "#!/bin/sh\n").unwrap();
    let old = world.commit(&dir, "changes", "before");

    fs::remove_file(dir.join("to-dir")).unwrap();
    fs::remove_dir_all(dir.join("dir")).unwrap();
    fs::remove_dir_all(dir.join("gone")).unwrap();
    fs::remove_file(dir.join("link-to-file")).unwrap();
    fs::remove_file(dir.join("moves")).unwrap();
    fs::create_dir(dir.join("to-dir")).unwrap();
    fs::write(dir.join("to-dir/now"), "a directory\n").unwrap();
    fs::write(dir.join("dir"), "now a file\n").unwrap();
    symlink("deep", dir.join("link-to-file")).unwrap();
    symlink("deep/er", dir.join("moves")).unwrap();
    fs::write(dir.join("crlf/.gitattributes"), "lines text eol=crlf\n").unwrap();
    fs::set_permissions(dir.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    let new = world.commit(&dir, "changes", "after");
    (world.source(&dir), old, new)
}

#[tokio::test]
async fn a_base_shares_what_did_not_change_and_leaves_its_sibling_alone() {
    let world = World::new();
    let (source, old, new) = changing(&world);
    world.fetch(&source).await.unwrap();
    for (from, to) in [(&old, &new), (&new, &old)] {
        let [first, second, fresh] =
            ["first", "second", "fresh"].map(|name| empty(&world, &format!("{name}-{}", &to[..8])));
        world.make_base(&source, from, &first, None).await.unwrap();
        world.make_base(&source, to, &fresh, None).await.unwrap();
        // What is in no commit does not come along.
        fs::write(first.join("untracked"), "").unwrap();
        fs::write(first.join("deep/untracked"), "").unwrap();
        let before = digest(&first);
        // A clock that stands still would hide a file that is written anew.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let sibling = Sibling::new(first.clone(), from.clone());
        world.make_base(&source, to, &second, Some(&sibling)).await.unwrap();

        assert_eq!(digest(&first), before, "the sibling has changed");
        assert_eq!(content(&second), content(&fresh));
        let after = digest(&second);
        for shared in ["same", "deep/er/same", "dangling"] {
            assert_eq!(after[Path::new(shared)], before[Path::new(shared)], "{shared}");
        }
        for written in ["changes", "run", "crlf/lines"] {
            let inode = after[Path::new(written)].3;
            assert!(before.values().all(|entry| entry.3 != inode), "{written} is shared");
        }
        assert_eq!(world.run(&second, &["status", "--porcelain", "--ignored"]), "");
        assert_eq!(world.run(&second, &["rev-parse", "HEAD"]), *to);
        world.run(&second, &["fsck", "--strict"]);
        // Git believes the index; it is right in doing so.
        let listed = |dir: &Path| world.run(dir, &["ls-files", "--stage"]);
        assert_eq!(listed(&second), listed(&fresh));
        fs::remove_file(second.join(".git/index")).unwrap();
        world.run(&second, &["reset", "--quiet"]);
        assert_eq!(world.run(&second, &["status", "--porcelain"]), "");
    }
}

#[tokio::test]
async fn a_sibling_that_is_not_what_it_should_be_is_done_without() {
    let world = World::new();
    let (source, old, new) = changing(&world);
    world.fetch(&source).await.unwrap();
    let [whole, fresh] = ["whole", "fresh"].map(|name| empty(&world, name));
    world.make_base(&source, &old, &whole, None).await.unwrap();
    world.make_base(&source, &new, &fresh, None).await.unwrap();
    let broken = |name: &str, breaking: &dyn Fn(&Path)| {
        let dir = world.path(name);
        let copied = Command::new("cp").arg("-a").arg(&whole).arg(&dir).status().unwrap();
        assert!(copied.success());
        breaking(&dir);
        Sibling::new(dir, old.clone())
    };
    let siblings = [
        Sibling::new(world.path("missing"), old.clone()),
        Sibling::new(whole.clone(), "0".repeat(40)),
        broken("no-file", &|dir| fs::remove_file(dir.join("deep/er/same")).unwrap()),
        broken("no-index", &|dir| fs::remove_file(dir.join(".git/index")).unwrap()),
        broken("bad-index", &|dir| fs::write(dir.join(".git/index"), "DIRC").unwrap()),
        // Someone has written into it.
        broken("written", &|dir| fs::write(dir.join("same"), "longer than before").unwrap()),
    ];
    for (n, sibling) in siblings.iter().enumerate() {
        let base = empty(&world, &format!("base-{n}"));
        world.make_base(&source, &new, &base, Some(sibling)).await.unwrap();
        assert_eq!(content(&base), content(&fresh), "{sibling:?}");
        assert_eq!(world.run(&base, &["status", "--porcelain"]), "", "{sibling:?}");
    }
    assert_eq!(fs::read_to_string(world.path("written/same")).unwrap(), "longer than before");
}

#[tokio::test]
async fn a_sibling_on_another_file_system_is_done_without() {
    let world = World::new();
    let (source, old, new) = changing(&world);
    world.fetch(&source).await.unwrap();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    world.make_base(&source, &old, elsewhere.path(), None).await.unwrap();
    let base = empty(&world, "base");
    let sibling = Sibling::new(elsewhere.path().to_owned(), old);
    world.make_base(&source, &new, &base, Some(&sibling)).await.unwrap();
    assert_eq!(world.run(&base, &["status", "--porcelain"]), "");
}
