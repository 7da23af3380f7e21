//! What taskspaces cost in time and bytes, by the size of the project: on real Podman, each time beside
//! the same done by hand in the same run.

#![expect(clippy::unwrap_used, reason = "a bench that cannot measure ends")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

#[expect(dead_code, reason = "the end-to-end tests use the rest of it")]
#[path = "../tests/common/mod.rs"]
mod common;
mod timing;

use common::podman::TestPodman;
use common::{User, succeed};
use timing::{median, timed};

/// How many files a project has.
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

/// How long each of them is: the largest project has a gigabyte.
const LENGTH: usize = 10_000;

/// One file in so many is changed.
const CHANGED: usize = 10;

/// One file in so many differs in the next commit.
const DIFFERING: usize = 100;

/// How often what leaves the same behind is measured; the median counts.
const TIMES: usize = 3;

fn main() {
    println!("| files | what | time | by hand | ratio | by hand is | bytes |");
    println!("|---|---|---|---|---|---|---|");
    // What was measured stays until the end. An ext4 without a journal looks at each inode that was
    // freed in the last minutes before it makes a file: after ten thousand, both ways are ten times
    // slower.
    let measured = SIZES.map(measure);
    measured.iter().for_each(Table::measure_deletions);
}

/// What is measured of one size.
struct Table {
    user: User,
    files: usize,
    /// What is done by hand.
    scratch: PathBuf,
}

/// The same done by hand.
struct Hand {
    what: &'static str,
    time: Duration,
}

impl Table {
    fn row(&self, what: &str, time: Duration, hand: Option<Hand>, bytes: Option<u64>) {
        let ratio = hand.as_ref().map(|hand| time.as_secs_f64() / hand.time.as_secs_f64());
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let (by_hand, is) = match &hand {
            Some(hand) => (told(hand.time), hand.what),
            None => (String::new(), ""),
        };
        let bytes = bytes.map_or_else(String::new, |bytes| bytes.to_string());
        println!(
            "| {} | {what} | {} | {by_hand} | {ratio} | {is} | {bytes} |",
            self.files,
            told(time)
        );
    }

    /// Returns the id of a taskspace: those of all sizes are there at a time.
    fn id(&self, name: &str) -> String {
        format!("{name}-{}", self.files)
    }

    fn timed(&self, arguments: &[&str]) -> Duration {
        timed(|| {
            self.user.run(arguments);
        })
    }

    fn inside(&self, id: &str, script: &str) -> String {
        succeed(&mut self.user.ssh(&format!("{id}-dev"), &[script]))
    }

    /// Measures this last, and removes what was done by hand in containers' names.
    fn measure_deletions(&self) {
        for (what, name) in
            [("delete, little is changed", "b"), ("delete, a tenth is changed", "fork-0")]
        {
            settle();
            let time = self.timed(&["delete", "--force", "--purge", &self.id(name)]);
            self.row(what, time, None, None);
        }
        remove_inside(&self.scratch);
    }

    /// Returns how much a taskspace occupies.
    fn occupied(&self, id: &str) -> u64 {
        ["changes", "build-cache", "agent-state"]
            .map(|volume| format!("taskspace-{id}-{volume}"))
            .map(|volume| size(&[&directory(&volume)]))
            .iter()
            .sum()
    }
}

