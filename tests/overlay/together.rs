//! The agent and the dev container at work in the same checkout.

use std::process::{Child, Command, Stdio};

use crate::common::repository::Repository;
use crate::common::{User, text_of};

use super::Space;

/// Starts a command whose output is kept.
fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[track_caller]
fn finish(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    text
}

/// Each answers what the other one does, in many ways: `$me` moves in the rounds that are its.
const PING_PONG: &str = r#"
use strict; use warnings; use Fcntl;
my ($me, $rounds) = @ARGV;
sub text { open(my $file, "<", $_[0]) or return ""; local $/; my $text = <$file>; $text // "" }
sub await { my $holds = shift; my $end = time + 60; until ($holds->()) { die "in vain: @_" if time > $end } }
for my $round (1 .. $rounds) {
    if ($round % 2 == $me) {
        # A new file, a rename over a file of the base, a change in place of one, and a removal.
        open(my $new, ">", "new-$round") or die; print $new $round; close $new;
        open(my $beside, ">", "beside") or die; print $beside $round; close $beside;
        rename("beside", "replaced") or die;
        open(my $append, ">>", "appended") or die; print $append "$round\n"; close $append;
        unlink("base/" . $round) or die;
        mkdir("done-$round") or die;
    } else {
        await(sub { -d "done-$round" }, $round);
        text("new-$round") eq $round or die "new-$round";
        text("replaced") eq $round or die "replaced in $round: " . text("replaced");
        text("appended") =~ /^$round\n\z/m or die "appended in $round";
        -e "base/$round" and die "base/$round";
        opendir(my $names, ".") or die;
        (grep { $_ eq "done-$round" } readdir($names)) or die "not listed in $round";
    }
}
"#;

#[test]
fn each_sees_at_once_what_the_other_one_writes() {
    const ROUNDS: usize = 300;
    let user = User::new();
    let repository = Repository::new(&user, "app");
    for round in 1..=ROUNDS {
        let file = repository.path.join(format!("base/{round}"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "x").unwrap();
    }
    repository.commit("replaced", "0");
    repository.commit("appended", "");
    let space = Space::new(&user, &repository, "generic", "o-both");
    let rounds = ROUNDS.to_string();
    let [dev, agent] = [("dev", "0"), ("agent", "1")].map(|(container, me)| {
        spawn(&mut space.command(container, &["perl", "-e", PING_PONG, me, &rounds]))
    });
    finish(dev);
    finish(agent);
    // Git in one knows what git in the other one did.
    space.dev("git add --all && git commit --quiet --message all");
    assert_eq!(space.agent("git status --short && git log --format=%s -1"), "all\n");
    space.assert_base_unchanged();
}

/// One of two takes each of a hundred names, with whatever makes a name once.
const RACE: &str = r#"
use strict; use warnings; use Fcntl;
my $me = shift; my $won = 0;
mkdir("ready-$me") or die;
until (-d "ready-dev" and -d "ready-agent") {}
for my $n (1 .. 100) {
    $won++ if mkdir("race/dir-$n");
    $won++ if sysopen(my $file, "race/file-$n", O_CREAT | O_EXCL | O_WRONLY);
    $won++ if link("token", "race/link-$n");
    $won++ if unlink("base/$n");
}
print "$won\n";
"#;

#[test]
fn what_can_be_made_once_is_made_by_one() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    std::fs::create_dir(repository.path.join("base")).unwrap();
    for number in 1..=100 {
        std::fs::write(repository.path.join(format!("base/{number}")), "x").unwrap();
    }
    repository.commit("race/x", "x");
    repository.commit("token", "x");
    let space = Space::new(&user, &repository, "generic", "o-race");
    let each = ["dev", "agent"];
    let each = each.map(|me| spawn(&mut space.command(me, &["perl", "-e", RACE, me])));
    let won: usize = each.map(|one| finish(one).trim().parse::<usize>().unwrap()).iter().sum();
    assert_eq!(won, 400);
    space.assert_base_unchanged();
}

/// Holds locks on a file of the base until the other container has seen them.
const HOLD: &str = r#"
import fcntl, mmap, os, time
flock = open("flock"); fcntl.flock(flock, fcntl.LOCK_EX)
record = open("record", "r+"); fcntl.lockf(record, fcntl.LOCK_EX, 2, 1)
mapped = mmap.mmap(os.open("mapped", os.O_RDWR), 4)
mapped[:] = b"dev!"; mapped.flush()
os.mkdir("held")
end = time.monotonic() + 60
while not os.path.exists("seen"): assert time.monotonic() < end
assert mapped[:] == b"both", mapped[:]
"#;

const TRY: &str = r#"
use strict; use warnings; use Fcntl qw(:DEFAULT :flock);
my $end = time + 60;
until (-d "held") { die "nobody holds" if time > $end }
for my $mode ("<", "+<") {
    open(my $flock, $mode, "flock") or die;
    flock($flock, LOCK_EX | LOCK_NB) and die "flock is for none";
}
open(my $record, "+<", "record") or die;
# l_type, l_whence, l_start, l_len, l_pid: `struct flock` where a long has 64 bits.
my $lock = sub { pack("s s x4 q q l x4", F_WRLCK, 0, @_, 0) };
fcntl($record, F_SETLK, $lock->(1, 2)) and die "the record is locked for none";
fcntl($record, F_SETLK, $lock->(8, 2)) or die "the rest is locked, too";
open(my $mapped, "+<", "mapped") or die;
sysread($mapped, my $text, 4); $text eq "dev!" or die "mapped is $text";
sysseek($mapped, 0, 0); syswrite($mapped, "both");
mkdir("seen") or die;
"#;

#[test]
fn locks_and_mapped_files_are_shared() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    for file in ["flock", "record", "mapped"] {
        repository.commit(file, "of the base\n");
    }
    let space = Space::new(&user, &repository, "python", "o-locks");
    let hold = spawn(&mut space.command("dev", &["python3", "-c", HOLD]));
    let attempt = spawn(&mut space.command("agent", &["perl", "-e", TRY]));
    finish(attempt);
    finish(hold);
    space.assert_base_unchanged();
}

