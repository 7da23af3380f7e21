//! `taskspace create`

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::arguments::Json;
use super::asking::Asking;
use super::context::Context;
use super::limits::Limits;
use super::{Exit, Outcome, network, plan, progress, ssh_config, usage};
use crate::config::git_environment;
use crate::host::git::Git;
use crate::model::{Code, CreateRequest, Operation, Problem, ProjectType, TaskspaceId};

const EXAMPLES: &str = "\
Examples:
  taskspace create
      for the git repository of the current directory, with an id of its own
  taskspace create fix-login --project https://example.org/webshop.git --ref main
      for a branch, tag or commit of a remote repository
  taskspace create fix-login --dirty
      with the uncommitted changes of the current directory's repository, which stay uncommitted
  taskspace create fix-login --agent claude-code --prompt 'Mend the login by mail'
      with an agent that starts to work at once
  taskspace create fix-login-2 --agent-state-of fix-login
      with what the agent of a deleted taskspace remembers";

/// `taskspace create`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Create {
    /// The id, made of a-z, 0-9 and dashes [default: from the project's name]
    #[arg(value_name = "NAME")]
    id: Option<TaskspaceId>,
    /// A git repository's URL or path, or a bundle [default: the repository of the current directory]
    #[arg(long, short, value_name = "URL|PATH")]
    project: Option<String>,
    /// A branch, tag or commit, as the repository calls it [default: HEAD]
    #[arg(long = "ref", value_name = "REF")]
    git_ref: Option<String>,
    /// Bring along what is not committed in the local repository: changes and untracked files, but no
    /// ignored ones
    #[arg(long)]
    dirty: bool,
    /// The type of project, which decides the tools of the dev container
    #[arg(long = "type", value_name = "TYPE", default_value = "auto")]
    project_type: TypeChoice,
    /// claude-code, q-cli, shell, or a command line [default: shell]
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// What the agent is told when it starts for the first time
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Continue with the agent state that a deleted taskspace left
    #[arg(long, value_name = "ID")]
    agent_state_of: Option<TaskspaceId>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    network: network::Flags,
    /// Use what is known of the repository, without asking it
    #[arg(long)]
    offline: bool,
    /// Leave what was made when it fails, to look at it
    #[arg(long)]
    keep_on_failure: bool,
    /// Show what would be done, and make nothing; only what is known of the repository is brought up
    /// to date
    #[arg(long, conflicts_with = "no_wait")]
    dry_run: bool,
    /// Do not wait until it is ready
    #[arg(long)]
    no_wait: bool,
    /// Show what image builds write
    #[arg(long)]
    build_output: bool,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    json: Json,
}

/// The type of project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TypeChoice {
    /// By the files in the project's top directory
    Auto,
    Rust,
    Node,
    Python,
    Go,
    /// Nothing in particular
    Generic,
}

impl TypeChoice {
    const fn chosen(self) -> Option<ProjectType> {
        match self {
            Self::Auto => None,
            Self::Rust => Some(ProjectType::Rust),
            Self::Node => Some(ProjectType::Node),
            Self::Python => Some(ProjectType::Python),
            Self::Go => Some(ProjectType::Go),
            Self::Generic => Some(ProjectType::Generic),
        }
    }
}

impl Create {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let context = &context.asking(self.asking.asker()?);
        let dry_run = self.dry_run;
        let (json, no_wait, build_output) = (self.json.json, self.no_wait, self.build_output);
        let shown = Shown { json, no_wait, build_output };
        let output = context.output;
        let project = match &self.project {
            Some(project) if is_shorthand(project).await => project.clone(),
            Some(project) => resolve_project(project)?,
            None => {
                let here = to_text(repository_here().await?)?;
                output.note(&format!("Project: {here} (the current directory's)"));
                here
            }
        };
        let request = self.request(project);
        if dry_run {
            let plan = context.call(async |client| client.plan_creation(&request).await).await?;
            plan::show(output, &plan, json)?;
            return Ok(Exit::Done);
        }
        let operation = context.call(async |client| client.create(&request).await).await?;
        await_new(context, operation, shown).await
    }

    fn request(self, project: String) -> CreateRequest {
        CreateRequest {
            id: self.id,
            project,
            git_ref: self.git_ref,
            dirty: self.dirty,
            project_type: self.project_type.chosen(),
            agent: self.agent,
            prompt: self.prompt,
            agent_state_of: self.agent_state_of,
            tier: self.limits.tier,
            storage: self.limits.storage,
            on_full: self.limits.on_full,
            hard: self.limits.hard,
            network: self.network.request(),
            offline: self.offline,
            keep_on_failure: self.keep_on_failure,
            git: git_environment(),
        }
    }
}

/// How the making of a taskspace is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) json: bool,
    pub(super) no_wait: bool,
    pub(super) build_output: bool,
}

/// Waits until a taskspace is ready, and tells the ways in.
pub(super) async fn await_new(context: &Context, operation: Operation, shown: Shown) -> Outcome {
    let Shown { json, no_wait, build_output } = shown;
    let output = context.output;
    let ended = progress::until_done(context, &operation, no_wait, build_output, json);
    if let Some(exit) = ended.await? {
        return Ok(exit);
    }
    let Some(id) = operation.taskspace else {
        let problem = Problem::new(Code::Internal, "the service has not told the id");
        return Err(problem.hint("`taskspace list` shows it").into());
    };
    let detail = context.call(async |client| client.show(&id).await).await?;
    detail.recorded.record.warnings.iter().for_each(|warning| output.warn(warning));
    if json {
        output.json(&detail)?;
    } else if output.quiet {
        output.line(id.as_str())?;
    } else {
        output.print(&ways_in(&id, ssh_config::is_installed(&context.paths)))?;
    }
    Ok(Exit::Done)
}

