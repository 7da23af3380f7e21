//! What containers wrote, measured, copied and merged by a user who can read none of it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use taskspace::host::unshared::{IdRange, Unshared, UnsharedError, VERB};

use crate::common::podman::TestPodman;
use crate::common::{TASKSPACE, succeed};

/// An image with a shell and the usual tools.
fn image() -> String {
    std::env::var("TASKSPACE_TEST_BASE_IMAGE").unwrap_or_else(|_| "debian:trixie".to_owned())
}

/// Volumes with names of their own, for as long as this lives.
struct Volumes(&'static str);

impl Volumes {
    fn name(&self, volume: &str) -> String {
        format!("unshared-test-{}-{}-{volume}", std::process::id(), self.0)
    }

    /// Makes a volume, and returns where it is.
    fn make(&self, volume: &str, options: &[&str]) -> PathBuf {
        let name = self.name(volume);
        let podman = TestPodman::shared();
        succeed(podman.command().args(["volume", "create"]).args(options).arg(&name));
        let mut inspect = podman.command();
        inspect.args(["volume", "inspect", "--format={{.Mountpoint}}", &name]);
        succeed(&mut inspect).trim().into()
    }

    /// Runs a script as root in a container that has a volume at `/data`.
    fn run(&self, volume: &str, script: &str) -> String {
        let volume = format!("--volume={}:/data", self.name(volume));
        let mut run = TestPodman::shared().command();
        run.args(["run", "--rm", "--network=none", "--workdir=/data", &volume, &image()]);
        succeed(run.args(["bash", "-euc", script]))
    }

    /// Lists all that a container sees of a volume.
    fn list(&self, volume: &str) -> String {
        self.run(volume, LIST)
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        for volume in ["overlay", "base", "changes", "copy", "other", "merged"] {
            let mut remove = TestPodman::shared().command();
            remove.args(["volume", "rm", "--force", &self.name(volume)]).output().ok();
        }
    }
}

/// Kind, mode, owner, time and target of everything; then what the files contain.
const LIST: &str = r"
    find . -printf '%P %y %m %U:%G %T@ %l' \( -type f -printf ' %s bytes' -o -true \) -printf '\n' |
        sort
    find . -type f -print0 | sort -z | xargs -0 sha256sum
";

/// What several users write in a container, some of it for nobody else's eyes.
const WRITE: &str = r"
    echo root > root
    mkdir -p theirs/secret theirs/open away/deep replaced kept/below
    for number in $(seq 300); do echo $number > theirs/open/$number; done
    echo 1000 > theirs/secret/1000
    echo 1234 > theirs/secret/1234
    echo away > away/deep/file
    echo below > replaced/below
    echo below > kept/below/file
    echo program > program
    truncate --size 50M sparse
    ln theirs/secret/1234 theirs/open/linked
    ln -s /etc/shadow shadow
    mkfifo fifo
    chown 1000:1000 theirs/secret/1000 fifo
    chown -h 1234:1235 theirs/secret/1234 shadow program
    chmod 6755 program
    chmod 000 theirs/secret/1234 theirs/secret/1000
    chown 1000 theirs/secret
    chmod 700 theirs/secret
    touch --date '2001-02-03 04:05:06.789012345' theirs/secret/1000 kept
";

/// What is done on an overlay of that.
const CHANGE: &str = r"
    rm root theirs/open/7 theirs/open/linked
    rm -r away replaced
    mkdir replaced
    echo above > replaced/above
    echo more >> theirs/secret/1234
    chown 4321 theirs/open
    chmod 1777 kept
    mv theirs/secret/1000 kept/below/moved
    mv program kept/program
    rm fifo
    mkdir -p fifo/now/a/directory new/deep
    echo new > new/deep/file
    ln new/deep/file new/linked
    chown -R 1234 new
    chmod 000 new/deep
    rm shadow
    ln -s elsewhere shadow
    mkdir away
    rm -r kept/below/file
";

fn unshared() -> Unshared {
    let mut info = TestPodman::shared().command();
    let info = succeed(info.args(["info", "--format=json"]));
    let info: Value = serde_json::from_str(&info).unwrap();
    let ranges = |map: &str| -> Vec<IdRange> {
        let ranges = info["host"]["idMappings"][map].as_array().unwrap();
        let number = |range: &Value, name| range[name].as_u64().unwrap().try_into().unwrap();
        let range = |range: &Value| IdRange {
            inside: number(range, "container_id"),
            outside: number(range, "host_id"),
            size: number(range, "size"),
        };
        ranges.iter().map(range).collect()
    };
    Unshared { program: TASKSPACE.into(), ..Unshared::new(ranges("uidmap"), ranges("gidmap")) }
}

fn inode(path: PathBuf) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::symlink_metadata(path).unwrap())
}