fn measure(files: usize) -> Table {
    let user = User::new();
    let scratch = user.path("home/by-hand");
    let table = Table { user, files, scratch };
    let (user, scratch) = (&table.user, &table.scratch);
    let [first_id, second_id, third_id] = ["a", "b", "c"].map(|name| table.id(name));
    let repository = user.path("home/app.git");
    std::fs::create_dir(scratch).unwrap();
    succeed(Command::new("git").args(["init", "--quiet", "--bare", "-b", "main"]).arg(&repository));
    import(&repository, &first_commit(files));
    let project = repository.to_str().unwrap();
    user.run(&["images", "build", "agent", "dev-generic"]);

    // From nothing.
    let clone = scratch.join("clone");
    let hand = timed(|| {
        succeed(Command::new("git").args(["clone", "--quiet"]).arg(&repository).arg(&clone));
        settle();
    });
    let hand = Hand { what: "git clone, sync", time: hand };
    let time = table.timed(&["create", "--project", project, &first_id]);
    let first = base(user, "");
    table.row("create, the first of a project", time, Some(hand), Some(size(&[&first])));

    // What is there already.
    let hand = timed(|| copy(&clone, &scratch.join("copy")));
    let mut times = Vec::new();
    for _ in 0..TIMES {
        times.push(table.timed(&["create", "--project", project, &second_id]));
        if times.len() < TIMES {
            user.run(&["delete", "--force", "--purge", &second_id]);
        }
    }
    let hand = Hand { what: "cp -a of a checkout", time: hand };
    let bytes = table.occupied(&second_id);
    table.row("create, its base is there", median(times), Some(hand), Some(bytes));

    // A newer commit.
    import(&repository, &next_commit(files));
    let pull = timed(|| {
        let pull = ["pull", "--quiet", "--ff-only"];
        succeed(Command::new("git").arg("-C").arg(&clone).args(pull));
        copy(&clone, &scratch.join("second"));
    });
    let hand = Hand { what: "git pull, cp -a", time: pull };
    let time = table.timed(&["create", "--project", project, &third_id]);
    let second = base(user, &first);
    let bytes = size(&[&first, &second]) - size(&[&first]);
    table.row("create at a newer commit", time, Some(hand), Some(bytes));

    // Work.
    let changed = files / CHANGED;
    let change = format!(
        "cd /workspace && find . -name '*.txt' | sort | head -{changed} | \
         while read -r file; do echo changed >> $file; done"
    );
    table.inside(&first_id, &change);

    let mut times = Vec::new();
    let mut by_hand = Vec::new();
    for _ in 0..TIMES {
        by_hand.push(timed(|| {
            table.inside(
                &first_id,
                "cd /workspace && git add -AN . && git diff --stat HEAD | tail -1",
            );
        }));
        times.push(table.timed(&["diff", "--stat", &first_id]));
    }
    let hand = Hand { what: "git diff over ssh", time: median(by_hand) };
    table.row("diff", median(times), Some(hand), None);

    let changes = directory(&format!("taskspace-{first_id}-changes")).join("upper");
    let mut times = Vec::new();
    let mut by_hand = Vec::new();
    let mut bytes = 0;
    for turn in 0..TIMES {
        let (to, fork) = (scratch.join(format!("fork-{turn}")), table.id(&format!("fork-{turn}")));
        settle();
        by_hand.push(timed(|| copy_inside(&[&changes], &to)));
        settle();
        times.push(table.timed(&["fork", &first_id, &fork]));
        bytes = table.occupied(&fork);
    }
    let hand = Hand { what: "podman unshare cp -a", time: median(by_hand) };
    table.row("fork, a tenth is changed", median(times), Some(hand), Some(bytes));

    // What is built.
    let build = format!(
        "mkdir -p $CARGO_TARGET_DIR && cd /workspace && \
         cp -r --no-preserve=all $(ls -d d* | head -{}) $CARGO_TARGET_DIR",
        changed.div_ceil(PER_DIRECTORY)
    );
    table.inside(&first_id, &build);
    let cache = directory(&format!("taskspace-{first_id}-build-cache"));
    let hand = timed(|| copy_inside(&[&cache], &scratch.join("promotion")));
    settle();
    let hand = Hand { what: "podman unshare cp -a", time: hand };
    let time = table.timed(&["cache", "promote", &first_id]);
    let bytes = user.json(&["projects"])[0]["caches"][0]["bytes"].as_u64();
    table.row("promote a cache", time, Some(hand), bytes);

    table
}