/// Makes a path absolute, and leaves a URL as it is. What a path leads to is found by the service: git
/// lets `.git` and `.bundle` be left out.
fn resolve_project(project: &str) -> Result<String, Problem> {
    if project.is_empty() {
        return Err(usage("the project is empty").hint("give a repository's URL or path"));
    }
    let path = Path::new(project);
    if is_url(project) && !path.exists() {
        return Ok(project.to_owned());
    }
    // The shell leaves it in `--project=~/src`.
    let below_home =
        project.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let home = env::var_os("HOME").map(PathBuf::from).filter(|_| !path.exists());
    let path = match below_home.zip(home) {
        Some((rest, home)) => home.join(rest.trim_start_matches('/')),
        None => path.to_owned(),
    };
    let absolute = match std::fs::canonicalize(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => without_last(&path),
        other => other,
    };
    let absolute = absolute.map_err(|error| {
        Problem::new(Code::RepositoryUnavailable, format!("{project:?}: {error}"))
            .hint("give the URL or the path of a git repository")
    })?;
    to_text(absolute)
}

/// Whether `url.*.insteadOf` makes a URL of a text that is none, and leads to nothing here.
async fn is_shorthand(text: &str) -> bool {
    let is_there = |suffix: &str| Path::new(&format!("{text}{suffix}")).exists();
    let is_path = text.is_empty() || text.starts_with(['/', '.', '~', '-']);
    !is_path
        && !is_url(text)
        && !["", ".git", ".bundle"].into_iter().any(is_there)
        && Git::new(git_environment()).is_shorthand(text).await
}

/// Makes a path absolute whose last name need not be there.
fn without_last(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(std::fs::canonicalize(parent)?.join(name)),
        _ => Ok(absolute),
    }
}

/// Whether git takes a text for a URL: with a scheme, or `host:path` without a slash before the
/// colon (gitremote-helpers(7), git-clone(1)).
fn is_url(text: &str) -> bool {
    let before_colon = text.split_once(':').map(|(host, _)| host);
    text.contains("://") || before_colon.is_some_and(|host| !host.is_empty() && !host.contains('/'))
}

/// Finds the git repository around the current directory.
async fn repository_here() -> Result<PathBuf, Problem> {
    let here = env::current_dir().map_err(|error| super::internal("tell where we are", &error))?;
    let found = Git::new(git_environment()).repository_of(&here).await;
    found.map_err(|error| {
        let trust = error.hint().filter(|hint| hint.contains("safe.directory"));
        usage(format!("{} is not in a git repository: {error}", here.display()))
            .hint(trust.unwrap_or("go to one, or name one with --project".to_owned()))
    })
}

fn to_text(path: PathBuf) -> Result<String, Problem> {
    path.into_os_string()
        .into_string()
        .map_err(|path| usage(format!("the path {} is not UTF-8", path.display())))
}

fn ways_in(id: &TaskspaceId, installed: bool) -> String {
    if installed {
        format!("{id} is ready\n  ssh {id}-dev\n  ssh {id}-agent\n")
    } else {
        format!(
            "{id} is ready\n  taskspace ssh {id}\n  taskspace ssh {id} --agent\n\
             For plain `ssh {id}-dev` and editors, run `taskspace ssh-config --install` once.\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        let urls =
            ["https://host/x.git", "ssh://git@host/x", "file:///x", "git@host:x/y", "host:x"];
        for url in urls {
            assert!(is_url(url), "{url}");
        }
        for path in [".", "/x", "x/y", "./a:b", "/a:b", ":x"] {
            assert!(!is_url(path), "{path}");
        }
    }

    #[test]
    fn a_path_becomes_absolute_and_a_url_stays() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a b,c:d");
        std::fs::create_dir(&odd).unwrap();
        let text = odd.to_str().unwrap();
        let real = std::fs::canonicalize(&odd).unwrap();
        assert_eq!(resolve_project(text).unwrap(), real.to_str().unwrap());
        assert_eq!(resolve_project("git@host:x").unwrap(), "git@host:x");
        assert!(Path::new(&resolve_project(".").unwrap()).is_absolute());
        // The service finds `a.git`.
        let bare = dir.path().join("a");
        assert_eq!(resolve_project(bare.to_str().unwrap()).unwrap(), bare.to_str().unwrap());
        let home = std::fs::canonicalize(env::var_os("HOME").unwrap()).unwrap();
        assert_eq!(resolve_project("~").unwrap(), home.to_str().unwrap());
        let problem = resolve_project("/none/here/at").unwrap_err();
        assert_eq!(problem.code, Code::RepositoryUnavailable);
        assert_eq!(resolve_project("").unwrap_err().code, Code::MessageFormatInvalid);
    }

    #[test]
    fn the_way_in_is_the_one_that_works() {
        let id = "fix-1".parse().unwrap();
        assert!(ways_in(&id, true).contains("\n  ssh fix-1-dev\n"));
        assert!(ways_in(&id, false).contains("taskspace ssh-config --install"));
    }
}
