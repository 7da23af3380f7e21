//! Checks submodules out into a base.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::super::files::{FileError, write_atomic};
use super::super::base::{BaseSpec, Checkout, quoted};
use super::super::mirror::mirror_path;
use super::super::source::is_full_id;
use super::super::{Git, GitError, Sibling, Source};
use super::{Submodule, refused};

/// A checkout in a base whose submodules are wanted; paths are relative to the base.
struct Above {
    source: Source,
    mirror: PathBuf,
    commit: String,
    path: PathBuf,
    git_dir: PathBuf,
}

impl Git {
    /// Checks the submodules of a base out, and theirs, so that it is as after
    /// `git submodule update --init --recursive`; returns how many files are pointers of Git LFS.
    /// The mirrors have the commits.
    pub(in super::super) async fn add_submodules(
        &self,
        spec: &BaseSpec<'_>,
        root: &Path,
    ) -> Result<usize, GitError> {
        let mut pointers = 0;
        let mut left = vec![Above {
            source: spec.source.clone(),
            mirror: mirror_path(spec.mirrors, spec.source),
            commit: spec.commit.to_owned(),
            path: PathBuf::new(),
            git_dir: PathBuf::from(".git"),
        }];
        while let Some(above) = left.pop() {
            let submodules = self.submodules(&above.source, &above.mirror, &above.commit).await?;
            register(&root.join(&above.git_dir).join("config"), &submodules)?;
            for submodule in submodules {
                let made = self.add_submodule(spec, root, &above, &submodule).await;
                let (made, lacking) = made.map_err(|error| submodule.told(error))?;
                pointers += lacking;
                left.push(made);
            }
        }
        Ok(pointers)
    }

    async fn add_submodule(
        &self,
        spec: &BaseSpec<'_>,
        root: &Path,
        above: &Above,
        submodule: &Submodule,
    ) -> Result<(Above, usize), GitError> {
        let made = Above {
            mirror: mirror_path(spec.mirrors, &submodule.source),
            source: submodule.source.clone(),
            commit: submodule.commit.clone(),
            path: above.path.join(&submodule.path),
            git_dir: submodule.git_dir(&above.git_dir),
        };
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
        let config = config(&made);
        let checkout = Checkout {
            mirror: &made.mirror,
            commit: &made.commit,
            dir: &dir,
            git_dir: &git_dir,
            sibling: sibling.as_ref(),
            submodule: Some((&link, &config)),
        };
        let pointers = self.check_out_repository(&checkout).await?;
        Ok((made, pointers))
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
fn config(made: &Above) -> Vec<u8> {
    let mut text = b"[core]\n\tworktree = ".to_vec();
    text.extend(quoted(upward(&made.git_dir).join(&made.path).as_os_str().as_bytes()));
    text.extend_from_slice(b"\n[remote \"origin\"]\n\turl = ");
    text.extend(quoted(made.source.public().as_bytes()));
    text.push(b'\n');
    text
}

/// Returns the way from a relative path up to where it begins.
fn upward(path: &Path) -> PathBuf {
    path.components().map(|_| "..").collect()
}

/// Writes into a configuration what `git submodule init` does.
fn register(config: &Path, submodules: &[Submodule]) -> Result<(), FileError> {
    if submodules.is_empty() {
        return Ok(());
    }
    let mut text = fs::read(config).map_err(FileError::io("read", config))?;
    for Submodule { name, source, .. } in submodules {
        text.extend_from_slice(b"[submodule ");
        text.extend(quoted(name.as_bytes()));
        text.extend_from_slice(b"]\n\tactive = true\n\turl = ");
        text.extend(quoted(source.public().as_bytes()));
        text.push(b'\n');
    }
    write_atomic(config, &text, 0o644)
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
fn is_directory(root: &Path, path: &Path) -> bool {
    let mut dir = root.to_owned();
    path.iter().all(|part| {
        dir.push(part);
        fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir())
    })
}
