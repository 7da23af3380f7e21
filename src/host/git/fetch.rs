//! Commits of a taskspace, fetched into a repository of the user.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::error::local;
use super::{Git, GitError, Source};

/// A repository that ssh reaches by a configuration of ours.
#[derive(Clone, Copy, Debug)]
pub struct SshRemote<'a> {
    /// The configuration, which names the host.
    pub config: &'a Path,
    /// The host.
    pub host: &'a str,
    /// The repository's directory there.
    pub directory: &'a Path,
}

/// Settings of a fetch into a repository of the user: what the far end sends is checked, nothing comes
/// from elsewhere, nothing but the refs that are asked for changes, and what a ref was before can be
/// looked up.
const SETTINGS: &[&str] = &[
    "fetch.fsckObjects=true",
    "fetch.prune=false",
    "fetch.pruneTags=false",
    "fetch.writeCommitGraph=false",
    "fetch.output=full",
    "fetch.uriProtocols=",
    "transfer.bundleURI=false",
    "core.logAllRefUpdates=true",
    "gc.auto=0",
    "maintenance.auto=false",
];

/// What ssh is told beside the configuration: nobody is there to answer questions, and a connection
/// that has died is given up after a minute.
const SSH_OPTIONS: &str = " -o BatchMode=yes -o ServerAliveInterval=15 -o ServerAliveCountMax=4 \
    -o ControlMaster=no -o ControlPath=none -o ClearAllForwardings=yes";

/// Why a fetch into a repository of the user changed nothing, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A branch has commits that the far end's has not.
    #[error("{} has commits that are not in what would take their place", .0.join(" and "))]
    Diverged(Vec<String>),
    /// The branch to be fetched into is checked out.
    #[error("the branch {0} is checked out")]
    CheckedOut(String),
    /// A branch cannot be beside another one: one's name goes on where the other's ends.
    #[error("the branch {wanted} cannot be beside the branch {there}")]
    Excluded {
        /// The branch to be fetched into.
        wanted: String,
        /// The branch that is there.
        there: String,
    },
    /// The far end does not have the branch.
    #[error("there is no branch {0} (any more)")]
    NoBranch(String),
    /// Anything else.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl Git {
    /// Returns the repository that a directory is in: the top of its work tree, or itself.
    ///
    /// # Errors
    /// When it is in none.
    pub async fn repository_of(&self, directory: &Path) -> Result<PathBuf, GitError> {
        match self.locate(&Source::Local(directory.to_owned())).await? {
            Source::Local(path) => Ok(path),
            _ => Ok(directory.to_owned()),
        }
    }

    /// Whether a name can be that of a branch.
    pub async fn is_branch_name(&self, name: &str) -> bool {
        let full = format!("refs/heads/{name}");
        // The second one refuses also what is a name of something else, such as `HEAD` or `-x`.
        for words in [vec!["check-ref-format", &full], vec!["check-ref-format", "--branch", name]] {
            if self.on_this_machine().args(words).output("check a name").await.is_err() {
                return false;
            }
        }
        true
    }

    /// Whether a repository has a remote of this name, whose branches would be mistaken for others.
    pub async fn has_remote(&self, repository: &Path, name: &str) -> bool {
        let run = self.as_the_user().dir(repository).args(["remote", "get-url", "--", name]);
        run.output("look for a remote").await.is_ok()
    }

    /// Returns the refs below a prefix, or the one of this name, with the objects that they lead to.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn refs(
        &self,
        repository: &Path,
        prefix: &str,
    ) -> Result<BTreeMap<String, String>, GitError> {
        let format = "--format=%(objectname) %(refname)";
        let run = self.as_the_user().dir(repository).args(["for-each-ref", format, prefix]);
        let output = run.output("list the branches of a repository").await?;
        let text = String::from_utf8_lossy(&output).into_owned();
        let pair = |line: &str| line.split_once(' ').map(|(id, name)| (name.into(), id.into()));
        Ok(text.lines().filter_map(pair).collect())
    }

    /// Counts the commits that lead to `new` and not to `old`; what is not there of `old` is left out.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn count_commits(
        &self,
        repository: &Path,
        new: &[&str],
        old: &[&str],
    ) -> Result<u64, GitError> {
        let mut input = String::new();
        new.iter().for_each(|id| input += &format!("{id}\n"));
        old.iter().for_each(|id| input += &format!("^{id}\n"));
        let doing = "count commits";
        let run = self.as_the_user().dir(repository);
        let run = run.args(["rev-list", "--count", "--ignore-missing", "--stdin"]);
        let output = run.input(input.into_bytes()).output(doing).await?;
        let count = String::from_utf8_lossy(&output).trim().parse();
        count.map_err(|_| local(doing, vec!["git told no number".to_owned()]))
    }

    /// Fetches refs into a repository of the user, and checks nothing out.
    ///
    /// # Errors
    /// When a ref cannot be fetched; others may have been.
    pub async fn fetch_over_ssh(
        &self,
        repository: &Path,
        from: SshRemote<'_>,
        refspecs: &[String],
    ) -> Result<(), FetchError> {
        let url = format!("ssh://{}{}", from.host, in_url(from.directory));
        let run = self.as_the_user().variable("GIT_SSH_COMMAND", ssh_command(from.config));
        let run = run.variable("GIT_SSH_VARIANT", "ssh").variable("GIT_ALLOW_PROTOCOL", "ssh");
        let run = SETTINGS.iter().fold(run, |run, setting| run.args(["-c", setting]));
        let fetched = run
            .dir(repository)
            .args(["fetch", "--no-tags", "--no-prune", "--no-recurse-submodules"])
            .args(["--no-write-fetch-head", "--no-auto-maintenance", "--end-of-options", &url])
            .args(refspecs)
            .talk(&url, &mut |_| {})
            .await;
        fetched.map_err(explain)
    }
}

