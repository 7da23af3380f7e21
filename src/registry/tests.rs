mod kills;
mod power;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::file::Disk;
use super::*;
use crate::model::ProjectRecord;

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/symposium/taskspace-registry.json");
    (dir, path)
}

fn project(source: &str) -> ProjectRecord {
    ProjectRecord::new(source.to_owned())
}

/// Adds a project and returns how many there are.
async fn add(registry: &Registry, name: String) -> usize {
    registry
        .update(move |document| {
            document.projects.insert(name, project("s"));
            Ok::<_, ()>(document.projects.len())
        })
        .await
        .unwrap()
        .unwrap()
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_missing_file_is_made_once_and_private() {
    let (_dir, path) = place();
    let first = Registry::open(path.clone()).unwrap().read().await.unwrap();
    let again = Registry::open(path.clone()).unwrap().read().await.unwrap();
    assert_eq!(first.registry, again.registry);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn a_refused_or_panicking_change_changes_nothing_and_stops_nobody() {
    let (_dir, path) = place();
    let registry = Registry::open(path.clone()).unwrap();
    let written = fs::read(&path).unwrap();
    let refused = registry
        .update(|document| {
            document.projects.clear();
            document.projects.insert("x".to_owned(), project("x"));
            Err::<(), _>("no")
        })
        .await;
    assert!(matches!(refused, Ok(Err("no"))));
    let broken = registry
        .update::<(), ()>(|document| {
            document.projects.insert("x".to_owned(), project("x"));
            panic!("a change that panics (expected here)")
        })
        .await;
    assert!(matches!(broken, Err(RegistryError::Interrupted)));
    assert_eq!(fs::read(&path).unwrap(), written);
    assert_eq!(add(&registry, "y".to_owned()).await, 1);
}

#[tokio::test]
async fn nothing_is_written_when_nothing_changed() {
    let (_dir, path) = place();
    let registry = Registry::open(path.clone()).unwrap();
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    registry.update(|document| Ok::<_, ()>(document.version)).await.unwrap().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
}

#[tokio::test]
async fn what_another_handle_wrote_is_seen_and_unchanged_reads_share_one_document() {
    let (_dir, path) = place();
    let one = Registry::open(path.clone()).unwrap();
    let two = Registry::open(path).unwrap();
    for n in 0..50 {
        add(&one, format!("p{n}")).await;
        assert_eq!(two.read().await.unwrap().projects.len(), n + 1);
    }
    assert!(Arc::ptr_eq(&two.read().await.unwrap(), &two.read().await.unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_changes_of_several_handles_lose_nothing() {
    let (_dir, path) = place();
    let mut tasks = JoinSet::new();
    for handle in 0..4 {
        let registry = Registry::open(path.clone()).unwrap();
        for n in 0..50 {
            let registry = registry.clone();
            tasks.spawn(async move { add(&registry, format!("p{handle}-{n}")).await });
        }
    }
    tasks.join_all().await;
    let registry = Registry::open(path.clone()).unwrap();
    assert_eq!(registry.read().await.unwrap().projects.len(), 200);
    let names = names_in(path.parent().unwrap());
    assert_eq!(names, ["taskspace-registry.json", "taskspace-registry.json.lock"]);
}

#[tokio::test]
async fn a_file_truncated_anywhere_is_damaged_and_left_as_it_is() {
    let (_dir, path) = place();
    add(&Registry::open(path.clone()).unwrap(), "p".to_owned()).await;
    let whole = fs::read(&path).unwrap();
    // Without its last byte, a line feed, the document is still whole.
    for length in 0..whole.len() - 1 {
        fs::write(&path, &whole[..length]).unwrap();
        let error = Registry::open(path.clone()).unwrap_err();
        assert!(matches!(error, RegistryError::Damaged { .. }), "{length}: {error}");
        assert_eq!(fs::read(&path).unwrap(), whole[..length]);
    }
}

#[tokio::test]
async fn damage_while_running_stops_reads_and_changes_until_it_is_repaired() {
    let (_dir, path) = place();
    let registry = Registry::open(path.clone()).unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, "{\n  \"version\": oops\n}\n").unwrap();
    let error = registry.read().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the registry {} is damaged (line 2, column 14): expected value", path.display())
    );
    assert!(error.hint().unwrap().contains(&format!("mv {0} {0}.damaged", path.display())));
    let refused = registry.update(|_| Ok::<_, ()>(())).await;
    assert!(matches!(refused, Err(RegistryError::Damaged { line: 2, .. })));
    fs::write(&path, &whole).unwrap();
    assert_eq!(add(&registry, "p".to_owned()).await, 1);
    fs::remove_file(&path).unwrap();
    assert!(matches!(registry.read().await, Err(RegistryError::Gone { .. })));
}

#[test]
fn other_documents_are_told_apart() {
    let (_dir, path) = place();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let cases: [(&[u8], &str); 5] = [
        (b"{\"version\": 2, \"shape\": []}", "has format 2, and this program knows 1 at most"),
        (b"{\"version\": 0}", "there is no format 0"),
        (b"{}", "missing field `version`"),
        (b"\xff\xfe\x00", "expected value"),
        (b"{\"version\": 1}", "missing field `registry`"),
    ];
    for (content, message) in cases {
        fs::write(&path, content).unwrap();
        let error = Registry::open(path.clone()).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[derive(Debug)]
struct FullDisk;

impl Disk for FullDisk {
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(&bytes[..bytes.len() / 2])?;
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[tokio::test]
async fn a_full_disk_keeps_the_old_file_and_the_old_document() {
    let (_dir, path) = place();
    add(&Registry::open(path.clone()).unwrap(), "kept".to_owned()).await;
    let written = fs::read(&path).unwrap();
    let registry = Registry::start(Store::on_disk(path.clone(), Box::new(FullDisk))).unwrap();
    let failed = registry
        .update(|document| Ok::<_, ()>(document.projects.insert("lost".to_owned(), project("s"))))
        .await;
    let error = failed.unwrap_err();
    assert!(error.is_no_space() && error.hint().unwrap().contains("make room"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), written);
    let names: Vec<_> = registry.read().await.unwrap().projects.keys().cloned().collect();
    assert_eq!(names, ["kept"]);
    assert_eq!(names_in(path.parent().unwrap()).len(), 2);
}

/// A disk that tells of each write and makes it wait for permission.
#[derive(Debug)]
struct Gate {
    begun: Sender<()>,
    permitted: Mutex<Receiver<()>>,
}

impl Disk for Gate {
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        self.begun.send(()).unwrap();
        // Once the other end is gone, every write is permitted.
        let _ = self.permitted.lock().unwrap().recv();
        file.write_all(bytes)
    }
}

#[tokio::test]
async fn changes_that_come_during_a_write_are_written_at_once() {
    let (_dir, path) = place();
    Registry::open(path.clone()).unwrap();
    let (begun, writes) = channel();
    let (permit, permitted) = channel();
    let gate = Gate { begun, permitted: Mutex::new(permitted) };
    let registry = Registry::start(Store::on_disk(path, Box::new(gate))).unwrap();
    let mut first = Box::pin(add(&registry, "p0".to_owned()));
    assert!((&mut first).now_or_never().is_none());
    writes.recv().unwrap();
    let mut rest = Box::pin(join_all((1..1_000).map(|n| add(&registry, format!("p{n}")))));
    assert!((&mut rest).now_or_never().is_none());
    drop(permit);
    first.await;
    rest.await;
    assert_eq!(writes.try_iter().count(), 1);
    assert_eq!(registry.read().await.unwrap().projects.len(), 1_000);
}
