//! The user's own git, as a subprocess and never through a shell.
//!
//! A repository is fetched into a *mirror* (bare, one for each source, kept), and a *base* is a whole
//! checkout of one commit made from the mirror. Talking to a repository is done with the user's
//! configuration and credentials; what happens on this machine alone is done without them, so that a
//! base is the same whoever makes it.

mod base;
mod carry;
mod error;
mod fetch;
mod filters;
mod freshness;
mod identity;
mod index;
mod lfs;
mod local;
mod mirror;
mod objects;
mod partial;
mod resolve;
mod rewrite;
mod run;
mod saved;
mod sibling;
mod source;
mod submodules;
mod users;
mod work_tree;

use std::path::Path;

use crate::model::GitEnvironment;

pub use base::{BaseSpec, SeedSpec};
pub use carry::Carried;
pub use error::GitError;
pub use fetch::{FetchError, SshRemote};
pub use index::OWNER_INSIDE;
pub use mirror::mirror_path;
pub use rewrite::RemoteUrls;
pub use sibling::Sibling;
pub use source::Source;
pub use submodules::Contents;
pub use submodules::{FetchedSubmodule, SubmoduleWork};
pub use users::{Users, list_mirrors, note_user, remove_mirror};
pub use work_tree::Uncommitted;

/// Runs git for one caller.
#[derive(Clone, Debug, Default)]
pub struct Git {
    environment: GitEnvironment,
    offline: bool,
    /// Variables that only tests set.
    variables: Vec<(&'static str, String)>,
}

impl Git {
    /// Makes a git that runs in `environment`.
    pub fn new(environment: GitEnvironment) -> Self {
        Self { environment, offline: false, variables: Vec::new() }
    }

    /// Makes it use mirrors as they are, without asking any repository.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Whether a mirror has a commit.
    pub async fn has_commit(&self, mirror: &Path, id: &str) -> bool {
        // The id comes out of the registry; a name in its place must not be resolved.
        source::is_full_id(id)
            && self
                .on_this_machine()
                .dir(mirror)
                .args(["cat-file", "-e", &format!("{id}^{{commit}}")])
                .output("look for a commit")
                .await
                .is_ok()
    }

    /// Returns the names in the top directory of a commit.
    pub async fn top_level_names(
        &self,
        mirror: &Path,
        commit: &str,
    ) -> Result<Vec<String>, GitError> {
        let output = self
            .on_this_machine()
            .dir(mirror)
            .args(["ls-tree", "-z", "--name-only", "--end-of-options", commit])
            .output("list the files of a commit")
            .await?;
        Ok(output
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect())
    }

    /// Returns the branches of a mirror that are called `name`, or are below that.
    pub async fn branches_below(&self, mirror: &Path, name: &str) -> Result<Vec<String>, GitError> {
        let pattern = format!("refs/heads/{name}");
        let list = ["for-each-ref", "--format=%(refname:lstrip=2)", &pattern];
        let output = self.on_this_machine().dir(mirror).args(list).output("list branches").await?;
        Ok(String::from_utf8_lossy(&output).lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests;
