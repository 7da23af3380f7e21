//! What the registry knows of projects.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::TaskspaceId;

/// A project: one source of taskspaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProjectRecord {
    /// Where it comes from, without any password.
    pub source: String,
    /// Its bases, by commit; where submodules or Git LFS add to it, with a suffix that tells which.
    #[serde(default)]
    pub bases: BTreeMap<String, BaseRecord>,
    /// The build caches that new taskspaces began with, or still do, by volume.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub caches: BTreeMap<String, CacheRecord>,
}

impl ProjectRecord {
    /// Makes one of which there is nothing yet.
    pub fn new(source: String) -> Self {
        Self { source, bases: BTreeMap::new(), caches: BTreeMap::new() }
    }

    /// Returns the serial number of the next base.
    pub fn next_base(&self) -> u64 {
        self.bases.values().map(|base| base.serial + 1).max().unwrap_or_default()
    }

    /// Returns the serial number of the next build cache.
    pub fn next_cache(&self) -> u64 {
        self.caches.values().map(|cache| cache.serial + 1).max().unwrap_or_default()
    }

    /// Returns the commit of the newest base that is whole: one that lacks something is made again the
    /// next time, when perhaps that can be had.
    pub fn newest_base(&self) -> Option<&str> {
        let is_whole = |base: &BaseRecord| base.state == BaseState::Ready && base.lacks.is_none();
        let whole = self.bases.iter().filter(|(_, base)| is_whole(base));
        whole.max_by_key(|(_, base)| (base.serial, base.created)).map(|(commit, _)| commit.as_str())
    }

    /// Returns the volume of the build cache that a new taskspace begins with.
    pub fn cache(&self) -> Option<&str> {
        let given = |(_, cache): &(&String, &CacheRecord)| {
            cache.state == BaseState::Ready && !cache.withdrawn
        };
        let newest = self.caches.iter().filter(given);
        let newest = newest.max_by_key(|(_, cache)| (cache.serial, cache.created));
        newest.map(|(volume, _)| volume.as_str())
    }
}

/// How far a base is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BaseState {
    /// Being made: never mounted, removed after a crash.
    Making,
    /// Whole, and never changed again.
    Ready,
}

/// One immutable checkout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BaseRecord {
    /// Its volume.
    pub volume: String,
    /// How far it is.
    pub state: BaseState,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Its place among those of the project: later ones have higher numbers. The time does not tell,
    /// since a clock may be set back; it does among those that an earlier version recorded.
    #[serde(default)]
    pub serial: u64,
    /// What it lacks: contents that could not be had when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
    /// Since when no taskspace uses it; absent while one does, and where that was not noted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub unused_since: Option<Timestamp>,
}

/// One immutable build cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CacheRecord {
    /// How far it is.
    pub state: BaseState,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Its place among those of the project: later ones have higher numbers. The time does not tell,
    /// since a clock may be set back; it does among those that an earlier version recorded.
    #[serde(default)]
    pub serial: u64,
    /// The taskspace that it was made of.
    pub from: TaskspaceId,
    /// Whether no new taskspace gets it any more: it goes with the last one that has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
    /// Since when no taskspace uses it; absent while one does, and where that was not noted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub unused_since: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_taskspace_begins_with_the_last_whole_cache_whatever_the_clock_said() {
        let mut project = ProjectRecord::new("source".to_owned());
        assert_eq!((project.cache(), project.next_cache()), (None, 0));
        let mut enter = |volume: &str, second, state, withdrawn, serial: Option<u64>| {
            let created = Timestamp::from_second(second).unwrap();
            let from = "example".parse().unwrap();
            let serial = serial.unwrap_or_else(|| project.next_cache());
            let unused_since = None;
            let cache = CacheRecord { state, created, serial, from, withdrawn, unused_since };
            project.caches.insert(volume.to_owned(), cache);
            project.cache().map(str::to_owned)
        };
        // An earlier version knew only times.
        enter("a", 2, BaseState::Ready, false, Some(0));
        assert_eq!(enter("b", 1, BaseState::Ready, false, Some(0)).as_deref(), Some("a"));
        assert_eq!(enter("c", 3, BaseState::Making, false, None).as_deref(), Some("a"));
        assert_eq!(enter("d", 4, BaseState::Ready, true, None).as_deref(), Some("a"));
        // The clock was set back.
        assert_eq!(enter("e", 0, BaseState::Ready, false, None).as_deref(), Some("e"));
    }

    #[test]
    fn the_newest_base_is_the_last_one_whatever_the_clock_said() {
        let mut project = ProjectRecord::new("source".to_owned());
        for (commit, second) in [("ahead", 9), ("back", 1)] {
            let base = BaseRecord {
                volume: commit.to_owned(),
                state: BaseState::Ready,
                created: Timestamp::from_second(second).unwrap(),
                serial: project.next_base(),
                lacks: None,
                unused_since: None,
            };
            project.bases.insert(commit.to_owned(), base);
        }
        assert_eq!(project.newest_base(), Some("back"));
    }
}
