//! What an update and a read of the registry cost, by the number of its entries.
//!
//! Every update is on the disk when it answers, so the disk's share is measured too: once as it is,
//! and once in a directory in memory, where only our own share is left.

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use taskspace::model::{
    AgentSpec, BaseRecord, BaseState, Desired, NetworkPolicy, ProjectRecord, ProjectSpec,
    ProjectType, Record, Spec, Status, TaskspaceId,
};
use taskspace::registry::Registry;
use tokio::runtime::Runtime;

/// How many entries there are; the last is compared with the first.
const SIZES: [usize; 3] = [1, 100, 1_000];

/// Where a directory in memory can be had.
const MEMORY: &str = "/dev/shm";

/// How many taskspaces share a project.
const PER_PROJECT: usize = 20;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut places = vec![("disk", Path::new(env!("CARGO_TARGET_TMPDIR")))];
    if Path::new(MEMORY).is_dir() {
        places.push(("memory", Path::new(MEMORY)));
    }
    let mut ratios = Vec::new();
    for (name, place) in places {
        ratios.extend(measure(
            &mut criterion,
            &runtime,
            &format!("update on {name}"),
            place,
            update,
        ));
        ratios.extend(measure(&mut criterion, &runtime, &format!("read on {name}"), place, read));
    }
    criterion.final_summary();
    for line in ratios {
        println!("{line}");
    }
}

/// Measures for every size; returns a line that compares the largest with the smallest.
fn measure(
    criterion: &mut Criterion,
    runtime: &Runtime,
    name: &str,
    place: &Path,
    act: impl Fn(&Runtime, &Registry, &Registry, u64) -> Duration,
) -> Option<String> {
    let mut group = criterion.benchmark_group(name);
    let mut best = Vec::new();
    for size in SIZES {
        let dir = tempfile::tempdir_in(place).expect("a directory");
        let path = dir.path().join("registry.json");
        let registry = Registry::open(path.clone()).expect("a registry");
        fill(runtime, &registry, size);
        let other = Registry::open(path).expect("a registry");
        let mut means = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_custom(|times| {
                let took = act(runtime, &registry, &other, times);
                means.push(took.as_secs_f64() / times as f64);
                took
            });
        });
        means.sort_by(f64::total_cmp);
        best.extend(means.get(means.len() / 2).copied());
    }
    let (first, last) = (best.first()?, best.last()?);
    let micros = |seconds: &f64| seconds * 1e6;
    Some(format!(
        "{name}: {:.0} µs with {} entries, {:.0} µs with {}: {:.2} times",
        micros(last),
        SIZES[SIZES.len() - 1],
        micros(first),
        SIZES[0],
        last / first,
    ))
}

/// One change of one entry after the other, each on the disk before the next.
fn update(runtime: &Runtime, registry: &Registry, _: &Registry, times: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..times {
        restart_one(runtime, registry);
    }
    started.elapsed()
}

/// A read after another process has changed the file: nothing of it is in the cache.
fn read(runtime: &Runtime, registry: &Registry, other: &Registry, times: u64) -> Duration {
    (0..times)
        .map(|_| {
            restart_one(runtime, registry);
            let started = Instant::now();
            runtime.block_on(other.read()).expect("a document");
            started.elapsed()
        })
        .sum()
}

fn restart_one(runtime: &Runtime, registry: &Registry) {
    let changed = registry.update(|document| {
        let (_, record) = document.taskspaces.iter_mut().next().ok_or(())?;
        record.restarts = record.restarts.wrapping_add(1);
        Ok::<_, ()>(())
    });
    runtime.block_on(changed).expect("a registry").expect("an entry");
}

fn fill(runtime: &Runtime, registry: &Registry, size: usize) {
    let filled = registry.update(move |document| {
        for number in 0..size {
            let id: TaskspaceId = format!("fix-login-{number}").parse().map_err(|_| ())?;
            let record = record(&id, number);
            let project = document.projects.entry(record.spec.project.name.clone());
            let project = project.or_insert_with(|| ProjectRecord {
                source: record.spec.project.source.clone(),
                bases: [].into(),
                caches: [].into(),
            });
            project.bases.entry(record.spec.project.commit.clone()).or_insert_with(|| BaseRecord {
                volume: format!("taskspace-base-{}", record.spec.project.commit),
                state: BaseState::Ready,
                created: record.created,
                serial: 0,
                lacks: None,
                unused_since: None,
            });
            document.taskspaces.insert(id, record.into());
        }
        Ok::<_, ()>(())
    });
    runtime.block_on(filled).expect("a registry").expect("entries");
}

/// An entry as long as they are in use.
fn record(id: &TaskspaceId, number: usize) -> Record {
    let created = jiff::Timestamp::UNIX_EPOCH;
    let project = number / PER_PROJECT;
    Record {
        network: NetworkPolicy::default(),
        published: Vec::new(),
        status: Status::Running,
        desired: Desired::Running,
        dev_port: 10_000,
        agent_port: 20_001,
        created,
        last_updated: created,
        last_activity: created,
        spec: Spec {
            project: ProjectSpec {
                name: format!("application-{project}"),
                source: format!("https://git.example.org/team/application-{project}.git"),
                origin: None,
                push_url: None,
                git_ref: Some("main".to_owned()),
                commit: format!("{project:040x}"),
                branch: format!("taskspace/{id}"),
                dirty: false,
                commits: Default::default(),
                base_key: None,
                submodules: Vec::new(),
                warnings: Vec::new(),
            },
            project_type: ProjectType::Rust,
            agent: AgentSpec::resolve(
                Some("claude-code"),
                Some("Find out why logging in fails, fix it, and add a test for it.".to_owned()),
            ),
        },
        agent_state_volume: format!("taskspace-{id}-agent-state"),
        agent_state_from: None,
        cache: None,
        tier: None,
        storage: None,
        forked: None,
        snapshots: Default::default(),
        restoring: None,
        underway: None,
        failure: None,
        warnings: vec!["the memory limit is not enforced: no cgroup controller".to_owned()],
        restarts: 0,
        attempts: Vec::new(),
        endings: Vec::new(),
    }
}
