//! From what the user calls a commit to its id.

use std::path::Path;

use super::mirror::{HEAD, lock};
use super::source::{is_full_id, is_short_id};
use super::{Git, GitError, Source};

/// Where a mirror keeps what was fetched by name, so that it is not collected as garbage.
const BY_NAME: &str = "refs/symposium/fetched";

/// The longest name of a branch or tag; file systems hold no longer ones.
const MAX_REF: usize = 250;

/// How many branches an error proposes.
const SIMILAR: usize = 5;

impl Git {
    /// Returns the full id of the commit that a branch, tag or commit id leads to.
    ///
    /// What the mirror does not have, but could have by a name of its own (`refs/pull/1/head`, or a
    /// full commit id), is fetched.
    pub async fn resolve(
        &self,
        source: &Source,
        mirror: &Path,
        git_ref: Option<&str>,
    ) -> Result<String, GitError> {
        let asked = git_ref.unwrap_or("HEAD");
        if !is_plain_ref(asked) {
            return self.not_found(source, mirror, asked).await;
        }
        let standard = asked.starts_with("refs/heads/") || asked.starts_with("refs/tags/");
        let by_name = (asked.starts_with("refs/") && !standard) || is_full_id(asked);
        if let Some(found) = self.look_up(mirror, asked).await?
            && (!asked.starts_with("refs/") || standard || self.offline)
        {
            return Ok(found);
        }
        if by_name && !self.offline {
            let kept = format!("{BY_NAME}/{}", asked.strip_prefix("refs/").unwrap_or(asked));
            let located = self.locate(source).await?;
            let lock = lock(mirror, true).await?;
            let refspec = format!("+{asked}:{kept}");
            match self.fetch(&located, mirror, &lock, &[&refspec], &mut |_| {}).await {
                // The far end does not know the name; that is told below, with what there is.
                Err(GitError::RepositoryUnavailable { log, .. }) if lacks_ref(&log) => {}
                other => other?,
            }
            drop(lock);
            if let Some(found) = self.look_up(mirror, asked).await? {
                return Ok(found);
            }
        }
        self.not_found(source, mirror, asked).await
    }

    /// Finds a commit in the mirror.
    async fn look_up(&self, mirror: &Path, asked: &str) -> Result<Option<String>, GitError> {
        let mut names = match asked {
            "HEAD" => vec![HEAD.to_owned()],
            // A full id goes before any branch of that name, as it does in git.
            _ if is_full_id(asked) => vec![asked.to_owned()],
            _ => {
                let branch = asked.strip_prefix("origin/");
                let mut names = vec![format!("refs/heads/{asked}"), format!("refs/tags/{asked}")];
                names.extend(branch.map(|branch| format!("refs/heads/{branch}")));
                names
            }
        };
        if let Some(rest) = asked.strip_prefix("refs/") {
            names = vec![format!("{BY_NAME}/{rest}")];
            if rest.starts_with("heads/") || rest.starts_with("tags/") {
                names.insert(0, asked.to_owned());
            }
        } else if is_short_id(asked) {
            names.push(asked.to_owned());
        }
        let questions: String = names.iter().map(|name| format!("{name}^{{commit}}\n")).collect();
        let output = self
            .on_this_machine()
            .dir(mirror)
            .args(["cat-file", "--batch-check=%(objectname)"])
            .input(questions.into_bytes())
            .output("look up a commit")
            .await?;
        // A line that is not an id says that there is none, or several.
        let text = String::from_utf8_lossy(&output);
        Ok(text.lines().find(|line| is_full_id(line)).map(str::to_owned))
    }

    /// Says that there is no such ref, and what there is instead.
    async fn not_found(
        &self,
        source: &Source,
        mirror: &Path,
        asked: &str,
    ) -> Result<String, GitError> {
        let output = self
            .on_this_machine()
            .dir(mirror)
            .args(["for-each-ref", "--sort=-creatordate", "--format=%(refname:lstrip=2)"])
            .args(["refs/heads", "refs/tags"])
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

/// Whether git says that the far end does not have what was asked for by name.
fn lacks_ref(log: &[String]) -> bool {
    let texts = ["couldn't find remote ref", "not our ref", "no such remote ref", "bad object"];
    log.iter().any(|line| texts.iter().any(|text| line.contains(text)))
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
