//! Finds dependencies that lead back to where they began.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::Target;

/// Dependencies in a circle: each depends on the next, and the last one on the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Circle(pub(super) Vec<Target>);

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let again = self.0.first();
        for (index, target) in self.0.iter().chain(again).enumerate() {
            let link = if index == 0 { "" } else { " depends on " };
            write!(f, "{link}{target}")?;
        }
        Ok(())
    }
}

/// Checks that what depends on what is no circle; each target comes with what it depends on.
pub(super) fn check(
    dependencies: impl IntoIterator<Item = (Target, Vec<Target>)>,
) -> Result<(), Circle> {
    let graph: BTreeMap<Target, Vec<Target>> = dependencies.into_iter().collect();
    let mut states: BTreeMap<&Target, State> = BTreeMap::new();
    for start in graph.keys() {
        if states.contains_key(start) {
            continue;
        }
        // Not by recursion: a chain may be as long as there are containers.
        let mut path = vec![(start, graph[start].iter())];
        states.insert(start, State::OnThePath);
        while let Some((target, rest)) = path.last_mut() {
            let Some(next) = rest.next() else {
                states.insert(target, State::Done);
                path.pop();
                continue;
            };
            match states.get(next) {
                Some(State::Done) => {}
                Some(State::OnThePath) => {
                    let circle = path.iter().map(|(target, _)| *target);
                    return Err(Circle(circle.skip_while(|on| *on != next).cloned().collect()));
                }
                None => {
                    states.insert(next, State::OnThePath);
                    let further = graph.get(next).map(Vec::as_slice).unwrap_or_default();
                    path.push((next, further.iter()));
                }
            }
        }
    }
    Ok(())
}

/// How far the search is with a target.
enum State {
    /// It leads to where the search is.
    OnThePath,
    /// No circle goes through it.
    Done,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn graph(text: &str) -> Vec<(Target, Vec<Target>)> {
        let line = |line: &str| {
            let (target, depends_on) = line.split_once(':').unwrap();
            let depends_on = depends_on.split_whitespace().map(|it| it.parse().unwrap());
            (target.trim().parse().unwrap(), depends_on.collect())
        };
        text.split(';').map(line).collect()
    }

    #[test]
    fn circles_are_told_from_forks_that_meet_again() {
        let good =
            ["api:", "worker: api redis; api: postgres; redis: postgres", "a: b; b: taskspace"];
        for text in good {
            assert_eq!(check(graph(text)), Ok(()), "{text}");
        }
        let bad = [
            ("a: a", "a depends on a"),
            ("a: b; b: c; c: b", "b depends on c depends on b"),
            ("a: x b; b: c; c: d; d: a", "a depends on b depends on c depends on d depends on a"),
        ];
        for (text, told) in bad {
            assert_eq!(check(graph(text)).unwrap_err().to_string(), told, "{text}");
        }
    }

    #[test]
    fn a_long_chain_is_no_trouble() {
        let name = |n: u32| -> Target { format!("c{n}").parse().unwrap() };
        let chain = |last: Vec<Target>| {
            let links = (0..100_000).map(move |n| (name(n), vec![name(n + 1)]));
            links.chain([(name(100_000), last)])
        };
        assert_eq!(check(chain(vec![])), Ok(()));
        assert_eq!(check(chain(vec![name(0)])).unwrap_err().0.len(), 100_001);
    }

    proptest! {
        #[test]
        fn what_is_found_is_one_and_none_is_missed(edges in prop::collection::vec((0..8usize, 0..8usize), 0..20)) {
            let name = |n: usize| -> Target { format!("c{n}").parse().unwrap() };
            let mut graph: BTreeMap<Target, Vec<Target>> = BTreeMap::new();
            let mut reach = [[false; 8]; 8];
            for (from, to) in edges {
                graph.entry(name(from)).or_default().push(name(to));
                reach[from][to] = true;
            }
            for (middle, from, to) in triples(8) {
                reach[from][to] |= reach[from][middle] && reach[middle][to];
            }
            let is_circular = (0..8).any(|n| reach[n][n]);
            match check(graph.clone()) {
                Ok(()) => prop_assert!(!is_circular),
                Err(Circle(circle)) => {
                    let next = circle.iter().cycle().skip(1);
                    for (from, to) in circle.iter().zip(next) {
                        prop_assert!(graph[from].contains(to));
                    }
                }
            }
        }
    }

    /// All triples of numbers below `n`, the first one slowest.
    fn triples(n: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..n).flat_map(move |a| (0..n).flat_map(move |b| (0..n).map(move |c| (a, b, c))))
    }
}
