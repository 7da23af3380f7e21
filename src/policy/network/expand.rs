//! What groups have in them.

use std::collections::{BTreeMap, BTreeSet};

use super::REGISTRIES;
use crate::model::{Destination, GroupName};

/// Groups in groups in groups: more than anybody can follow.
const DEEPEST: usize = 16;

/// Why what is in a group cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// There is no such group.
    #[error("there is no group @{asked}; there are {known}")]
    Unknown {
        /// The group.
        asked: GroupName,
        /// Those that there are.
        known: String,
    },
    /// It is in itself.
    #[error("groups are in each other in a circle: {}", shown(.0).join(" has "))]
    Circle(Vec<GroupName>),
    /// Too many groups are in each other.
    #[error("@{0} has groups in groups that are more than {DEEPEST} deep")]
    Deep(GroupName),
}

fn shown<'a>(names: impl IntoIterator<Item = &'a GroupName>) -> Vec<String> {
    names.into_iter().map(|name| format!("@{name}")).collect()
}

/// The groups, and what the host's clients use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Groups<'a> {
    pub(super) by_name: &'a BTreeMap<GroupName, Vec<Destination>>,
    pub(super) registries: &'a [Destination],
}

impl Groups<'_> {
    /// Returns destinations with what is in groups in the place of the groups.
    pub(super) fn expand(
        self,
        destinations: &[Destination],
    ) -> Result<BTreeSet<Destination>, ExpandError> {
        let mut expanded = BTreeSet::new();
        let mut seen = BTreeSet::new();
        self.enter(destinations, &mut Vec::new(), &mut seen, &mut expanded)?;
        Ok(expanded)
    }

    /// Enters groups that were not entered before, `path` being those that lead here.
    fn enter(
        self,
        destinations: &[Destination],
        path: &mut Vec<GroupName>,
        seen: &mut BTreeSet<GroupName>,
        expanded: &mut BTreeSet<Destination>,
    ) -> Result<(), ExpandError> {
        for destination in destinations {
            let Destination::Group(name) = destination else {
                expanded.insert(destination.clone());
                continue;
            };
            if name.as_str() == REGISTRIES {
                expanded.extend(self.registries.iter().cloned());
                continue;
            }
            if let Some(start) = path.iter().position(|before| before == name) {
                let circle = path.iter().skip(start).chain([name]);
                return Err(ExpandError::Circle(circle.cloned().collect()));
            }
            let members = self.by_name.get(name).ok_or_else(|| self.unknown(name))?;
            if seen.contains(name) {
                continue;
            }
            if path.len() == DEEPEST {
                return Err(ExpandError::Deep(path.swap_remove(0)));
            }
            path.push(name.clone());
            self.enter(members, path, seen, expanded)?;
            path.pop();
            seen.insert(name.clone());
        }
        Ok(())
    }

    fn unknown(self, asked: &GroupName) -> ExpandError {
        let mut known = shown(self.by_name.keys());
        known.push(format!("@{REGISTRIES}"));
        ExpandError::Unknown { asked: asked.clone(), known: known.join(", ") }
    }
}
