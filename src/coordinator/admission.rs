//! Lets operations in, has them wait, or refuses them.
//!
//! ```text
//!            ask
//!             │
//!             ├──────────────► refused   one that it must not even wait for, or a full queue
//!             │
//!             ├──► waiting ──┬──► ended  cancelled, or its holder went away
//!             │              │
//!             │              │ let in: nothing that runs or waits ahead is in its way
//!             │              ▼
//!             └─────────► running ─────► ended  done, failed, timed out, or its holder went away
//! ```
//!
//! There is no clock, no task and no lock in here: whoever calls says when something was asked for,
//! and when it is over.
//!
//! **Order.** Each operation has its turn from the beginning: the time at which it was asked for, moved
//! back by `ageing` for each step of its priority. So having waited for `ageing` longer is worth a step
//! of priority. The highest priority is worth nine steps more than the lowest one: what is asked for
//! later than that comes behind, however urgent it is, so nothing waits forever. And the order of two
//! never changes, so nothing has to be sorted again as time goes by.
//!
//! **No barging.** Who waits is waited for: a stream of small operations does not keep a large one out.
//! For the same reason what waits ahead counts for how many may be on one container.
//!
//! **Nesting.** What is done under an operation does not meet that one, nor those that this one is
//! done under. What waits may wait for just these, so it does not wait for what waits, either, but
//! for what is done under the same operation. One that would wait for an operation that waits for its
//! own is refused: neither would ever end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::dependencies::Dependencies;
use super::places::{PlaceId, Places, Relation, Turn};
use crate::model::{OperationClass, Priority, Severity, Target};
use crate::policy::coordination::{Coordination, Response};

/// Asks to act on something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The operation's number, given once.
    pub id: u64,
    /// What is to be done.
    pub class: OperationClass,
    /// What it acts on.
    pub target: Target,
    /// How urgent it is.
    pub priority: Priority,
    /// When it was asked for, in milliseconds since any fixed instant.
    pub arrived: u64,
    /// The running operation of the same holder under which it is done, whose target covers its own.
    pub under: Option<u64>,
}

/// That an operation meets another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// The other one.
    pub with: u64,
    /// How badly they go together.
    pub severity: Severity,
    /// Through which dependencies they meet: each depends on the next. Empty where both act on the
    /// same container.
    pub chain: Vec<Target>,
}

/// Why an operation waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// For these, the worst first.
    pub behind: Vec<Meeting>,
    /// The container on which there are as many as may be, those that wait ahead among them.
    pub full: Option<Target>,
}

/// What comes of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It runs.
    Admitted {
        /// What it may be disturbed by, or may disturb; the worst first.
        beside: Vec<Meeting>,
    },
    /// It waits.
    Queued(Waits),
    /// Nothing: it was not taken.
    Refused(Refusal),
}

/// Why an operation is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It makes no sense as long as there is that one.
    Conflict(Meeting),
    /// It would have to wait, and as many as may wait do.
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
}

/// An operation that waited and now runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The operation.
    pub id: u64,
    /// What it may be disturbed by, or may disturb; the worst first.
    pub beside: Vec<Meeting>,
}

/// Who runs and who waits.
#[derive(Debug)]
pub struct Admission {
    rules: Arc<Coordination>,
    entries: BTreeMap<u64, Entry>,
    waiting: BTreeSet<Turn>,
    places: Places,
    crowds: HashMap<Target, Crowd>,
    /// Whether some may wait for nothing, because they were entered without asking.
    unsettled: bool,
}

/// An operation that runs or waits.
#[derive(Debug)]
struct Entry {
    ask: Ask,
    turn: Turn,
    place: PlaceId,
    /// The operations under which it is done, the nearest first.
    above: Vec<u64>,
    running: bool,
}

/// Who is on a single container.
#[derive(Debug, Default)]
struct Crowd {
    running: usize,
    waiting: BTreeSet<Turn>,
}

/// That an operation meets another one, seen from the first.
#[derive(Clone, Copy)]
struct Encounter<'a> {
    other: &'a Entry,
    severity: Severity,
    response: Response,
    chain: &'a [Target],
}

impl Entry {
    /// Returns the operation under which it is done in the end, or itself.
    fn outermost(&self) -> u64 {
        self.above.last().copied().unwrap_or(self.ask.id)
    }
}

impl Encounter<'_> {
    /// Whether an operation has to wait for the other one.
    fn holds_back(&self, entry: &Entry) -> bool {
        self.response >= Response::Queue && (self.other.running || self.other.turn < entry.turn)
    }
}

