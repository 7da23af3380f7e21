//! Commits of submodules, fetched from a taskspace into the submodules of a repository of the user.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::fetch::FetchError;
use super::super::sibling::{is_plain, split};
use super::super::source::is_full_id;
use super::super::{Git, GitError, SshRemote};
use super::MOST;

/// What is fetched of submodules.
#[derive(Clone, Copy, Debug)]
pub struct SubmoduleWork<'a> {
    /// The repository that the commits of the project were fetched into.
    pub repository: &'a Path,
    /// These commits, and the commits that were there before.
    pub new: &'a [&'a str],
    /// See `new`.
    pub old: &'a [&'a str],
    /// The submodules that have another commit checked out in the taskspace than it began with.
    pub changed: &'a [PathBuf],
    /// The project's checkout in the taskspace.
    pub remote: SshRemote<'a>,
    /// The refs that keep what is fetched are below this.
    pub refs: &'a str,
}

/// What came of one submodule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedSubmodule {
    /// Where it is in the project.
    pub path: PathBuf,
    /// The git directory that its commits were fetched into; none where the repository has not got one.
    pub repository: Option<PathBuf>,
    /// How many commits came.
    pub commits: u64,
    /// Commits that are wanted and did not come; `HEAD` for the one that is checked out.
    pub missing: Vec<String>,
    /// Why they did not.
    pub reason: Option<String>,
}

/// A repository whose submodules are looked at.
struct Above {
    /// Its place in the project.
    path: PathBuf,
    git_dir: PathBuf,
    new: Vec<String>,
    old: Vec<String>,
}

impl Git {
    /// Fetches the commits of submodules that new commits of a project name, and those that are checked
    /// out in the taskspace. Each goes into the git directory that the user's repository has for that
    /// submodule, as a ref of its own; branches there stay as they are.
    ///
    /// # Errors
    /// When the repository cannot be read. What cannot be fetched is told for each submodule.
    pub async fn fetch_submodules(
        &self,
        work: &SubmoduleWork<'_>,
    ) -> Result<Vec<FetchedSubmodule>, GitError> {
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        let mut left = vec![Above {
            path: PathBuf::new(),
            git_dir: self.common_dir(work.repository).await?,
            new: owned(work.new),
            old: owned(work.old),
        }];
        let mut fetched = Vec::new();
        while let Some(above) = left.pop() {
            let mut wanted = self.named_commits(&above).await?;
            let names = self.names_by_path(&above).await;
            let changed: Vec<&Path> = work
                .changed
                .iter()
                .filter_map(|path| path.strip_prefix(&above.path).ok())
                .collect();
            for path in names.keys().filter(|path| changed.iter().any(|it| it.starts_with(path))) {
                wanted.entry(path.clone()).or_default().insert("HEAD".to_owned());
            }
            for (path, commits) in wanted {
                if fetched.len() == MOST {
                    return Ok(fetched);
                }
                // What is within a submodule is looked at when that has been fetched.
                let Some(name) = names.get(&path) else { continue };
                let git_dir = above.git_dir.join("modules").join(name);
                let (one, below) =
                    self.fetch_submodule(work, &above.path.join(&path), git_dir, commits).await;
                fetched.extend(one);
                left.extend(below);
            }
        }
        Ok(fetched)
    }

    /// Fetches commits of one submodule; none where they are all there.
    async fn fetch_submodule(
        &self,
        work: &SubmoduleWork<'_>,
        path: &Path,
        git_dir: PathBuf,
        commits: BTreeSet<String>,
    ) -> (Option<FetchedSubmodule>, Option<Above>) {
        let mut told = FetchedSubmodule {
            path: path.to_owned(),
            repository: None,
            commits: 0,
            missing: commits.into_iter().collect(),
            reason: None,
        };
        if !git_dir.join("HEAD").is_file() {
            return (Some(told), None);
        }
        let before = self.refs(&git_dir, "refs").await.unwrap_or_default();
        let missing = self.missing_commits(&git_dir, &told.missing).await;
        if missing.is_empty() {
            return (None, None);
        }
        let refspecs: Vec<String> = missing
            .iter()
            .map(|commit| match commit.as_str() {
                "HEAD" => format!("+HEAD:{}/checked-out", work.refs),
                id => format!("+{id}:{}/{}", work.refs, &id[..12]),
            })
            .collect();
        let directory = work.remote.directory.join(path);
        let remote = SshRemote { directory: &directory, ..work.remote };
        if let Err(error) = self.fetch_over_ssh(&git_dir, remote, &refspecs).await {
            let last = match &error {
                FetchError::Git(error) => error.log().last().cloned(),
                _ => None,
            };
            told.reason = Some(last.unwrap_or_else(|| error.to_string()));
        }
        let after = self.refs(&git_dir, "refs").await.unwrap_or_default();
        let old: Vec<String> = before.into_values().collect();
        let checked_out = after.get(&format!("{}/checked-out", work.refs)).cloned();
        let others = after.into_values().filter(|id| !old.contains(id));
        let new: Vec<String> = checked_out.into_iter().chain(others).collect();
        let new_ids: Vec<&str> = new.iter().map(String::as_str).collect();
        let old_ids: Vec<&str> = old.iter().map(String::as_str).collect();
        told.commits = match new.is_empty() {
            true => 0,
            false => self.count_commits(&git_dir, &new_ids, &old_ids).await.unwrap_or_default(),
        };
        told.missing = match told.reason {
            Some(_) => self.missing_commits(&git_dir, &missing).await,
            None => Vec::new(),
        };
        told.repository = Some(git_dir.clone());
        let below = Above { path: path.to_owned(), git_dir, new, old };
        let is_news = told.commits > 0 || !told.missing.is_empty();
        (is_news.then_some(told), Some(below))
    }

