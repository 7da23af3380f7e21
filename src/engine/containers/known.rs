//! What is known of the registered containers; takes in what was seen, and says what changed. Neither
//! looks itself nor tells the time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::Registrations;
use super::labels::Labelled;
use super::merge::{Merged, Sources};
use super::state::{Knocked, Place, Seen, Verdict, acted_on, judge};
use crate::model::{
    ContainerName, ContainerState, EventBody, OperationClass, RegisteredContainer, Registration,
    Source,
};

/// What is known.
#[derive(Debug)]
pub(super) struct Known {
    sources: Sources,
    merged: Merged,
    /// The registrations of `merged` alone.
    registrations: Arc<Registrations>,
    tracked: BTreeMap<ContainerName, Tracked>,
    /// The operations that are being done.
    acting: BTreeMap<ContainerName, OperationClass>,
    /// The warnings that were told.
    told: BTreeSet<String>,
    /// Whether all of Podman was looked at.
    has_looked: bool,
    /// How often in a row the ports of a running container may be silent.
    retries: u32,
}

/// One registered container.
#[derive(Debug)]
struct Tracked {
    registration: Registration,
    source: Source,
    place: Place,
    knocked: Option<Knocked>,
    state: ContainerState,
    since: Timestamp,
    reason: Option<String>,
}

impl Tracked {
    /// Its name in Podman.
    fn container<'a>(&'a self, name: &'a ContainerName) -> &'a str {
        self.registration.container.as_ref().unwrap_or(name).as_str()
    }

    /// Puts it where it was found. What came of knocking somewhere else, or before it was started
    /// again, does not count.
    fn put(&mut self, place: Place) {
        let is_same = match (&self.place, &place) {
            (Place::Podman(before), Place::Podman(now)) => {
                before.id == now.id && before.started_at == now.started_at && now.is_running()
            }
            (before, now) => before == now,
        };
        if !is_same {
            self.knocked = None;
        }
        self.place = place;
    }

    /// Says anew how it is; returns what changed.
    fn judge(
        &mut self,
        name: &ContainerName,
        acting: Option<OperationClass>,
        retries: u32,
        now: Timestamp,
    ) -> Option<EventBody> {
        let verdict = match acting.and_then(acted_on) {
            Some(state) => Verdict { state, reason: None, since: None },
            None => judge(&self.place, &self.registration.ports, self.knocked.as_ref(), retries)?,
        };
        let from = std::mem::replace(&mut self.state, verdict.state);
        self.reason = verdict.reason;
        if from == self.state {
            return None;
        }
        // Of what could not be seen until now Podman knows better since when it is so.
        let since = verdict.since.filter(|_| from == ContainerState::Unknown);
        self.since = since.unwrap_or(now);
        Some(EventBody::ContainerChanged {
            container: name.clone(),
            from,
            to: self.state,
            reason: self.reason.clone(),
        })
    }

    /// Whether its ports are to be knocked at.
    fn is_knocked_at(&self) -> bool {
        let is_there = match &self.place {
            Place::Podman(seen) => seen.is_running(),
            Place::Outside => true,
            Place::Unseen | Place::Hidden { .. } | Place::OfTaskspace(_) => false,
        };
        is_there && !self.registration.ports.is_empty()
    }
}

/// What a look at Podman brought.
pub(super) enum Look {
    /// What there is, by name, and what the labels say.
    Podman {
        /// The containers; those of taskspaces with their taskspace.
        found: HashMap<String, Place>,
        /// The registrations by labels.
        labels: Labelled,
    },
    /// It does not answer.
    Failed {
        /// Why not.
        reason: String,
    },
}

/// The registrations that are to be knocked at.
pub(super) type Rounds = Vec<(ContainerName, Vec<u16>)>;

