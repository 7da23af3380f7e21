//! The quick start of the README, run as it stands there.
//!
//! What a reader does by hand is done by the test:
//! - `make install` is left out: the program is in `PATH` already (`systemd.rs` tests the units).
//! - `~` is the home of a user of the test's own, with a repository at `~/src/app`.
//! - `ssh` reads that user's `~/.ssh/config`; the real one goes by the account's home directory.
//! - `ssh NAME-dev` without a command gets the lines of `TYPED` as its input, and `ssh NAME-agent` the
//!   keys that leave the session.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::common::repository::Repository;
use crate::common::{TASKSPACE, User, succeed, text_of};

/// What the user does in the dev container.
const TYPED: &str = "echo mended > login\n\
    git add login\n\
    git -c user.name=Me -c user.email=me@example.org commit -qm 'Mend the login'\n";

/// Stands before the real ssh, at `REAL`.
const SSH: &str = r#"#!/bin/sh
ssh="REAL -F $HOME/.ssh/config -o BatchMode=yes"
case $#:$1 in
    1:*-dev) exec $ssh "$1" < "$HOME/typed" ;;
    1:*-agent) while sleep 0.2; do printf '\002d'; done | $ssh -tt "$1" ;;
    *) exec $ssh "$@" ;;
esac
"#;

/// Returns the commands and the output of the quick start's blocks, without what is cut short.
fn quick_start() -> (String, Vec<&'static str>) {
    let readme = include_str!("../README.md");
    let (_, section) = readme.split_once("\n## Quick start\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section.split("```console\n").skip(1);
    let lines: Vec<&str> =
        blocks.filter_map(|block| block.split("```").next()).flat_map(str::lines).collect();
    let commands = lines.iter().filter_map(|line| line.strip_prefix("$ "));
    let commands: Vec<&str> = commands.filter(|line| !line.starts_with("make ")).collect();
    let output = lines.into_iter().filter(|line| !line.starts_with("$ ") && *line != "…");
    (commands.join("\n"), output.collect())
}

#[test]
fn quick_start_of_the_readme_works_as_written() {
    let (commands, output) = quick_start();
    for word in ["ssh-config", "create", "ssh ", "exec", "diff", "fetch", "delete"] {
        assert!(commands.contains(word), "no {word} in {commands}");
    }
    let user = User::new();
    let repository = Repository::new(&user, "src/app");
    std::fs::write(user.path("home/typed"), TYPED).unwrap();
    let bin = user.path("home/bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(TASKSPACE, bin.join("taskspace")).unwrap();
    let real = succeed(user.command("sh").args(["-c", "command -v ssh"]));
    std::fs::write(bin.join("ssh"), SSH.replace("REAL", real.trim())).unwrap();
    std::fs::set_permissions(bin.join("ssh"), PermissionsExt::from_mode(0o755)).unwrap();

    let mut shell = user.command("bash");
    shell.args(["-exc", &commands]).env("TERM", "xterm");
    let path = std::env::var("PATH").unwrap();
    let run = shell.env("PATH", format!("{}:{path}", bin.display())).output().unwrap();
    let text = text_of(&run);
    assert!(run.status.success(), "{text}");
    for line in output {
        assert!(text.contains(line), "the README shows {line:?}, which is not in:\n{text}");
    }
    assert_eq!(repository.git(&["show", "HEAD:login"]), "mended\n");
    assert_eq!(user.run(&["list", "--json"]).trim(), "[]");
}