impl Admission {
    /// Makes one in which nothing runs, and nothing depends on anything.
    pub fn new(rules: Arc<Coordination>) -> Self {
        Self {
            rules,
            entries: BTreeMap::new(),
            waiting: BTreeSet::new(),
            places: Places::default(),
            crowds: HashMap::new(),
            unsettled: false,
        }
    }

    /// Lets an operation in, has it wait, or refuses it.
    pub fn ask(&mut self, ask: Ask) -> Answer {
        let entry = self.prepare(ask);
        let encounters: Vec<Encounter<'_>> = self.encounters(&entry).collect();
        let rejecting = encounters.iter().filter(|it| it.response == Response::Reject);
        let refusal = meetings(rejecting).into_iter().next().map(Refusal::Conflict);
        let full = self.full(&entry).cloned();
        let behind = meetings(encounters.iter().filter(|it| it.holds_back(&entry)));
        let refusal = refusal.or_else(|| self.circle(&entry, &behind).map(Refusal::Conflict));
        let refusal = refusal.or_else(|| {
            let limit = self.rules.limits.queue;
            let waits = full.is_some() || !behind.is_empty();
            (waits && self.waiting.len() >= limit).then_some(Refusal::QueueFull { limit })
        });
        if let Some(refusal) = refusal {
            self.places.leave(entry.place);
            return Answer::Refused(refusal);
        }
        if full.is_some() || !behind.is_empty() {
            self.insert(entry);
            return Answer::Queued(Waits { behind, full });
        }
        let beside = beside(&encounters);
        self.insert(Entry { running: true, ..entry });
        Answer::Admitted { beside }
    }

    /// Takes an operation away that runs or waits; returns those that are let in by that, in their
    /// order.
    pub fn end(&mut self, id: u64) -> Vec<Admitted> {
        let Some(entry) = self.entries.get(&id) else { return Vec::new() };
        if self.unsettled {
            self.remove(id);
            return self.let_in();
        }
        let mut held_back = self.held_back_by(entry);
        let containers = self.containers(entry).to_vec();
        self.remove(id);
        for container in containers {
            // Of those that wait for a container, more than this many have too many ahead of them.
            let crowd = self.crowds.get(&container);
            let first = crowd.into_iter().flat_map(|crowd| &crowd.waiting);
            held_back.extend(first.take(self.rules.limits.per_container));
        }
        self.let_in_of(held_back)
    }

    /// Enters an operation that already runs, without asking: it is taken over from an earlier run.
    /// What it is done under has to be entered before it.
    pub fn resume(&mut self, ask: Ask) {
        let entry = self.prepare(ask);
        self.insert(Entry { running: true, ..entry });
    }

    /// Enters an operation that already waits, without asking and however many do: it is taken over
    /// from an earlier run. `let_in` then lets in who waits for nothing.
    pub fn requeue(&mut self, ask: Ask) {
        let entry = self.prepare(ask);
        self.insert(entry);
        self.unsettled = true;
    }

    /// Lets in all who wait for nothing, in their order.
    pub fn let_in(&mut self) -> Vec<Admitted> {
        self.unsettled = false;
        self.let_in_of(self.waiting.clone())
    }

    /// Sets what depends on what; returns those that are let in by that, in their order. What runs
    /// goes on, even if it now meets something.
    pub fn set_dependencies(&mut self, dependencies: Dependencies) -> Vec<Admitted> {
        self.places.set_dependencies(dependencies);
        self.let_in()
    }

    /// Returns why an operation waits, unless it runs or is not known.
    pub fn waits(&self, id: u64) -> Option<Waits> {
        let entry = self.entries.get(&id).filter(|entry| !entry.running)?;
        let encounters: Vec<Encounter<'_>> = self.encounters(entry).collect();
        let behind = meetings(encounters.iter().filter(|it| it.holds_back(entry)));
        Some(Waits { behind, full: self.full(entry).cloned() })
    }

    /// Whether something would have to wait for what acts on a target now.
    pub fn is_blocked(&self, class: OperationClass, target: &Target) -> bool {
        self.running().any(|running| {
            let severity = self.rules.matrix.severity(class, running.class);
            running.target.overlaps(target) && self.rules.responses.to(severity) >= Response::Queue
        })
    }

    /// Returns those that run, by their numbers.
    pub fn running(&self) -> impl Iterator<Item = &Ask> {
        self.entries.values().filter(|entry| entry.running).map(|entry| &entry.ask)
    }

    /// Returns those that wait, in their order.
    pub fn waiting(&self) -> impl Iterator<Item = &Ask> {
        self.waiting.iter().filter_map(|turn| Some(&self.entries.get(&turn.id)?.ask))
    }