impl Known {
    pub(super) fn new(
        settings: Registrations,
        api: Registrations,
        retries: u32,
        now: Timestamp,
    ) -> (Self, Vec<EventBody>) {
        let mut known = Self {
            sources: Sources { api, settings, labels: Labelled::default() },
            merged: Merged::default(),
            registrations: Arc::default(),
            tracked: BTreeMap::new(),
            acting: BTreeMap::new(),
            told: BTreeSet::new(),
            has_looked: false,
            retries,
        };
        let warnings = known.merge(now);
        (known, warnings)
    }

    /// Returns the registrations of all sources together.
    pub(super) const fn merged(&self) -> &Merged {
        &self.merged
    }

    /// Returns the registrations alone.
    pub(super) const fn registrations(&self) -> &Arc<Registrations> {
        &self.registrations
    }

    pub(super) const fn has_looked(&self) -> bool {
        self.has_looked
    }

    /// Returns how all of them are, by name.
    pub(super) fn all(&self) -> Vec<RegisteredContainer> {
        self.tracked.iter().map(|(name, tracked)| view(name, tracked)).collect()
    }

    /// Returns how one of them is.
    pub(super) fn one(&self, name: &ContainerName) -> Option<RegisteredContainer> {
        self.tracked.get(name).map(|tracked| view(name, tracked))
    }

    /// Returns by which containers of Podman, by name and id, something registered is meant.
    pub(super) fn containers(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.tracked.iter().map(|(name, tracked)| {
            let id = match &tracked.place {
                Place::Podman(seen) => Some(seen.id.as_str()),
                _ => None,
            };
            (tracked.container(name), id)
        })
    }

    /// Returns how a container of Podman was found to have ended before, if that was the same end.
    pub(super) fn ending(&self, container: &str, now: &Seen) -> Option<&Seen> {
        let mut tracked = self.tracked.iter();
        let (_, tracked) = tracked.find(|(name, tracked)| tracked.container(name) == container)?;
        match &tracked.place {
            Place::Podman(seen) => Some(seen.as_ref()).filter(|seen| {
                seen.has_ended() && seen.id == now.id && seen.finished_at == now.finished_at
            }),
            _ => None,
        }
    }

    /// Takes in what was registered by calls; returns the news.
    pub(super) fn take_api(&mut self, api: &Registrations, now: Timestamp) -> Vec<EventBody> {
        if self.sources.api == *api {
            return Vec::new();
        }
        self.sources.api.clone_from(api);
        self.merge(now)
    }

    /// Takes in what a look at Podman brought; returns the news.
    pub(super) fn take_look(&mut self, look: Look, now: Timestamp) -> Vec<EventBody> {
        let mut news = Vec::new();
        let found = match look {
            Look::Podman { found, labels } => {
                self.has_looked = true;
                if self.sources.labels != labels {
                    self.sources.labels = labels;
                    news = self.merge(now);
                }
                found
            }
            // Those with labels stay registered: Podman is back soon, and they with it.
            Look::Failed { reason } => {
                for tracked in self.tracked.values_mut() {
                    // What was outside before still is: its ports are asked without Podman.
                    if tracked.place != Place::Outside {
                        tracked.put(Place::Hidden { reason: reason.clone() });
                    }
                }
                return self.judge_all(now);
            }
        };
        for (name, tracked) in &mut self.tracked {
            let container = tracked.container(name).to_owned();
            tracked.put(found.get(&container).cloned().unwrap_or(Place::Outside));
        }
        news.extend(self.judge_all(now));
        news
    }

    /// Returns what is to be knocked at in the next round, or now: then what is outside of Podman
    /// alone, for nothing else tells how it is.
    pub(super) fn rounds(&self, now: bool) -> Rounds {
        let is_due = |tracked: &Tracked| {
            !now || tracked.place == Place::Outside && tracked.knocked.is_none()
        };
        self.tracked
            .iter()
            .filter(|(_, tracked)| tracked.is_knocked_at() && is_due(tracked))
            .map(|(name, tracked)| (name.clone(), tracked.registration.ports.clone()))
            .collect()
    }