/// How many files are in one directory.
const PER_DIRECTORY: usize = 100;

/// Writes the first commit as a stream for `git fast-import`.
fn first_commit(files: usize) -> Vec<u8> {
    let mut stream = head("first", None);
    for number in 0..files {
        write_file(&mut stream, number, 0);
    }
    stream
}

/// Writes a commit after it.
fn next_commit(files: usize) -> Vec<u8> {
    let mut stream = head("second", Some("refs/heads/main^0"));
    for number in (0..files).step_by(DIFFERING) {
        write_file(&mut stream, number, 1);
    }
    stream
}

fn head(message: &str, from: Option<&str>) -> Vec<u8> {
    let now = jiff::Timestamp::now().as_second();
    let mut head = format!(
        "commit refs/heads/main\ncommitter Bench <bench@example.org> {now} +0000\ndata {}\n{message}\n",
        message.len()
    );
    if let Some(from) = from {
        head += &format!("from {from}\n");
    }
    head.into_bytes()
}

/// Adds a file of lines that neither git nor a file system can make smaller.
fn write_file(stream: &mut Vec<u8>, number: usize, round: u64) {
    let directory = number / PER_DIRECTORY;
    write!(stream, "M 100644 inline d{directory:04}/f{number:06}.txt\ndata {LENGTH}\n").unwrap();
    let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (round << 32);
    for at in 0..LENGTH {
        // xorshift64: quick, and random enough for that.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let printable = b' ' + u8::try_from(state % 95).unwrap_or_default();
        stream.push(if at % 80 == 79 { b'\n' } else { printable });
    }
    stream.push(b'\n');
}

fn import(repository: &Path, stream: &[u8]) {
    let mut import = Command::new("git")
        .arg("-C")
        .arg(repository)
        .args(["-c", "core.compression=0", "fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(stream).unwrap();
    assert!(import.wait().unwrap().success());
}

/// Has everything written, so that what is measured next does not wait for what was done before.
fn settle() {
    nix::unistd::sync();
}

fn told(time: Duration) -> String {
    match time.as_millis() {
        milliseconds @ 0..10_000 => format!("{milliseconds} ms"),
        milliseconds => format!("{:.1} s", milliseconds as f64 / 1e3),
    }
}

fn copy(from: &Path, to: &Path) {
    succeed(Command::new("cp").arg("-a").arg(from).arg(to));
    settle();
}

/// Makes a command that sees what containers wrote.
fn unshared() -> Command {
    let mut command = TestPodman::shared().command();
    command.arg("unshare");
    command
}

fn copy_inside(from: &[&PathBuf], to: &Path) {
    std::fs::create_dir(to).unwrap();
    succeed(unshared().args(["cp", "-a", "--reflink=auto"]).args(from).arg(to));
}

fn remove_inside(tree: &Path) {
    succeed(unshared().args(["rm", "-rf"]).arg(tree));
}

fn directory(volume: &str) -> PathBuf {
    let mut inspect = TestPodman::shared().command();
    inspect.args(["volume", "inspect", "--format={{.Mountpoint}}", volume]);
    succeed(&mut inspect).trim().into()
}

/// Returns how many bytes some trees occupy; what they share counts once.
fn size(trees: &[&Path]) -> u64 {
    let told = succeed(unshared().args(["du", "-scB1"]).args(trees));
    told.lines().last().and_then(|line| line.split_whitespace().next()).unwrap().parse().unwrap()
}

/// Returns the directory of the project's base that is not `known`.
fn base(user: &User, known: impl AsRef<Path>) -> PathBuf {
    let projects = user.json(&["projects"]);
    let bases = projects[0]["bases"].as_array().unwrap().iter();
    let mut directories = bases.map(|base| directory(base["volume"].as_str().unwrap()));
    directories.find(|directory| directory != known.as_ref()).unwrap()
}