/// Writes a path as it is in a URL, where git decodes it.
fn in_url(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;

    let bytes = path.as_os_str().as_bytes().iter();
    bytes.fold(String::new(), |mut url, &byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                url.push(byte.into());
            }
            _ => url += &format!("%{byte:02X}"),
        }
        url
    })
}

/// Returns the command that git has the shell run.
fn ssh_command(config: &Path) -> OsString {
    let mut command = OsString::from("ssh -F ");
    command.push(quote(config.as_os_str()));
    command.push(SSH_OPTIONS);
    command
}

/// Quotes a word for the shell.
fn quote(word: &OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    let mut quoted = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

/// Tells from git's words (in the locale C) what was in the way.
fn explain(error: GitError) -> FetchError {
    let refused = |line: &String| {
        let rest = line.strip_prefix("! [rejected]")?;
        let name = rest.strip_suffix("(non-fast-forward)")?.split(" -> ").nth(1)?;
        Some(name.trim().to_owned())
    };
    let diverged: Vec<String> = error.log().iter().filter_map(refused).collect();
    if !diverged.is_empty() {
        return FetchError::Diverged(diverged);
    }
    let after = |line: &str, words: &str| {
        let (_, rest) = line.split_once(words)?;
        Some(rest.trim_start_matches("refs/heads/").trim_matches('\'').to_owned())
    };
    for line in error.log() {
        if let Some(rest) = after(line, "refusing to fetch into branch '") {
            let name = rest.split('\'').next().unwrap_or_default();
            return FetchError::CheckedOut(name.to_owned());
        }
        if let Some((wanted, rest)) =
            line.split_once("cannot lock ref '").and_then(|(_, rest)| rest.split_once("': '"))
            && let Some((there, _)) = rest.split_once("' exists; cannot create")
        {
            let short = |name: &str| name.trim_start_matches("refs/heads/").to_owned();
            return FetchError::Excluded { wanted: short(wanted), there: short(there) };
        }
        if let Some(name) = after(line, "couldn't find remote ref ") {
            return FetchError::NoBranch(name);
        }
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(lines: &[&str]) -> FetchError {
        let log = lines.iter().map(|line| (*line).to_owned()).collect();
        explain(super::super::error::remote("ssh://h/w".to_owned(), log))
    }

    #[test]
    fn paths_are_encoded_for_a_url() {
        assert_eq!(in_url(Path::new("/workspace/a b/ü%#?")), "/workspace/a%20b/%C3%BC%25%23%3F");
    }

    #[test]
    fn the_shell_gets_the_path_as_one_word() {
        let command = ssh_command(Path::new("/h/it's $(a) b/ssh_config"));
        let text = command.to_str().unwrap();
        assert!(
            text.starts_with(r"ssh -F '/h/it'\''s $(a) b/ssh_config' -o BatchMode=yes"),
            "{text}"
        );
    }

    #[test]
    fn what_was_in_the_way_is_told_from_gits_words() {
        let lines = [
            "From ssh://h/w",
            "! [rejected]        taskspace/x -> taskspace/x  (non-fast-forward)",
            "! [rejected]        y -> x/y  (non-fast-forward)",
        ];
        let FetchError::Diverged(names) = failed(&lines) else { panic!() };
        assert_eq!(names, ["taskspace/x", "x/y"]);
        let line = "fatal: refusing to fetch into branch 'refs/heads/x' checked out at '/r'";
        assert!(matches!(failed(&[line]), FetchError::CheckedOut(name) if name == "x"));
        let line = "error: cannot lock ref 'refs/heads/t/x': 'refs/heads/t' exists; cannot create \
            'refs/heads/t/x'";
        let FetchError::Excluded { wanted, there } = failed(&[line]) else { panic!() };
        assert_eq!((wanted.as_str(), there.as_str()), ("t/x", "t"));
        let line = "fatal: couldn't find remote ref refs/heads/x";
        assert!(matches!(failed(&[line]), FetchError::NoBranch(name) if name == "x"));
        assert!(matches!(failed(&["fatal: early EOF"]), FetchError::Git(_)));
    }
}
