use std::time::Duration;

use jiff::SignedDuration;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::{BaseRecord, CacheRecord, ProjectRecord, Record};

const HOUR: Duration = Duration::from_secs(3600);
const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn retention() -> Retention {
    let keep = Keep::For(HOUR);
    Retention {
        bases: keep,
        newest_bases: Keep::For(10 * HOUR),
        caches: keep,
        current_caches: Keep::Forever,
        agent_states: keep,
        mirrors: keep,
        strays: keep,
        interval: HOUR,
    }
}

fn ours() -> Uuid {
    Uuid::from_u128(1)
}

fn volume(name: &str, role: &str, taskspace: Option<&str>) -> Object {
    let registry = Some((names::REGISTRY_LABEL, ours().to_string()));
    let role = Some((names::ROLE_LABEL, role.to_owned()));
    let taskspace = taskspace.map(|id| (names::TASKSPACE_LABEL, id.to_owned()));
    let labels = [registry, role, taskspace].into_iter().flatten();
    Object {
        kind: CollectableKind::Volume,
        name: name.to_owned(),
        labels: labels.map(|(key, value)| (key.to_owned(), value)).collect(),
    }
}

/// A registry with a taskspace `here` on the commit `used`.
fn document() -> Document {
    let mut document = Document::new(ours());
    let mut record = Record::example();
    record.spec.project.commit = "used".to_owned();
    record.agent_state_volume = "taskspace-here-agent-state".to_owned();
    document.taskspaces.insert("here".parse().unwrap(), record.into());
    document.projects.insert("webshop".to_owned(), ProjectRecord::new("source".to_owned()));
    document
}

fn base(state: BaseState, created: i64, unused_since: Option<i64>) -> BaseRecord {
    let (created, unused_since) = (at(created), unused_since.map(at));
    BaseRecord {
        volume: format!("base-{created}"),
        state,
        created,
        serial: 0,
        lacks: None,
        unused_since,
    }
}

fn add_base(document: &mut Document, commit: &str, base: BaseRecord) {
    let base = BaseRecord { volume: names::base_volume("webshop", commit), ..base };
    document.projects.get_mut("webshop").unwrap().bases.insert(commit.to_owned(), base);
}