    /// Takes in which ports of a container were silent; returns the news.
    pub(super) fn take_silence(
        &mut self,
        name: &ContainerName,
        asked: &[u16],
        silent: Vec<u16>,
        now: Timestamp,
    ) -> Vec<EventBody> {
        let Some(tracked) = self.tracked.get_mut(name) else { return Vec::new() };
        // Meanwhile it may have been registered anew, or have gone.
        if !tracked.is_knocked_at() || tracked.registration.ports != asked {
            return Vec::new();
        }
        let before = tracked.knocked.as_ref().map_or(0, |knocked| knocked.failures);
        let failures = if silent.is_empty() { 0 } else { before.saturating_add(1) };
        tracked.knocked = Some(Knocked { silent, failures });
        let changed = tracked.judge(name, self.acting.get(name).copied(), self.retries, now);
        changed.into_iter().collect()
    }

    /// Takes in that an operation acts on a container, or no longer does; returns the news.
    pub(super) fn take_acting(
        &mut self,
        name: &ContainerName,
        class: Option<OperationClass>,
        now: Timestamp,
    ) -> Vec<EventBody> {
        match class {
            Some(class) => drop(self.acting.insert(name.clone(), class)),
            None => drop(self.acting.remove(name)),
        }
        if let Some(tracked) = self.tracked.get_mut(name).filter(|_| class.is_none())
            && tracked.place == Place::Outside
        {
            // What it was like before is no longer true.
            tracked.knocked = None;
        }
        // What an operation made of it is to be seen first.
        if class.is_some() { self.judge_all(now) } else { Vec::new() }
    }

    /// Brings the sources together; returns the warnings that are new.
    fn merge(&mut self, now: Timestamp) -> Vec<EventBody> {
        self.merged = self.sources.merge();
        let entries = &self.merged.entries;
        let registrations: Registrations = entries
            .iter()
            .map(|(name, entry)| (name.clone(), entry.registration.clone()))
            .collect();
        if *self.registrations != registrations {
            self.registrations = Arc::new(registrations);
        }
        self.tracked.retain(|name, _| entries.contains_key(name));
        for (name, entry) in entries {
            let registration = entry.registration.clone();
            match self.tracked.get_mut(name) {
                Some(tracked) => {
                    if tracked.registration.container != registration.container {
                        tracked.put(Place::Unseen);
                    }
                    if tracked.registration.ports != registration.ports {
                        tracked.knocked = None;
                    }
                    (tracked.registration, tracked.source) = (registration, entry.source);
                }
                None => {
                    let tracked = Tracked {
                        registration,
                        source: entry.source,
                        place: Place::Unseen,
                        knocked: None,
                        state: ContainerState::Unknown,
                        since: now,
                        reason: Some("it has not been looked at yet".to_owned()),
                    };
                    self.tracked.insert(name.clone(), tracked);
                }
            }
        }
        let warnings: BTreeSet<String> = self.merged.warnings.iter().cloned().collect();
        let news = warnings.difference(&self.told).cloned();
        let news = news.map(|message| EventBody::Warning { message }).collect();
        self.told = warnings;
        news
    }

    /// Says anew how all of them are; returns what changed.
    fn judge_all(&mut self, now: Timestamp) -> Vec<EventBody> {
        let Self { tracked, acting, retries, .. } = self;
        let judged = tracked
            .iter_mut()
            .map(|(name, tracked)| tracked.judge(name, acting.get(name).copied(), *retries, now));
        judged.flatten().collect()
    }
}

fn view(name: &ContainerName, tracked: &Tracked) -> RegisteredContainer {
    let Registration { container, ports, depends_on } = tracked.registration.clone();
    RegisteredContainer {
        name: name.clone(),
        container,
        ports,
        depends_on,
        source: tracked.source,
        state: tracked.state,
        since: tracked.since,
        reason: tracked.reason.clone(),
    }
}
