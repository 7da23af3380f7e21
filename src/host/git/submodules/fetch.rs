//! Brings mirrors up to what a base of a commit needs: submodules, and what is in Git LFS.

use std::path::{Path, PathBuf};

use super::super::mirror::mirror_path;
use super::super::{Git, GitError, Source};
use super::{MOST, Submodule, refused};

/// A commit whose submodules are wanted.
struct Wanted {
    source: Source,
    mirror: PathBuf,
    commit: String,
    /// Its git directory on this host, which may have what its source has not.
    git_dir: Option<PathBuf>,
}

impl Git {
    /// Fetches the submodules of a commit, and theirs, as far as their mirrors lack the commits, and
    /// what is in Git LFS.
    ///
    /// The commit is in the mirror of `source`. A submodule that a local repository has a clone of may
    /// come from there: its commit need not be published yet.
    ///
    /// Returns the mirrors of the submodules.
    pub async fn fetch_contents(
        &self,
        source: &Source,
        mirrors: &Path,
        commit: &str,
        mut progress: impl FnMut(String) + Send,
    ) -> Result<Vec<PathBuf>, GitError> {
        let mut wanted = vec![Wanted {
            source: source.clone(),
            mirror: mirror_path(mirrors, source),
            commit: commit.to_owned(),
            git_dir: self.local_git_dir(source).await,
        }];
        let mut brought = Vec::new();
        while let Some(one) = wanted.pop() {
            let Wanted { source, mirror, commit, git_dir } = &one;
            self.fetch_lfs(source, mirror, commit, git_dir.as_deref(), &mut progress).await?;
            for submodule in self.submodules(&one.source, &one.mirror, &one.commit).await? {
                if brought.len() == MOST {
                    return Err(refused(&submodule.name, "there are too many"));
                }
                let mirror = mirror_path(mirrors, &submodule.source);
                let git_dir = one.git_dir.as_ref().map(|above| submodule.git_dir(above));
                let git_dir = git_dir.filter(|dir| dir.is_dir());
                self.bring(&submodule, &mirror, git_dir.as_deref(), &mut progress)
                    .await
                    .map_err(|error| submodule.told(error))?;
                let Submodule { source, commit, .. } = submodule;
                brought.push(mirror.clone());
                wanted.push(Wanted { source, mirror, commit, git_dir });
            }
        }
        Ok(brought)
    }

    /// Finds the git directory of a repository on this host.
    async fn local_git_dir(&self, source: &Source) -> Option<PathBuf> {
        let run = self.as_the_user().dir(source.local_path()?);
        let found = run.args(["rev-parse", "--absolute-git-dir"]).output("find it").await.ok()?;
        Some(String::from_utf8(found).ok()?.trim_end_matches('\n').into())
    }

    /// Makes sure that a mirror has the commit of a submodule.
    async fn bring(
        &self,
        submodule: &Submodule,
        mirror: &Path,
        clone: Option<&Path>,
        progress: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), GitError> {
        let Submodule { source, commit, .. } = submodule;
        if self.has_commit(mirror, commit).await {
            return Ok(());
        }
        let fetched = async {
            self.update_mirror(source, mirror, &mut *progress).await?;
            self.resolve(source, mirror, Some(commit)).await.map(drop)
        };
        let (error, clone) = match (fetched.await, clone) {
            (Err(error), Some(clone)) => (error, Source::Local(clone.to_owned())),
            (fetched, _) => return fetched,
        };
        let from_clone = async {
            if !mirror.is_dir() {
                self.update_mirror(&clone, mirror, &mut *progress).await?;
            }
            self.resolve(&clone, mirror, Some(commit)).await.map(drop)
        };
        from_clone.await.map_err(|_| error)
    }
}
