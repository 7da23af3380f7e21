//! What it costs to find out what is out of use, by the number of entries.

use std::collections::BTreeSet;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use jiff::{SignedDuration, Timestamp};
use taskspace::model::{
    AgentStateRecord, BaseRecord, BaseState, CollectableKind, Document, ProjectRecord,
};
use taskspace::plan::collect::{Busy, Inputs, Object, plan};
use taskspace::plan::names;
use taskspace::policy::retention::Retention;
use uuid::Uuid;

/// How many agent states are kept; there are as many bases and strays.
const SIZES: [usize; 3] = [1, 100, 1_000];

/// How many bases a project has.
const PER_PROJECT: usize = 20;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let retention = Retention::try_from(Retention::built_in()).expect("the built-in one");
    let mut group = criterion.benchmark_group("collect");
    for size in SIZES {
        let document = document(size);
        let objects = strays(&document, size);
        let inputs = Inputs {
            document: &document,
            retention: &retention,
            now: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365),
            objects: &objects,
            mirrors: &[],
            projects: &BTreeSet::new(),
            busy: &Busy::default(),
            named: &BTreeSet::new(),
        };
        assert!(plan(&inputs).len() >= 2 * size, "everything is out of use");
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| plan(black_box(&inputs)));
        });
    }
    group.finish();
    criterion.final_summary();
}

fn document(size: usize) -> Document {
    let mut document = Document::new(Uuid::nil());
    let created = Timestamp::UNIX_EPOCH;
    for number in 0..size {
        let state = AgentStateRecord {
            volume: format!("taskspace-gone-{number}-agent-state"),
            since: created,
            project: None,
            agent: None,
            going: false,
        };
        let id = format!("gone-{number}").parse().expect("an id");
        document.agent_states.insert(id, state);
        let name = format!("webshop-{}", number / PER_PROJECT);
        let commit = format!("{number:040x}");
        let base = BaseRecord {
            volume: names::base_volume(&name, &commit),
            state: BaseState::Ready,
            created,
            serial: 0,
            lacks: None,
            unused_since: Some(created),
        };
        let project = document.projects.entry(name);
        let project = project.or_insert_with(|| ProjectRecord::new("source".to_owned()));
        project.bases.insert(commit, base);
    }
    document
}

/// As many volumes that belong to nothing, and those that do not.
fn strays(document: &Document, size: usize) -> Vec<Object> {
    let volume = |name: String, labels| Object { kind: CollectableKind::Volume, name, labels };
    let strays = (0..size).map(|number| {
        let id = format!("lost-{number}").parse().expect("an id");
        let labels = names::labels(document.registry, &id, "project");
        volume(names::project_volume(&id), labels)
    });
    let bases = document.projects.iter().flat_map(|(name, project)| {
        project.bases.iter().map(|(commit, base)| {
            let labels = names::base_labels(document.registry, name, commit);
            volume(base.volume.clone(), labels)
        })
    });
    strays.chain(bases).collect()
}
