//! Why git did not do what it was asked for.

use std::io;
use std::path::Path;

use super::super::files::{FileError, is_no_space};

/// Why git did not do what it was asked for. No message holds a password or token.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The text names no repository that may be used.
    #[error("{text:?} names no repository: {reason}")]
    BadSource {
        /// The text, without any password.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no git.
    #[error("cannot run git: {0}")]
    NotInstalled(io::Error),
    /// The repository cannot be reached, or is none, or does not let this user in.
    #[error("the repository {repository} is not available: {reason}")]
    RepositoryUnavailable {
        /// The repository.
        repository: String,
        /// What git said last.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
        /// The last lines that git wrote.
        log: Vec<String>,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{repository} has no branch, tag or commit {git_ref:?}")]
    RefNotFound {
        /// The repository.
        repository: String,
        /// What was asked for.
        git_ref: String,
        /// Branches and tags that there are, the most similar ones first.
        similar: Vec<String>,
    },
    /// The repository has no commits.
    #[error("the repository {repository} has no commits")]
    Empty {
        /// The repository.
        repository: String,
    },
    /// A submodule could do harm.
    #[error("the submodule {name:?} is refused: {reason}")]
    BadSubmodule {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something is wrong with a submodule.
    #[error("the submodule {path}: {error}")]
    Submodule {
        /// Where it is in the checkout of what it belongs to.
        path: String,
        /// What is wrong.
        error: Box<GitError>,
    },
    /// There are no files beside the repository.
    #[error("{repository} has no work tree, so there are no uncommitted changes in it")]
    NoWorkTree {
        /// The repository.
        repository: String,
    },
    /// Another commit was checked out in a work tree meanwhile.
    #[error("{work_tree} was at {expected}, and is at {found} now")]
    Moved {
        /// The work tree.
        work_tree: String,
        /// The commit at which it was.
        expected: String,
        /// The commit at which it is.
        found: String,
    },
    /// The disk or the quota is full.
    #[error("cannot {doing}: there is no space left")]
    NoSpace {
        /// What was being done.
        doing: String,
        /// The last lines that git wrote.
        log: Vec<String>,
    },
    /// A file or directory could not be made.
    #[error(transparent)]
    File(FileError),
    /// Anything else that git complains about.
    #[error("cannot {doing}: {reason}")]
    Other {
        /// What was being done.
        doing: String,
        /// What git said last.
        reason: String,
        /// The last lines that git wrote.
        log: Vec<String>,
    },
}

impl From<FileError> for GitError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { doing, ref path, ref source } if is_no_space(source) => {
                Self::NoSpace { doing: format!("{doing} {}", path.display()), log: Vec::new() }
            }
            error => Self::File(error),
        }
    }
}

impl GitError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::BadSource { .. } => {
                "give a URL that `git clone` takes, user@host:path, or the path of a local repository"
                    .to_owned()
            }
            Self::BadSubmodule { .. } => {
                "it is named in .gitmodules; git refuses it, too".to_owned()
            }
            Self::Submodule { error, .. } => {
                return match **error {
                    Self::BadSource { .. } => Some("its URL is in .gitmodules".to_owned()),
                    ref error => error.hint(),
                };
            }
            Self::NotInstalled(_) => "install git".to_owned(),
            Self::RepositoryUnavailable { hint, .. } => return hint.clone(),
            Self::RefNotFound { similar, .. } if similar.is_empty() => return None,
            Self::RefNotFound { similar, .. } => format!("it has {}", similar.join(", ")),
            Self::Empty { .. } => "push a first commit to it".to_owned(),
            Self::NoWorkTree { .. } => "leave out --dirty".to_owned(),
            Self::Moved { .. } => "create it again, from what is there now".to_owned(),
            Self::NoSpace { .. } => "make room on the disk and try again".to_owned(),
            Self::File(error) => return error.hint(),
            Self::Other { .. } => return None,
        })
    }

    /// Whether this host is at fault, and not a repository.
    pub(super) fn is_of_this_host(&self) -> bool {
        matches!(self, Self::NotInstalled(_) | Self::NoSpace { .. } | Self::File(_))
    }

    /// Returns the last lines that git wrote.
    pub fn log(&self) -> &[String] {
        match self {
            Self::RepositoryUnavailable { log, .. }
            | Self::NoSpace { log, .. }
            | Self::Other { log, .. } => log,
            Self::Submodule { error, .. } => error.log(),
            _ => &[],
        }
    }
}

