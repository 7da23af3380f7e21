use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

use super::super::carry::is_whiteout;
use super::*;

/// Shows an overlay as the kernel does: `upper` over `lower`.
fn lay_over(upper: &Path, lower: &Path) {
    for entry in fs::read_dir(upper).unwrap() {
        let (above, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        let below = lower.join(name);
        let kind = fs::symlink_metadata(&above).unwrap().file_type();
        let was = fs::symlink_metadata(&below).map(|found| found.file_type());
        if kind.is_dir() && was.as_ref().is_ok_and(fs::FileType::is_dir) {
            lay_over(&above, &below);
            continue;
        }
        super::super::super::files::remove_tree(&below).unwrap();
        if is_whiteout(&above) {
            assert!(was.is_ok(), "{} hides nothing", above.display());
        } else {
            assert!(!kind.is_char_device());
            let copied = Command::new("cp").arg("-a").arg(&above).arg(&below).status().unwrap();
            assert!(copied.success());
        }
    }
}

struct Carry {
    world: World,
    dir: PathBuf,
    commit: String,
    base: PathBuf,
}

impl Carry {
    /// Prepares the base of what is committed in a work tree.
    async fn new(world: World, dir: PathBuf) -> Self {
        let source = world.source(&dir);
        world.fetch(&source).await.unwrap();
        let commit = world.resolve(&source, "HEAD").await.unwrap();
        let base = world.path("base");
        fs::create_dir(&base).unwrap();
        world.make_base(&source, &commit, &base, None).await.unwrap();
        Self { world, dir, commit, base }
    }

    async fn carry(&self, upper: &str) -> Result<(PathBuf, Carried), GitError> {
        let upper = self.world.path(upper);
        fs::create_dir(&upper).unwrap();
        let git = &self.world.git;
        let carried = git.carry_changes(&self.dir, &self.commit, &self.base, &upper).await?;
        Ok((upper, carried))
    }

    fn status(&self, dir: &Path) -> String {
        let arguments = ["status", "--porcelain", "-z", "--untracked-files=all", "--no-renames"];
        let output = Command::new("git").arg("-C").arg(dir).args(arguments).output().unwrap();
        // Whether a change is staged is not kept, nor the order that comes of it.
        let mut lines: Vec<String> = output
            .stdout
            .split(|&byte| byte == 0)
            .map(|line| line.escape_ascii().to_string())
            .collect();
        lines.sort();
        lines.join("\n")
    }
}

#[tokio::test]
async fn what_is_not_committed_comes_along_exactly() {
    let world = World::new();
    // The user's own configuration says what is ignored.
    let ignore = world.path("ignore");
    fs::write(&ignore, "*.log\n").unwrap();
    let dir = world.init("repo", &[]);
    world.run(&dir, &["config", "core.excludesFile", ignore.to_str().unwrap()]);
    world.run(&dir, &["config", "core.autocrlf", "false"]);
    let odd = OsStr::from_bytes(b"caf\xe9\n\t\\\"x").to_owned();
    for file in [
        "kept",
        "edited",
        "run",
        "gone",
        "crates/a/Cargo.toml",
        "crates/a/src/lib",
        "crates/b/x",
        "part/gone",
        "part/kept",
        "to-dir",
        "dir/x",
        "to-link",
        "emptied",
        "now-ignored",
        "c/d/e",
    ] {
        fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
        fs::write(dir.join(file), format!("{file}\n")).unwrap();
    }
    fs::write(dir.join(&odd), "odd\n").unwrap();
    symlink("kept", dir.join("link")).unwrap();
    symlink("crates", dir.join("link-to-dir")).unwrap();
    fs::write(dir.join(".gitignore"), "*.o\n/now-ignored\n").unwrap();
    world.run(&dir, &["add", "--force", "now-ignored"]);
    world.commit(&dir, "last", "committed");
    let carry = Carry::new(world, dir.clone()).await;
    let world = &carry.world;

    fs::write(dir.join("edited"), "edited since\r\n").unwrap();
    fs::write(dir.join(&odd), "odd, changed").unwrap();
    fs::set_permissions(dir.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(dir.join("gone")).unwrap();
    fs::remove_dir_all(dir.join("crates/a")).unwrap();
    fs::remove_file(dir.join("part/gone")).unwrap();
    fs::remove_file(dir.join("to-dir")).unwrap();
    fs::create_dir(dir.join("to-dir")).unwrap();
    fs::write(dir.join("to-dir/x"), "x").unwrap();
    fs::remove_dir_all(dir.join("dir")).unwrap();
    fs::write(dir.join("dir"), "now a file").unwrap();
    fs::remove_file(dir.join("to-link")).unwrap();
    symlink("/nowhere/at/all", dir.join("to-link")).unwrap();
    fs::remove_file(dir.join("link")).unwrap();
    fs::write(dir.join("link"), "now a file").unwrap();
    fs::remove_file(dir.join("link-to-dir")).unwrap();
    fs::create_dir(dir.join("link-to-dir")).unwrap();
    fs::write(dir.join("link-to-dir/x"), "x").unwrap();
    fs::write(dir.join("emptied"), "").unwrap();
    fs::create_dir_all(dir.join("new/deep")).unwrap();
    fs::write(dir.join("new/deep/secret"), "s").unwrap();
    fs::set_permissions(dir.join("new/deep/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(dir.join("new/x.o"), "ignored").unwrap();
    fs::write(dir.join("new/x.log"), "ignored").unwrap();
    symlink("nowhere", dir.join("dangling")).unwrap();
    fs::write(dir.join(" lead and trail "), "").unwrap();
    fs::write(dir.join("staged"), "one").unwrap();
    world.run(&dir, &["add", "staged", "edited"]);
    fs::write(dir.join("staged"), "two").unwrap();
    world.run(&dir, &["rm", "--quiet", "--cached", "now-ignored", "kept"]);
    fs::remove_dir_all(dir.join("c")).unwrap();
    symlink("crates/b", dir.join("c")).unwrap();

    let (upper, carried) = carry.carry("upper").await.unwrap();
    assert_eq!(carried.warnings, Vec::<String>::new());
    // A directory that went as a whole goes as a whole.
    assert!(is_whiteout(&upper.join("crates/a")) && is_whiteout(&upper.join("part/gone")));
    assert!(!upper.join("crates/b").exists() && !upper.join(".git").exists());
    lay_over(&upper, &carry.base);
    let outside = carry.status(&dir);
    world.run(&carry.base, &["config", "core.autocrlf", "false"]);
    // Nothing is staged inside: what is compared is what would be committed.
    world.run(&carry.base, &["add", "--all"]);
    world.run(&dir, &["add", "--all"]);
    assert_eq!(carry.status(&carry.base), carry.status(&dir), "{outside}");
    assert_eq!(
        world.run(&carry.base, &["write-tree"]),
        world.run(&dir, &["write-tree"]),
        "other contents"
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&carry.base.join("new/deep/secret")), 0o600);
    assert_eq!(mode(&carry.base.join("run")), 0o755);
    for left in ["new/x.o", "new/x.log", "now-ignored", "crates/a"] {
        assert!(!carry.base.join(left).exists(), "{left}");
    }
    assert_eq!(fs::read(carry.base.join("edited")).unwrap(), b"edited since\r\n");
}

#[tokio::test]
async fn a_clean_work_tree_brings_nothing_and_many_files_come() {
    let world = World::new();
    let dir = world.repository("repo");
    let carry = Carry::new(world, dir.clone()).await;
    // Another time of modification is no change.
    std::thread::sleep(std::time::Duration::from_millis(10));
    fs::write(dir.join("Cargo.toml"), "one").unwrap();
    let (upper, carried) = carry.carry("clean").await.unwrap();
    assert_eq!(carried, Carried::default());
    assert_eq!(fs::read_dir(upper).unwrap().count(), 0);

    for n in 0..10_000 {
        let file = dir.join(format!("many/{}/{n}", n % 100));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, n.to_string()).unwrap();
    }
    let (upper, carried) = carry.carry("many").await.unwrap();
    assert_eq!((carried.copied, carried.removed), (10_000, 0));
    assert_eq!(fs::read_to_string(upper.join("many/42/4242")).unwrap(), "4242");
}

#[tokio::test]
async fn a_conflict_and_files_out_of_the_index_come_as_they_are() {
    let world = World::new();
    let dir = world.repository("repo");
    world.run(&dir, &["checkout", "--quiet", "-b", "other"]);
    world.commit(&dir, "Cargo.toml", "theirs");
    world.run(&dir, &["checkout", "--quiet", "main"]);
    world.commit(&dir, "Cargo.toml", "ours");
    let carry = Carry::new(world, dir.clone()).await;
    let merge = Command::new("git").arg("-C").arg(&dir).args(["merge", "other"]).output().unwrap();
    assert!(!merge.status.success());
    fs::write(dir.join("intended"), "to be added").unwrap();
    carry.world.run(&dir, &["add", "--intent-to-add", "intended"]);
    let (upper, _) = carry.carry("upper").await.unwrap();
    let text = fs::read_to_string(upper.join("Cargo.toml")).unwrap();
    assert!(text.contains("<<<<<<<") && text.contains("theirs"), "{text}");
    assert_eq!(fs::read_to_string(upper.join("intended")).unwrap(), "to be added");
}

#[tokio::test]
async fn what_cannot_come_along_is_told() {
    let world = World::new();
    let dir = world.repository("repo");
    let carry = Carry::new(world, dir.clone()).await;
    let nested = carry.world.init("repo/nested", &[]);
    carry.world.commit(&nested, "x", "x");
    fs::create_dir(dir.join(".build-cache")).unwrap();
    fs::write(dir.join(".build-cache/x"), "x").unwrap();
    let (upper, carried) = carry.carry("upper").await.unwrap();
    assert_eq!(carried.copied, 0);
    assert_eq!(fs::read_dir(upper).unwrap().count(), 0);
    let warnings = carried.warnings.join("\n");
    assert!(warnings.contains("come along: nested/\n"), "{warnings}");
    assert!(warnings.contains("come along: .build-cache/x"), "{warnings}");
}

#[tokio::test]
async fn only_a_work_tree_at_the_commit_will_do() {
    let world = World::new();
    let dir = world.repository("repo");
    let bare = world.path("bare.git");
    world.run(&dir, &["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    let error = world.git.work_tree_head(&bare).await.unwrap_err();
    assert!(matches!(error, GitError::NoWorkTree { .. }), "{error:?}");
    let empty = world.init("empty", &[]);
    let error = world.git.work_tree_head(&empty).await.unwrap_err();
    assert!(matches!(error, GitError::Empty { .. }), "{error:?}");

    let carry = Carry::new(world, dir.clone()).await;
    fs::write(dir.join("untracked"), "x").unwrap();
    carry.world.run(&dir, &["commit", "--quiet", "--allow-empty", "-m", "meanwhile"]);
    let error = carry.carry("upper").await.unwrap_err();
    assert!(matches!(error, GitError::Moved { .. }), "{error:?}");
    assert!(error.to_string().contains(&carry.commit), "{error}");
}
