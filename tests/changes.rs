//! Which changes are seen: all, whatever the repository inside is told, and those that git cannot take are
//! named.

use serde_json::Value;

use crate::common::repository::Repository;
use crate::common::{User, succeed, text_of};

/// Makes a taskspace with a project that a script makes from an empty commit.
fn begin(user: &User, script: &str, id: &str) -> Repository {
    let repository = Repository::new(user, "app");
    succeed(user.command("bash").arg("-ec").arg(script).current_dir(&repository.path));
    repository.commit("more", "more\n");
    user.run(&["create", "--project", repository.as_str(), id]);
    repository
}

fn inside(user: &User, id: &str, script: &str) -> String {
    let settings = "cd /workspace; export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@example.org \
        GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@example.org;";
    user.run(&["exec", id, "--", "bash", "-ec", &format!("{settings} {script}")])
}

fn names(user: &User, id: &str) -> Vec<String> {
    user.run(&["diff", "--name-status", id]).lines().map(str::to_owned).collect()
}

fn left_out(view: &Value) -> Vec<&str> {
    let all = view["left_out"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|one| one["path"].as_str().unwrap()).collect()
}

#[test]
fn changes_that_leave_size_and_time_alone_are_seen() {
    let user = User::new();
    let files = "printf 'test\n' > a; printf 'live\n' > b; printf 'one\n' > c; printf 'two\n' > d; \
        echo 1 > assumed; echo 1 > skipped; echo 1 > dropped; echo 1 > mode; echo Case > case; mkdir dir; \
        echo 1 > dir/file; mkdir far; echo 1 > far/file; touch -r a b c d assumed skipped";
    begin(&user, files, "exact");
    assert_eq!(user.run(&["diff", "--stat", "exact"]), "");
    inside(
        &user,
        "exact",
        "cp -p b a; mv c t; mv d c; mv t d
        git update-index --assume-unchanged assumed; git update-index --skip-worktree skipped dropped
        touch -r b stamp; echo 2 > assumed; echo 2 > skipped; rm dropped; touch -r stamp assumed skipped
        rm stamp; chmod +x mode; mv case CASE; rm -r dir; echo file > dir; echo x > hidden
        printf 'hidden\nkept\n' >> .git/info/exclude
        git config core.fileMode false; git config core.checkStat minimal; git config core.trustctime false
        git config core.ignoreStat true; git config status.showUntrackedFiles no
        git config core.untrackedCache true; git config core.ignoreCase true
        ln -s far link; echo x > kept; echo kept >> .gitignore; git add -f kept; git commit -qm kept",
    );
    let expected = [
        "A\t.gitignore",
        "R100\tcase\tCASE",
        "M\ta",
        "M\tassumed",
        "M\tc",
        "M\td",
        "A\tdir",
        "D\tdir/file",
        "D\tdropped",
        "A\thidden",
        "A\tkept",
        "A\tlink",
        "M\tmode",
        "M\tskipped",
    ];
    assert_eq!(names(&user, "exact"), expected);
    let patch = user.run(&["patch", "exact"]);
    assert!(patch.contains("-test\n+live\n") && patch.contains("new mode 100755"), "{patch}");
    let refused = user.fail(4, &["delete", "exact"]);
    assert!(refused.contains("14 files not committed and 1 commit"), "{refused}");
    assert!(refused.contains(" M skipped") && refused.contains("?? hidden"), "{refused}");

    // A sparse checkout lacks files, and deletes none.
    inside(
        &user,
        "exact",
        "git add -A; git commit -qm all; git sparse-checkout set --no-cone /a /c",
    );
    assert!(!names(&user, "exact").iter().any(|line| line.contains("far/file")));
    // What git inside can read no more is told; everything else is shown.
    inside(&user, "exact", "echo bad > .git/index; touch .git/index.lock; echo x > new");
    let view = user.json(&["diff", "exact"]);
    assert_eq!(left_out(&view), [".git"]);
    assert!(names(&user, "exact").contains(&"A\tnew".to_owned()));
    inside(&user, "exact", "rm -rf .git");
    assert!(names(&user, "exact").contains(&"A\tnew".to_owned()));
    assert!(user.fail(4, &["delete", "exact"]).contains("cannot be read"));
}