    /// Returns those that wait for a running one, in their order: it is in their way itself, or it is
    /// one of those that fill their container.
    pub fn waits_for(&self, id: u64) -> Vec<u64> {
        let Some(entry) = self.entries.get(&id).filter(|entry| entry.running) else {
            return Vec::new();
        };
        let mut waiting = self.held_back_by(entry);
        for container in self.containers(entry) {
            let crowd = self.crowds.get(container);
            let turns = crowd.into_iter().flat_map(|crowd| &crowd.waiting);
            waiting.extend(turns.filter(|turn| {
                let other = self.entries.get(&turn.id);
                other.is_some_and(|other| self.has_no_room(container, other))
            }));
        }
        waiting.into_iter().map(|turn| turn.id).collect()
    }

    /// Returns what something done under an operation would wait for although that waits for the same
    /// operation, by what is done under it: both would wait for ever.
    fn circle(&self, entry: &Entry, behind: &[Meeting]) -> Option<Meeting> {
        let own = *entry.above.last()?;
        let nested: Vec<(u64, Vec<u64>)> = (self.entries.values())
            .filter(|other| !other.running)
            .filter_map(|other| {
                let encounters = self.encounters(other).filter(|it| it.holds_back(other));
                Some((*other.above.last()?, encounters.map(|it| it.other.outermost()).collect()))
            })
            .collect();
        let leads_back = |first: u64| {
            let mut reached = BTreeSet::from([first]);
            let mut next = vec![first];
            while let Some(at) = next.pop() {
                let on = nested.iter().filter(|(from, _)| *from == at).flat_map(|(_, on)| on);
                next.extend(on.filter(|on| reached.insert(**on)));
            }
            reached.contains(&own)
        };
        let meets_own = |meeting: &&Meeting| {
            let other = self.entries.get(&meeting.with).map(Entry::outermost);
            other.is_some_and(|other| other != own && leads_back(other))
        };
        behind.iter().find(meets_own).cloned()
    }

    /// Makes an entry that waits, without entering it. Numbers are given once, so whatever has this one
    /// is taken for an earlier version of the same operation.
    fn prepare(&mut self, ask: Ask) -> Entry {
        if self.entries.contains_key(&ask.id) {
            self.remove(ask.id);
            self.unsettled = true;
        }
        let ageing = i128::try_from(self.rules.limits.ageing.as_millis()).unwrap_or(i128::MAX);
        let worth = ageing.saturating_mul(ask.priority.get().into());
        let turn = Turn { due: i128::from(ask.arrived).saturating_sub(worth), id: ask.id };
        let mut above: Vec<u64> = ask.under.into_iter().collect();
        if let Some(nearest) = ask.under.and_then(|under| self.entries.get(&under)) {
            above.extend(&nearest.above);
        }
        let place = self.places.enter(&ask.target);
        Entry { ask, turn, place, above, running: false }
    }

    fn insert(&mut self, entry: Entry) {
        let turn = entry.turn;
        if let Some(place) = self.places.get_mut(entry.place) {
            for container in &place.containers {
                let crowd = self.crowds.entry(container.clone()).or_default();
                if entry.running {
                    crowd.running += 1;
                } else {
                    crowd.waiting.insert(turn);
                }
            }
            if entry.running {
                place.running.insert(turn.id);
            } else {
                place.waiting.insert(turn);
                self.waiting.insert(turn);
            }
        }
        self.entries.insert(turn.id, entry);
    }