/// Watches a directory and files, of the base and new, and says what the other one does.
const WATCH: &str = r#"
import ctypes, os, select, struct
libc = ctypes.CDLL(None, use_errno=True)
notify = libc.inotify_init1(os.O_NONBLOCK)
CREATE, MODIFY, MOVED_TO, DELETE = 0x100, 0x2, 0x80, 0x200
names = {}
for path in [".", "followed", "new"]:
    number = libc.inotify_add_watch(notify, path.encode(), CREATE | MODIFY | MOVED_TO | DELETE)
    assert number > 0, path
    names[number] = path
open("watching", "x").close()
wanted = {(".", "created", CREATE), (".", "changed", MODIFY), (".", "moved", MOVED_TO),
          (".", "removed", DELETE), ("followed", "", MODIFY), ("new", "", MODIFY)}
while wanted:
    assert select.select([notify], [], [], 60)[0], wanted
    events = os.read(notify, 65536)
    while events:
        number, mask, _, length = struct.unpack("iIII", events[:16])
        wanted.discard((names[number], events[16:16 + length].rstrip(b"\0").decode(), mask))
        events = events[16 + length:]
"#;

#[test]
fn each_is_notified_of_what_the_other_one_does() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    for file in ["followed", "changed", "removed", "log"] {
        repository.commit(file, "of the base\n");
    }
    let space = Space::new(&user, &repository, "python", "o-watch");
    space.agent("echo new > new");
    let watch = spawn(&mut space.command("dev", &["python3", "-c", WATCH]));
    let tail = "timeout 60 tail --follow --lines=+1 log | sed '/last/q'";
    let tail = spawn(&mut space.command("dev", &["bash", "-c", tail]));
    space.agent(
        "until test -e watching; do :; done; echo x > created && echo x >> changed && \
         echo x > beside && mv beside moved && rm removed && echo x >> followed && echo x >> new && \
         echo first >> log && echo last >> log",
    );
    finish(watch);
    assert_eq!(finish(tail), "of the base\nfirst\nlast\n");
    space.assert_base_unchanged();
}
