//! Getting work out of a taskspace: what it has changed, as a diff, a patch, and commits.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, succeed, text_of, wait_until};

/// Fills a checkout with a base of everything.
const BASE: &str = r#"
set -e
seq 100 > text; seq 200 | tr 1-9 a-i > moved; printf 'a\0b\0%s' "$(seq 500)" > binary
echo x > script; ln -s text link; echo gone > gone; mkdir -p deep/er; echo d > deep/er/file
printf 'old\0%s' "$(seq 300)" > blob; echo 'ignored*' > .gitignore; echo w > 'with space'
ln -s text becomes-file; echo f > becomes-link
"#;

/// Changes everything that there is, in every way: committed, staged, changed, untracked.
const CHANGES: &str = r#"
set -e
cd /workspace
git config user.name Agent; git config user.email agent@example.org
sed -i s/50/fifty/ text; git add text; git commit -qm 'one'
git mv moved moved-away; git commit -qm 'two'
echo staged >> text; git add text; echo unstaged >> text
chmod +x script; ln -snf binary link; rm gone; printf 'x\0y%s' "$(seq 400)" > binary
rm becomes-file; echo file > becomes-file; ln -snf text becomes-link
git mv blob 'bl ob'
mkdir new; printf 'n\0ew' > new/binary; : > new/empty; echo a > 'new/a b'; echo n > "new/new
line"; echo u > "$(printf 'new/\377\376')"; echo ü > new/ü; echo q > 'new/"q"\t'; echo t > "new/	tab"
echo no > new/ignored-file; ln -s nowhere new/dangling; echo e > "$(printf 'new/\033[31mred')"
rm -r deep; echo '*.log' >> .gitignore; printf 'no end' > new/no-end; mkdir new/none
printf 'a\r\nb\r\n' > new/crlf
"#;

/// Makes a repository with a base of everything, and a taskspace in which everything is changed.
fn changed(user: &User, id: &str) -> Repository {
    let repository = Repository::new(user, "app");
    succeed(user.command("sh").arg("-c").arg(BASE).current_dir(&repository.path));
    repository.commit("more", "more\n");
    user.run(&["create", "--project", repository.as_str(), id]);
    user.run(&["exec", id, "--", "bash", "-c", CHANGES]);
    repository
}

/// Returns the digest of everything in a checkout but what git ignores, with modes and kinds.
const SUM: &str = r#"
git ls-files -z --cached --others --exclude-standard | sort -zu | while IFS= read -r -d '' f; do
    [ -e "$f" ] || [ -L "$f" ] || continue
    printf '%q %s ' "$f" "$(stat -c %A "$f" | cut -c1,4)"
    if [ -L "$f" ]; then readlink "$f"; else sha256sum < "$f"; fi
done"#;

/// Returns what git remembers of a checkout: the index and all objects.
const STATE: &str = "cd /workspace/.git && sha256sum index HEAD && find . -type f | sort && \
    ls -A /tmp | grep taskspace || :";

#[test]
fn a_patch_makes_a_clean_checkout_what_the_taskspace_is() {
    let user = User::new();
    let repository = changed(&user, "patched");
    let state = |id: &str| user.run(&["exec", id, "--", "sh", "-c", STATE]);
    let before = state("patched");
    let patch = user.taskspace(&["patch", "patched"]).output().unwrap();
    assert!(patch.status.success(), "{}", text_of(&patch));
    assert_eq!(state("patched"), before, "the index and the objects stay as they are");

    // In a file it is the same, and so is what is there when it fails.
    let file = user.path("home/a.patch");
    std::fs::write(&file, "old").unwrap();
    user.fail(3, &["patch", "nobody", "-o", file.to_str().unwrap()]);
    assert_eq!(std::fs::read(&file).unwrap(), b"old");
    user.run(&["patch", "patched", "-o", "a.patch"]);
    assert_eq!(std::fs::read(&file).unwrap(), patch.stdout);

    let clean = user.path("home/clean");
    repository.git(&["clone", "--quiet", ".", clean.to_str().unwrap()]);
    let git = |arguments: &[&str]| {
        let mut command = user.command("git");
        command.args(arguments).current_dir(&clean);
        succeed(&mut command)
    };
    git(&["apply", "--binary", "--index", file.to_str().unwrap()]);
    let sum = |command: &mut std::process::Command| succeed(command);
    let here = sum(user.command("bash").arg("-c").arg(SUM).current_dir(&clean));
    let there = user.run(&["exec", "patched", "--", "bash", "-c", SUM]);
    assert_eq!(here, there);
    assert!(there.contains("377") && there.contains("no-end") && !there.contains("ignored-file"));
    // Nothing is lost, and nothing comes twice.
    assert_eq!(git(&["diff"]), "");
    assert_eq!(git(&["status", "--porcelain", "--untracked-files"]).matches("??").count(), 0);
}

