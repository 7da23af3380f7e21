//! Several processes that change the registry while they are killed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nix::libc;
use rand::RngExt;

use super::*;

const WORKERS: usize = 8;
const UPDATES_EACH: u64 = 1_000;

/// How many updates of a worker wait at a time: some workers make one after the other, for the
/// others many are written at once.
const fn in_flight(worker: usize) -> u64 {
    if worker.is_multiple_of(2) { 1 } else { 8 }
}

/// One update in so many is followed by a kill.
const UPDATES_FOR_A_KILL: u32 = 50;

/// Where a child process is told the registry's path and which worker it is.
const CHILD_PATH: &str = "TASKSPACE_TEST_REGISTRY_CHILD";
const CHILD_WORKER: &str = "TASKSPACE_TEST_REGISTRY_WORKER";

/// What stands before the number in a child's report of an update that was answered.
const DONE: &str = "done ";

/// The project that counts the updates of all workers in the place of its source.
const TOTAL: &str = "total";

fn name_of(worker: usize) -> String {
    format!("worker-{worker}")
}

fn counter(document: &Document, name: &str) -> u64 {
    document.projects.get(name).map_or(0, |counter| counter.source.parse().unwrap())
}

fn count(document: &mut Document, name: &str) -> u64 {
    let counted = counter(document, name) + 1;
    document.projects.insert(name.to_owned(), project(&counted.to_string()));
    counted
}

#[tokio::test]
async fn killed_processes_lose_no_update_that_was_answered() {
    if let Some(path) = std::env::var_os(CHILD_PATH) {
        let worker = std::env::var(CHILD_WORKER).unwrap().parse().unwrap();
        return work(path.into(), worker).await;
    }
    let (_dir, path) = place();
    let registry = Registry::open(path.clone()).unwrap();
    let answered: Vec<_> = (0..WORKERS).map(|_| AtomicU64::new(0)).collect();
    let over = AtomicBool::new(false);
    let kills = thread::scope(|scope| {
        scope.spawn(|| watch(&registry, &answered, &over));
        let kills = scope.spawn(|| kill_and_replace(&path, &answered)).join();
        // Also when it panicked, or nobody would stop watching.
        over.store(true, Ordering::Relaxed);
        kills.unwrap()
    });
    assert!(kills.iter().sum::<u64>() > 0);
    // Opening removes what the last one killed may have left.
    let document = Registry::open(path.clone()).unwrap().read().await.unwrap();
    for worker in 0..WORKERS {
        assert_eq!(counter(&document, &name_of(worker)), UPDATES_EACH);
    }
    assert_eq!(counter(&document, TOTAL), WORKERS as u64 * UPDATES_EACH);
    let names = names_in(path.parent().unwrap());
    assert_eq!(names, ["taskspace-registry.json", "taskspace-registry.json.lock"]);
}

/// Counts up to the end, and reports each update once it is answered.
async fn work(path: PathBuf, worker: usize) {
    let registry = Registry::open(path).unwrap();
    let one_after_the_other = |registry: Registry| async move {
        loop {
            let counted = registry.update(move |document| {
                if counter(document, &name_of(worker)) == UPDATES_EACH {
                    return Err(());
                }
                count(document, TOTAL);
                Ok(count(document, &name_of(worker)))
            });
            let Ok(number) = counted.await.unwrap() else { return };
            // Past the capture of output, and in one piece.
            std::io::stdout().write_all(format!("{DONE}{number}\n").as_bytes()).unwrap();
        }
    };
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight(worker) {
        tasks.spawn(one_after_the_other(registry.clone()));
    }
    tasks.join_all().await;
}

/// Reads all the time: what is there is always whole and has every update that was answered.
fn watch(registry: &Registry, answered: &[AtomicU64], over: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut seen = 0;
    while !over.load(Ordering::Relaxed) {
        let expected: Vec<_> = answered.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let document = runtime.block_on(registry.read()).unwrap();
        let there = (0..WORKERS).map(|worker| counter(&document, &name_of(worker)));
        let there: Vec<_> = there.collect();
        let kept = there.iter().zip(&expected).all(|(there, expected)| there >= expected);
        assert!(kept, "{there:?}, and answered were {expected:?}");
        let total = counter(&document, TOTAL);
        assert_eq!(total, there.iter().sum::<u64>());
        assert!(total >= seen, "{total} after {seen}");
        seen = total;
    }
}

/// What the children's output tells.
enum Told {
    Done(usize, u64),
    Ended(usize),
}

/// Runs all workers to their end and kills some of them again and again; returns how often each was
/// killed.
fn kill_and_replace(path: &Path, answered: &[AtomicU64]) -> Vec<u64> {
    let (tell, told) = channel();
    let mut children: BTreeMap<usize, Child> =
        (0..WORKERS).map(|worker| (worker, spawn(path, worker, &tell))).collect();
    let mut numbers = vec![BTreeSet::new(); WORKERS];
    let mut kills = vec![0; WORKERS];
    while !children.is_empty() {
        match told.recv().unwrap() {
            Told::Done(worker, number) => {
                assert!(numbers[worker].insert(number), "{worker} made update {number} twice");
                answered[worker].fetch_max(number, Ordering::Relaxed);
                // Any of them, at whatever it is doing now.
                if rand::rng().random_ratio(1, UPDATES_FOR_A_KILL)
                    && let Some(child) = children.get_mut(&rand::rng().random_range(0..WORKERS))
                {
                    child.kill().unwrap();
                }
            }
            Told::Ended(worker) => {
                let status = children.remove(&worker).unwrap().wait().unwrap();
                if status.signal() == Some(libc::SIGKILL) {
                    kills[worker] += 1;
                    children.insert(worker, spawn(path, worker, &tell));
                } else {
                    assert!(status.success(), "{status}");
                }
            }
        }
    }
    for worker in 0..WORKERS {
        let unanswered = UPDATES_EACH - numbers[worker].len() as u64;
        let most = kills[worker] * in_flight(worker);
        assert!(unanswered <= most, "{worker}: {unanswered} were not answered, {most} may be");
    }
    kills
}

fn spawn(path: &Path, worker: usize, tell: &Sender<Told>) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["killed_processes_lose_no_update_that_was_answered", "--test-threads=1", "--quiet"])
        .env(CHILD_PATH, path)
        .env(CHILD_WORKER, worker.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, tell) = (BufReader::new(child.stdout.take().unwrap()).lines(), tell.clone());
    thread::spawn(move || {
        for line in lines {
            if let Some(number) = line.unwrap().strip_prefix(DONE) {
                tell.send(Told::Done(worker, number.parse().unwrap())).unwrap();
            }
        }
        tell.send(Told::Ended(worker)).unwrap();
    });
    child
}
