//! What cannot do without what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::Target;
pub use crate::policy::cycle::Cycle;

/// What depends on what, without circles.
///
/// A taskspace covers its containers: what they depend on, it depends on, and the other way round, and
/// what depends on one of them depends on it, and the other way round. What is depended on need not be
/// registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// What each depends on, as it was registered.
    on: BTreeMap<Target, Vec<Target>>,
    /// The same, backwards.
    by: BTreeMap<Target, Vec<Target>>,
}

impl Dependencies {
    /// Takes each with what it depends on; for one that is there twice, both count.
    pub fn new(all: impl Iterator<Item = (Target, Vec<Target>)>) -> Result<Self, Cycle> {
        let mut dependencies = Self::default();
        for (dependent, targets) in all {
            for target in targets {
                let on = dependencies.on.entry(dependent.clone()).or_default();
                if !on.contains(&target) {
                    on.push(target.clone());
                    dependencies.by.entry(target).or_default().push(dependent.clone());
                }
            }
        }
        match Cycle::find(&dependencies.on) {
            Some(cycle) => Err(cycle),
            None => Ok(dependencies),
        }
    }

    /// Returns the shortest chain by which `from` depends on `to`, with both of them in it: each
    /// depends on the next.
    pub fn chain(&self, from: &Target, to: &Target) -> Option<Vec<Target>> {
        // Each that was reached, with the one that it was reached from; none is `from` itself.
        let mut reached: BTreeMap<&Target, Option<&Target>> = BTreeMap::new();
        let mut next = VecDeque::from([None]);
        while let Some(at) = next.pop_front() {
            for on in neighbours(&self.on, at.unwrap_or(from)) {
                if reached.contains_key(on) {
                    continue;
                }
                if on.overlaps(to) {
                    let back = std::iter::successors(at, |at| reached.get(at).copied().flatten());
                    let mut chain = vec![to.clone()];
                    chain.extend(back.cloned());
                    chain.push(from.clone());
                    chain.reverse();
                    return Some(chain);
                }
                reached.insert(on, at);
                next.push_back(Some(on));
            }
        }
        None
    }

    /// Returns all that a target depends on, and all that depend on it, as they were registered.
    pub(super) fn around(&self, target: &Target) -> BTreeSet<&Target> {
        let mut around = reach(&self.on, target);
        around.append(&mut reach(&self.by, target));
        around
    }
}

fn neighbours<'a>(
    edges: &'a BTreeMap<Target, Vec<Target>>,
    target: &Target,
) -> impl Iterator<Item = &'a Target> {
    target.overlapping().into_iter().filter_map(|same| edges.get(&same)).flatten()
}

fn reach<'a>(edges: &'a BTreeMap<Target, Vec<Target>>, from: &Target) -> BTreeSet<&'a Target> {
    let mut reached: BTreeSet<&Target> = BTreeSet::new();
    let mut next: Vec<&Target> = neighbours(edges, from).collect();
    while let Some(at) = next.pop() {
        if reached.insert(at) {
            next.extend(neighbours(edges, at));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    /// From `a: b c; b: c`.
    fn dependencies(text: &str) -> Result<Dependencies, String> {
        let lines = text.split(';').map(|line| {
            let mut words = line.split_whitespace().map(target);
            (words.next().unwrap(), words.collect())
        });
        Dependencies::new(lines).map_err(|cycle| cycle.to_string())
    }

    fn chain(dependencies: &Dependencies, from: &str, to: &str) -> String {
        let chain = dependencies.chain(&target(from), &target(to)).unwrap_or_default();
        chain.iter().map(Target::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_chain_is_the_shortest_and_has_both_ends() {
        let eight = dependencies(
            "webui api; worker api redis postgres; voice api; chat api; api postgres; prometheus",
        )
        .unwrap();
        assert_eq!(chain(&eight, "worker", "api"), "worker api");
        assert_eq!(chain(&eight, "worker", "postgres"), "worker postgres");
        assert_eq!(chain(&eight, "chat", "postgres"), "chat api postgres");
        for (from, to) in
            [("api", "worker"), ("webui", "redis"), ("api", "api"), ("chat", "prometheus")]
        {
            assert_eq!(chain(&eight, from, to), "", "{from} {to}");
        }
    }

    #[test]
    fn circles_are_refused_and_unknown_ones_are_not() {
        assert_eq!(dependencies("a b; b a").unwrap_err(), "a depends on b depends on a");
        assert_eq!(dependencies("a a").unwrap_err(), "a depends on a");
        // Each alone is fine.
        assert_eq!(dependencies("a b; b c; a d; d a").unwrap_err(), "a depends on d depends on a");
        let unknown = dependencies("a later; a later").unwrap();
        assert_eq!(chain(&unknown, "a", "later"), "a later");
    }

    #[test]
    fn a_taskspace_covers_its_containers() {
        let some = dependencies("x taskspace:a/dev; taskspace:a/agent db; y taskspace:a").unwrap();
        assert_eq!(chain(&some, "x", "taskspace:a"), "x taskspace:a");
        assert_eq!(chain(&some, "x", "taskspace:a/dev"), "x taskspace:a/dev");
        assert_eq!(chain(&some, "x", "taskspace:a/agent"), "");
        assert_eq!(chain(&some, "x", "db"), "");
        assert_eq!(chain(&some, "taskspace:a", "db"), "taskspace:a db");
        assert_eq!(chain(&some, "taskspace:a/dev", "db"), "");
        assert_eq!(chain(&some, "y", "db"), "y taskspace:a db");
        assert_eq!(chain(&some, "y", "taskspace:a/dev"), "y taskspace:a/dev");
    }

    proptest! {
        #[test]
        fn what_is_around_a_target_has_a_chain_and_the_other_way_round(
            edges in proptest::collection::vec((0..12_usize, 0..12_usize), 0..16),
        ) {
            let targets: Vec<Target> = ["a", "b", "c", "d", "e", "f"]
                .into_iter()
                .chain(["taskspace:a", "taskspace:a/dev", "taskspace:a/agent"])
                .chain(["taskspace:b", "taskspace:b/dev", "taskspace:b/agent"])
                .map(target)
                .collect();
            let edge = |(from, on): (usize, usize)| (targets[from].clone(), vec![targets[on].clone()]);
            let Ok(dependencies) = Dependencies::new(edges.into_iter().map(edge)) else {
                return Ok(());
            };
            for one in &targets {
                let around = dependencies.around(one);
                for other in &targets {
                    let chained = dependencies.chain(one, other).is_some()
                        || dependencies.chain(other, one).is_some();
                    prop_assert_eq!(
                        around.iter().any(|target| target.overlaps(other)),
                        chained,
                        "{} {}", one, other
                    );
                }
            }
        }
    }
}
