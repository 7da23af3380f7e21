//! Git at work in a checkout whose files are in the base.

use std::fs;

use crate::common::User;
use crate::common::repository::Repository;

use super::Space;

/// How many files the branches differ in.
const FILES: usize = 3000;

/// Makes a repository with two branches that have next to nothing in common: `main` has directories
/// where `far` has files and links, and the other way round.
fn far_apart(user: &User) -> Repository {
    let repository = Repository::new(user, "app");
    let write = |prefix: &str, other: &str| {
        for number in 0..FILES {
            let directory =
                repository.path.join(format!("{prefix}/{}/{}", number % 7, number % 50));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(number.to_string()), format!("{prefix} {number}\n")).unwrap();
        }
        for (name, is_file) in [("was-file", prefix == "near"), ("was-dir", prefix == "far")] {
            let path = repository.path.join(name);
            if is_file {
                fs::write(path, prefix).unwrap();
            } else {
                fs::create_dir(&path).unwrap();
                fs::write(path.join("in"), prefix).unwrap();
            }
        }
        let link = repository.path.join("link");
        std::os::unix::fs::symlink(format!("{prefix}/1"), link).unwrap();
        fs::write(repository.path.join("both"), format!("{prefix}\n{other}\n")).unwrap();
    };
    write("near", "x");
    repository.commit("mode", "x");
    repository.git(&["checkout", "--quiet", "-b", "far"]);
    repository.git(&["rm", "-r", "--quiet", "."]);
    write("far", "y");
    repository.commit("mode", "x");
    repository.git(&["update-index", "--chmod=+x", "mode"]);
    repository.git(&["commit", "--quiet", "--message", "executable"]);
    repository.git(&["checkout", "--quiet", "--force", "main"]);
    repository
}

/// Fails unless the checkout is HEAD and nothing else.
const EXACT: &str = "test -z \"$(git status --porcelain)\" && git diff --quiet HEAD && \
    test \"$(git ls-files | wc -l)\" = \"$(find . -path ./.git -prune -o \
    -path ./.build-cache -prune -o ! -type d -print | wc -l)\"";

#[test]
fn branches_that_are_far_apart_are_checked_out_and_worked_on() {
    let user = User::new();
    let repository = far_apart(&user);
    let space = Space::new(&user, &repository, "generic", "o-git");
    for container in ["dev", "agent", "dev"] {
        for branch in ["origin/far", "origin/main"] {
            let script = format!("git checkout --quiet --detach {branch} && {EXACT}");
            space.run(container, &["bash", "-ec", &script]);
        }
    }
    assert_eq!(space.dev("cat was-file was-dir/in link/1/1"), "nearnearnear 1\n");
    // What is not committed is put away and comes back, and the build cache stays throughout.
    space.dev(
        "git switch --quiet taskspace/o-git && rm -r near/1 && echo more >> both && echo u > new && \
         mkdir .build-cache/target && echo built > .build-cache/target/x && git stash --quiet --all",
    );
    space.agent(EXACT);
    let status = "git status --short | grep -v ' D near/1/' && cat .build-cache/target/x";
    let popped = space.agent(&format!("git stash pop --quiet && {status}"));
    assert_eq!(popped, " M both\n?? new\nbuilt\n");
    space.dev(&format!("git reset --quiet --hard && git clean -fdx && {EXACT}"));
    assert_eq!(space.dev("git clean -ndx && cat .build-cache/target/x"), "built\n");
    // Histories are rewritten, and joined.
    space.dev(
        "git switch --quiet --create topic origin/far~1 && rm -r far/2 && git add --all && \
         git commit --quiet --message removed && git rebase --quiet origin/far && \
         git revert --no-edit HEAD > /dev/null && git revert --no-edit HEAD > /dev/null",
    );
    space.agent(&format!("{EXACT} && test -x mode && ! test -e far/2"));
    space.agent(&format!("git merge --quiet --strategy=ours origin/main && {EXACT}"));
    // A second work tree, in the checkout and elsewhere.
    space.dev(&format!(
        "git worktree add --quiet --detach ~/other origin/main && git worktree add --quiet .more HEAD~ \
         2> /dev/null || git worktree add --quiet --detach .more HEAD~; (cd ~/other && {EXACT}) && \
         git worktree remove ~/other && git worktree remove .more && {EXACT}"
    ));
    // What the base has of the objects is packed anew, and what nobody needs goes.
    space.dev(
        "git reflog expire --expire=now --all && git gc --quiet --prune=now && \
         git repack -adq && git fsck --strict --no-dangling",
    );
    space.agent(&format!("git switch --quiet taskspace/o-git && {EXACT} && git fsck"));
    space.restart();
    space.agent(EXACT);
    space.assert_base_unchanged();
}

#[test]
fn files_and_new_directories_are_moved_by_git() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.commit("dir/one", "one\n");
    repository.commit("dir/two", "two\n");
    repository.commit(".gitignore", "*.o\n");
    let space = Space::new(&user, &repository, "generic", "o-move");
    space.dev("git mv dir/one moved && mkdir other && git mv dir/two moved other");
    space.dev("git mv other another && git commit --quiet --message moved && rmdir dir");
    let moved = "git log --follow --format=%s another/moved && git status --short";
    assert_eq!(space.agent(moved), "moved\ndir/one\n");
    // Cleaning: what is untracked, then what is ignored as well.
    space.agent("touch a.o another/b.o new && mkdir -p empty/x && touch empty/x/y");
    assert_eq!(
        space.dev("git clean -fd; git status --short --ignored"),
        "Removing empty/\nRemoving new\n!! .build-cache/\n!! a.o\n!! another/b.o\n"
    );
    assert_eq!(space.dev("git clean -fdX"), "Removing a.o\nRemoving another/b.o\n");
    assert_eq!(space.agent("git clean -fdx; ls -A .build-cache"), ".git\ncargo\n");
    space.assert_base_unchanged();
}
