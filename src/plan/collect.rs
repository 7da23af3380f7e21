//! What is out of use, and what of it goes: computed from the registry, from what Podman and the host
//! have, and from how long what is kept.
//!
//! Nothing goes that is in use, that is of another registry or that is not labelled. What is of this
//! registry and of nothing in it may be from a newer state of the registry than the present one, which
//! may come from a backup: so it stays for some time after it was first seen, and where there may be
//! work in it, for ever, until somebody names it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;

use super::names::{self, Labels};
use crate::model::{
    AgentStateRecord, BaseState, Collectable, CollectableKind, CollectionReason, Document,
    Standing, TaskspaceId, Uses,
};
use crate::policy::retention::{Keep, Retention};

/// The roles of volumes that can be made anew, or of which nothing is left without others.
const REPLACEABLE_VOLUMES: &[&str] = &["project", "build-cache", names::BASE, names::CACHE];

/// The roles of pods and containers that we make.
const OWN_PARTS: &[&str] = &["pod", "agent", "dev", names::ASIDE, names::WARM];

/// Something that Podman has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: CollectableKind,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

impl Object {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    /// Whether it is made anew when it is wanted again.
    fn is_replaceable(&self) -> bool {
        let roles = match self.kind {
            CollectableKind::Volume => REPLACEABLE_VOLUMES,
            _ => OWN_PARTS,
        };
        self.label(names::ROLE_LABEL).is_some_and(|role| roles.contains(&role))
    }
}

/// A mirror, and for whom it was fetched: registries with the names of their projects' own mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Its name.
    pub name: String,
    /// For whom it was fetched.
    pub users: BTreeSet<(String, String)>,
}

/// What is being made at this moment, and may not be in the registry yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// Taskspaces to which something is being done.
    pub taskspaces: BTreeSet<TaskspaceId>,
    /// Bases, build caches, and whatever else has a name of its own.
    pub names: BTreeSet<String>,
}

/// What the plan is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The registry.
    pub document: &'a Document,
    /// How long what is kept.
    pub retention: &'a Retention,
    /// The time.
    pub now: Timestamp,
    /// What Podman has.
    pub objects: &'a [Object],
    /// The mirrors that there are.
    pub mirrors: &'a [Mirror],
    /// The mirrors of the registry's projects.
    pub projects: &'a BTreeSet<String>,
    /// What is being made.
    pub busy: &'a Busy,
    /// What goes because somebody named it: taskspaces, or names of objects.
    pub named: &'a BTreeSet<String>,
}

/// Returns what is out of use, in the order in which it is to be collected.
pub fn plan(inputs: &Inputs<'_>) -> Vec<Collectable> {
    let mut found = strays(inputs);
    found.extend(of_document(inputs.document, inputs.retention, inputs.now, inputs.busy));
    found.extend(mirrors(inputs));
    found.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
    found
}

/// Returns what the registry has and nobody uses.
pub fn of_document(
    document: &Document,
    retention: &Retention,
    now: Timestamp,
    busy: &Busy,
) -> Vec<Collectable> {
    let uses = Uses::of(document);
    let mut found = Vec::new();
    for (name, project) in &document.projects {
        let of = |kind, volume: &str| Collectable {
            kind,
            name: volume.to_owned(),
            project: Some(name.clone()),
            ..nothing(now)
        };
        for (commit, standing) in uses.bases(name, project) {
            let Some(base) = project.bases.get(commit) else { continue };
            let keep = match standing {
                Standing::InUse => continue,
                Standing::Current => retention.newest_bases,
                Standing::Former => retention.bases,
            };
            let held = Held::new(base.state, base.unused_since);
            let base = of(CollectableKind::Base, &base.volume);
            found.extend(held.judge(base, keep, now, busy));
        }
        for (volume, standing) in uses.caches(project) {
            let Some(cache) = project.caches.get(volume) else { continue };
            let keep = match standing {
                Standing::InUse => continue,
                Standing::Current => retention.current_caches,
                Standing::Former => retention.caches,
            };
            let held = Held::new(cache.state, cache.unused_since);
            found.extend(held.judge(of(CollectableKind::Cache, volume), keep, now, busy));
        }
    }
    let states = document.agent_states.iter();
    found.extend(states.map(|(former, state)| agent_state(former, state, retention, now)));
    found
}

