//! Checks submodules out into a base.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::super::files::{FileError, write_atomic};
use super::super::base::{BaseSpec, Checkout, quoted};
use super::super::mirror::mirror_path;
use super::super::source::is_full_id;
use super::super::{Git, GitError, Sibling, Source};
use super::refused;
use crate::model::SubmoduleSpec;

/// A checkout in a base; paths are relative to the base.
struct Made {
    path: PathBuf,
    git_dir: PathBuf,
}

impl Git {
    /// Checks the submodules of a base out, so that it is as after
    /// `git submodule update --init --recursive`; returns how many files are pointers of Git LFS.
    /// The mirrors have the commits.
    pub(in super::super) async fn add_submodules(
        &self,
        spec: &BaseSpec<'_>,
        root: &Path,
    ) -> Result<usize, GitError> {
        let mut pointers = 0;
        let mut made = vec![Made { path: PathBuf::new(), git_dir: PathBuf::from(".git") }];
        let mut registered: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
        for submodule in spec.submodules {
            let path = PathBuf::from(&submodule.path);
            let around = made.iter().filter(|made| path.starts_with(&made.path));
            let Some(above) = around.max_by_key(|made| made.path.iter().count()) else { continue };
            let config = registered.entry(above.git_dir.join("config")).or_default();
            config.extend(registration(submodule));
            if !submodule.is_checked_out() {
                continue;
            }
            let one = Made { git_dir: above.git_dir.join("modules").join(&submodule.name), path };
            let added = self.add_submodule(spec, root, submodule, &one).await;
            pointers += added.map_err(|error| {
                let path = submodule.path.clone();
                GitError::Submodule { path, error: Box::new(error) }
            })?;
            made.push(one);
        }
        for (config, text) in registered {
            let config = root.join(config);
            let before = fs::read(&config).map_err(FileError::io("read", &config))?;
            write_atomic(&config, &[before, text].concat(), 0o644)?;
        }
        Ok(pointers)
    }

    async fn add_submodule(
        &self,
        spec: &BaseSpec<'_>,
        root: &Path,
        submodule: &SubmoduleSpec,
        made: &Made,
    ) -> Result<usize, GitError> {
        let (dir, git_dir) = (root.join(&made.path), root.join(&made.git_dir));
        make_directory(root, &made.path).map_err(FileError::io("make the directory", &dir))?;
        if fs::read_dir(&dir).map_err(FileError::io("read", &dir))?.next().is_some() {
            return Err(refused(&submodule.name, "there are files in its place"));
        }
        let modules = git_dir.parent().unwrap_or(root);
        fs::create_dir_all(modules).map_err(FileError::io("make the directory", modules))?;
        let link = link(&made.path, &made.git_dir);
        let sibling = spec.sibling.and_then(|sibling| {
            let (dir, git_dir) = (sibling.dir.join(&made.path), sibling.dir.join(&made.git_dir));
            let is_same = is_directory(&sibling.dir, &made.path)
                && fs::read(dir.join(".git")).is_ok_and(|found| found == link);
            let head = is_same.then(|| fs::read_to_string(git_dir.join("HEAD")).ok()).flatten()?;
            let commit = head.trim_end().to_owned();
            is_full_id(&commit).then_some(Sibling { dir, git_dir, commit })
        });
        let config = config(made, &submodule.url);
        let checkout = Checkout {
            mirror: &mirror_path(spec.mirrors, &Source::parse(&submodule.source)?),
            commit: &submodule.commit,
            dir: &dir,
            git_dir: &git_dir,
            sibling: sibling.as_ref(),
            submodule: Some((&link, &config)),
        };
        self.check_out_repository(&checkout).await
    }
}

/// Returns the file `.git` of a submodule.
fn link(path: &Path, git_dir: &Path) -> Vec<u8> {
    let mut text = b"gitdir: ".to_vec();
    text.extend_from_slice(upward(path).join(git_dir).as_os_str().as_bytes());
    text.push(b'\n');
    text
}

/// Returns what the configuration of a submodule has beside that of every base.
fn config(made: &Made, url: &str) -> Vec<u8> {
    let mut text = b"[core]\n\tworktree = ".to_vec();
    text.extend(quoted(upward(&made.git_dir).join(&made.path).as_os_str().as_bytes()));
    text.extend_from_slice(b"\n[remote \"origin\"]\n\turl = ");
    text.extend(quoted(url.as_bytes()));
    text.push(b'\n');
    text
}

/// Returns the way from a relative path up to where it begins.
fn upward(path: &Path) -> PathBuf {
    path.components().map(|_| "..").collect()
}

/// Returns what `git submodule init` writes into the configuration. One that is left out is known, so
/// that a later `git submodule update --init` gets it from the right place.
fn registration(submodule: &SubmoduleSpec) -> Vec<u8> {
    let mut text = b"[submodule ".to_vec();
    text.extend(quoted(submodule.name.as_bytes()));
    let active = if submodule.is_checked_out() { "true" } else { "false" };
    text.extend(format!("]\n\tactive = {active}\n").into_bytes());
    let values = [("url", Some(&submodule.url)), ("update", submodule.update.as_ref())];
    for (key, value) in values {
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        text.extend(format!("\t{key} = ").into_bytes());
        text.extend(quoted(value.as_bytes()));
        text.push(b'\n');
    }
    text
}

/// Makes a directory below another one, and follows no link.
fn make_directory(root: &Path, path: &Path) -> io::Result<()> {
    let mut dir = root.to_owned();
    for part in path {
        dir.push(part);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(&dir)?.is_dir() {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
            }
            made => made?,
        }
    }
    Ok(())
}

/// Whether a path leads to a directory without any link.
pub(super) fn is_directory(root: &Path, path: &Path) -> bool {
    let mut dir = root.to_owned();
    path.iter().all(|part| {
        dir.push(part);
        fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir())
    })
}
