//! Submodules: repositories within a checkout, from mirrors of their own.
//!
//! What a commit says of its submodules is untrusted: names become directories, and URLs are fetched
//! with the user's credentials. Whatever git would refuse is refused here as well, before anything is
//! made of it.

mod base;
mod fetch;
mod list;

use std::path::{Path, PathBuf};

use super::{GitError, Source};

/// A checkout may have so many, all levels together; more are an attack or a mistake.
const MOST: usize = 1000;

/// A submodule of one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Submodule {
    /// What it is called; its git directory has that name.
    name: String,
    /// Where its checkout is.
    path: PathBuf,
    /// The commit to be checked out.
    commit: String,
    /// Where it comes from.
    source: Source,
}

impl Submodule {
    /// Says which submodule an error is about.
    fn told(&self, error: GitError) -> GitError {
        GitError::Submodule { path: self.path.display().to_string(), error: Box::new(error) }
    }

    /// Returns where its git directory is, within the one of the repository that it belongs to.
    fn git_dir(&self, above: &Path) -> PathBuf {
        above.join("modules").join(&self.name)
    }
}

/// A submodule is refused.
fn refused(name: &str, reason: &'static str) -> GitError {
    GitError::BadSubmodule { name: name.to_owned(), reason }
}
