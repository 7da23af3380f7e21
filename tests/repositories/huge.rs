//! Repositories with a lot of data.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::common::User;
use crate::common::podman::TestPodman;
use crate::common::repository::Repository;

use super::{create, inside};

const FILES: usize = 8;
const FILE_SIZE: u64 = 32 << 20;

/// What the service and its children have read and written, pipes and files, in bytes.
fn moved(user: &User) -> u64 {
    let pid = user.service().expect("the service runs");
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let counts = io
        .lines()
        .filter_map(|line| line.strip_prefix("rchar: ").or_else(|| line.strip_prefix("wchar: ")));
    counts.map(|count| count.parse::<u64>().unwrap()).sum()
}

fn base_of(user: &User, id: &str) -> PathBuf {
    let project = &user.json(&["show", id])["spec"]["project"];
    let [name, commit] = ["name", "commit"].map(|key| project[key].as_str().unwrap());
    TestPodman::shared().files(&format!("project-base-{name}-{commit}"))
}

/// The largest file below a directory: its number and size.
fn largest(directory: &Path) -> (u64, u64) {
    let found = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = found.map(|path| match path.is_dir() {
        true => largest(&path),
        false => fs::metadata(&path).map(|found| (found.ino(), found.len())).unwrap(),
    });
    files.max_by_key(|(_, size)| *size).unwrap_or_default()
}

#[test]
fn what_is_there_is_not_moved_again() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    // Nothing of it can be compressed.
    repository.git(&["config", "core.bigFileThreshold", "1m"]);
    repository.git(&["config", "core.compression", "0"]);
    for number in 0..FILES {
        let mut random = fs::File::open("/dev/urandom").unwrap().take(FILE_SIZE);
        let mut file = fs::File::create(repository.path.join(format!("large-{number}"))).unwrap();
        std::io::copy(&mut random, &mut file).unwrap();
    }
    repository.commit("small", "one\n");
    user.run(&["list"]);
    let mut before = moved(&user);
    let mut since = || {
        let now = moved(&user);
        now - std::mem::replace(&mut before, now)
    };
    create(&user, &repository, "r-huge-a");
    let all = FILES as u64 * FILE_SIZE;
    let first = since();
    assert!(first > all, "{first} bytes were moved");
    // The base is there.
    create(&user, &repository, "r-huge-b");
    let second = since();
    assert!(second < FILE_SIZE, "{second} bytes were moved");
    // A base of another commit, which shares files and packs.
    repository.commit("small", "two\n");
    create(&user, &repository, "r-huge-c");
    let third = since();
    assert!(third < FILE_SIZE, "{third} bytes were moved");
    eprintln!("moved: {first} bytes, then {second}, then {third}");

    let [one, other] = ["r-huge-a", "r-huge-c"].map(|id| base_of(&user, id));
    let mirrors = fs::read_dir(user.path("cache/symposium/mirrors")).unwrap();
    let mirror = mirrors.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let objects =
        [one.join(".git"), other.join(".git"), mirror].map(|git| largest(&git.join("objects")));
    assert!(objects.iter().all(|it| *it == objects[0] && it.1 >= FILE_SIZE), "{objects:?}");
    let large = [one, other].map(|base| fs::metadata(base.join("large-7")).unwrap().ino());
    assert_eq!(large[0], large[1]);
    for (id, small) in [("r-huge-b", "one\n"), ("r-huge-c", "two\n")] {
        let look = "git status --short && cat small && stat -c %s large-* | sort -u";
        assert_eq!(inside(&user, id, look), format!("{small}{FILE_SIZE}\n"));
    }
}
