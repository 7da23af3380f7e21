//! What of a project is in use, and since when the rest is not.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::{Document, ProjectRecord};

/// What a base or build cache is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Taskspaces lie over it.
    InUse,
    /// The next taskspace begins with it, or is made quickly by it.
    Current,
    /// Nothing any more.
    Former,
}

/// What taskspaces lie over.
#[derive(Debug, Default)]
pub struct Uses<'a> {
    /// Project and key of a base.
    bases: HashSet<(&'a str, &'a str)>,
    /// Volumes.
    caches: HashSet<&'a str>,
}

impl<'a> Uses<'a> {
    /// Looks at all taskspaces.
    pub fn of(document: &'a Document) -> Self {
        let mut uses = Self::default();
        for record in document.taskspaces.values() {
            let project = &record.spec.project;
            uses.bases.insert((&project.name, project.base()));
            uses.caches.extend(record.cache.as_deref());
        }
        uses
    }

    /// Returns what the bases of a project are good for, by their keys.
    pub fn bases<'b>(
        &self,
        name: &str,
        project: &'b ProjectRecord,
    ) -> impl Iterator<Item = (&'b str, Standing)> {
        let newest = project.newest_base();
        project.bases.keys().map(move |commit| {
            let is_used = self.bases.contains(&(name, commit.as_str()));
            (commit.as_str(), standing(is_used, newest == Some(commit.as_str())))
        })
    }

    /// Returns what the build caches of a project are good for, by volume.
    pub fn caches<'b>(
        &self,
        project: &'b ProjectRecord,
    ) -> impl Iterator<Item = (&'b str, Standing)> {
        let current = project.cache();
        project.caches.keys().map(move |volume| {
            let is_used = self.caches.contains(volume.as_str());
            (volume.as_str(), standing(is_used, current == Some(volume.as_str())))
        })
    }
}

const fn standing(is_used: bool, is_current: bool) -> Standing {
    match (is_used, is_current) {
        (true, _) => Standing::InUse,
        (false, true) => Standing::Current,
        (false, false) => Standing::Former,
    }
}

impl Document {
    /// Changes something about a project, and notes what comes out of use by it, or into use.
    ///
    /// The time counts anew when something unused is no longer the current one, and when the clock has
    /// been set back: nothing goes early.
    pub fn note_uses<T>(
        &mut self,
        project: &str,
        now: Timestamp,
        change: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = self.standings(project);
        let result = change(self);
        let after = self.standings(project);
        if let Some(record) = self.projects.get_mut(project) {
            let bases = record.bases.iter_mut().map(|(key, base)| (key, &mut base.unused_since));
            let caches = record.caches.iter_mut().map(|(key, it)| (key, &mut it.unused_since));
            for (key, since) in bases.chain(caches) {
                let is_later = since.is_none_or(|since| since > now);
                match after.get(key) {
                    None | Some(Standing::InUse) => *since = None,
                    after if is_later || before.get(key) != after => *since = Some(now),
                    Some(_) => {}
                }
            }
        }
        result
    }

    /// Returns what the bases and build caches of a project are good for. A commit is no name of a
    /// volume.
    fn standings(&self, name: &str) -> HashMap<String, Standing> {
        let Some(project) = self.projects.get(name) else { return HashMap::new() };
        let uses = Uses::of(self);
        let all = uses.bases(name, project).chain(uses.caches(project));
        all.map(|(key, standing)| (key.to_owned(), standing)).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{BaseRecord, BaseState, CacheRecord, Record, TaskspaceId};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A project with bases of these commits, the newest last, and a taskspace on `old`.
    fn document(commits: &[&str]) -> Document {
        let mut document = Document::new(Uuid::nil());
        let mut project = ProjectRecord::new("source".to_owned());
        for (second, commit) in (1..).zip(commits) {
            project.bases.insert((*commit).to_owned(), base(second));
        }
        document.projects.insert("webshop".to_owned(), project);
        let mut record = Record::example();
        record.spec.project.commit = "old".to_owned();
        document.taskspaces.insert(id(), record.into());
        document
    }

    fn base(second: i64) -> BaseRecord {
        let (volume, created) = (String::new(), at(second));
        BaseRecord {
            volume,
            state: BaseState::Ready,
            created,
            serial: 0,
            lacks: None,
            unused_since: None,
        }
    }

    fn id() -> TaskspaceId {
        "fix".parse().unwrap()
    }

    fn unused_since(document: &Document, commit: &str) -> Option<i64> {
        document.projects["webshop"].bases[commit].unused_since.map(Timestamp::as_second)
    }

    #[test]
    fn the_time_counts_from_the_last_use() {
        let mut document = document(&["old", "new"]);
        document.note_uses("webshop", at(10), |_| ());
        assert_eq!(unused_since(&document, "old"), None);
        assert_eq!(unused_since(&document, "new"), Some(10));
        document.note_uses("webshop", at(20), |document| document.taskspaces.remove(&id()));
        assert_eq!(unused_since(&document, "old"), Some(20));
        document.note_uses("webshop", at(30), |_| ());
        assert_eq!(["old", "new"].map(|it| unused_since(&document, it)), [Some(20), Some(10)]);
        // What is no longer the newest one is out of use for another reason.
        document.note_uses("webshop", at(40), |document| {
            let project = document.projects.get_mut("webshop").unwrap();
            project.bases.insert("newer".to_owned(), base(40))
        });
        let now = ["old", "new", "newer"].map(|it| unused_since(&document, it));
        assert_eq!(now, [Some(20), Some(40), Some(40)]);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_older() {
        let mut document = document(&["new"]);
        document.note_uses("webshop", at(1_000), |_| ());
        document.note_uses("webshop", at(10), |_| ());
        assert_eq!(unused_since(&document, "new"), Some(10));
    }

    #[test]
    fn a_cache_that_was_withdrawn_is_kept_from_then_on() {
        let mut document = document(&[]);
        let cache = CacheRecord {
            state: BaseState::Ready,
            created: at(1),
            serial: 0,
            from: id(),
            withdrawn: false,
            unused_since: None,
        };
        document.note_uses("webshop", at(2), |document| {
            let project = document.projects.get_mut("webshop").unwrap();
            project.caches.insert("v".to_owned(), cache);
        });
        document.note_uses("webshop", at(9), |document| {
            let project = document.projects.get_mut("webshop").unwrap();
            project.caches.values_mut().for_each(|cache| cache.withdrawn = true);
        });
        assert_eq!(document.projects["webshop"].caches["v"].unused_since, Some(at(9)));
    }
}
