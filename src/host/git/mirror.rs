//! Mirrors: bare repositories that everything is fetched into.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fs4::FileExt;
use sha2::{Digest, Sha256};
use tokio::task::JoinError;

use super::super::files::{FileError, open_lock_file, private_dir, remove_tree, sync_dir};
use super::error::remote;
use super::{Git, GitError, Source};

/// Where a mirror keeps the HEAD of its repository.
pub(super) const HEAD: &str = "refs/symposium/head";

/// The file in a mirror that says when it was last brought up to date (nanoseconds since 1970).
const UPDATED: &str = "symposium-updated";

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
    /// Follows a local path to the repository that it lies in; other sources stay what they are.
    ///
    /// The result is the top of the work tree, or the directory of a bare repository.
    pub async fn locate(&self, source: &Source) -> Result<Source, GitError> {
        let Some(path) = source.local_path() else { return Ok(source.clone()) };
        let ask = async |question: &str| {
            let run = self.as_the_user().dir(path).args(["rev-parse", question]);
            let output = run.output("find the repository").await?;
            let text = String::from_utf8_lossy(&output).trim_end_matches('\n').to_owned();
            Ok(Source::Local(text.into()))
        };
        match ask("--show-toplevel").await {
            Err(GitError::Other { .. }) => match ask("--absolute-git-dir").await {
                Err(GitError::Other { log, .. }) => Err(remote(source.public(), log)),
                other => other,
            },
            other => other,
        }
    }

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
        let asked = now();
        if self.offline {
            return if mirror.is_dir() { Ok(()) } else { Err(no_copy(source)) };
        }
        let source = self.locate(source).await?;
        let lock = lock(mirror, true).await?;
        remove_leftovers(mirror)?;
        if last_update(mirror) >= Some(asked) {
            return Ok(());
        }
        let began = now();
        if mirror.is_dir() {
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
            fs::rename(&making, mirror).map_err(FileError::io("name", mirror))?;
            sync_dir(parent)?;
        }
        let path = mirror.join(UPDATED);
        fs::write(&path, began.to_string()).map_err(FileError::io("write", &path))?;
        Ok(())
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
            .dir(mirror)
            .args(["fetch", "--progress", "--prune", "--no-tags", "--no-write-fetch-head"])
            .args(["--no-auto-maintenance", "--update-shallow"])
            // What a shallow repository lacked it may have by now.
            .args(mirror.join("shallow").exists().then_some("--unshallow"))
            .args(["--end-of-options".to_owned(), source.fetch_url()])
            .args(refspecs)
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

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

/// Returns when the fetch that last succeeded began.
fn last_update(mirror: &Path) -> Option<u128> {
    fs::read_to_string(mirror.join(UPDATED)).ok()?.parse().ok()
}

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
