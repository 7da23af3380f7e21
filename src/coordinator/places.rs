//! Who is where: the targets that something acts on or waits for, and which of them have to do with
//! each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::dependencies::Dependencies;
use crate::model::Target;

/// The number of a place, given once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PlaceId(u64);

/// Where an operation stands in the queue; the smaller one is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// When it was asked for, moved back by what its priority is worth, in milliseconds.
    pub(super) due: i128,
    /// The operation.
    pub(super) id: u64,
}

/// Why what is done at one place matters at another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// It is done to the same container.
    Overlap,
    /// One depends on the other, or each has a container that depends on one of the other's.
    Dependency {
        /// The chain from this place to the other one.
        on: Option<Vec<Target>>,
        /// The chain from the other one to this place.
        by: Option<Vec<Target>>,
    },
}

/// One target that something acts on or waits for.
#[derive(Debug)]
pub(super) struct Place {
    target: Target,
    /// The single containers that it stands for.
    pub(super) containers: Vec<Target>,
    /// The operations that run.
    pub(super) running: BTreeSet<u64>,
    /// Those that wait.
    pub(super) waiting: BTreeSet<Turn>,
    /// The places that matter here, this one among them.
    related: BTreeMap<PlaceId, Relation>,
}

/// All places at which there is an operation.
///
/// How they are related is found out when a place comes into use and not for every operation, since
/// that is a walk through the dependencies.
#[derive(Debug, Default)]
pub(super) struct Places {
    dependencies: Dependencies,
    ids: HashMap<Target, PlaceId>,
    places: BTreeMap<PlaceId, Place>,
    last: u64,
}

impl Places {
    /// Returns the place of a target, and makes it if need be; `leave` takes it away.
    pub(super) fn enter(&mut self, target: &Target) -> PlaceId {
        if let Some(id) = self.ids.get(target) {
            return *id;
        }
        self.last += 1;
        let id = PlaceId(self.last);
        self.ids.insert(target.clone(), id);
        let place = Place {
            target: target.clone(),
            containers: target.containers(),
            running: BTreeSet::new(),
            waiting: BTreeSet::new(),
            related: BTreeMap::new(),
        };
        self.places.insert(id, place);
        self.relate(id);
        id
    }

    /// Takes a place away at which nobody is.
    pub(super) fn leave(&mut self, id: PlaceId) {
        let Some(place) = self.places.get(&id) else { return };
        if !place.running.is_empty() || !place.waiting.is_empty() {
            return;
        }
        let Some(place) = self.places.remove(&id) else { return };
        self.ids.remove(&place.target);
        for other in place.related.keys() {
            if let Some(other) = self.places.get_mut(other) {
                other.related.remove(&id);
            }
        }
    }

    /// Returns a place.
    pub(super) fn get(&self, id: PlaceId) -> Option<&Place> {
        self.places.get(&id)
    }

    /// Returns a place to enter or remove operations.
    pub(super) fn get_mut(&mut self, id: PlaceId) -> Option<&mut Place> {
        self.places.get_mut(&id)
    }

    /// Returns the places that matter at one, that one among them.
    pub(super) fn related(&self, id: PlaceId) -> impl Iterator<Item = (&Place, &Relation)> {
        let related = self.places.get(&id).into_iter().flat_map(|place| &place.related);
        related.filter_map(|(id, relation)| Some((self.places.get(id)?, relation)))
    }

    /// Sets what depends on what.
    pub(super) fn set_dependencies(&mut self, dependencies: Dependencies) {
        self.dependencies = dependencies;
        let ids: Vec<PlaceId> = self.places.keys().copied().collect();
        for place in self.places.values_mut() {
            place.related.clear();
        }
        for id in ids {
            self.relate(id);
        }
    }

    /// Whether nobody is anywhere.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.places.is_empty()
    }

    /// Finds out which places matter at one, and enters that at both.
    fn relate(&mut self, id: PlaceId) {
        let Some(target) = self.places.get(&id).map(|place| place.target.clone()) else { return };
        let overlapping = target.overlapping();
        let around = self.dependencies.around(&target);
        let near = around.into_iter().flat_map(Target::overlapping).chain(overlapping);
        let others: BTreeSet<PlaceId> =
            near.filter_map(|target| self.ids.get(&target).copied()).collect();
        for other_id in others {
            let Some(other) = self.places.get_mut(&other_id) else { continue };
            let (here, there) = if target.overlaps(&other.target) {
                (Relation::Overlap, Relation::Overlap)
            } else {
                let on = self.dependencies.chain(&target, &other.target);
                let by = self.dependencies.chain(&other.target, &target);
                let there = Relation::Dependency { on: by.clone(), by: on.clone() };
                (Relation::Dependency { on, by }, there)
            };
            other.related.insert(id, there);
            if let Some(place) = self.places.get_mut(&id) {
                place.related.insert(other_id, here);
            }
        }
    }
}