    /// Returns those of these commits that a repository lacks; what is checked out elsewhere may be any.
    async fn missing_commits(&self, git_dir: &Path, commits: &[String]) -> Vec<String> {
        let mut missing = Vec::new();
        for commit in commits {
            if commit == "HEAD" || !self.has_commit(git_dir, commit).await {
                missing.push(commit.clone());
            }
        }
        missing
    }

    /// Returns the git directory that all work trees of a repository share.
    async fn common_dir(&self, repository: &Path) -> Result<PathBuf, GitError> {
        let ask = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
        let run = self.as_the_user().dir(repository).args(ask);
        let output = run.output("find the repository's git directory").await?;
        Ok(PathBuf::from(OsStr::from_bytes(output.trim_ascii_end())))
    }

    /// Finds the commits of submodules that new commits name, by the submodules' paths.
    async fn named_commits(
        &self,
        above: &Above,
    ) -> Result<BTreeMap<PathBuf, BTreeSet<String>>, GitError> {
        if above.new.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut input = String::new();
        above.new.iter().for_each(|id| input += &format!("{id}\n"));
        above.old.iter().for_each(|id| input += &format!("^{id}\n"));
        let list =
            ["log", "--ignore-missing", "--stdin", "--format=", "--raw", "--no-abbrev", "-z"];
        let more = ["-m", "--no-renames", "--no-ext-diff", "--ignore-submodules=none"];
        let run = self.as_the_user().dir(&above.git_dir).args(list).args(more);
        let output = run.input(input.into_bytes()).output("look for commits of submodules").await?;
        Ok(links(&output))
    }

    /// Returns the names of a repository's submodules by their paths, as the first of the new commits has
    /// them.
    async fn names_by_path(&self, above: &Above) -> BTreeMap<PathBuf, String> {
        let Some(tip) = above.new.first().or(above.old.first()) else { return BTreeMap::new() };
        let blob = format!("--blob={tip}:.gitmodules");
        let ask = ["config", &blob, "--null", "--get-regexp", r"^submodule\..*\.path$"];
        let run = self.on_this_machine().dir(&above.git_dir).args(ask);
        let output = run.output("list the submodules").await.unwrap_or_default();
        names(&output)
    }
}

/// Reads the output of `git log --raw -z`: which commits of other repositories there are after changes.
fn links(output: &[u8]) -> BTreeMap<PathBuf, BTreeSet<String>> {
    let mut found: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    let mut fields = split(output);
    while let Some(field) = fields.next() {
        let text = String::from_utf8_lossy(field);
        let Some(line) = text.trim_start_matches('\n').strip_prefix(':') else { continue };
        let words: Vec<&str> = line.split(' ').collect();
        let (Some(mode), Some(id), Some(path)) = (words.get(1), words.get(3), fields.next()) else {
            continue;
        };
        let path = Path::new(OsStr::from_bytes(path));
        if *mode == "160000" && is_full_id(id) && is_plain(path) {
            found.entry(path.to_owned()).or_default().insert((*id).to_owned());
        }
    }
    found
}

/// Reads the output of `git config --null --get-regexp` about paths; names that could lead elsewhere are
/// left out.
fn names(output: &[u8]) -> BTreeMap<PathBuf, String> {
    let entries = split(output).filter_map(|entry| {
        let end = entry.iter().position(|&byte| byte == b'\n')?;
        let key = std::str::from_utf8(&entry[..end]).ok()?;
        let name = key.strip_prefix("submodule.")?.strip_suffix(".path")?;
        let path = Path::new(OsStr::from_bytes(&entry[end + 1..]));
        let is_safe = is_plain(Path::new(name)) && !name.chars().any(char::is_control);
        (is_safe && is_plain(path)).then(|| (path.to_owned(), name.to_owned()))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_those_that_changes_lead_to() {
        let (a, b, none) = ("a".repeat(40), "b".repeat(40), "0".repeat(40));
        let output = format!(
            ":160000 160000 {a} {b} M\0lib\0:100644 100644 {a} {b} M\0file\0\0\
             :000000 160000 {none} {a} A\0lib\0:160000 000000 {a} {none} D\0gone\0\
             :000000 160000 {none} {a} A\0../up\0"
        );
        let found = links(output.as_bytes());
        assert_eq!(found, BTreeMap::from([("lib".into(), BTreeSet::from([a, b]))]));
        assert!(links(b":").is_empty());
    }

    #[test]
    fn names_that_lead_elsewhere_are_left_out() {
        let output = b"submodule.a.b.path\nx y\0submodule.../up.path\nup\0submodule.c.path\n../c\0";
        assert_eq!(names(output), BTreeMap::from([("x y".into(), "a.b".to_owned())]));
    }
}
