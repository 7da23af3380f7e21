//! Mirrors: bare repositories that everything is fetched into.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use fs4::FileExt;
use sha2::{Digest, Sha256};
use tokio::task::JoinError;

use super::super::files::{FileError, open_lock_file, private_dir, remove_tree, sync_dir};
use super::freshness::{self, Asked};
use super::partial::is_partial;
use super::{Git, GitError, Source};

/// Where a mirror keeps the HEAD of its repository.
pub(super) const HEAD: &str = "refs/symposium/head";

/// Returns where the mirror of a source is.
pub fn mirror_path(mirrors: &Path, source: &Source) -> PathBuf {
    let digest = Sha256::digest(source.public());
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    mirrors.join(format!("{}-{hex}.git", source.project_name()))
}

/// Returns `path` with `suffix` appended to its last name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Waits for the lock of a mirror: a shared one to read packs, an exclusive one to change them.
pub(super) async fn lock(mirror: &Path, exclusive: bool) -> Result<File, GitError> {
    let path = beside(mirror, ".lock");
    let locking = tokio::task::spawn_blocking(move || {
        private_dir(path.parent().unwrap_or(Path::new("/")))?;
        let file = open_lock_file(&path)?;
        let taken = if exclusive { FileExt::lock(&file) } else { FileExt::lock_shared(&file) };
        taken.map(|()| file).map_err(FileError::io("lock", &path))
    });
    match locking.await {
        Ok(locked) => Ok(locked?),
        Err(error) => Err(interrupted("lock a mirror", &error)),
    }
}

pub(super) fn interrupted(doing: &str, error: &JoinError) -> GitError {
    GitError::Other { doing: doing.to_owned(), reason: error.to_string(), log: Vec::new() }
}

impl Git {
    /// Brings the mirror of a source up to date, or makes it.
    ///
    /// Processes that ask for the same at once wait for each other, and one fetch serves all that
    /// asked before it began. When it fails, a new mirror leaves nothing behind and an existing one
    /// is as it was.
    pub async fn update_mirror(
        &self,
        source: &Source,
        mirror: &Path,
        mut progress: impl FnMut(String) + Send,
    ) -> Result<(), GitError> {
        if self.offline {
            return if mirror.is_dir() { Ok(()) } else { Err(no_copy(source)) };
        }
        let asked = Asked::now(mirror);
        let source = self.locate(source).await?;
        let lock = lock(mirror, true).await?;
        remove_leftovers(mirror)?;
        if asked.is_served(mirror) {
            return Ok(());
        }
        let number = freshness::begin(mirror, &lock)?;
        // A mirror that lacks objects cannot become a whole one by fetching.
        let is_usable = !is_partial(mirror) || !self.promisors(&source).await.is_empty();
        if mirror.is_dir() && is_usable {
            let fetched = self.fetch_all(&source, mirror, &lock, &mut progress).await;
            remove_leftovers(mirror)?;
            fetched?;
            self.collect_garbage(mirror, &lock).await;
        } else {
            let parent = mirror.parent().unwrap_or(Path::new("/"));
            let making = beside(mirror, MAKING);
            let made = self.make_mirror(&source, &making, &lock, &mut progress).await;
            if made.is_err() {
                remove_tree(&making)?;
            }
            made?;
            remove_tree(mirror)?;
            fs::rename(&making, mirror).map_err(FileError::io("name", mirror))?;
            sync_dir(parent)?;
        }
        freshness::succeeded(mirror, number)
    }

    async fn make_mirror(
        &self,
        source: &Source,
        dir: &Path,
        lock: &File,
        progress: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), GitError> {
        self.init_bare(dir, "sha1").await?;
        match self.fetch_all(source, dir, lock, progress).await {
            Err(error) if says(&error, "mismatched algorithms") => {
                remove_tree(dir)?;
                self.init_bare(dir, "sha256").await?;
                self.fetch_all(source, dir, lock, progress).await
            }
            other => other,
        }
    }