/// The inputs without what the host has.
fn look<T>(document: &Document, objects: &[Object], act: impl FnOnce(Inputs<'_>) -> T) -> T {
    act(Inputs {
        document,
        retention: &retention(),
        now: at(NOW),
        objects,
        mirrors: &[],
        projects: &BTreeSet::new(),
        busy: &Busy::default(),
        named: &BTreeSet::new(),
    })
}

/// What goes, and what stays until when.
fn told(found: &[Collectable]) -> Vec<String> {
    let tell = |it: &Collectable| match (it.goes, it.until) {
        (true, _) => format!("{} goes", it.key()),
        (false, None) => format!("{} stays", it.key()),
        (false, Some(until)) => format!("{} +{}", it.key(), until.as_second() - NOW),
    };
    found.iter().map(tell).collect()
}

#[test]
fn what_the_registry_has_goes_when_its_time_is_over() {
    let mut document = document();
    let ready = |created, since| base(BaseState::Ready, created, since);
    add_base(&mut document, "used", ready(1, Some(1)));
    add_base(&mut document, "a-old", ready(2, Some(NOW - 3600)));
    add_base(&mut document, "b-later", ready(3, Some(NOW - 3599)));
    add_base(&mut document, "c-unnoted", ready(4, None));
    add_base(&mut document, "d-broken", base(BaseState::Making, 5, Some(NOW)));
    add_base(&mut document, "e-newest", ready(6, Some(NOW - 7200)));
    let state = |since, going| AgentStateRecord {
        volume: "v".to_owned(),
        since: at(since),
        project: None,
        agent: None,
        going,
    };
    document.agent_states.insert("late".parse().unwrap(), state(NOW - 5000, false));
    document.agent_states.insert("going".parse().unwrap(), state(NOW, true));
    // From before the clock was set back.
    document.agent_states.insert("future".parse().unwrap(), state(NOW + 9_000_000, false));
    let found = look(&document, &[], |inputs| plan(&inputs));
    insta::assert_snapshot!(told(&found).join("\n"), @r"
    agent-state future +3600
    agent-state going goes
    agent-state late goes
    base project-base-webshop-a-old goes
    base project-base-webshop-b-later +1
    base project-base-webshop-c-unnoted +3600
    base project-base-webshop-d-broken goes
    base project-base-webshop-e-newest +28800
    ");
    let due = |commit: &str| {
        let volume = names::base_volume("webshop", commit);
        base_is_due(&document, &retention(), at(NOW), &volume)
    };
    assert!(due("a-old") && !due("b-later") && !due("used") && !due("unknown"));
}

#[test]
fn a_base_that_is_being_made_is_no_leftover() {
    let mut document = document();
    add_base(&mut document, "new", base(BaseState::Making, 1, None));
    let names = [names::base_volume("webshop", "new")].into();
    let busy = Busy { names, ..Busy::default() };
    assert_eq!(look(&document, &[], |it| plan(&Inputs { busy: &busy, ..it })), []);
}

#[test]
fn a_former_build_cache_goes_before_the_current_one() {
    let mut document = document();
    let project = document.projects.get_mut("webshop").unwrap();
    for (volume, created) in [("former", 1), ("current", 2)] {
        let cache = CacheRecord {
            state: BaseState::Ready,
            created: at(created),
            serial: 0,
            from: "here".parse().unwrap(),
            withdrawn: false,
            unused_since: Some(at(1)),
        };
        project.caches.insert(volume.to_owned(), cache);
    }
    let found = look(&document, &[], |inputs| plan(&inputs));
    assert_eq!(told(&found), ["cache current stays", "cache former goes"]);
}

#[test]
fn what_is_astray_has_a_time_of_grace_and_work_has_to_be_named() {
    let mut document = document();
    document.astray.insert("volume taskspace-old-project".to_owned(), at(NOW - 3600));
    document.astray.insert("volume taskspace-lost-changes".to_owned(), at(1));
    document.astray.insert("volume taskspace-lost-project".to_owned(), at(1));
    let mut foreign = volume("foreign", "project", Some("old"));
    foreign.labels.insert(names::REGISTRY_LABEL.to_owned(), Uuid::nil().to_string());
    let mut unlabelled = volume("taskspace-old-build-cache", "build-cache", None);
    unlabelled.labels.clear();
    let objects = [
        volume("taskspace-here-project", "project", Some("here")),
        volume("project-base-webshop-used", "base", None),
        volume("project-base-webshop-gone", "base", None),
        volume("taskspace-old-project", "project", Some("old")),
        volume("taskspace-lost-changes", "changes", Some("lost")),
        volume("taskspace-lost-project", "project", Some("lost")),
        volume("somebody's", "of-a-newer-version", None),
        foreign,
        unlabelled,
    ];
    let found = look(&document, &objects, |inputs| plan(&inputs));
    insta::assert_snapshot!(told(&found).join("\n"), @r"
    volume project-base-webshop-gone +3600
    volume somebody's stays
    volume taskspace-lost-changes stays
    volume taskspace-lost-project stays
    volume taskspace-old-project goes
    ");
    let named = ["lost".to_owned()].into();
    let found = look(&document, &objects, |it| plan(&Inputs { named: &named, ..it }));
    let gone = told(&found).into_iter().filter(|it| it.ends_with("goes"));
    assert_eq!(gone.filter(|it| it.contains("-lost-")).count(), 2);
    let busy = Busy { taskspaces: ["old".parse().unwrap()].into(), ..Busy::default() };
    let found = look(&document, &objects, |it| plan(&Inputs { busy: &busy, ..it }));
    assert!(!told(&found).concat().contains("taskspace-old"));
}

#[test]
fn a_mirror_goes_when_it_was_only_fetched_for_projects_that_are_gone() {
    let mut document = document();
    let (mine, other) = (ours().to_string(), Uuid::nil().to_string());
    let mirror = |name: &str, users: &[(&str, &str)]| Mirror {
        name: name.to_owned(),
        users: users.iter().map(|(of, it)| ((*of).to_owned(), (*it).to_owned())).collect(),
    };
    let mirrors = [
        mirror("there.git", &[(&mine, "there.git")]),
        mirror("gone.git", &[(&mine, "gone.git")]),
        mirror("lib.git", &[(&mine, "gone.git"), (&mine, "there.git")]),
        mirror("old-lib.git", &[(&mine, "gone.git")]),
        mirror("shared.git", &[(&mine, "gone.git"), (&other, "gone.git")]),
        mirror("unnoted.git", &[]),
    ];
    for name in ["gone.git", "lib.git", "shared.git", "unnoted.git", "there.git"] {
        document.astray.insert(format!("mirror {name}"), at(1));
    }
    let projects = ["there.git".to_owned()].into();
    let found =
        look(&document, &[], |it| plan(&Inputs { mirrors: &mirrors, projects: &projects, ..it }));
    assert_eq!(told(&found), ["mirror gone.git goes", "mirror old-lib.git +3600"]);
}

#[derive(Clone, Debug)]
struct World {
    document: Document,
    objects: Vec<Object>,
    busy: Busy,
    retention: Retention,
}

/// Registries and storages of a few ids, commits and roles, so that they meet.
fn world() -> impl Strategy<Value = World> {
    let ids = || btree_set(prop::sample::select(vec!["a", "b", "c", "d"]), 0..4);
    let time = || (NOW - 7200)..(NOW + 7200);
    let keep = || {
        prop_oneof![
            Just(Keep::Forever),
            (0u64..7200).prop_map(|it| Keep::For(Duration::from_secs(it)))
        ]
    };
    let state = prop::sample::select(vec![BaseState::Ready, BaseState::Making]);
    let bases =
        vec((prop::sample::select(vec!["a", "b", "c", "d"]), state, 0..99i64, time()), 0..4);
    let states = vec((prop::sample::select(vec!["a", "b", "e"]), time()), 0..3);
    let role = prop::sample::select(vec!["project", "changes", "build-cache", "agent-state", "x"]);
    let whose = prop::option::of(prop::sample::select(vec![1u128, 2]));
    let objects = vec((prop::sample::select(vec!["a", "b", "c", "d", "e"]), role, whose), 0..12);
    let astray = vec(time(), 12);
    let keeps = vec(keep(), 5);
    (ids(), bases, states, objects, astray, ids(), keeps).prop_map(
        |(ids, bases, states, objects, astray, busy, keeps)| {
            let mut document = document();
            document.taskspaces.clear();
            for id in ids {
                let mut record = Record::example();
                record.spec.project.commit = id.to_owned();
                record.agent_state_volume = format!("taskspace-{id}-agent-state");
                document.taskspaces.insert(id.parse().unwrap(), record.into());
            }
            for (commit, state, created, since) in bases {
                add_base(&mut document, commit, base(state, created, Some(since)));
            }
            for (former, since) in states {
                let state = AgentStateRecord {
                    volume: format!("taskspace-{former}-agent-state"),
                    since: at(since),
                    project: None,
                    agent: None,
                    going: false,
                };
                document.agent_states.insert(former.parse().unwrap(), state);
            }
            let objects: Vec<Object> = objects
                .into_iter()
                .zip(astray)
                .map(|((id, role, whose), since)| {
                    let mut object = volume(&format!("taskspace-{id}-{role}"), role, Some(id));
                    document.astray.insert(format!("volume {}", object.name), at(since));
                    let registry = names::REGISTRY_LABEL.to_owned();
                    match whose {
                        Some(of) => object.labels.insert(registry, Uuid::from_u128(of).to_string()),
                        None => object.labels.remove(&registry),
                    };
                    object
                })
                .collect();
            let [bases, newest_bases, agent_states, mirrors, strays] = keeps[..] else {
                unreachable!("there are five")
            };
            let retention =
                Retention { bases, newest_bases, agent_states, mirrors, strays, ..retention() };
            let taskspaces = busy.into_iter().map(|id| id.parse().unwrap()).collect();
            let busy = Busy { taskspaces, ..Busy::default() };
            World { document, objects, busy, retention }
        },
    )
}

proptest! {
    #[test]
    fn nothing_goes_that_must_not(world in world()) {
        let World { document, objects, busy, retention } = &world;
        let now = at(NOW);
        let found = look(document, objects, |it| {
            plan(&Inputs { retention, busy, ..it })
        });
        let mut used = HashSet::new();
        for (id, record) in &document.taskspaces {
            used.insert(record.agent_state_volume.clone());
            used.insert(names::base_volume("webshop", record.spec.project.base()));
            for role in ["project", "changes", "build-cache"] {
                used.insert(format!("taskspace-{id}-{role}"));
            }
        }
        for it in &found {
            // Nothing in use.
            prop_assert!(!used.contains(&it.name), "{it:?} is in use");
            if it.kind == CollectableKind::Volume {
                let object = objects.iter().find(|object| {
                    object.name == it.name
                        && object.label(names::REGISTRY_LABEL) == Some(&ours().to_string())
                });
                // Nothing of others.
                prop_assert!(object.is_some(), "{it:?} is not ours");
                let id: TaskspaceId = it.taskspace.as_ref().unwrap().parse().unwrap();
                prop_assert!(!busy.taskspaces.contains(&id));
                // No work.
                let work = ["changes", "agent-state", "-x"];
                prop_assert!(!it.goes || !work.iter().any(|role| it.name.ends_with(role)));
            } else if it.kind == CollectableKind::AgentState {
                prop_assert!(document.agent_states.keys().any(|id| id.as_str() == it.name));
            }
            // Nothing early, whatever the clock does.
            let keep = match it.reason {
                CollectionReason::Left => retention.agent_states,
                CollectionReason::Stray => retention.strays,
                _ => continue,
            };
            if it.goes {
                let Keep::For(time) = keep else { panic!("{it:?} is kept for ever") };
                let age = SignedDuration::try_from(time).unwrap();
                prop_assert!(it.since.checked_add(age).unwrap() <= now);
                prop_assert!(it.since <= now);
            }
        }
        // What goes is gone, and what stays is judged the same.
        let again = look(document, objects, |it| plan(&Inputs { retention, busy, ..it }));
        prop_assert_eq!(&again, &found);
        for it in found.iter().filter(|it| it.kind == CollectableKind::Base) {
            prop_assert_eq!(base_is_due(document, retention, now, &it.name), it.goes);
        }
    }

    #[test]
    fn a_clock_that_goes_back_keeps_longer(world in world(), back in 0..5_000i64) {
        let World { document, objects, busy, retention } = &world;
        let at_time = |now| look(document, objects, |it| {
            plan(&Inputs { now, retention, busy, ..it })
        });
        let (before, after) = (at_time(at(NOW)), at_time(at(NOW - back)));
        let goes = |found: &[Collectable]| -> BTreeSet<String> {
            found.iter().filter(|it| it.goes).map(Collectable::key).collect()
        };
        prop_assert!(goes(&after).is_subset(&goes(&before)), "{after:?}");
    }
}
