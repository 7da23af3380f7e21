//! Repositories on this host: what a path leads to.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::remote;
use super::mirror::beside;
use super::source::redact;
use super::{Git, GitError, Source};

/// What the file begins with that leads from a work tree to its git directory (gitrepository-layout(5)).
const GIT_FILE: &str = "gitdir: ";

/// What a bundle begins with (gitformat-bundle(5)).
const BUNDLE: [&[u8]; 2] = [b"# v2 git bundle\n", b"# v3 git bundle\n"];

/// A repository on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalRepository {
    /// Its git directory; that of the work tree, where it has several.
    pub(super) git_dir: PathBuf,
    /// Where its files are.
    pub(super) work_tree: Option<PathBuf>,
}

impl LocalRepository {
    /// Returns the git directory that a work tree of several shares with the others.
    pub(super) fn common_dir(&self) -> PathBuf {
        let common = fs::read_to_string(self.git_dir.join("commondir"));
        common.map_or_else(|_| self.git_dir.clone(), |to| self.git_dir.join(to.trim_end()))
    }

    /// Returns what the repository is known by: the top of its work tree if that leads to it, else its
    /// git directory.
    fn place(&self) -> &Path {
        match &self.work_tree {
            Some(top) if leads_to(top, &self.git_dir) => top,
            _ => &self.git_dir,
        }
    }
}

/// What a path leads to.
enum Found {
    /// A directory in which git finds a repository.
    Directory(PathBuf),
    /// A file with commits, made by `git bundle`.
    Bundle(PathBuf),
}

impl Git {
    /// Follows a local path to the repository that it leads to; other sources stay what they are.
    ///
    /// The result is the top of the work tree, the git directory of a repository that has none there,
    /// or a bundle. As in git-clone(1), `.git` and `.bundle` may be left out at the end.
    ///
    /// # Errors
    /// When it leads to none, when it is no URL by any setting of the user, or to one of another user that git does not trust.
    pub async fn locate(&self, source: &Source) -> Result<Source, GitError> {
        if let Source::Shorthand(text) = source
            && !self.is_shorthand(text).await
        {
            let reason = "it is neither a URL nor an absolute path, and no url.*.insteadOf has it";
            return Err(GitError::BadSource { text: redact(text), reason });
        }
        let Some(path) = source.local_path() else { return Ok(source.clone()) };
        Ok(Source::Local(match find(path)? {
            Found::Bundle(file) => file,
            Found::Directory(directory) => self.look_into(&directory).await?.place().to_owned(),
        }))
    }

    /// Finds the git directory and the work tree of a repository on this host; a bundle has none.
    pub(super) async fn local_repository(
        &self,
        path: &Path,
    ) -> Result<Option<LocalRepository>, GitError> {
        match find(path)? {
            Found::Bundle(_) => Ok(None),
            Found::Directory(directory) => self.look_into(&directory).await.map(Some),
        }
    }

    async fn look_into(&self, directory: &Path) -> Result<LocalRepository, GitError> {
        let ask = async |question: &[&str]| {
            let mut run = self.as_the_user();
            if is_git_dir(directory) {
                // It is named by the user, and not come across.
                run = run.args(["-c", "safe.bareRepository=all"]);
            }
            let run = run.args(["-C"]).args([directory]).args(["rev-parse"]).args(question);
            let output = run.output("find the repository").await?;
            Ok(String::from_utf8_lossy(&output).trim_end_matches('\n').to_owned())
        };
        let git_dir = match ask(&["--absolute-git-dir"]).await {
            Err(GitError::Other { log, .. }) => {
                return Err(remote(directory.display().to_string(), log));
            }
            answer => PathBuf::from(answer?),
        };
        let top = ask(&["--show-toplevel"]).await.ok().map(PathBuf::from);
        // Asked from within `.git`, git knows of no work tree.
        let around = || {
            let around = git_dir.parent().filter(|top| leads_to(top, &git_dir));
            around.map(Path::to_owned)
        };
        Ok(LocalRepository { work_tree: top.or_else(around), git_dir })
    }
}

/// Finds what git would take for the repository at a path, in the order of git-clone(1).
fn find(path: &Path) -> Result<Found, GitError> {
    let hint = "give the path of a git repository or of a bundle, or a URL";
    let bad = |reason: String| GitError::RepositoryUnavailable {
        repository: path.display().to_string(),
        log: vec![reason.clone()],
        reason,
        hint: Some(hint.to_owned()),
    };
    let bare = beside(path, ".git");
    if path.is_dir() {
        let is_one = path.join(".git").exists() || is_git_dir(path) || !is_git_dir(&bare);
        return Ok(Found::Directory(if is_one { path.to_owned() } else { bare }));
    }
    if bare.is_dir() {
        return Ok(Found::Directory(bare));
    }
    let mut reason = "there is no such file or directory".to_owned();
    for file in [path.to_owned(), bare, beside(path, ".bundle")] {
        let start = match start_of(&file) {
            Ok(start) => start,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                reason = error.to_string();
                break;
            }
        };
        if BUNDLE.iter().any(|format| start.starts_with(format)) {
            return Ok(Found::Bundle(file));
        }
        if let Some(target) = git_file(&file) {
            let top = file.parent().filter(|top| leads_to(top, &target));
            return Ok(Found::Directory(top.map_or(target.clone(), Path::to_owned)));
        }
        reason = "the file is no bundle".to_owned();
    }
    Err(bad(reason))
}

/// Whether a directory is the git directory of a repository, as git decides it (`is_git_directory` in
/// its setup.c, without the check of what HEAD says).
pub(super) fn is_git_dir(directory: &Path) -> bool {
    let has = |name: &str| directory.join(name).is_dir();
    let head = fs::symlink_metadata(directory.join("HEAD")).is_ok();
    // That of a linked work tree has the objects elsewhere.
    head && (directory.join("commondir").is_file() || has("objects") && has("refs"))
}

/// Whether `top/.git` is a git directory, or leads to it.
fn leads_to(top: &Path, git_dir: &Path) -> bool {
    let link = top.join(".git");
    let target = git_file(&link).unwrap_or(link);
    let real = |path: &Path| fs::canonicalize(path).ok();
    real(&target).is_some_and(|target| Some(target) == real(git_dir))
}

/// Reads where a file leads that stands for a git directory.
fn git_file(file: &Path) -> Option<PathBuf> {
    let content = start_of(file).ok()?;
    let content = String::from_utf8(content).ok()?;
    let target = content.strip_prefix(GIT_FILE)?;
    Some(file.parent()?.join(target.trim_end_matches(['\n', '\r'])))
}

/// Reads the first part of a file.
fn start_of(file: &Path) -> std::io::Result<Vec<u8>> {
    const LENGTH: u64 = 8192;
    let mut start = Vec::new();
    // A pipe would be waited for.
    if fs::metadata(file)?.is_file() {
        File::open(file)?.take(LENGTH).read_to_end(&mut start)?;
    }
    Ok(start)
}
