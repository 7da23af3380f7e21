//! Hard links, and what else a first change of a file of the base parts.

use crate::common::User;
use crate::common::repository::Repository;

use super::{Space, digest, directory};

const LINK: &str = r#"
import os
def append(path, text):
    with open(path, "a") as file: file.write(text)
def read(path):
    with open(path) as file: return file.read()
# A file of the base and a new one; afterwards all names are one file. (The name that the file had
# in the base may show another number than the others until the overlay is mounted anew.)
os.link("file", "file-2")
append("file-2", "+")
os.link("file", "dir/file-3")
append("file", "+")
open("new", "x").close(); os.link("new", "new-2"); append("new-2", "new")
for group in [["file", "file-2", "dir/file-3"], ["new", "new-2"]]:
    assert {os.stat(path).st_nlink for path in group} == {len(group)}, group
    assert len({read(path) for path in group}) == 1, group
assert read("dir/file-3") == "old++"
os.remove("file"); os.rename("new", "dir/new")
assert os.stat("file-2").st_nlink == 2
assert os.path.samefile("new-2", "dir/new")
"#;

#[test]
fn hard_links_are_made_and_stay() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.commit("file", "old");
    repository.commit("dir/x", "x");
    let space = Space::new(&user, &repository, "python", "o-links");
    space.python(LINK);
    space.restart();
    let linked = "test file-2 -ef dir/file-3 && test new-2 -ef dir/new && printf x >> new-2 && \
                  cat dir/new && stat -c ' %h' file-2 dir/new";
    assert_eq!(space.agent(linked), "newx 2\n 2\n");
    space.assert_base_unchanged();
}

#[test]
fn the_first_change_parts_hard_links_of_a_promoted_cache() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.commit(".gitignore", "node_modules\n");
    let first = Space::new(&user, &repository, "generic", "o-store");
    // As package managers do that link from a store.
    first.dev(
        "mkdir -p node_modules/.store node_modules/p && echo old > node_modules/.store/p && \
         ln node_modules/.store/p node_modules/p/index.js",
    );
    user.run(&["cache", "promote", "o-store"]);
    let volume = user.json(&["projects"])[0]["caches"][0]["volume"].as_str().unwrap().to_owned();
    let before = digest(&directory(&volume));
    let space = Space::new(&user, &repository, "generic", "o-linked");
    let links = "cd node_modules && stat -c %h .store/p p/index.js && test .store/p -ef p/index.js";
    assert_eq!(space.dev(links), "2\n2\n");
    let parted = "cd node_modules && echo new >> p/index.js && cat .store/p p/index.js && \
                  ! test .store/p -ef p/index.js";
    assert_eq!(space.agent(parted), "old\nold\nnew\n");
    assert_eq!(digest(&directory(&volume)), before, "the cache has changed");
    space.assert_base_unchanged();
}

/// What the first change of a file of the base changes, for those who have the file open.
const FIRST_CHANGE: &str = r#"
import mmap, os
file = os.open("file", os.O_RDONLY)
mapped = mmap.mmap(file, 3, prot=mmap.PROT_READ)
before = os.stat("file")
with open("file", "r+") as writer: writer.write("new")
after = os.stat("file")
with open("file") as reader: assert reader.read() == "new"
assert before.st_dev == after.st_dev
assert mapped[:] == b"old", "what was mapped before is what was there before"
# From now on it is a file like any other.
shared = mmap.mmap(os.open("file", os.O_RDWR), 3)
with open("file", "r+") as writer: writer.write("two")
assert shared[:] == b"two"
# A change of permissions is one, too.
os.chmod("mode", 0o600)
"#;

#[test]
fn the_first_change_makes_another_file() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.commit("file", "old");
    repository.commit("mode", "x");
    repository.commit("dir/x", "x");
    let space = Space::new(&user, &repository, "python", "o-first");
    let numbers = "stat -c %i file mode dir dir/x";
    let first = space.dev(numbers);
    space.python(FIRST_CHANGE);
    // Git reads files with another number or time of change, and finds that they are the same.
    assert_eq!(space.agent("git diff --name-only"), "file\n");
    space.restart();
    let then = space.dev(numbers);
    let (first, then): (Vec<_>, Vec<_>) = (first.lines().collect(), then.lines().collect());
    assert!(first[0] != then[0] && first[1] != then[1], "{first:?} {then:?}");
    // Directories keep theirs, as do files that nobody changes.
    assert_eq!(first[2..], then[2..]);
    assert_eq!(space.agent("git diff --name-only"), "file\n");
    space.assert_base_unchanged();
}
