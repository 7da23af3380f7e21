//! Files and directories of the base that are removed, made again and changed.

use crate::common::User;
use crate::common::repository::Repository;

use super::Space;

/// Directories are removed and made again, and what was something becomes something else.
const REPLACE: &str = r#"
import os, shutil
def names(directory): return sorted(os.listdir(directory))
for again in range(3):
    shutil.rmtree("gone")
    assert not os.path.exists("gone/deep/file")
    os.mkdir("gone")
    assert names("gone") == []
    os.makedirs("gone/deep")
    assert names("gone/deep") == []
    with open("gone/deep/file", "x") as file: file.write(str(again))
shutil.rmtree("to-file"); open("to-file", "x").close()
shutil.rmtree("to-link"); os.symlink("kept", "to-link")
os.remove("file"); os.mkdir("file"); open("file/in", "x").close()
os.remove("link"); os.makedirs("link/in")
os.remove("kept/one"); open("kept/two", "x").close()
assert names("kept") == ["other", "two"]
os.rmdir("empty-soon/in") if os.path.isdir("empty-soon/in") else os.remove("empty-soon/in")
os.rmdir("empty-soon")
try: os.rmdir("kept")
except OSError as error: assert error.errno == 39, error
else: raise AssertionError("removed with what is in it")
"#;

/// What editors and tools do to change a file.
const EDIT: &str = "sed -i s/old/sed/ edit/sed && perl -pi -e s/old/perl/ edit/perl && \
    printf more >> edit/append && truncate -s 1 edit/truncate && \
    cp edit/vim edit/vim~ && printf vim > edit/.vim.swp && mv edit/.vim.swp edit/vim && \
    install -m 600 /dev/stdin edit/install <<< install && \
    printf patched | dd of=edit/dd bs=1 seek=1 conv=notrunc status=none && \
    touch -d 2001-02-03T04:05:06.789Z edit/touch && cat edit/touch";

#[test]
fn what_is_removed_is_gone_and_what_takes_its_place_is_new() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    for file in ["gone/deep/file", "gone/x", "to-file/x", "to-link/x", "kept/one", "kept/other"] {
        repository.commit(file, "old\n");
    }
    for file in ["sed", "perl", "append", "truncate", "vim", "install", "dd", "touch"] {
        repository.commit(&format!("edit/{file}"), "old\n");
    }
    repository.commit("empty-soon/in", "old\n");
    std::os::unix::fs::symlink("kept", repository.path.join("link")).unwrap();
    repository.commit("file", "old\n");
    let space = Space::new(&user, &repository, "python", "o-files");
    space.python(REPLACE);
    let changed = "cat gone/deep/file && find gone file link kept to-file to-link -printf '%p %y\\n' \
                   | sort && ls";
    let expected = "2file d\nfile/in f\ngone d\ngone/deep d\ngone/deep/file f\nkept d\n\
                    kept/other f\nkept/two f\nlink d\nlink/in d\nto-file f\nto-link l\nREADME.md\n\
                    edit\nfile\ngone\nkept\nlink\nto-file\nto-link\n";
    assert_eq!(space.agent(changed), expected);

    assert_eq!(space.agent(EDIT), "old\n");
    let edited = "cd edit && head -c 99 sed perl append truncate vim install dd && \
                  echo && stat -c '%a %.3Y' install touch";
    let expected = "==> sed <==\nsed\n\n==> perl <==\nperl\n\n==> append <==\nold\nmore\n\
                    ==> truncate <==\no\n==> vim <==\nvim\n==> install <==\ninstall\n\n\
                    ==> dd <==\nopatched\n600 0\n644 981173106.789\n";
    let seen = space.dev(edited);
    let times = seen.replace(seen.lines().rev().nth(1).unwrap(), "600 0");
    assert_eq!(times, expected);

    let before = space.seen();
    space.restart();
    assert_eq!(space.seen(), before, "mounted anew it is something else");
    space
        .dev("git checkout --quiet --force HEAD && git clean -fdq && test -z \"$(git status -s)\"");
    assert_eq!(space.agent("cat gone/deep/file file link/one"), "old\nold\nold\n");
    space.assert_base_unchanged();
}

/// Changes permissions and attributes of files of the base, and of new ones.
const ATTRIBUTES: &str = r#"
import os, stat
def mode(path): return stat.S_IMODE(os.lstat(path).st_mode)
open("new", "x").close()
os.mkdir("new-dir")
for path in ["file", "new"]:
    for bits in [0o000, 0o400, 0o755, 0o4711, 0o2755, 0o640]:
        os.chmod(path, bits)
        assert mode(path) == bits, path
    os.setxattr(path, "user.colour", b"red")
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, "user.long", bytes(3000))
    assert os.getxattr(path, "user.colour") == b"red"
    os.removexattr(path, "user.empty")
    try: os.setxattr(path, "trusted.colour", b"red")
    except PermissionError: pass
    else: raise AssertionError("anybody may")
    # The overlay's own attributes are out of reach, and such names are free for others.
    os.setxattr(path, "user.overlay.opaque", b"y")
    assert sorted(os.listxattr(path)) == ["user.colour", "user.long", "user.overlay.opaque"]
for path in ["dir", "new-dir"]:
    os.setxattr(path, "user.overlay.opaque", b"y")
    os.setxattr(path, "user.overlay.whiteout", b"y")
    os.chmod(path, 0o1755)
assert os.listdir("dir") == ["in"]
os.chmod("dir", 0o555)
try: open("dir/more", "x")
except PermissionError: pass
else: raise AssertionError("may not be written")
os.chmod("unreadable", 0)
try: open("unreadable")
except PermissionError: pass
else: raise AssertionError("may not be read")
"#;

const ATTRIBUTES_NOW: &str = r#"
import os
for path in ["file", "new"]:
    assert os.getxattr(path, "user.colour") == b"red"
    assert len(os.getxattr(path, "user.long")) == 3000
    assert len(os.listxattr(path)) == 3, os.listxattr(path)
assert os.listdir("dir") == ["in"]
"#;

#[test]
fn permissions_owners_and_attributes_are_kept() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    for file in ["file", "dir/in", "unreadable", "of-root"] {
        repository.commit(file, "x\n");
    }
    let space = Space::new(&user, &repository, "python", "o-modes");
    space.python(ATTRIBUTES);
    space.dev("sudo chown root:4242 of-root && sudo chmod 600 of-root && cat file");
    let seen = space.seen();
    assert!(seen.contains("./of-root f 600 0 4242 "), "{seen}");
    space.agent("! cat unreadable 2> /dev/null && ! cat of-root 2> /dev/null && cat file");
    space.restart();
    assert_eq!(space.seen(), seen);
    space.python(ATTRIBUTES_NOW);
    space.assert_base_unchanged();
}