/// How git (which runs in the locale C) says that the disk is full.
const NO_SPACE: &[&str] = &["No space left on device", "Disk quota exceeded", "Out of diskspace"];

/// A file system with less than this is taken for full when git fails to write for no stated reason.
const ALMOST_FULL: u64 = 64 * 1024 * 1024;

/// Makes the error of a git that failed on this machine alone.
pub(super) fn local(doing: &str, log: Vec<String>) -> GitError {
    let doing = doing.to_owned();
    if log.iter().any(|line| NO_SPACE.iter().any(|text| line.contains(text))) {
        return GitError::NoSpace { doing, log };
    }
    GitError::Other { doing, reason: reason(&log), log }
}

/// Makes the error of a git that failed to fill `dir`: checking out files, it does not say why.
pub(super) fn filling(dir: &Path, error: GitError) -> GitError {
    match error {
        GitError::Other { doing, log, .. }
            if log.iter().any(|line| line.contains("unable to write file"))
                && fs4::available_space(dir).is_ok_and(|free| free < ALMOST_FULL) =>
        {
            GitError::NoSpace { doing, log }
        }
        other => other,
    }
}

/// What git, ssh and curl say, and what the user can do about it.
const HINTS: &[(&[&str], &str)] = &[
    (
        &["fatal: transport '"],
        "git's own settings forbid this protocol: `protocol.NAME.allow` and `protocol.allow` (git-config(1)), \
         and GIT_ALLOW_PROTOCOL",
    ),
    (
        &["is not a git command", "nable to find remote helper"],
        "git needs the program git-remote-NAME for it; install it, and have it on your PATH",
    ),
    (
        &["dubious ownership"],
        "the repository belongs to another user; if you trust it, run: git config --global --add \
         safe.directory <its path>",
    ),
    (
        &["could not read Username", "could not read Password", "Authentication failed"],
        "git has no credentials for it; try `git ls-remote` on it, and set up a credential helper or \
         use ssh",
    ),
    (
        &["Permission denied (", "Too many authentication failures"],
        "ssh was refused; see that your key is in the ssh-agent (ssh-add -l) and known to the server",
    ),
    (
        &["Host key verification failed"],
        "connect to the host once with ssh, so that its key is known",
    ),
    (
        &[
            "Could not resolve host",
            "Could not connect",
            "Failed to connect",
            "Connection refused",
            "Connection timed out",
            "Operation timed out",
            "Network is unreachable",
            "No route to host",
            "unable to look up",
            "unable to connect",
        ],
        "check the network; with --offline the last known state of the repository is used",
    ),
    (
        &[
            "does not appear to be a git repository",
            "cannot change to",
            "ot found",
            "does not exist",
            "ot a git repository",
        ],
        "check its name and that you may read it",
    ),
];

/// Makes the error of a git that talked to a repository.
pub(super) fn remote(repository: String, log: Vec<String>) -> GitError {
    let says = |texts: &[&str]| log.iter().any(|line| texts.iter().any(|text| line.contains(text)));
    if says(NO_SPACE) {
        return GitError::NoSpace { doing: format!("fetch {repository}"), log };
    }
    let hint = HINTS.iter().find(|(texts, _)| says(texts)).map(|(_, hint)| (*hint).to_owned());
    GitError::RepositoryUnavailable { repository, reason: reason(&log), hint, log }
}

/// Picks the line that says most: git's own last complaint, else what was written last.
fn reason(log: &[String]) -> String {
    let complaint = |line: &&String| line.starts_with("fatal: ") || line.starts_with("error: ");
    // After a connection that broke, git adds advice that says less than what came before.
    let vague = |line: &&String| line.contains("Could not read from remote repository");
    let told = log.iter().filter(|line| !vague(line));
    let line = told.clone().rev().find(complaint).or_else(|| told.clone().next_back());
    let line = line.or(log.last()).map_or("git failed without saying why", String::as_str);
    line.trim_start_matches("fatal: ").trim_start_matches("error: ").to_owned()
}