#[test]
fn paths_that_git_cannot_take_are_named_beside_the_rest() {
    let user = User::new();
    let files = r#"echo '*.rc text working-tree-encoding=UTF-16LE-BOM' > .gitattributes
        printf '\377\376h\0i\0\n\0' > text.rc; echo 1 > plain"#;
    begin(&user, files, "odd");
    inside(
        &user,
        "odd",
        r#"printf abc > text.rc; echo precious > result; mkfifo pipe; truncate -s 2G disk.img
        git init -q tools; echo inner > tools/inner; mkdir tools/.git/x
        git init -q own; echo mine > own/mine; git -C own add mine; git -C own commit -qm own
        echo late > own/late; git init -q own/deep; echo d > "own/deep/new
line"; ln -s loop loop; sudo sh -c 'echo s > secret; chmod 0 secret'"#,
    );
    let patch = user.taskspace(&["patch", "odd"]).output().unwrap();
    let text = text_of(&patch);
    assert!(patch.status.success(), "{text}");
    for added in ["+precious", "+inner", "+mine", "+late", "+d", "+s", "+loop"] {
        assert!(text.contains(&format!("\n{added}\n")), "{added}: {text}");
    }
    for told in [
        "text.rc: git cannot take it",
        "pipe: it is no file",
        "disk.img: it is too large",
        "own: it is a repository of its own",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    let view = user.json(&["diff", "odd"]);
    let mut paths = left_out(&view);
    paths.sort_unstable();
    assert_eq!(paths, ["disk.img", "own", "pipe", "text.rc"]);
    assert!(user.run(&["diff", "--stat", "odd"]).contains("result"));
    let refused = user.fail(4, &["delete", "odd"]);
    assert!(refused.contains("1 commit on main of own"), "{refused}");

    // A clone of something published has nothing that would be lost, but is named.
    inside(
        &user,
        "odd",
        "rm -rf own tools; git clone -q --no-hardlinks .git clone; rm -f pipe disk.img secret",
    );
    let view = user.json(&["diff", "odd"]);
    assert_eq!(left_out(&view), ["text.rc", "clone"]);
}

#[test]
fn work_below_a_path_that_is_too_long_is_unsaved() {
    let user = User::new();
    begin(&user, "echo 1 > a", "deep");
    inside(
        &user,
        "deep",
        "echo 2 > a; git commit -qam changed; mkdir deep; cd deep; name=$(printf 'd%.0s' {1..200})
        for i in {1..30}; do mkdir $name; cd $name; done; echo precious > work",
    );
    let view = user.json(&["diff", "deep"]);
    assert_eq!(view["files"].as_array().unwrap().len(), 1, "{view}");
    assert!(left_out(&view)[0].starts_with("deep/ddd"), "{view}");
    inside(
        &user,
        "deep",
        "git push -q origin HEAD 2> /dev/null || git update-ref refs/remotes/origin/x HEAD",
    );
    let refused = user.fail(4, &["delete", "deep"]);
    assert!(refused.contains("its path is too long"), "{refused}");
}

#[test]
fn work_in_submodules_comes_out() {
    let user = User::new();
    let library = Repository::new(&user, "lib");
    let add =
        format!("git -c protocol.file.allow=always submodule add -q {} deps/lib", library.as_str());
    let repository = begin(&user, &add, "subs");
    inside(
        &user,
        "subs",
        "cd deps/lib; echo committed > committed; git add -A; git commit -qm inner; cd ../..
        git commit -qam outer; echo changed >> deps/lib/README.md; echo new > deps/lib/new",
    );
    let view = user.json(&["diff", "subs"]);
    let files = view["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap());
    let expected = ["deps/lib", "deps/lib/README.md", "deps/lib/committed", "deps/lib/new"];
    assert_eq!(files.collect::<Vec<_>>(), expected);
    assert_eq!(view["uncommitted"], 2);
    assert!(user.run(&["diff", "--commits", "subs"]).contains(": deps/lib: inner"));

    // The patch makes a checkout with submodules what the taskspace is.
    let patch = user.path("home/subs.patch");
    user.run(&["patch", "subs", "-o", patch.to_str().unwrap()]);
    repository.git(&["apply", "--binary", patch.to_str().unwrap()]);
    let there = repository.path.join("deps/lib");
    assert_eq!(std::fs::read_to_string(there.join("committed")).unwrap(), "committed\n");
    assert_eq!(std::fs::read_to_string(there.join("new")).unwrap(), "new\n");

    // The commit that the project's new commit names comes along, and is saved then.
    assert!(user.fail(4, &["delete", "subs"]).contains("of deps/lib"));
    let fetched = user.json(&["fetch", "subs"]);
    assert_eq!(fetched["submodules"][0]["path"], "deps/lib");
    assert_eq!(fetched["submodules"][0]["missing"], serde_json::json!([]));
    let link = repository.git(&["rev-parse", "taskspace/subs:deps/lib"]);
    let clone =
        |arguments: &[&str]| succeed(user.command("git").arg("-C").arg(&there).args(arguments));
    assert_eq!(clone(&["log", "-1", "--format=%s", link.trim()]), "inner\n");
    assert!(
        clone(&["for-each-ref", "--contains", link.trim(), "refs/remotes/subs"]).contains("subs")
    );
    let refused = user.fail(4, &["delete", "subs"]);
    assert!(refused.contains("unsaved work: 2 files not committed\n"), "{refused}");

    // Where there is no clone of the submodule, it is said how its work comes.
    let bare = user.path("home/bare.git");
    repository.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    let output =
        user.taskspace(&["fetch", "subs", "--into", bare.to_str().unwrap()]).output().unwrap();
    let text = text_of(&output);
    assert!(
        text.contains("not fetched of the submodule deps/lib") && text.contains("git fetch"),
        "{text}"
    );
}

#[test]
fn branch_of_a_taskspace_is_beside_a_branch_called_taskspace() {
    let user = User::new();
    let repository = begin(&user, "git branch taskspace", "apart");
    inside(
        &user,
        "apart",
        "git commit -q --allow-empty -m work; git switch -q taskspace; git switch -q -",
    );
    user.run(&["fetch", "apart"]);
    assert_eq!(repository.git(&["log", "-1", "--format=%s", "taskspace-apart"]), "work\n");
    user.run(&["fork", "apart", "twin"]);
    assert_eq!(inside(&user, "twin", "git branch --show-current"), "taskspace-twin\n");
    // One that came later is named, and so is what helps.
    let refused = user.fail(4, &["fetch", "apart", "--branch", "taskspace/apart"]);
    assert!(refused.contains("cannot be beside") && refused.contains("--branch NAME"), "{refused}");
}
