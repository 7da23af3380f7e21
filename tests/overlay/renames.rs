//! Renames, and the one that an overlay cannot do: that of a directory of the base.

use crate::common::repository::Repository;
use crate::common::{User, text_of};

use super::Space;

/// What rename(2) gives for everything that there is.
const RENAME: &str = r#"
import ctypes, errno, os, shutil
def fails(code, rename, *names):
    try: rename(*names)
    except OSError as error: assert error.errno == code, error
    else: raise AssertionError(f"{names} went")
def read(path):
    with open(path) as file: return file.read()
libc = ctypes.CDLL(None, use_errno=True)
def exchange(one, other):
    if libc.renameat2(-100, one.encode(), -100, other.encode(), 2):
        raise OSError(ctypes.get_errno(), one)
# Files of the base: anywhere, over anything.
os.rename("a/file", "a/renamed")
os.rename("a/renamed", "b/file")
assert read("b/file") == "a/file" and not os.path.exists("a/file")
os.mkdir("new"); os.rename("b/other", "new/other")
os.symlink("a", "link"); os.rename("link", "link-2")
exchange("x", "y")
assert (read("x"), read("y")) == ("y", "x")
# New directories, and those in the place of one of the base.
os.rename("new", "newer")
shutil.rmtree("again"); os.mkdir("again"); os.rename("again", "again-2")
assert os.listdir("again-2") == [] and not os.path.exists("again")
os.mkdir("a/new"); os.rename("a/new", "b/new")
# Directories of the base, be they changed or not.
fails(errno.EXDEV, os.rename, "a", "a-2")
fails(errno.EXDEV, os.rename, "c/deep", "c/deeper")
fails(errno.EXDEV, os.replace, "c", "again")
fails(errno.EXDEV, exchange, "a", "c")
for name in ["x", "newer"]: fails(errno.EXDEV, os.rename, name, ".build-cache/" + name)
fails(errno.EXDEV, os.link, "x", ".build-cache/x")
fails(errno.ENOTEMPTY, os.rename, "newer", "b")
assert sorted(os.listdir("c/deep")) == ["one", "two"]
# What copies instead.
shutil.move("c", "c-2")
assert read("c-2/deep/one") == "c/deep/one" and not os.path.exists("c")
# What was copied is new, and can be renamed.
os.rename("c-2", "c-3")
"#;

#[test]
fn everything_is_renamed_but_directories_of_the_base() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let files = ["a/file", "a/kept", "b/other", "b/kept", "x", "y", "again/file", "c/deep/one"];
    for file in files.into_iter().chain(["c/deep/two"]) {
        repository.commit(file, file);
    }
    let space = Space::new(&user, &repository, "python", "o-rename");
    space.python(RENAME);
    let before = space.seen();
    space.restart();
    assert_eq!(space.seen(), before);
    assert_eq!(space.agent("cat c-3/deep/two b/file"), "c/deep/twoa/file");
    space.assert_base_unchanged();
}

#[test]
fn tools_that_rename_directories_of_the_base() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    for number in 0..8 {
        repository.commit(&format!("d{number}/sub/file"), &format!("{number}\n"));
    }
    let space = Space::new(&user, &repository, "node", "o-tools");
    // These copy.
    space.dev("mv d0 e0 && rsync -a --remove-source-files d1/ e1/ && test -f e0/sub/file");
    // These do not, and leave everything as it was.
    let fails = |container: &str, script: &str| {
        let output = space.command(container, &["sh", "-ec", script]).output().unwrap();
        assert!(!output.status.success(), "{script} went");
        let text = text_of(&output);
        text.lines().last().unwrap_or_default().to_owned()
    };
    let told = fails("agent", "git mv d2 e2");
    assert_eq!(told, "fatal: renaming 'd2' failed: Invalid cross-device link");
    let perl = "perl -e 'rename(q(d2), q(e2)) or die qq($!\\n)'";
    assert_eq!(fails("dev", perl), "Invalid cross-device link");
    let node = "node -e \"try { fs.renameSync('d2', 'e2') } catch (e) { console.log(e.code) }\"";
    assert_eq!(space.dev(node), "EXDEV\n");
    assert_eq!(space.dev("cat d2/sub/file; ls -d e2 || true"), "2\n");
    // The ways round.
    space.dev(
        "mv d2 e2 && git add --all d2 e2 && git mv d3/sub/file d3/renamed && \
         node -e \"fs.cpSync('d4', 'e4', {recursive: true}); fs.rmSync('d4', {recursive: true})\" && \
         git add --all d4 e4",
    );
    let renamed = "R  d3/sub/file -> d3/renamed\nR  d2/sub/file -> e2/sub/file\n\
                   R  d4/sub/file -> e4/sub/file\n";
    let staged = "git -c core.quotePath=off status --short d2 e2 d3 d4 e4";
    assert_eq!(space.agent(staged), renamed);
    let own = "cp -a d6 d6~ && rm -r d6 && mv d6~ d6 && git status --short d6 d6~ && git mv d6 e6 && \
               node -e \"fs.renameSync('e6', 'f6')\" && cat f6/sub/file && mv f6 d6 && git reset --quiet d6 e6";
    assert_eq!(space.dev(own), "6\n");
    // A directory that a branch renames is renamed by git, file by file.
    space.dev("git reset --quiet --hard && git clean -fdq && git checkout --quiet -b renames");
    space.dev("mv d5 f5 && git add --all && git commit --quiet -m renamed");
    space.agent(
        "git checkout --quiet HEAD~ && ls d5/sub && git checkout --quiet renames && ls f5/sub",
    );
    assert_eq!(space.dev("git status --short; git mv f5 g5; ls g5"), "sub\n");
    space.assert_base_unchanged();
}
