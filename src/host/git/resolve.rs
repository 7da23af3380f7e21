//! From what the user calls a commit to its id.

use std::path::Path;

use super::mirror::{HEAD, lock};
use super::source::{is_full_id, is_short_id};
use super::{Git, GitError, Source};

/// Where a mirror keeps what was fetched by name, so that it is not collected as garbage.
const BY_NAME: &str = "refs/symposium/fetched";

/// Where a clone has the branches of its remotes.
const REMOTES: &str = "refs/remotes/";

/// The longest name of a branch or tag; file systems hold no longer ones.
const MAX_REF: usize = 250;

/// How many branches an error proposes.
const SIMILAR: usize = 5;

impl Git {
    /// Returns the full id of the commit that a branch, tag or commit id leads to.
    ///
    /// A repository on this host is asked what it calls so: `origin/main` is what it knows of its own
    /// remote, and `HEAD~2`, `@{upstream}` or `stash@{0}` are what they are there (gitrevisions(7)). Of
    /// others, the mirror is asked. What the mirror does not have, but could have by a name of its own
    /// (`refs/pull/1/head`, or a full commit id), is fetched.
    pub async fn resolve(
        &self,
        source: &Source,
        mirror: &Path,
        git_ref: Option<&str>,
    ) -> Result<String, GitError> {
        let asked = git_ref.unwrap_or("HEAD");
        let directory = source.local_path().filter(|path| path.is_dir());
        let found = match directory {
            _ if !is_line(asked) => None,
            Some(directory) => self.resolve_here(source, directory, mirror, asked).await?,
            None => self.resolve_there(source, mirror, asked).await?,
        };
        match found {
            Some(id) => self.complete(source, mirror, &id).await.map(|()| id),
            None => self.not_found(source, directory.unwrap_or(mirror), asked).await,
        }
    }

    /// Resolves what a repository on this host calls a commit, and brings that into the mirror.
    async fn resolve_here(
        &self,
        source: &Source,
        directory: &Path,
        mirror: &Path,
        asked: &str,
    ) -> Result<Option<String>, GitError> {
        if self.offline
            && let Some(found) = self.look_up(mirror, &names_in_mirror(asked)).await?
        {
            return Ok(Some(found));
        }
        let Some(id) = self.ask_directory(directory, asked).await? else { return Ok(None) };
        if self.has_commit(mirror, &id).await {
            return Ok(Some(id));
        }
        if self.offline || !self.fetch_by_name(source, mirror, &id).await? {
            return Ok(None);
        }
        Ok(Some(id))
    }

    /// Asks a repository on this host which commit it means.
    async fn ask_directory(
        &self,
        directory: &Path,
        asked: &str,
    ) -> Result<Option<String>, GitError> {
        // What is no commit, or not there, is an error of this git.
        let find = async |name: &str| {
            let ask = ["rev-parse", "--verify", "--quiet", "--end-of-options", name];
            let run = self.as_the_user().dir(directory).args(ask);
            first_id(&run.output("look up a commit").await.ok()?)
        };
        // As `git switch` and `git worktree add` have it, a branch goes before a tag.
        if !is_full_id(asked)
            && !["HEAD", "@"].contains(&asked)
            && let Some(found) = find(&format!("refs/heads/{asked}^{{commit}}")).await
        {
            return Ok(Some(found));
        }
        // To the end of `:/text` all is text.
        let any = if asked.starts_with(":/") { asked } else { &format!("{asked}^{{commit}}") };
        if let Some(found) = find(any).await {
            return Ok(Some(found));
        }
        if !is_plain_ref(asked) {
            return Ok(None);
        }
        // As they have it, too, a branch that one remote has is meant by its name alone.
        let refs = self.refs(directory, &format!("refs/remotes/*/{asked}")).await?;
        if let [name] = &refs.into_keys().collect::<Vec<_>>()[..] {
            return Ok(find(&format!("{name}^{{commit}}")).await);
        }
        match asked.strip_prefix("origin/") {
            // In a taskspace, the repository that it is from is `origin`.
            Some(branch) if !self.has_remote(directory, "origin").await => {
                Ok(find(&format!("refs/heads/{branch}^{{commit}}")).await)
            }
            _ => Ok(None),
        }
    }

    /// Resolves a name with what the mirror has, or can fetch.
    async fn resolve_there(
        &self,
        source: &Source,
        mirror: &Path,
        asked: &str,
    ) -> Result<Option<String>, GitError> {
        let (name, steps) = split_steps(asked);
        if !is_plain_ref(name) {
            return Ok(None);
        }
        let standard = name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
        let by_name = (name.starts_with("refs/") && !standard && !name.starts_with(REMOTES))
            || is_full_id(name);
        let mut found = self.look_up(mirror, &names_of_origin(name)).await?;
        if by_name && !self.offline && (found.is_none() || !is_full_id(name)) {
            found = match self.fetch_by_name(source, mirror, name).await? {
                true => self.look_up(mirror, &names_of_origin(name)).await?,
                false => None,
            };
        }
        match found {
            Some(id) if !steps.is_empty() => self.look_up(mirror, &[format!("{id}{steps}")]).await,
            found => Ok(found),
        }
    }