#[test]
fn what_was_changed_is_told_in_several_forms() {
    let user = User::new();
    let repository = changed(&user, "told");
    let view = user.json(&["diff", "told"]);
    assert_eq!(view["base"], json!(repository.head()));
    assert_eq!((&view["commits"], &view["branch"]), (&json!(2), &json!("taskspace/told")));
    assert!(view["uncommitted"].as_u64().unwrap() > 15, "{view}");
    let file = |path: &str| -> Value {
        let files = view["files"].as_array().unwrap();
        files.iter().find(|file| file["path"] == path).cloned().unwrap_or_default()
    };
    assert_eq!(file("moved-away")["renamed_from"], "moved");
    assert_eq!(
        (&file("moved-away")["change"], &file("moved-away")["added"]),
        (&json!("renamed"), &json!(0))
    );
    assert_eq!((&file("text")["added"], &file("text")["deleted"]), (&json!(3), &json!(1)));
    assert_eq!((&file("binary")["binary"], &file("binary")["added"]), (&json!(true), &Value::Null));
    assert_eq!(
        (&file("script")["old_mode"], &file("script")["mode"]),
        (&json!("100644"), &json!("100755"))
    );
    assert_eq!(file("becomes-link")["change"], "type-changed");
    assert_eq!((&file("gone")["change"], &file("gone")["mode"]), (&json!("deleted"), &Value::Null));
    assert_eq!(file("new/new\nline")["change"], "added");
    assert_eq!(file("new/\u{fffd}\u{fffd}")["path_hex"], "6e65772ffffe");
    assert_eq!(file("new/ignored-file"), Value::Null);

    let stat = user.run(&["diff", "told", "--stat"]);
    assert!(stat.contains("moved => moved-away") && stat.contains("files changed"), "{stat}");
    let names = user.run(&["diff", "told", "--name-status"]);
    assert!(names.contains("R100\tmoved\tmoved-away\n") && names.contains("D\tgone\n"), "{names}");
    assert!(names.contains("A\t\"new/\\377\\376\"\n"), "{names}");
    let commits = user.run(&["diff", "told", "--commits"]);
    let subjects: Vec<&str> =
        commits.lines().map(|line| line.rsplit_once(": ").unwrap().1).collect();
    assert_eq!(subjects, ["two", "one"]);
    user.fail(2, &["diff", "told", "--commits", "--json"]);
    user.fail(3, &["diff", "nobody"]);

    // On a terminal it has colours, and nothing that the terminal would obey.
    let seen = succeed(
        user.command("script")
            .args(["--quiet", "--return", "--command"])
            .arg(format!("env -u NO_COLOR TERM=xterm {} diff told", crate::common::TASKSPACE))
            .arg("/dev/null"),
    );
    assert!(seen.contains("\u{1b}[32m+staged"), "{seen}");
    assert!(!seen.contains("\u{1b}[31mred") && seen.contains("\u{240d}"), "{seen}");
}