/// Judges the state of an agent whose taskspace is gone.
pub fn agent_state(
    former: &TaskspaceId,
    state: &AgentStateRecord,
    retention: &Retention,
    now: Timestamp,
) -> Collectable {
    let left = Collectable {
        kind: CollectableKind::AgentState,
        name: former.to_string(),
        project: state.project.clone(),
        reason: CollectionReason::Left,
        ..nothing(now)
    };
    match state.going {
        true => at_once(left, state.since, now),
        false => kept(left, state.since, retention.agent_states, now),
    }
}

/// Whether a base is to go, by what is known now.
pub fn base_is_due(
    document: &Document,
    retention: &Retention,
    now: Timestamp,
    volume: &str,
) -> bool {
    is_due(document, retention, now, CollectableKind::Base, volume)
}

/// Whether a build cache is to go, by what is known now.
pub fn cache_is_due(
    document: &Document,
    retention: &Retention,
    now: Timestamp,
    volume: &str,
) -> bool {
    is_due(document, retention, now, CollectableKind::Cache, volume)
}

fn is_due(
    document: &Document,
    retention: &Retention,
    now: Timestamp,
    kind: CollectableKind,
    name: &str,
) -> bool {
    // Whoever asks has it alone.
    let found = of_document(document, retention, now, &Busy::default());
    found.iter().any(|it| it.kind == kind && it.name == name && it.goes)
}

/// How a base or a build cache is recorded.
struct Held {
    state: BaseState,
    unused_since: Option<Timestamp>,
}

impl Held {
    const fn new(state: BaseState, unused_since: Option<Timestamp>) -> Self {
        Self { state, unused_since }
    }

    fn judge(
        self,
        unused: Collectable,
        keep: Keep,
        now: Timestamp,
        busy: &Busy,
    ) -> Option<Collectable> {
        if busy.names.contains(&unused.name) {
            return None;
        }
        let since = self.unused_since.unwrap_or(now);
        Some(match self.state {
            BaseState::Ready => kept(unused, since, keep, now),
            BaseState::Making => {
                let unfinished = Collectable { reason: CollectionReason::Unfinished, ..unused };
                at_once(unfinished, since, now)
            }
        })
    }
}

/// What the registry's objects are called, and whose they are.
#[derive(Debug)]
pub struct Known<'a> {
    registry: String,
    document: &'a Document,
    names: HashSet<String>,
}

impl<'a> Known<'a> {
    /// Looks at a registry.
    pub fn new(document: &'a Document) -> Self {
        let mut names = HashSet::new();
        for record in document.taskspaces.values() {
            let project = &record.spec.project;
            names.insert(record.agent_state_volume.clone());
            names.insert(names::base_volume(&project.name, project.base()));
            names.extend(record.cache.clone());
            names.extend(record.forked.iter().filter_map(|forked| forked.agent_state.clone()));
        }
        names.extend(document.agent_states.values().map(|state| state.volume.clone()));
        for project in document.projects.values() {
            names.extend(project.bases.values().map(|base| base.volume.clone()));
            names.extend(project.caches.keys().cloned());
        }
        Self { registry: document.registry.to_string(), document, names }
    }

    /// Whether an object is labelled with this registry, and belongs to nothing in it.
    pub fn is_stray(&self, object: &Object) -> bool {
        let is_of_one = || {
            let id = object.label(names::TASKSPACE_LABEL)?.parse::<TaskspaceId>().ok()?;
            Some(self.document.taskspaces.contains_key(&id))
        };
        object.label(names::REGISTRY_LABEL) == Some(self.registry.as_str())
            && !self.names.contains(&object.name)
            && !is_of_one().unwrap_or_default()
    }
}