    /// Fetches what has a name of its own; returns whether the far end has it.
    async fn fetch_by_name(
        &self,
        source: &Source,
        mirror: &Path,
        name: &str,
    ) -> Result<bool, GitError> {
        let located = self.locate(source).await?;
        let lock = lock(mirror, true).await?;
        let refspec = format!("+{name}:{BY_NAME}/{}", name.strip_prefix("refs/").unwrap_or(name));
        match self.fetch(&located, mirror, &lock, &[&refspec], &mut |_| {}).await {
            Err(GitError::RepositoryUnavailable { log, .. }) if lacks_ref(&log) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Finds the first of these names in the mirror.
    async fn look_up(&self, mirror: &Path, names: &[String]) -> Result<Option<String>, GitError> {
        let questions: String = names.iter().map(|name| format!("{name}^{{commit}}\n")).collect();
        let output = self
            .on_this_machine()
            .dir(mirror)
            .args(["cat-file", "--batch-check=%(objectname)"])
            .input(questions.into_bytes())
            .output("look up a commit")
            .await?;
        Ok(first_id(&output))
    }

    /// Says that there is no such ref, and what there is instead.
    async fn not_found(
        &self,
        source: &Source,
        repository: &Path,
        asked: &str,
    ) -> Result<String, GitError> {
        let output = self
            .as_the_user()
            .dir(repository)
            .args(["for-each-ref", "--sort=-creatordate", "--format=%(refname:lstrip=2)"])
            .args(["refs/heads", "refs/tags", "refs/remotes"])
            .output("list the branches")
            .await?;
        let text = String::from_utf8_lossy(&output);
        let mut names: Vec<&str> = text.lines().collect();
        if names.is_empty() {
            return Err(GitError::Empty { repository: source.public() });
        }
        names.sort_by_key(|name| if name.contains(asked) { 0 } else { distance(name, asked) });
        let similar = names.into_iter().take(SIMILAR).map(str::to_owned).collect();
        let (repository, git_ref) = (source.public(), asked.to_owned());
        Err(GitError::RefNotFound { repository, git_ref, similar })
    }
}

/// Returns the first id that git found; it answers otherwise where there is none, or several.
fn first_id(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    text.lines().find(|line| is_full_id(line)).map(str::to_owned)
}

/// Returns what a mirror may have under a name.
fn names_in_mirror(asked: &str) -> Vec<String> {
    if let Some(rest) = asked.strip_prefix("refs/") {
        let standard = rest.starts_with("heads/") || rest.starts_with("tags/");
        let own = standard.then(|| asked.to_owned());
        return own.into_iter().chain([format!("{BY_NAME}/{rest}")]).collect();
    }
    match asked {
        "HEAD" | "@" => vec![HEAD.to_owned()],
        // A full id goes before any branch of that name, as it does in git.
        _ if is_full_id(asked) => vec![asked.to_owned()],
        _ => {
            let mut names = vec![format!("refs/heads/{asked}"), format!("refs/tags/{asked}")];
            if asked.starts_with("heads/") || asked.starts_with("tags/") {
                names.push(format!("refs/{asked}"));
            }
            names.extend(is_short_id(asked).then(|| asked.to_owned()));
            names
        }
    }
}

/// The same for the mirror of a repository that is `origin` in a clone.
fn names_of_origin(asked: &str) -> Vec<String> {
    let mut names = names_in_mirror(asked);
    let short = asked.strip_prefix(REMOTES).or_else(|| asked.strip_prefix("remotes/"));
    match short.unwrap_or(asked).strip_prefix("origin") {
        Some("" | "/HEAD") => names.push(HEAD.to_owned()),
        Some(rest) if rest.starts_with('/') => names.push(format!("refs/heads{rest}")),
        _ => {}
    }
    names
}

/// Splits `main~2^` into the name and the steps to ancestors of it.
fn split_steps(asked: &str) -> (&str, &str) {
    let (name, steps) = asked.split_at(asked.find(['~', '^']).unwrap_or(asked.len()));
    let is_plain = steps.chars().all(|c| c == '~' || c == '^' || c.is_ascii_digit());
    if is_plain { (name, steps) } else { (asked, "") }
}

/// Whether git says that the far end does not have what was asked for by name.
fn lacks_ref(log: &[String]) -> bool {
    let texts = ["couldn't find remote ref", "not our ref", "no such remote ref", "bad object"];
    log.iter().any(|line| texts.iter().any(|text| line.contains(text)))
}

/// Whether git can be asked for a text on a line of its own.
fn is_line(text: &str) -> bool {
    (1..=MAX_REF).contains(&text.len()) && !text.contains(char::is_control)
}

/// Whether a text could name a branch, a tag or a commit, and is no expression of git's.
fn is_plain_ref(text: &str) -> bool {
    (1..=MAX_REF).contains(&text.len())
        && !text.starts_with(['-', '/'])
        && !text.ends_with(['/', '.'])
        && !["..", "@{", "//"].iter().any(|bad| text.contains(bad))
        && !text.contains(|c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c))
}

/// Counts the characters to change, add or remove to get from one text to the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &b) in other.iter().enumerate() {
            let cost = (diagonal + usize::from(a != b)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (one, other, expected) in [("kitten", "sitting", 3), ("", "ab", 2), ("main", "main", 0)]
        {
            assert_eq!(distance(one, other), expected);
        }
    }

    #[test]
    fn expressions_are_no_refs() {
        for text in ["main", "feature/x", "v1.0", "refs/pull/1/head", "café", "a.b", "HEAD"] {
            assert!(is_plain_ref(text), "{text}");
        }
        for text in
            ["", "-x", "HEAD~1", "a..b", "a:b", "@{u}", "a b", "a\nb", "x^{tree}", "a/", "/a"]
        {
            assert!(!is_plain_ref(text), "{text}");
        }
    }
}