#[test]
fn the_repository_has_no_say_in_how_it_is_looked_at() {
    let user = User::new();
    let repository = changed(&user, "sly");
    let plain = user.run(&["patch", "sly"]);
    let marks = "/tmp/marks";
    let configure = format!(
        r#"set -e; cd /workspace; mkdir -m 777 {marks}
        run() {{ printf '#!/bin/sh\ntouch {marks}/%s\n[ "$1" != cat ] || cat\n' "$1" > /workspace/.git/run-$1; chmod +x .git/run-$1; }}
        for x in external textconv fsmonitor hook pager; do run $x; done
        git config diff.external /workspace/.git/run-external
        git config diff.sly.command /workspace/.git/run-external
        git config diff.sly.textconv /workspace/.git/run-textconv
        git config core.fsmonitor /workspace/.git/run-fsmonitor
        git config core.pager /workspace/.git/run-pager
        git config pager.diff true; git config color.ui always; git config color.diff always
        git config diff.noprefix true; git config diff.mnemonicPrefix true
        git config diff.renames false; git config diff.context 0; git config diff.algorithm patience
        git config diff.interHunkContext 9; git config diff.relative true
        git config diff.suppressBlankEmpty true; git config diff.orderFile .git/order
        git config diff.submodule log; git config core.worktree /tmp; git config core.quotePath false
        git config diff.wsErrorHighlight all; git config diff.indentHeuristic false
        git config diff.colorMoved zebra; git config core.abbrev 5; git config core.splitIndex true
        git config core.excludesFile /workspace/.git/all; git config core.attributesFile .git/attributes
        git config log.showSignature true; git config gpg.program /workspace/.git/run-external
        git config alias.diff '!touch {marks}/alias'; git config core.fileMode false
        echo '*' > .git/all; echo 'text' > .git/order; echo '* diff=sly' > .git/attributes
        mkdir -p .git/hooks; for h in post-index-change pre-commit post-checkout reference-transaction; do
            cp .git/run-hook .git/hooks/$h; done
        rm -f {marks}/*"#
    );
    user.run(&["exec", "sly", "--", "bash", "-c", &configure]);
    assert_eq!(user.run(&["patch", "sly"]), plain);
    assert!(user.run(&["diff", "sly", "--commits"]).contains(": one"));
    assert!(user.json(&["diff", "sly"])["files"].as_array().unwrap().len() > 20);
    assert!(user.run(&["diff", "sly", "--stat"]).contains("files changed"));
    assert_eq!(user.run(&["exec", "sly", "--", "ls", marks]), "");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");

    // What it can do is to make itself unreadable, which is told.
    user.run(&["exec", "sly", "--", "sh", "-c", "mv .git/objects .git/o && mkdir .git/objects"]);
    assert_eq!(user.run(&["patch", "sly"]), plain);
    assert_eq!(user.json(&["diff", "sly"])["left_out"][0]["path"], ".git");
    user.run(&["exec", "sly", "--", "sh", "-c", "rmdir .git/objects && mv .git/o .git/objects"]);
}

#[test]
fn a_large_diff_passes_through_and_a_broken_one_is_none() {
    const MEGABYTES: u64 = 120;
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "large"]);
    let fill = format!(
        "head -c {MEGABYTES}M /dev/zero | tr '\\0' 'x' | fold -w 99 > large && echo >> large"
    );
    user.run(&["exec", "large", "--", "sh", "-c", &fill]);
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", user.service().unwrap()));
        let status = status.unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    };
    let before = memory();
    let mut patch = user.taskspace(&["patch", "large"]);
    let patch = patch.stdout(Stdio::piped()).output().unwrap();
    assert!(patch.status.success(), "{}", String::from_utf8_lossy(&patch.stderr));
    assert!(patch.stdout.len() as u64 > MEGABYTES << 20, "{}", patch.stdout.len());
    assert!(patch.stdout.ends_with(b"x\n"));
    let after = memory();
    assert!(after < before + 40, "the service grew from {before} to {after} MB");

    // Git is killed in the middle: what has come is not all, and is not taken for it.
    let file = user.path("home/large.patch");
    let mut half = user.taskspace(&["patch", "large"]);
    let mut half = half.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1000];
    std::io::Read::read_exact(half.stdout.as_mut().unwrap(), &mut first).unwrap();
    let [aside] = &asides("large")[..] else { panic!("it is looked at in one container") };
    let mut kill = TestPodman::shared().command();
    succeed(kill.args(["exec", "--user=root", aside, "bash", "-c", KILL_DIFF]));
    let half = half.wait_with_output().unwrap();
    assert_eq!(half.status.code(), Some(1), "{}", String::from_utf8_lossy(&half.stderr));
    assert!((half.stdout.len() as u64) < MEGABYTES << 20);
    wait_until("the container is gone", || asides("large").is_empty());
    assert!(!file.exists());
    // The service goes on.
    assert!(user.run(&["diff", "large", "--stat"]).contains("large"));

    // A client that goes leaves nothing behind.
    let mut gone = user.taskspace(&["patch", "large"]);
    let mut gone = gone.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    std::io::Read::read_exact(gone.stdout.as_mut().unwrap(), &mut first).unwrap();
    gone.kill().unwrap();
    gone.wait().unwrap();
    wait_until("the diff is gone", || asides("large").is_empty());
}

/// Kills the git that writes a diff.
const KILL_DIFF: &str = r#"
for p in /proc/[0-9]*; do
    case $(tr '\0' ' ' < $p/cmdline 2>/dev/null) in git\ diff*) kill -KILL ${p#/proc/} ;; esac
done"#;

/// Commits a file in a taskspace.
fn commit_in(user: &User, id: &str, file: &str) {
    let script = format!(
        "cd /workspace && git config user.name Agent && git config user.email a@example.org && \
         echo {file} > {file} && git add {file} && git commit -qm {file}"
    );
    user.run(&["exec", id, "--", "sh", "-c", &script]);
}

#[test]
fn commits_are_fetched_into_the_repository_that_they_are_of() {
    let user = User::new();
    let repository = Repository::new(&user, "it's an app");
    user.run(&["create", "--project", repository.as_str(), "work"]);
    let head = repository.head();
    let none = user.run(&["fetch", "work"]);
    assert!(none.contains("fetched 0 commits") && none.contains("taskspace/work"), "{none}");
    commit_in(&user, "work", "one");
    commit_in(&user, "work", "two");
    user.run(&["exec", "work", "--", "sh", "-c", "echo x > /workspace/loose"]);
    let output = user.taskspace(&["fetch", "work"]).output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success() && text.contains("fetched 2 commits into"), "{text}");
    assert!(text.contains("1 file of work not committed"), "{text}");
    assert!(text.contains("taskspace patch work"), "{text}");
    let fetched = || repository.git(&["log", "--format=%s", "taskspace/work", "--not", "main"]);
    assert_eq!(fetched(), "two\none\n");
    // Nothing else has changed.
    assert_eq!(repository.head(), head);
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert!(!repository.path.join(".git/FETCH_HEAD").exists());
    assert!(user.run(&["fetch", "work"]).contains("has all commits already"));
    assert!(repository.git(&["reflog", "taskspace/work"]).contains("fetch"));

    // What is there is not lost, unless that is wanted.
    let rewrite = "cd /workspace && git commit -q --amend -m rewritten";
    user.run(&["exec", "work", "--", "sh", "-c", rewrite]);
    let refused = user.fail(4, &["fetch", "work"]);
    assert!(
        refused.contains("taskspace/work has commits") && refused.contains("--force"),
        "{refused}"
    );
    assert_eq!(fetched(), "two\none\n");
    let other = user.json(&["fetch", "work", "--branch", "again"]);
    assert_eq!((&other["commits"], &other["uncommitted"]), (&json!(2), &json!(1)));
    assert_eq!(other["refs"][0]["name"], "refs/heads/again");
    user.run(&["fetch", "work", "--force"]);
    assert_eq!(fetched(), "rewritten\none\n");
    repository.git(&["checkout", "--quiet", "again"]);
    commit_in(&user, "work", "three");
    let refused = user.fail(4, &["fetch", "work", "--branch", "again"]);
    assert!(refused.contains("again is checked out"), "{refused}");
    user.fail(2, &["fetch", "work", "--branch", "-x"]);

    // Another branch is checked out in the taskspace, and this one is gone.
    let switch = "cd /workspace && git checkout -qb side/way && git branch -qD taskspace/work";
    user.run(&["exec", "work", "--", "sh", "-c", switch]);
    let refused = user.fail(3, &["fetch", "work"]);
    assert!(refused.contains("--all"), "{refused}");
    user.run(&["fetch", "work", "--all"]);
    assert!(
        repository
            .git(&["log", "-1", "--format=%s", "refs/remotes/work/side/way"])
            .contains("three")
    );
    repository.git(&["remote", "add", "work", "/nowhere"]);
    assert!(user.fail(4, &["fetch", "work", "--all"]).contains("remote 'work' of its own"));

    user.run(&["stop", "work"]);
    let refused = user.fail(4, &["fetch", "work"]);
    assert!(
        refused.contains("work is stopped") && refused.contains("taskspace start work"),
        "{refused}"
    );
}

#[test]
fn commits_are_fetched_into_a_clone_and_into_no_other_project() {
    let user = User::new();
    let upstream = Repository::new(&user, "upstream");
    let bare = user.path("home/bare.git");
    upstream.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    let clone = user.path("home/clone");
    upstream.git(&["clone", "--quiet", ".", clone.to_str().unwrap()]);
    // A local directory, but by a URL that leads elsewhere for the container.
    user.run(&["create", "--project", bare.to_str().unwrap(), "cloned"]);
    commit_in(&user, "cloned", "one");
    // Into a bare repository, since that is what it is from.
    assert!(user.run(&["fetch", "cloned"]).contains("bare.git"));
    let subjects = |path: &std::path::Path| {
        let mut git = user.command("git");
        succeed(git.arg("-C").arg(path).args(["log", "-1", "--format=%s", "taskspace/cloned"]))
    };
    assert_eq!(subjects(&bare), "one\n");
    std::fs::create_dir(clone.join("sub")).unwrap();
    let into = clone.join("sub");
    let told = user.run(&["fetch", "cloned", "--into", into.to_str().unwrap()]);
    assert!(told.contains(clone.to_str().unwrap()), "{told}");
    assert_eq!(subjects(&clone), "one\n");
    user.fail(1, &["fetch", "cloned", "--into", user.path("run").to_str().unwrap()]);
    // The repository is gone.
    std::fs::rename(&bare, user.path("home/elsewhere.git")).unwrap();
    assert!(user.fail(1, &["fetch", "cloned"]).contains("--into"));
}

/// A program in the place of `git-upload-pack` that offers what no branch can be called.
const EVIL: &str = r#"#!/bin/sh
id=$(git -C /workspace rev-parse HEAD)
line() { printf '%04x%s\n' $((${#1} + 5)) "$1"; }
first="$id HEAD"
printf '%04x%s\0%s\n' $((${#first} + 1 + 21 + 5)) "$first" "ofs-delta agent=git/1"
for name in refs/heads/../../../../evil refs/heads/-evil 'refs/heads/e vil' refs/heads/evil.lock \
    "refs/heads/$(printf '\033')[31m" refs/heads/@{1} refs/heads/a..b refs/tags/evil refs/evil \
    refs/heads/HEAD refs/heads/good; do
    line "$id $name"
done
printf 0000
cat > /dev/null
"#;

#[test]
fn what_a_hostile_taskspace_offers_does_no_harm() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "evil"]);
    let script = format!(
        "cat > /usr/local/bin/git-upload-pack <<'END'\n{EVIL}END\nchmod 755 /usr/local/bin/git-upload-pack"
    );
    user.run(&["exec", "evil", "--user", "root", "--", "sh", "-c", &script]);
    let output = user.taskspace(&["fetch", "evil", "--all"]).output().unwrap();
    let text = text_of(&output);
    assert!(!text.contains('\u{1b}'), "{text}");
    let refs = repository.git(&["for-each-ref", "--format=%(refname)"]);
    let refs: Vec<&str> = refs.lines().collect();
    for name in &refs {
        let ours = [
            "refs/heads/main",
            "refs/remotes/evil/good",
            "refs/remotes/evil/HEAD",
            "refs/remotes/evil/-evil",
        ];
        assert!(ours.contains(name), "{refs:?}");
    }
    assert!(refs.contains(&"refs/remotes/evil/good"), "{text}");
    let found = succeed(user.command("find").arg(".").args(["-name", "*evil*"]));
    let outside = found
        .lines()
        .filter(|line| !line.contains("/refs/remotes/evil") && !line.contains("/logs/"));
    assert_eq!(outside.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// Returns the containers that were made beside a taskspace.
fn asides(id: &str) -> Vec<String> {
    let label = format!("io.symposium.taskspace={id}");
    let role = "--filter=label=io.symposium.role=aside";
    TestPodman::shared().list(&["ps", "--all", "--format={{.Names}}", role], &label)
}

#[test]
fn one_that_does_not_run_is_looked_at_and_nothing_of_it_is_started() {
    let user = User::with_own_ports(&TestPodman::shared().container_host);
    changed(&user, "resting");
    let awake = user.taskspace(&["patch", "resting"]).output().unwrap().stdout;
    let told = user.json(&["diff", "resting"]);
    user.run(&["stop", "resting"]);
    let before = user.registry()["taskspaces"]["resting"].clone();
    let asleep = user.taskspace(&["patch", "resting"]).output().unwrap();
    assert!(asleep.status.success(), "{}", text_of(&asleep));
    assert!(asleep.stdout == awake, "it is the same");
    assert_eq!(user.json(&["diff", "resting"]), told);
    assert_eq!(asides("resting"), Vec::<String>::new());
    assert_eq!(user.registry()["taskspaces"]["resting"], before);
    assert_eq!(user.disagreement(&[]), Vec::<String>::new());
    // Without its pod, too.
    succeed(TestPodman::shared().command().args(["pod", "rm", "--force", "taskspace-resting"]));
    assert!(user.run(&["diff", "resting", "--stat"]).contains("files changed"));
    // The checkout's volume is made anew from its layers.
    succeed(TestPodman::shared().command().args(["volume", "rm", "taskspace-resting-project"]));
    assert_eq!(user.json(&["diff", "resting"]), told);
    user.run(&["start", "resting"]);
    assert!(user.taskspace(&["patch", "resting"]).output().unwrap().stdout == awake);
    assert_eq!(user.disagreement(&[]), Vec::<String>::new());
}

/// Has git wait for what does not come when it reads the repository's settings.
const SLOW: &str = "cd /workspace/.git && mv config former && mkfifo config";

#[test]
fn who_looks_is_in_nobodys_way_and_leaves_nothing_behind() {
    let user = User::with_own_ports(&TestPodman::shared().container_host);
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "slow"]);
    user.run(&["exec", "slow", "--", "sh", "-c", SLOW]);
    user.run(&["stop", "slow"]);
    let look = || {
        let mut diff = user.taskspace(&["diff", "slow"]);
        let diff = diff.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("somebody looks", || {
            asides("slow").iter().any(|name| {
                let mut top = TestPodman::shared().command();
                let seen = top.args(["top", name, "args"]).output().unwrap();
                String::from_utf8_lossy(&seen.stdout).contains("git ls-files -z -t")
            })
        });
        diff
    };
    // It is started, works and is stopped meanwhile.
    let mut diff = look();
    assert_eq!(asides("slow").len(), 1);
    user.run(&["start", "slow"]);
    assert!(user.ssh("slow-dev", &["touch /workspace/y"]).status().unwrap().success());
    user.run(&["restart", "slow"]);
    assert_eq!(user.json(&["show", "slow"])["status"], "running");
    assert_eq!(user.json(&["show", "slow"])["restarts"], 0);
    user.run(&["stop", "slow"]);
    assert_eq!(user.json(&["show", "slow"])["status"], "stopped");
    assert_eq!(asides("slow").len(), 1);
    // Who asked goes.
    diff.kill().unwrap();
    diff.wait().unwrap();
    wait_until("nobody looks", || asides("slow").is_empty());

    // The service is killed: its next run removes what it finds.
    let mut diff = look();
    user.kill_service();
    // It would ask the next one.
    diff.kill().unwrap();
    diff.wait().unwrap();
    user.run(&["list"]);
    wait_until("what was left is gone", || asides("slow").is_empty());
    assert_eq!(user.disagreement(&[]), Vec::<String>::new());
    assert_eq!(user.json(&["status"])["strays"], json!([]));

    // The taskspace is deleted.
    let mut diff = look();
    user.run(&["delete", "--force", "--purge", "slow"]);
    assert!(!diff.wait().unwrap().success());
    assert_eq!(asides("slow"), Vec::<String>::new());
    assert_eq!(user.disagreement(&["slow"]), Vec::<String>::new());
}

#[test]
fn work_is_found_wherever_it_is() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    // Tags that came with the project are nobody's work.
    repository.git(&["commit", "--quiet", "--allow-empty", "-m", "tagged"]);
    repository.git(&["tag", "released"]);
    repository.git(&["reset", "--quiet", "--hard", "HEAD^"]);
    user.run(&["create", "--project", repository.as_str(), "hidden"]);
    let inside = |script: &str| {
        let script = format!(
            "cd /workspace && export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@example.invalid \
             GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@example.invalid && {script}"
        );
        user.run(&["exec", "hidden", "--", "sh", "-c", &script]);
    };
    for (work, told, no_more) in [
        (
            "sudo mkdir own && echo x | sudo tee own/result && sudo chmod 700 own",
            "1 file not committed",
            "sudo rm -r own",
        ),
        (
            "git switch --quiet --detach && git commit --quiet --allow-empty -m tagged && \
             git tag mine && git switch --quiet -",
            "1 commit on tags/mine",
            "git tag --delete mine",
        ),
        (
            "git worktree add --quiet --detach /tmp/tree && cd /tmp/tree && touch x && \
             git commit --quiet --allow-empty -m apart",
            "1 file not committed and 1 commit on worktrees/tree/HEAD",
            "git worktree remove --force /tmp/tree",
        ),
        (
            "git init --quiet -b inner sub && git -C sub commit --quiet --allow-empty -m in-sub && \
             echo x > sub/x && git add sub && git commit --quiet -m outer",
            "1 file not committed and 2 commits on inner of sub, taskspace/hidden",
            "git reset --quiet --hard HEAD^ && rm -rf sub",
        ),
    ] {
        inside(work);
        let unsaved = format!("'hidden' has unsaved work: {told}\n");
        let refused = user.fail(4, &["delete", "hidden"]);
        assert!(refused.contains(&unsaved), "{work}: {refused}");
        // It is seen although the containers do not run; what is in them alone, is not.
        if !work.contains("/tmp") {
            user.run(&["stop", "hidden"]);
            assert_eq!(user.fail(4, &["delete", "hidden"]), refused);
            user.run(&["start", "hidden"]);
        }
        if work.contains("own") {
            assert!(user.run(&["diff", "--name-status", "hidden"]).contains("own/result"));
        }
        inside(no_more);
    }
    user.run(&["delete", "--purge", "hidden"]);
}

#[test]
fn one_that_does_not_run_is_deleted_without_force_when_nothing_is_lost() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let create = |id: &str| user.run(&["create", "--project", repository.as_str(), id]);
    create("clean");
    user.run(&["stop", "clean"]);
    user.run(&["delete", "--dry-run", "clean"]);
    user.run(&["delete", "--purge", "clean"]);

    create("saved");
    commit_in(&user, "saved", "one");
    commit_in(&user, "saved", "two");
    user.run(&[
        "exec",
        "saved",
        "--",
        "sh",
        "-c",
        "cd /workspace && echo > x && echo > y && git branch side",
    ]);
    user.run(&["stop", "saved"]);
    let refused = user.fail(4, &["delete", "saved"]);
    let told = "'saved' has unsaved work: 2 files not committed and 2 commits on side";
    assert!(refused.contains(told) && refused.contains("?? x"), "{refused}");
    assert!(refused.contains(" two\n") && refused.contains("--force"), "{refused}");
    user.run(&["start", "saved"]);
    assert_eq!(user.fail(4, &["delete", "saved"]), refused);
    // What was fetched into the project's own repository is saved.
    user.run(&["fetch", "saved"]);
    let refused = user.fail(4, &["delete", "saved"]);
    assert!(refused.contains("unsaved work: 2 files not committed\n"), "{refused}");
    user.run(&["exec", "saved", "--", "sh", "-c", "cd /workspace && rm x y"]);
    // But not when nothing there leads to it any more.
    repository.git(&["branch", "--quiet", "-D", "taskspace/saved"]);
    assert!(user.fail(4, &["delete", "saved"]).contains("2 commits on side"));
    user.run(&["fetch", "saved", "--branch", "kept"]);
    user.run(&["stop", "saved"]);
    user.run(&["delete", "--purge", "saved"]);
    assert_eq!(repository.git(&["log", "-1", "--format=%s", "kept"]), "two\n");
}
