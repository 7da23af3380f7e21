//! Work that would be lost with a taskspace.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::Inner;
use crate::host::git::{Git, Source};
use crate::model::{Code, GitEnvironment, Problem, Record, SnapshotName, Status, TaskspaceId};

/// What is run in the container.
const SCRIPT: &str = include_str!("../../../templates/checkout/unsaved.sh");

/// How much of it is read.
const MOST: usize = 64 << 20;

/// How many lines are told.
const LAST_LINES: usize = 20;

/// What is saved nowhere else.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unsaved {
    commits: Vec<Commit>,
    stashes: Vec<String>,
    files: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Commit {
    id: String,
    /// The branch that leads to it.
    branch: String,
    /// Its short id, and what it is about.
    title: String,
}

impl Inner {
    /// Asks afresh whether work would be lost with a taskspace; nothing is remembered from earlier.
    pub(in super::super) async fn check_unsaved_work(
        self: &Arc<Self>,
        id: &TaskspaceId,
        record: &Record,
    ) -> Result<(), Problem> {
        match record.status {
            // It was never ready, or it was asked before.
            Status::Creating | Status::Deleting => return Ok(()),
            // It was never handed over.
            Status::Failed if record.is_half_made() => return Ok(()),
            _ => {}
        }
        let unsaved = |detail: String| {
            Problem::new(Code::UnsavedWork, detail)
                .hint("save it first, or delete with --force to lose it")
        };
        let unknown = |problem: Problem| match problem.code {
            Code::PodmanUnavailable => problem,
            _ => {
                let doubt = format!("it cannot be told whether '{id}' has unsaved work");
                unsaved(format!("{doubt}: {problem}")).log(problem.log)
            }
        };
        let mut found = self.look_for_unsaved(id, record).await.map_err(unknown)?;
        let saved = saved_in_source(record, &found.commits).await;
        found.commits.retain(|commit| !saved.contains(&commit.id));
        let told = found.told().map(|what| format!("'{id}' has unsaved work: {what}"));
        let told: Vec<String> = told.into_iter().chain(snapshots_of(id, record)).collect();
        match told.is_empty() {
            true => Ok(()),
            false => Err(unsaved(told.join("; ")).log(found.lines())),
        }
    }

    async fn look_for_unsaved(
        self: &Arc<Self>,
        id: &TaskspaceId,
        record: &Record,
    ) -> Result<Unsaved, Problem> {
        let question = format!("what of '{id}' is not saved");
        let base = record.spec.project.commit.as_str();
        let mut output = self.ask_git(id, record, question, SCRIPT, &[base]).await?;
        let text = output.all(MOST).await?;
        Unsaved::read(&String::from_utf8_lossy(&text)).ok_or_else(|| {
            super::super::problems::internal("what git says of it is not understood")
        })
    }
}

impl Unsaved {
    fn read(text: &str) -> Option<Self> {
        let commit = |line: &str| {
            let mut words = line.splitn(3, '\t').map(str::to_owned);
            let (id, source, title) = (words.next()?, words.next()?, words.next()?);
            let branch = source.strip_prefix("refs/heads/").unwrap_or(&source).to_owned();
            Some(Commit { id, branch, title })
        };
        let mut parts = text.split('\0');
        let (commits, stashes, files) = (parts.next()?, parts.next()?, parts.next()?);
        let lines = |part: &str| part.lines().map(str::to_owned).collect();
        Some(Self {
            commits: commits.lines().map(commit).collect::<Option<_>>()?,
            stashes: lines(stashes),
            files: lines(files),
        })
    }

    /// Says what there is, if there is anything.
    fn told(&self) -> Option<String> {
        let branches: BTreeSet<&str> =
            self.commits.iter().map(|commit| commit.branch.as_str()).collect();
        let branches = branches.into_iter().collect::<Vec<_>>().join(", ");
        let counted = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{count} {many}")),
        };
        let commits = counted(self.commits.len(), "commit", "commits");
        let parts = [
            counted(self.files.len(), "file not committed", "files not committed"),
            commits.map(|commits| format!("{commits} on {branches}")),
            counted(self.stashes.len(), "stash", "stashes"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.split_last() {
            None => None,
            Some((only, [])) => Some(only.clone()),
            Some((last, rest)) => Some(format!("{} and {last}", rest.join(", "))),
        }
    }

    /// Returns the first of it, something of each kind.
    fn lines(&self) -> Vec<String> {
        let commits = self.commits.iter().map(|commit| commit.title.clone());
        let mut lines: Vec<String> = commits.take(LAST_LINES / 2).collect();
        lines.extend(self.stashes.iter().take(LAST_LINES / 4).cloned());
        let room = LAST_LINES - lines.len();
        lines.extend(self.files.iter().take(room).cloned());
        lines
    }
}

/// Says which snapshots go with a taskspace, if there are any: there is work in them, too.
fn snapshots_of(id: &TaskspaceId, record: &Record) -> Option<String> {
    let names: Vec<&str> = record.snapshots.keys().map(SnapshotName::as_str).collect();
    match names.as_slice() {
        [] => None,
        [name] => Some(format!("the snapshot {name} of '{id}' goes with it")),
        names => Some(format!("the snapshots {} of '{id}' go with it", names.join(", "))),
    }
}

/// Returns which commits the local repository has that the taskspace is from: they were fetched.
async fn saved_in_source(record: &Record, commits: &[Commit]) -> BTreeSet<String> {
    let source = Source::parse(&record.spec.project.source).ok();
    let Some(directory) = source.and_then(|source| source.directory()) else {
        return BTreeSet::new();
    };
    if commits.is_empty() {
        return BTreeSet::new();
    }
    let ids: Vec<&str> = commits.iter().map(|commit| commit.id.as_str()).collect();
    let kept = Git::new(GitEnvironment::default()).kept_commits(&directory, &ids).await;
    kept.unwrap_or_else(|error| {
        tracing::debug!("cannot ask the project's repository: {error}");
        BTreeSet::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_commits_and_stashes_are_told_apart() {
        let text =
            "1a\trefs/heads/b\t1a one\ttab\n2b\tHEAD\t2b two\n\0stash@{0}: WIP\n\0?? x\n M y\n";
        let found = Unsaved::read(text).unwrap();
        assert_eq!(found.commits[0].title, "1a one\ttab");
        let told = found.told().unwrap();
        assert_eq!(told, "2 files not committed, 2 commits on HEAD, b and 1 stash");
        assert_eq!(found.lines(), ["1a one\ttab", "2b two", "stash@{0}: WIP", "?? x", " M y"]);
        let one = Unsaved::read("\0\0?? x\n").unwrap();
        assert_eq!(one.told().as_deref(), Some("1 file not committed"));
        assert_eq!(Unsaved::read("\0\0").unwrap().told(), None);
        for nonsense in ["", "\0", "1a b\n\0\0"] {
            assert_eq!(Unsaved::read(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn no_more_is_told_than_is_read() {
        let mut found = Unsaved::read("\0\0").unwrap();
        found.files = vec!["?? x".to_owned(); 1000];
        found.stashes = vec!["stash".to_owned(); 1000];
        let commit = Commit { id: "1".into(), branch: "b".into(), title: "1 t".into() };
        found.commits = vec![commit; 1000];
        let lines = found.lines();
        assert_eq!(lines.len(), LAST_LINES);
        assert_eq!(lines.iter().filter(|line| *line == "?? x").count(), LAST_LINES / 4);
    }
}
