//! Submodules: repositories within a checkout, from mirrors of their own.
//!
//! What a commit says of its submodules is untrusted: names become directories, and URLs are fetched
//! with the user's credentials. What has a name or path that git would refuse is left out, before
//! anything is made of it; a URL that git would refuse is not fetched. What the user's own clone is
//! configured to has precedence, as in git; a command in it (`submodule.*.update = !…`) is not run.

mod base;
mod clone;
mod fetch;
mod list;
mod work;

use std::path::{Path, PathBuf};

use super::GitError;
use crate::model::SubmoduleSpec;

pub use fetch::Contents;

pub use work::{FetchedSubmodule, SubmoduleWork};

/// A checkout may have so many, all levels together; more are an attack or a mistake.
const MOST: usize = 1000;

/// The values of `submodule.*.update` that a checkout inside gets (git-submodule(1)).
const UPDATES: [&str; 3] = ["merge", "rebase", NO_UPDATE];

/// The value of `submodule.*.update` of a submodule that is left out.
const NO_UPDATE: &str = "none";

/// A submodule that a commit lists.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    /// What it is called; its git directory has that name.
    name: String,
    /// Where its checkout is.
    path: PathBuf,
    /// The commit to be checked out.
    commit: String,
    /// Its URL in `.gitmodules`.
    url: String,
    /// How `.gitmodules` wants it to be brought up to date; empty if it does not say.
    update: String,
}

impl Listed {
    /// Says which submodule an error is about.
    fn told(&self, error: GitError) -> GitError {
        GitError::Submodule { path: self.path.display().to_string(), error: Box::new(error) }
    }

    /// Returns where its git directory is, within the one of the repository that it belongs to.
    fn git_dir(&self, above: &Path) -> PathBuf {
        above.join("modules").join(&self.name)
    }

    /// Returns what a checkout has to know of it: `above` is the path of the repository that it belongs
    /// to, `update` what the user's clone says.
    fn spec(&self, above: &Path, update: Option<String>, url: String) -> SubmoduleSpec {
        let update = update.unwrap_or_else(|| self.update.clone());
        SubmoduleSpec {
            path: above.join(&self.path).display().to_string(),
            name: self.name.clone(),
            commit: self.commit.clone(),
            source: String::new(),
            url,
            inactive: update == NO_UPDATE,
            update: Some(update).filter(|update| UPDATES.contains(&update.as_str())),
            lacking: None,
        }
    }
}

/// A submodule is refused.
fn refused(name: &str, reason: &'static str) -> GitError {
    GitError::BadSubmodule { name: name.to_owned(), reason }
}
