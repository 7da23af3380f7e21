//! Dependencies that run in a circle.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::Target;

/// Dependencies that run in a circle: each depends on the next, and the last one is the first, or
/// overlaps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(Vec<Target>);

impl Cycle {
    /// Finds one among what each depends on.
    ///
    /// A taskspace covers its containers: what depends on it depends on what they depend on, and what
    /// it depends on, they depend on.
    pub fn find(dependencies: &BTreeMap<Target, Vec<Target>>) -> Option<Self> {
        // What depends on nothing can be in no circle, nor what depends only on such: when all of
        // these are taken away, circles and what leads to them are left.
        let mut degrees = BTreeMap::new();
        let mut dependents: BTreeMap<&Target, Vec<&Target>> = BTreeMap::new();
        for dependent in dependencies.keys() {
            let nexts = nexts(dependencies, dependent);
            degrees.insert(dependent, nexts.len());
            for (_, next) in nexts {
                dependents.entry(next).or_default().push(dependent);
            }
        }
        let mut free: Vec<&Target> =
            degrees.iter().filter(|(_, degree)| **degree == 0).map(|(target, _)| *target).collect();
        while let Some(target) = free.pop() {
            degrees.remove(target);
            for dependent in dependents.get(target).into_iter().flatten() {
                let Some(degree) = degrees.get_mut(dependent) else { continue };
                *degree -= 1;
                if *degree == 0 {
                    free.push(dependent);
                }
            }
        }
        let mut path: Vec<(&Target, &Target)> = Vec::new();
        let mut at = *degrees.keys().next()?;
        loop {
            if let Some(start) = path.iter().position(|(target, _)| *target == at) {
                let circle = path.get(start..).unwrap_or_default().iter();
                let written = circle.map(|(_, written)| (*written).clone());
                return Some(Self([at.clone()].into_iter().chain(written).collect()));
            }
            let (written, next) =
                nexts(dependencies, at).into_iter().find(|(_, next)| degrees.contains_key(next))?;
            path.push((at, written));
            at = next;
        }
    }
}

/// Returns what a target depends on and has dependencies of its own: each as it is written there, and
/// as it is written where it has them.
fn nexts<'a>(
    dependencies: &'a BTreeMap<Target, Vec<Target>>,
    target: &Target,
) -> Vec<(&'a Target, &'a Target)> {
    let on = dependencies.get(target).map(Vec::as_slice).unwrap_or_default();
    on.iter()
        .flat_map(|on| on.overlapping().into_iter().map(move |same| (on, same)))
        .filter_map(|(on, same)| Some((on, dependencies.get_key_value(&same)?.0)))
        .collect()
}

impl Cycle {
    /// Returns those in the circle; the last one is the first, or overlaps it.
    pub fn targets(&self) -> &[Target] {
        &self.0
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, target) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" depends on ")?;
            }
            target.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Cycle {}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `a: b c; b: c`.
    fn find(text: &str) -> Option<String> {
        let target = |text: &str| text.parse::<Target>().unwrap();
        let dependencies = (text.split(';'))
            .map(|line| {
                let mut words = line.split_whitespace();
                (target(words.next().unwrap()), words.map(target).collect())
            })
            .collect();
        Cycle::find(&dependencies).map(|cycle| cycle.to_string())
    }

    #[test]
    fn a_circle_is_found_and_named() {
        assert_eq!(find("a b c; b c; c d").as_deref(), None);
        assert_eq!(find("a a").as_deref(), Some("a depends on a"));
        assert_eq!(find("a b; b a").as_deref(), Some("a depends on b depends on a"));
        // What only leads to a circle is not named.
        assert_eq!(
            find("a b; b c; c d x; d b; x y").as_deref(),
            Some("b depends on c depends on d depends on b")
        );
        assert_eq!(find("z y; y z; a b").as_deref(), Some("y depends on z depends on y"));
    }

    #[test]
    fn a_taskspace_covers_its_containers() {
        assert_eq!(
            find("x taskspace:a; taskspace:a/dev x").as_deref(),
            Some("x depends on taskspace:a depends on x")
        );
        assert_eq!(
            find("taskspace:a/dev taskspace:a").as_deref(),
            Some("taskspace:a/dev depends on taskspace:a")
        );
        assert!(find("taskspace:a taskspace:a/dev").is_some());
        assert!(find("taskspace:a y; y taskspace:a/dev").is_some());
        assert_eq!(find("taskspace:a/dev taskspace:a/agent"), None);
        assert_eq!(find("x taskspace:a/dev; taskspace:a/agent x"), None);
    }

    #[test]
    fn a_long_chain_is_no_matter() {
        let name = |n: usize| format!("c{n}").parse::<Target>().unwrap();
        let mut chain: BTreeMap<Target, Vec<Target>> =
            (0..5_000).map(|n| (name(n), vec![name(n + 1)])).collect();
        assert_eq!(Cycle::find(&chain), None);
        chain.insert(name(5_000), vec![name(0)]);
        assert_eq!(Cycle::find(&chain).map(|cycle| cycle.0.len()), Some(5_002));
    }
}