fn strays(inputs: &Inputs<'_>) -> Vec<Collectable> {
    let Inputs { document, retention, now, objects, busy, named, .. } = *inputs;
    let known = Known::new(document);
    let is_busy = |object: &Object| {
        let id = object.label(names::TASKSPACE_LABEL).and_then(|id| id.parse().ok());
        busy.names.contains(&object.name) || id.is_some_and(|id| busy.taskspaces.contains(&id))
    };
    let strays: Vec<&Object> =
        objects.iter().filter(|it| known.is_stray(it) && !is_busy(it)).collect();
    // One that has work in it may run.
    let at_work: HashSet<&str> = strays
        .iter()
        .filter(|stray| !stray.is_replaceable())
        .filter_map(|stray| stray.label(names::TASKSPACE_LABEL))
        .collect();
    let judge = |stray: &&Object| {
        let taskspace = stray.label(names::TASKSPACE_LABEL);
        let has_work = !stray.is_replaceable() || taskspace.is_some_and(|id| at_work.contains(id));
        let is_named =
            named.contains(&stray.name) || taskspace.is_some_and(|id| named.contains(id));
        let it = Collectable {
            kind: stray.kind,
            name: stray.name.clone(),
            project: stray.label(names::PROJECT_LABEL).map(str::to_owned),
            taskspace: taskspace.map(str::to_owned),
            reason: if has_work { CollectionReason::Work } else { CollectionReason::Stray },
            ..nothing(now)
        };
        let since = document.astray.get(&it.key()).copied().unwrap_or(now);
        match (is_named, has_work) {
            (true, _) => at_once(it, since, now),
            (false, true) => kept(it, since, Keep::Forever, now),
            (false, false) => kept(it, since, retention.strays, now),
        }
    };
    strays.iter().map(judge).collect()
}

/// Mirrors have no labels but the notes for whom they were fetched: one without is left alone.
fn mirrors(inputs: &Inputs<'_>) -> Vec<Collectable> {
    let Inputs { document, retention, now, mirrors, projects, .. } = *inputs;
    let registry = document.registry.to_string();
    let is_wanted = |mirror: &&Mirror| {
        projects.contains(&mirror.name)
            || mirror.users.is_empty()
            || mirror
                .users
                .iter()
                .any(|(of, project)| *of != registry || projects.contains(project))
    };
    let judge = |mirror: &Mirror| {
        let (kind, name) = (CollectableKind::Mirror, mirror.name.clone());
        let it = Collectable { kind, name, reason: CollectionReason::Stray, ..nothing(now) };
        let since = document.astray.get(&it.key()).copied().unwrap_or(now);
        kept(it, since, retention.mirrors, now)
    };
    mirrors.iter().filter(|mirror| !is_wanted(mirror)).map(judge).collect()
}

/// Returns how long something is kept that is astray, by the key under which it is remembered.
pub fn keep_of_astray(retention: &Retention, key: &str) -> Keep {
    let mirror = CollectableKind::Mirror.to_string();
    let is_mirror = key.strip_prefix(&mirror).is_some_and(|rest| rest.starts_with(' '));
    if is_mirror { retention.mirrors } else { retention.strays }
}

/// Returns since when what is astray has been seen, for the registry to remember.
pub fn astray(found: &[Collectable]) -> BTreeMap<String, Timestamp> {
    let astray = found.iter().filter(|it| it.is_astray());
    astray.map(|it| (it.key(), it.since)).collect()
}

/// What is known of something before it is judged.
fn nothing(now: Timestamp) -> Collectable {
    Collectable {
        kind: CollectableKind::Base,
        name: String::new(),
        project: None,
        taskspace: None,
        reason: CollectionReason::Unused,
        since: now,
        until: None,
        goes: false,
        problem: None,
    }
}

/// What is kept for a while. Where the clock was set back, the while begins now.
fn kept(it: Collectable, since: Timestamp, keep: Keep, now: Timestamp) -> Collectable {
    let since = since.min(now);
    let until = keep.until(since);
    Collectable { since, until, goes: until.is_some_and(|until| until <= now), ..it }
}

fn at_once(it: Collectable, since: Timestamp, now: Timestamp) -> Collectable {
    let since = since.min(now);
    Collectable { since, until: Some(since), goes: true, ..it }
}

#[cfg(test)]
mod tests;
