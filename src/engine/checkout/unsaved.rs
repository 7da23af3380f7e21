//! Work that would be lost with a taskspace.

use std::collections::BTreeSet;
use std::path::{Component, Path};
use std::sync::Arc;

use super::super::Inner;
use crate::host::git::{Git, Source, mirror_path};
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
    /// The submodule in which it is; none where it is the checkout's own.
    submodule: Option<String>,
    /// The branch that leads to it, or what else does.
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
        self.forget_saved(record, &mut found.commits).await;
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

impl Commit {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, '\t').map(str::to_owned);
        let (id, submodule) = (words.next()?, words.next()?);
        let (source, title) = (words.next()?, words.next()?);
        let branch = source.strip_prefix("refs/heads/").or_else(|| source.strip_prefix("refs/"));
        let branch = branch.unwrap_or(&source).to_owned();
        Some(Self { id, submodule: Some(submodule).filter(|it| !it.is_empty()), branch, title })
    }

    /// Says where it is.
    fn place(&self) -> String {
        match &self.submodule {
            Some(submodule) => format!("{} of {submodule}", self.branch),
            None => self.branch.clone(),
        }
    }
}

impl Unsaved {
    fn read(text: &str) -> Option<Self> {
        let mut found = Self::default();
        let mut known = BTreeSet::new();
        for line in text.lines() {
            match line.split_once('\t')? {
                ("c", commit) => {
                    let commit = Commit::read(commit)?;
                    // Work trees of one repository have the same ones.
                    if known.insert(commit.id.clone()) {
                        found.commits.push(commit);
                    }
                }
                ("s", stash) => found.stashes.push(stash.to_owned()),
                ("f", file) => found.files.push(file.to_owned()),
                _ => return None,
            }
        }
        Some(found)
    }

    /// Says what there is, if there is anything.
    fn told(&self) -> Option<String> {
        let branches: BTreeSet<String> = self.commits.iter().map(Commit::place).collect();
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

impl Inner {
    /// Forgets the commits that are saved: in the project's mirror, where they came from with tags, or in
    /// the local repository that the taskspace is from, or its submodules, into which they were fetched.
    async fn forget_saved(&self, record: &Record, commits: &mut Vec<Commit>) {
        let Ok(source) = Source::parse(&record.spec.project.source) else { return };
        let mirror = mirror_path(self.projects.mirrors(), &source);
        for repository in [Some(mirror), source.directory()].into_iter().flatten() {
            let own = commits.iter().filter(|commit| commit.submodule.is_none());
            let ids: Vec<&str> = own.map(|commit| commit.id.as_str()).collect();
            if ids.is_empty() {
                break;
            }
            let git = Git::new(GitEnvironment::default());
            match git.kept_commits(&repository, &ids).await {
                Ok(kept) => {
                    commits.retain(|it| it.submodule.is_some() || !kept.contains(&it.id));
                }
                Err(error) => {
                    tracing::debug!(repository = %repository.display(), "cannot be asked: {error}");
                }
            }
        }
        if let Some(repository) = source.directory() {
            forget_saved_of_submodules(&repository, commits).await;
        }
    }
}

/// Forgets the commits of submodules that the submodules of a local repository have.
async fn forget_saved_of_submodules(repository: &Path, commits: &mut Vec<Commit>) {
    let git = Git::new(GitEnvironment::default());
    let paths: BTreeSet<String> = commits.iter().filter_map(|it| it.submodule.clone()).collect();
    for path in paths {
        // It is told from inside, and so must not lead elsewhere.
        let plain = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
        let clone = repository.join(&path);
        let is_it = |commit: &Commit| commit.submodule.as_deref() == Some(path.as_str());
        let ids: Vec<&str> =
            commits.iter().filter(|it| is_it(it)).map(|it| it.id.as_str()).collect();
        if plain
            && clone.join(".git").exists()
            && let Ok(kept) = git.kept_commits(&clone, &ids).await
        {
            commits.retain(|it| !is_it(it) || !kept.contains(&it.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_commits_and_stashes_are_told_apart() {
        let text = "c\t1a\t\trefs/heads/b\t1a one\ttab\nc\t2b\t\tHEAD\t2b two\n\
                    s\tstash@{0}: WIP\nf\t?? x\nf\t M y\n\
                    c\t3c\tsub\trefs/tags/t\t3c three\nc\t1a\t\tHEAD\t1a one\n";
        let found = Unsaved::read(text).unwrap();
        assert_eq!(found.commits[0].title, "1a one\ttab");
        let told = found.told().unwrap();
        assert_eq!(told, "2 files not committed, 3 commits on HEAD, b, tags/t of sub and 1 stash");
        let lines = ["1a one\ttab", "2b two", "3c three", "stash@{0}: WIP", "?? x", " M y"];
        assert_eq!(found.lines(), lines);
        let one = Unsaved::read("f\t?? x\n").unwrap();
        assert_eq!(one.told().as_deref(), Some("1 file not committed"));
        assert_eq!(Unsaved::read("").unwrap().told(), None);
        for nonsense in ["\n", "c\t1a b\n", "f?? x\n", "x\ty\n"] {
            assert_eq!(Unsaved::read(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn no_more_is_told_than_is_read() {
        let commit =
            Commit { id: "1".into(), submodule: None, branch: "b".into(), title: "1 t".into() };
        let found = Unsaved {
            commits: vec![commit; 1000],
            stashes: vec!["stash".to_owned(); 1000],
            files: vec!["?? x".to_owned(); 1000],
        };
        let lines = found.lines();
        assert_eq!(lines.len(), LAST_LINES);
        assert_eq!(lines.iter().filter(|line| *line == "?? x").count(), LAST_LINES / 4);
    }
}
