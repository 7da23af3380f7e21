//! Whether commits are in a repository of the user.

use std::collections::BTreeSet;
use std::path::Path;

use super::source::is_full_id;
use super::{Git, GitError};

impl Git {
    /// Returns which of these commits a branch, tag or other ref of a repository leads to.
    ///
    /// Nothing but the repository's own objects is read: none is fetched, and none is counted that is
    /// only still there because nobody has tidied up.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn kept_commits(
        &self,
        repository: &Path,
        commits: &[&str],
    ) -> Result<BTreeSet<String>, GitError> {
        // They come from a container; a name in their place must not be resolved.
        let commits: Vec<&str> = commits.iter().copied().filter(|id| is_full_id(id)).collect();
        let questions: String = commits.iter().map(|id| format!("{id}\n")).collect();
        let ask = async |words: &[&str], input: &str| {
            let run = self.as_the_user().dir(repository).variable("GIT_NO_LAZY_FETCH", "1");
            let run = run.args(words).input(input.as_bytes().to_vec());
            let output = run.output("look for commits in the project's repository").await?;
            Ok::<_, GitError>(String::from_utf8_lossy(&output).into_owned())
        };
        let format = "--batch-check=%(objecttype) %(objectname)";
        let there = ask(&["cat-file", format], &questions).await?;
        let commit = |line: &str| line.strip_prefix("commit ").map(str::to_owned);
        let mut kept: BTreeSet<String> = there.lines().filter_map(commit).collect();
        let questions: String = kept.iter().map(|id| format!("{id}\n")).collect();
        // Those are left that no ref leads to.
        let loose = ask(&["rev-list", "--stdin", "--not", "--all"], &questions).await?;
        for id in loose.lines() {
            kept.remove(id);
        }
        Ok(kept)
    }
}
