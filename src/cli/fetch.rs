//! `taskspace fetch`

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::arguments::Json;
use super::context::Context;
use super::output::{Output, Stop};
use super::{Exit, Outcome, internal, storage, usage};
use crate::host::git::{
    FetchError, FetchedSubmodule, Git, GitError, Source, SshRemote, SubmoduleWork,
};
use crate::model::{ChangedFile, Code, DetailView, DiffView, GitEnvironment, Problem, TaskspaceId};

/// What `--help` shows at its end.
const EXAMPLES: &str = "\
Examples:
  taskspace fetch fix-login                         its branch, into the local repository it is from
  taskspace fetch fix-login --into . --branch try   into the branch 'try' of the repository here
  taskspace fetch fix-login --all                   all its branches, as fix-login/* beside 'origin/*'
Only commits come; `taskspace patch` has what is not committed. Nothing is checked out.";

/// `taskspace fetch`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Fetch {
    /// The taskspace
    id: TaskspaceId,
    /// The repository to fetch into [default: the local one that the taskspace is from, else that of
    /// the current directory]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// What to call the branch there [default: as in the taskspace]
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    branch: Option<String>,
    /// Fetch all branches, into refs/remotes/ID/
    #[arg(long)]
    all: bool,
    /// Replace a branch that has commits of its own
    #[arg(long, short, conflicts_with = "all")]
    force: bool,
    #[command(flatten)]
    json: Json,
}

/// What was fetched.
#[derive(Debug, Serialize)]
struct Fetched {
    /// The repository.
    repository: PathBuf,
    /// The refs in it.
    refs: Vec<FetchedRef>,
    /// How many commits came.
    commits: u64,
    /// How many files of the taskspace are not committed, and have not come; unknown when git cannot
    /// tell.
    uncommitted: Option<u64>,
    /// The submodules of which commits came, or should have.
    submodules: Vec<FetchedInSubmodule>,
}

/// What came of a submodule.
#[derive(Debug, Serialize)]
struct FetchedInSubmodule {
    /// Where it is in the project.
    path: String,
    /// The git directory that its commits were fetched into; null when the repository has none.
    repository: Option<PathBuf>,
    /// How many commits came.
    commits: u64,
    /// The commits that did not come.
    missing: Vec<String>,
    /// Why they did not, if that is known.
    reason: Option<String>,
}

impl From<&FetchedSubmodule> for FetchedInSubmodule {
    fn from(fetched: &FetchedSubmodule) -> Self {
        let FetchedSubmodule { path, repository, commits, missing, reason } = fetched.clone();
        let path = path.to_string_lossy().into_owned();
        Self { path, repository, commits, missing, reason }
    }
}

impl FetchedInSubmodule {
    /// Warns of commits that have not come, with the command that brings them.
    fn warn(&self, context: &Context, host: &str, repository: &Path) {
        if self.missing.is_empty() {
            return;
        }
        let Self { path, missing, .. } = self;
        let (commits, into) = (missing.join(", "), repository.display());
        let reason = match (&self.reason, &self.repository) {
            (Some(reason), _) => reason.clone(),
            (None, Some(_)) => "it was not there".to_owned(),
            (None, None) => format!(
                "{into} has no clone of it (`git -C {into} submodule update --init {path}` makes one)"
            ),
        };
        context.output.warn(&format!(
            "not fetched of the submodule {path}: {commits}: {reason}; in a clone of it, \
             `GIT_SSH_COMMAND='ssh -F {}' git fetch 'ssh://{host}/workspace/{path}' HEAD` brings its work",
            context.paths.ssh_config.display()
        ));
    }
}

/// Lists the submodules that have another commit checked out than the taskspace began with.
fn changed_submodules(view: Option<&DiffView>) -> Vec<PathBuf> {
    let files = view.map(|view| view.files.as_slice()).unwrap_or_default();
    let is_link = |file: &&ChangedFile| file.mode.as_deref() == Some("160000");
    files.iter().filter(is_link).map(|file| PathBuf::from(&file.path)).collect()
}

/// A ref that was fetched into.
#[derive(Debug, Serialize)]
struct FetchedRef {
    name: String,
    /// What it led to before.
    old: Option<String>,
    new: String,
}

impl Fetch {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let id = &self.id;
        let detail = context.call(async |client| client.show(id).await).await?;
        let status = detail.recorded.record.status;
        if !status.is_up() {
            let problem = Problem::new(Code::StateConflict, format!("{id} is {status}"));
            let hint =
                format!("`taskspace start {id}` starts it; `taskspace patch {id}` needs no start");
            return Err(problem.hint(hint).into());
        }
        storage::refuse_paused(id, &detail.recorded.record)?;
        let git = Git::new(GitEnvironment::default());
        let repository = self.repository(&git, &detail).await?;
        let (refspec, fetched_into) = self.refs(&git, &repository, &detail).await?;
        let before = git.refs(&repository, &fetched_into).await.map_err(told)?;
        let remote = SshRemote {
            config: &context.paths.ssh_config,
            host: &detail.ssh_dev,
            directory: Path::new("/workspace"),
        };
        let fetched = git.fetch_over_ssh(&repository, remote, &[refspec]).await;
        fetched.map_err(|error| self.explain(&repository, error))?;
        let after = git.refs(&repository, &fetched_into).await.map_err(told)?;

        let base = detail.recorded.record.spec.project.commit.as_str();
        let commits = count(&git, &repository, base, &before, &after).await.map_err(told)?;
        // That this cannot be told does not undo what has come.
        let left = context.call(async |client| client.changed_files(id).await).await.ok();
        let refs = after.iter().map(|(name, new)| {
            let old = before.get(name).cloned();
            FetchedRef { name: name.clone(), old, new: new.clone() }
        });
        let uncommitted = left.as_ref().map(|view| view.uncommitted);
        let submodules = SubmoduleWork {
            repository: &repository,
            new: &after.values().map(String::as_str).collect::<Vec<_>>(),
            old: &[base],
            changed: &changed_submodules(left.as_ref()),
            remote,
            refs: &format!("refs/remotes/{id}"),
        };
        let submodules = git.fetch_submodules(&submodules).await.map_err(told)?;
        let submodules = submodules.iter().map(FetchedInSubmodule::from).collect();
        let refs = refs.collect();
        let fetched = Fetched { repository, refs, commits, uncommitted, submodules };
        match self.json.json {
            true => context.output.json(&fetched)?,
            false => fetched.tell(context.output)?,
        }
        self.warn(context.output, &detail, left.as_ref());
        for submodule in &fetched.submodules {
            submodule.warn(context, &detail.ssh_dev, &fetched.repository);
        }
        Ok(Exit::Done)
    }

    /// Finds the repository to fetch into.
    async fn repository(&self, git: &Git, detail: &DetailView) -> Result<PathBuf, Stop> {
        let project = &detail.recorded.record.spec.project;
        if let Some(into) = &self.into {
            return git.repository_of(into).await.map_err(told);
        }
        let source = Source::parse(&project.source).map_err(told)?;
        if let Some(path) = source.directory() {
            let found = git.repository_of(&path).await;
            return found.map_err(|error| {
                problem(&error).hint("`--into DIR` fetches into another repository").into()
            });
        }
        let here = env::current_dir().map_err(|error| internal("find this directory", &error))?;
        let hint = "go to your clone of the project, or name it with `--into DIR`";
        let repository = git.repository_of(&here).await.map_err(|_| {
            let detail = format!("{} is in no repository to fetch into", here.display());
            Problem::new(Code::RepositoryUnavailable, detail).hint(hint)
        })?;
        if git.has_commit(&repository, &project.commit).await {
            return Ok(repository);
        }
        let detail = format!(
            "{} does not have the commit that {} began with: it may be of another project",
            repository.display(),
            self.id
        );
        Err(Problem::new(Code::StateConflict, detail)
            .hint(format!("{hint}; `--into .` means this one"))
            .into())
    }

    /// Returns what is fetched into what, and the beginning of the names of the latter.
    async fn refs(
        &self,
        git: &Git,
        repository: &Path,
        detail: &DetailView,
    ) -> Result<(String, String), Stop> {
        let id = &self.id;
        if self.all {
            if git.has_remote(repository, id.as_str()).await {
                let detail = format!("{} has a remote '{id}' of its own", repository.display());
                return Err(Problem::new(Code::StateConflict, detail)
                    .hint("fetch single branches with `--branch`")
                    .into());
            }
            // What is there is a picture of the taskspace's branches, and follows them.
            let refspec = format!("+refs/heads/*:refs/remotes/{id}/*");
            return Ok((refspec, format!("refs/remotes/{id}")));
        }
        let branch = &detail.recorded.record.spec.project.branch;
        let name = self.branch.as_ref().unwrap_or(branch);
        if !git.is_branch_name(name).await {
            return Err(usage(format!("{name:?} cannot be the name of a branch")).into());
        }
        let force = if self.force { "+" } else { "" };
        let into = format!("refs/heads/{name}");
        Ok((format!("{force}refs/heads/{branch}:{into}"), into))
    }

    fn explain(&self, repository: &Path, error: FetchError) -> Stop {
        let id = &self.id;
        let conflict = |error: &FetchError| {
            Problem::new(Code::StateConflict, format!("{}: {error}", repository.display()))
        };
        match &error {
            FetchError::Git(error) => told_of(error).into(),
            FetchError::Diverged(_) => conflict(&error)
                .hint("`--branch NAME` fetches into another branch, `--force` replaces this one")
                .into(),
            FetchError::CheckedOut(_) => conflict(&error)
                .hint("`--branch NAME` fetches into another branch, which you can merge")
                .into(),
            FetchError::Excluded { .. } => conflict(&error)
                .hint("`--branch NAME` fetches into a branch of another name")
                .into(),
            FetchError::NoBranch(_) => Problem::new(Code::RefNotFound, format!("{id}: {error}"))
                .hint(format!("`taskspace fetch {id} --all` fetches what branches there are"))
                .into(),
        }
    }

    /// Warns of what has not come.
    fn warn(&self, output: Output, detail: &DetailView, left: Option<&DiffView>) {
        let id = &self.id;
        let Some(left) = left else {
            return output.warn(&format!("git cannot tell what {id} has not committed"));
        };
        if left.uncommitted > 0 {
            let count = counted(left.uncommitted, "file");
            output.warn(&format!(
                "{count} of {id} not committed, and so not fetched: `taskspace patch {id}` has them"
            ));
        }
        let branch = &detail.recorded.record.spec.project.branch;
        if !self.all && left.branch.as_ref() != Some(branch) {
            let there = left.branch.as_deref().unwrap_or("a commit of no branch");
            output.warn(&format!("{id} has {there} checked out, and not {branch}: see `--all`"));
        }
    }
}

impl Fetched {
    fn tell(&self, output: Output) -> Result<(), Stop> {
        let repository = self.repository.display();
        let name = |it: &FetchedRef| {
            let short =
                it.name.strip_prefix("refs/heads/").or(it.name.strip_prefix("refs/remotes/"));
            short.unwrap_or(&it.name).to_owned()
        };
        let changed: Vec<String> =
            self.refs.iter().filter(|it| it.old.as_ref() != Some(&it.new)).map(name).collect();
        if changed.is_empty() {
            output.line(&format!("{repository} has all commits already"))?;
            return self.tell_submodules(output);
        }
        let commits = counted(self.commits, "commit");
        output.line(&format!("fetched {commits} into {repository}: {}", changed.join(", ")))?;
        self.tell_submodules(output)
    }
}

impl Fetched {
    fn tell_submodules(&self, output: Output) -> Result<(), Stop> {
        for FetchedInSubmodule { path, repository, commits, .. } in &self.submodules {
            if let (Some(repository), 1..) = (repository, commits) {
                let commits = counted(*commits, "commit");
                output
                    .line(&format!("fetched {commits} of {path} into {}", repository.display()))?;
            }
        }
        Ok(())
    }
}

/// Counts the commits that came: those that no ref here led to before, nor the taskspace's beginning.
async fn count(
    git: &Git,
    repository: &Path,
    base: &str,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Result<u64, GitError> {
    let new: Vec<&str> = after.values().map(String::as_str).collect();
    let old: Vec<&str> = before.values().map(String::as_str).chain([base]).collect();
    if new.is_empty() { Ok(0) } else { git.count_commits(repository, &new, &old).await }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn told(error: GitError) -> Stop {
    told_of(&error).into()
}

fn told_of(error: &GitError) -> Problem {
    problem(error).log(error.log().to_vec())
}

fn problem(error: &GitError) -> Problem {
    let problem = Problem::new(Code::RepositoryUnavailable, error.to_string());
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