#[tokio::test]
async fn many_files_are_measured() {
    let volumes = Volumes("many");
    let directory = volumes.make("base", &[]);
    volumes.run("base", "mkdir many && cd many && seq 10000 | split -l 1 -a 5 - f");
    let unshared = unshared();
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        let measured = unshared.measure(vec![directory.clone()]).await.unwrap();
        quickest = quickest.min(begun.elapsed());
        assert_eq!(measured[0].entries, 10_001);
    }
    eprintln!("10,000 files: {quickest:?}");
}

#[tokio::test]
async fn what_several_users_of_containers_wrote_is_measured_and_copied() {
    let volumes = Volumes("copy");
    let (from, to) = (volumes.make("base", &[]), volumes.make("copy", &[]));
    volumes.run("base", &format!("{WRITE}\nchown 1000:1001 .\nchmod 2750 ."));
    let before = volumes.list("base");
    assert!(before.contains("theirs/secret/1234 f 0 1234:1235 "), "{before}");
    // Which is why all this is needed.
    let denied = std::fs::read_dir(&from).unwrap_err();
    assert_eq!(denied.kind(), std::io::ErrorKind::PermissionDenied);

    let unshared = unshared();
    let copied = unshared.copy(&from, &to, vec!["away".into()]).await.unwrap();
    // The sparse one is long, but takes no room.
    assert!(copied.bytes > 50 << 20, "{copied:?}");
    let expected: String = before
        .lines()
        .filter(|line| !line.starts_with("away") && !line.ends_with(" ./away/deep/file"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(volumes.list("copy"), expected);
    let directories = vec![from.clone(), to.clone(), to.join("theirs/secret")];
    let measured = unshared.measure(directories).await.unwrap();
    assert_eq!(measured[0].entries, measured[1].entries + 3);
    assert_eq!(measured[2].entries, 2);
    assert!(measured[1].bytes < 10 << 20 && measured[1].bytes > 300 * 512, "{measured:?}");

    // What cannot be done says so.
    let error = unshared.copy(&from, &to, Vec::new()).await.unwrap_err();
    assert!(matches!(error, UnsharedError::Tree(_)), "{error}");
    assert!(error.to_string().contains("File exists"), "{error}");
    let outside = unshared.users.iter().map(|range| range.outside + range.size).max().unwrap();
    let foreign = IdRange { inside: 1, outside, size: 10 };
    let users = vec![unshared.users[0], foreign];
    let error = Unshared { users, ..unshared }.measure(vec![from]).await.unwrap_err();
    assert!(matches!(error, UnsharedError::IdsRefused { .. }), "{error}");
}

#[tokio::test]
async fn a_merge_is_what_a_container_sees_of_the_overlay() {
    let volumes = Volumes("merge");
    let (base, changes) = (volumes.make("base", &[]), volumes.make("changes", &[]));
    volumes.run("base", WRITE);
    let untouched = volumes.list("base");
    let (upper, work) = (changes.join("upper"), changes.join("work"));
    for directory in [&upper, &work] {
        std::fs::create_dir(directory).unwrap();
    }
    let layers = format!(
        "--opt=o=lowerdir={},upperdir={},workdir={},userxattr",
        base.display(),
        upper.display(),
        work.display()
    );
    volumes.make("overlay", &["--opt=type=overlay", "--opt=device=overlay", &layers]);
    volumes.run("overlay", CHANGE);
    let seen = volumes.list("overlay");
    assert!(seen.contains("new/linked f") && !seen.contains("away/deep"), "{seen}");

    // A copy of the changes is worth as much as they are.
    let unshared = unshared();
    let to = volumes.make("copy", &[]);
    unshared.copy(&changes, &to, vec!["work".into()]).await.unwrap();
    std::fs::create_dir(to.join("work")).unwrap();
    let copied = layers.replace(changes.to_str().unwrap(), to.to_str().unwrap());
    volumes.make("other", &["--opt=type=overlay", "--opt=device=overlay", &copied]);
    assert_eq!(volumes.list("other"), seen);

    let to = volumes.make("merged", &[]);
    let merged = unshared.merge(Some(&base), &upper, &to, Vec::new(), None).await.unwrap();
    assert_eq!(volumes.list("merged"), seen);
    assert!(merged.files > 290 && merged.shared_bytes > 50 << 20, "{merged:?}");
    assert_eq!(inode(to.join("sparse")), inode(base.join("sparse")));
    assert_eq!(inode(to.join("theirs/open/8")), inode(base.join("theirs/open/8")));
    assert_eq!(volumes.list("base"), untouched);
}

#[test]
fn the_child_ends_when_nobody_is_there_any_more() {
    let mut child = Command::new(TASKSPACE);
    let child = child.arg(VERB).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "\"Ready\"\n");
    assert!(child.try_wait().unwrap().is_none());
    drop(child.stdin.take());
    assert!(!child.wait().unwrap().success());
    let help = succeed(Command::new(TASKSPACE).arg("--help"));
    assert!(!help.contains(VERB), "{help}");
}