    async fn init_bare(&self, dir: &Path, object_format: &str) -> Result<(), GitError> {
        let format = format!("--object-format={object_format}");
        self.on_this_machine()
            .args(["init", "--quiet", "--bare", "--template=", "--initial-branch=main", &format])
            .args([dir])
            .output("make a mirror")
            .await
            .map(|_| ())
    }

    /// Fetches branches, tags and HEAD. A repository may lack a HEAD that leads to a commit.
    async fn fetch_all(
        &self,
        source: &Source,
        mirror: &Path,
        lock: &File,
        progress: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), GitError> {
        const ALL: [&str; 2] = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        let head = format!("+HEAD:{HEAD}");
        let with_head = [ALL[0], ALL[1], &head];
        self.link_objects(source, mirror).await?;
        match self.fetch(source, mirror, lock, &with_head, progress).await {
            Err(error) if says(&error, "couldn't find remote ref HEAD") => {
                let forget = self.on_this_machine().dir(mirror).args(["update-ref", "-d", HEAD]);
                forget.output("forget the former HEAD").await?;
                self.fetch(source, mirror, lock, &ALL, progress).await
            }
            other => other,
        }
    }

    pub(super) async fn fetch(
        &self,
        source: &Source,
        mirror: &Path,
        lock: &File,
        refspecs: &[&str],
        progress: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), GitError> {
        self.towards(source)
            .await
            .args(["-c", "fetch.pruneTags=false", "-c", "fetch.writeCommitGraph=false"])
            .dir(mirror)
            .args(["fetch", "--progress", "--prune", "--no-tags", "--no-write-fetch-head"])
            .args(["--no-auto-maintenance", "--update-shallow"])
            // What a shallow repository lacked it may have by now.
            .args(mirror.join("shallow").exists().then_some("--unshallow"))
            .args(["--end-of-options".to_owned(), source.fetch_url()])
            .args(refspecs)
            .variable("GIT_NO_LAZY_FETCH", "1")
            .holding(lock)
            .talk(&source.public(), progress)
            .await
    }

    /// Packs a mirror into fewer files once there are many. What goes wrong is for another day.
    async fn collect_garbage(&self, mirror: &Path, lock: &File) {
        let run =
            self.on_this_machine().dir(mirror).args(["gc", "--auto", "--quiet"]).holding(lock);
        if let Err(error) = run.output("pack a mirror").await {
            tracing::debug!(%error, mirror = %mirror.display(), "cannot pack");
        }
    }
}

/// What is appended to the name of a mirror while it is made.
pub(super) const MAKING: &str = ".making";

fn no_copy(source: &Source) -> GitError {
    GitError::RepositoryUnavailable {
        repository: source.public(),
        reason: "there is no copy of it on this host yet".to_owned(),
        hint: Some("create a taskspace from it once without --offline".to_owned()),
        log: Vec::new(),
    }
}

fn says(error: &GitError, text: &str) -> bool {
    error.log().iter().any(|line| line.contains(text))
}

/// Removes what a git leaves that was killed. Whoever calls this holds the exclusive lock.
fn remove_leftovers(mirror: &Path) -> Result<(), GitError> {
    remove_tree(&beside(mirror, MAKING))?;
    remove_matching(mirror, &|name| name.ends_with(".lock"))?;
    for dir in ["refs", "objects/info"] {
        remove_matching(&mirror.join(dir), &|name| name.ends_with(".lock"))?;
    }
    let temporary = |name: &str| name.starts_with("tmp_") || name.starts_with("incoming-");
    remove_matching(&mirror.join("objects"), &temporary)?;
    remove_matching(&mirror.join("objects/pack"), &|name| {
        temporary(name) || name.starts_with(".tmp-") || name.ends_with(".lock")
    })
}

/// Removes entries whose name matches; looks into the directories below `refs` as well.
fn remove_matching(dir: &Path, matches: &dyn Fn(&str) -> bool) -> Result<(), GitError> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    let descend = dir.iter().any(|part| part == "refs");
    for entry in entries.flatten() {
        let path = entry.path();
        if matches(&entry.file_name().to_string_lossy()) {
            remove_tree(&path)?;
        } else if descend && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_matching(&path, matches)?;
        }
    }
    Ok(())
}