    fn remove(&mut self, id: u64) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.waiting.remove(&entry.turn);
        let Some(place) = self.places.get_mut(entry.place) else { return };
        place.running.remove(&id);
        place.waiting.remove(&entry.turn);
        for container in &place.containers {
            let Some(crowd) = self.crowds.get_mut(container) else { continue };
            crowd.waiting.remove(&entry.turn);
            crowd.running = crowd.running.saturating_sub(entry.running.into());
            if crowd.running == 0 && crowd.waiting.is_empty() {
                self.crowds.remove(container);
            }
        }
        self.places.leave(entry.place);
    }

    /// Lets in those of some that wait for nothing.
    ///
    /// Once through is enough: who is let in was in the way of the same ones while it waited, so
    /// nobody is set free by that.
    fn let_in_of(&mut self, turns: BTreeSet<Turn>) -> Vec<Admitted> {
        turns.into_iter().filter_map(|turn| self.let_one_in(turn.id)).collect()
    }

    fn let_one_in(&mut self, id: u64) -> Option<Admitted> {
        let entry = self.entries.get(&id)?;
        // That is the quicker question, and the usual reason where many wait for one container.
        if self.full(entry).is_some() || self.encounters(entry).any(|it| it.holds_back(entry)) {
            return None;
        }
        let beside = beside(&self.encounters(entry).collect::<Vec<_>>());
        let place = self.places.get_mut(entry.place)?;
        place.waiting.remove(&entry.turn);
        place.running.insert(id);
        for container in &place.containers {
            let crowd = self.crowds.get_mut(container)?;
            crowd.waiting.remove(&entry.turn);
            crowd.running += 1;
        }
        self.waiting.remove(&entry.turn);
        self.entries.get_mut(&id)?.running = true;
        Some(Admitted { id, beside })
    }

    /// Returns all that an operation meets, however mildly.
    fn encounters<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = Encounter<'a>> {
        self.places.related(entry.place).flat_map(move |(place, relation)| {
            let waiting = place.waiting.iter().map(|turn| &turn.id);
            place.running.iter().chain(waiting).filter_map(move |id| {
                let other = self.entries.get(id).filter(|other| counts(entry, other))?;
                let (severity, chain) = self.severity(relation, entry, other)?;
                let response = self.rules.responses.to(severity);
                Some(Encounter { other, severity, response, chain })
            })
        })
    }

    /// Tells how badly an operation goes together with another one, and by which chain they meet.
    fn severity<'a>(
        &self,
        relation: &'a Relation,
        entry: &Entry,
        other: &Entry,
    ) -> Option<(Severity, &'a [Target])> {
        let severity = self.rules.matrix.severity(entry.ask.class, other.ask.class);
        let disrupts = |entry: &Entry| self.rules.disruptive.contains(&entry.ask.class);
        match relation {
            Relation::Overlap => Some((severity, &[])),
            Relation::Dependency { on: Some(chain), .. } if disrupts(other) => {
                Some((severity.min(self.rules.at_most), chain))
            }
            Relation::Dependency { by: Some(chain), .. } if disrupts(entry) => {
                Some((severity.min(self.rules.at_most), chain))
            }
            Relation::Dependency { .. } => None,
        }
    }

    /// Returns the waiting ones that an operation is in the way of.
    fn held_back_by(&self, entry: &Entry) -> BTreeSet<Turn> {
        let related = self.places.related(entry.place);
        related
            .flat_map(|(place, relation)| {
                place.waiting.iter().filter(move |turn| {
                    let Some(other) = self.entries.get(&turn.id) else { return false };
                    let met = self.severity(relation, entry, other);
                    let response = met.map(|(severity, _)| self.rules.responses.to(severity));
                    response >= Some(Response::Queue)
                        && (entry.running || entry.turn < other.turn)
                        && counts(other, entry)
                })
            })
            .copied()
            .collect()
    }

    fn containers(&self, entry: &Entry) -> &[Target] {
        self.places.get(entry.place).map(|place| place.containers.as_slice()).unwrap_or_default()
    }

    /// Returns the first container of an operation on which there is no room for it.
    fn full(&self, entry: &Entry) -> Option<&Target> {
        self.containers(entry).iter().find(|container| self.has_no_room(container, entry))
    }

    fn has_no_room(&self, container: &Target, entry: &Entry) -> bool {
        if entry.ask.under.is_some() {
            return false;
        }
        let Some(crowd) = self.crowds.get(container) else { return false };
        let room = self.rules.limits.per_container.saturating_sub(crowd.running);
        crowd.waiting.range(..entry.turn).take(room).count() >= room
    }
}

/// Whether another operation counts for one: not itself, nor what it is done under, nor, for what is
/// done under something, what waits and is not done under the same.
fn counts(entry: &Entry, other: &Entry) -> bool {
    let nested = entry.ask.under.is_some();
    other.ask.id != entry.ask.id
        && !entry.above.contains(&other.ask.id)
        && (other.running || !nested || other.ask.under == entry.ask.under)
}

/// Puts encounters into words for others: the worst first, then by their numbers.
fn meetings<'a>(encounters: impl Iterator<Item = &'a Encounter<'a>>) -> Vec<Meeting> {
    let mut encounters: Vec<&Encounter<'_>> = encounters.collect();
    encounters.sort_by_key(|it| (Reverse(it.severity), it.other.ask.id));
    let meeting = |it: &Encounter<'_>| Meeting {
        with: it.other.ask.id,
        severity: it.severity,
        chain: it.chain.to_vec(),
    };
    encounters.into_iter().map(meeting).collect()
}

/// Returns what is to be recorded with an operation that is let in.
fn beside(encounters: &[Encounter<'_>]) -> Vec<Meeting> {
    meetings(encounters.iter().filter(|it| it.other.running && it.response == Response::Caution))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
