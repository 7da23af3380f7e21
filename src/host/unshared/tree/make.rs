//! Makes a tree of one or two others.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, mkdirat, mknodat, openat, readlinkat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::TreeError;
use super::file::{Copier, Failed};
use super::find::{Found, list, name_of, open_directory, open_file, unless_gone};
use super::links::Links;
use super::metadata::{Attributes, apply, apply_by_name, is_opaque};
use super::place::{Layer, Place, Trees};
use super::queue::{self, Queue};

/// How deep a tree may be: each directory on the way is open, and other programs do not cope with
/// paths longer than `PATH_MAX` either.
const DEEPEST: usize = 1000;

/// How many files are a task for one thread.
const BATCH: usize = 64;

/// What was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// How many names of anything but directories.
    pub files: u64,
    /// How long the regular files are; one with several names counts once.
    pub bytes: u64,
    /// How much of that takes no room of its own.
    pub shared_bytes: u64,
}

/// Which directories of a tree are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Only {
    /// Those that are called so, wherever they are,
    pub names: Vec<String>,
    /// unless this tree has something of the same path. What it has is never changed.
    pub not_in: PathBuf,
}

impl Only {
    fn selects(&self, path: &Path) -> bool {
        let is_called_so = |name: &OsStr| self.names.iter().any(|wanted| name == wanted.as_str());
        path.file_name().is_some_and(is_called_so)
            && self.not_in.join(path).symlink_metadata().is_err()
    }
}

/// Copies a tree, an overlay's marks too.
pub(in super::super) fn copy(
    from: &Path,
    to: &Path,
    excludes: &[PathBuf],
) -> Result<Copied, TreeError> {
    make(Trees { upper: from, lower: None, to }, Attributes::All, excludes, None)
}

/// Makes what an overlay of `upper` on `lower` shows (overlayfs.rst, "upper and lower"), or only some
/// directories in it, with those above them.
pub(in super::super) fn merge(
    lower: Option<&Path>,
    upper: &Path,
    to: &Path,
    upper_excludes: &[PathBuf],
    only: Option<&Only>,
) -> Result<Copied, TreeError> {
    make(Trees { upper, lower, to }, Attributes::NotOfOverlay, upper_excludes, only)
}

fn make(
    trees: Trees<'_>,
    attributes: Attributes,
    excludes: &[PathBuf],
    only: Option<&Only>,
) -> Result<Copied, TreeError> {
    let top = Place::top(trees, only.is_none())?;
    let made = top.to.try_clone().map_err(|source| TreeError {
        doing: "open".into(),
        path: trees.to.to_owned(),
        source,
    })?;
    let making = Making {
        trees,
        excludes: excludes.iter().map(|path| plain(path)).collect(),
        only,
        attributes,
        made,
        links: Links::default(),
        copier: Copier::default(),
        files: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        shared_bytes: AtomicU64::new(0),
    };
    queue::work(vec![Task::Enter(Arc::new(top))], |task, queue, buffer| {
        making.perform(task, queue, buffer)
    })?;
    Ok(Copied {
        files: making.files.into_inner(),
        bytes: making.bytes.into_inner(),
        shared_bytes: making.shared_bytes.into_inner(),
    })
}

/// A tree that is being made of the upper one and, where there is one, the lower one.
struct Making<'a> {
    trees: Trees<'a>,
    excludes: HashSet<PathBuf>,
    /// Which directories are wanted; all is where this is not given.
    only: Option<&'a Only>,
    attributes: Attributes,
    /// The top of what is made. Nobody else writes there: the paths of `links` stay what they are.
    made: OwnedFd,
    links: Links,
    copier: Copier,
    files: AtomicU64,
    bytes: AtomicU64,
    shared_bytes: AtomicU64,
}

enum Task {
    /// Make what is in a directory.
    Enter(Arc<Place>),
    /// Make a directory, and what is in it.
    Directory { parent: Arc<Place>, name: CString, layer: Layer },
    /// Make what is no directory.
    Files { place: Arc<Place>, names: Vec<CString>, layer: Layer },
}

impl Making<'_> {
    fn perform(&self, task: Task, queue: &Queue<Task>, buffer: &mut [u8]) -> Result<(), TreeError> {
        let place = match task {
            Task::Enter(place) => {
                queue.add(self.tasks_in(&place)?);
                place
            }
            Task::Directory { parent, name, layer } => {
                match self.directory(&parent, &name, layer)? {
                    Some(place) => {
                        // Then this is not the last that keeps it.
                        drop(parent);
                        queue.add(self.tasks_in(&place)?);
                        place
                    }
                    None => parent,
                }
            }
            Task::Files { place, names, layer } => {
                for name in names {
                    self.file(&place, &name, layer, buffer)?;
                }
                place
            }
        };
        self.leave(place, buffer)
    }

    /// Finishes a directory, and those that it is in, unless something is still made there.
    fn leave(&self, place: Arc<Place>, buffer: &mut [u8]) -> Result<(), TreeError> {
        let mut left = Some(place);
        while let Some(place) = left.and_then(Arc::into_inner) {
            if self.is_superfluous(&place)? {
                left = place.parent;
                continue;
            }
            place
                .finish(self.attributes, buffer)
                .map_err(self.trees.failed_to("finish", &place, c""))?;
            left = place.parent;
        }
        Ok(())
    }

    /// Removes a directory again in which nothing was found that is wanted.
    fn is_superfluous(&self, place: &Place) -> Result<bool, TreeError> {
        let (Some(parent), Some(name)) = (&place.parent, place.path.file_name()) else {
            return Ok(false);
        };
        if place.is_wanted {
            return Ok(false);
        }
        match unlinkat(&parent.to, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(errno) => Err(self.trees.failed_to("remove", place, c"")(errno)),
        }
    }

    /// Lists what is to be made in a directory.
    fn tasks_in(&self, place: &Arc<Place>) -> Result<Vec<Task>, TreeError> {
        let mut tasks = Vec::new();
        let mut hidden = HashSet::new();
        if let Some(upper) = &place.upper {
            let mut names =
                list(upper).map_err(self.trees.failed("read", Layer::Upper, place, c""))?;
            names.retain(|(name, _)| {
                self.excludes.is_empty() || !self.excludes.contains(&place.path.join(name_of(name)))
            });
            if place.lower.is_some() {
                hidden.extend(names.iter().map(|(name, _)| name.clone()));
            }
            names.retain(|(_, is_directory)| place.is_wanted || *is_directory);
            split(place, names, Layer::Upper, &mut tasks);
        }
        if let Some(lower) = &place.lower {
            let mut names =
                list(lower).map_err(self.trees.failed("read", Layer::Lower, place, c""))?;
            names.retain(|(name, is_directory)| {
                !hidden.contains(name) && (place.is_wanted || *is_directory)
            });
            split(place, names, Layer::Lower, &mut tasks);
        }
        Ok(tasks)
    }

    /// Makes a directory, unless it has vanished.
    fn directory(
        &self,
        parent: &Arc<Place>,
        name: &CStr,
        layer: Layer,
    ) -> Result<Option<Arc<Place>>, TreeError> {
        let failed = |doing| self.trees.failed(doing, layer, parent, name);
        if parent.depth == DEEPEST {
            return Err(failed("enter")(Errno::NAMETOOLONG));
        }
        let open = |layer| {
            parent.layer(layer).and_then(|within| unless_gone(open_directory(within, name)))
        };
        let Some(directory) = open(layer).map_err(failed("open"))? else { return Ok(None) };
        let found = Found::of(&directory).map_err(failed("look at"))?;
        let (upper, lower) = match layer {
            Layer::Lower => (None, Some(directory)),
            Layer::Upper => {
                let merged = parent.lower.is_some()
                    && !is_opaque(&directory).map_err(failed("read the attributes of"))?;
                let lower = if merged { open(Layer::Lower) } else { Ok(None) };
                let failed = self.trees.failed("open", Layer::Lower, parent, name);
                (Some(directory), lower.map_err(failed)?)
            }
        };
        let failed = |doing| self.trees.failed_to(doing, parent, name);
        mkdirat(&parent.to, name, Mode::RWXU).map_err(failed("make"))?;
        let to = open_directory(&parent.to, name).map_err(failed("open"))?;
        let path = parent.path.join(name_of(name));
        Ok(Some(Arc::new(Place {
            depth: parent.depth + 1,
            parent: Some(Arc::clone(parent)),
            upper,
            lower,
            to,
            is_wanted: parent.is_wanted || self.only.is_some_and(|only| only.selects(&path)),
            path,
            found,
        })))
    }

    /// Makes what is no directory, unless it has vanished, or become one.
    fn file(
        &self,
        place: &Place,
        name: &CStr,
        layer: Layer,
        buffer: &mut [u8],
    ) -> Result<(), TreeError> {
        let found = place
            .layer(layer)
            .and_then(|within| unless_gone(Found::named(within, name)))
            .map_err(self.trees.failed("look at", layer, place, name))?;
        let Some(found) = found else { return Ok(()) };
        if self.attributes == Attributes::NotOfOverlay && found.is_whiteout() {
            return Ok(());
        }
        match found.kind {
            FileType::Directory | FileType::Socket | FileType::Unknown => Ok(()),
            _ if layer == Layer::Lower && self.link(&found, place, name)? => Ok(()),
            FileType::RegularFile => self.regular(place, name, layer, buffer),
            kind => self.once(&found, place, name, || {
                let made = match kind {
                    FileType::Symlink => self.symlink(place, name, layer)?,
                    _ => mknodat(&place.to, name, kind, found.mode, found.represents)
                        .map(|()| true)
                        .map_err(self.trees.failed_to("make", place, name))?,
                };
                if made {
                    apply_by_name(&found, &place.to, name)
                        .map_err(self.trees.failed_to("finish", place, name))?;
                }
                Ok(made)
            }),
        }
    }

    /// Gives a file of the lower tree another name, unless that cannot be.
    fn link(&self, found: &Found, place: &Place, name: &CStr) -> Result<bool, TreeError> {
        let linked = place
            .layer(Layer::Lower)
            .and_then(|lower| linkat(lower, name, &place.to, name, AtFlags::empty()));
        match linked {
            Ok(()) => {}
            // Another file system, one name too many, or one without such names.
            Err(Errno::XDEV | Errno::MLINK | Errno::PERM) => return Ok(false),
            Err(errno) => return Err(self.trees.failed_to("link", place, name)(errno)),
        }
        if found.kind == FileType::RegularFile {
            let first = self.links.first(found.identity);
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            if first.is_none() {
                *first = Some(place.path.join(name_of(name)));
                self.bytes.fetch_add(found.size, Ordering::Relaxed);
                self.shared_bytes.fetch_add(found.size, Ordering::Relaxed);
            }
        }
        self.files.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Makes a file by its first name, and then gives it the others.
    fn once(
        &self,
        found: &Found,
        place: &Place,
        name: &CStr,
        make: impl FnOnce() -> Result<bool, TreeError>,
    ) -> Result<(), TreeError> {
        let made = if found.names == 1 {
            make()?
        } else {
            let first = self.links.first(found.identity);
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            match &*first {
                Some(path) => linkat(&self.made, path, &place.to, name, AtFlags::empty())
                    .map(|()| true)
                    .map_err(self.trees.failed_to("link", place, name))?,
                None => {
                    let made = make()?;
                    *first = made.then(|| place.path.join(name_of(name)));
                    made
                }
            }
        };
        self.files.fetch_add(made.into(), Ordering::Relaxed);
        Ok(())
    }

    fn regular(
        &self,
        place: &Place,
        name: &CStr,
        layer: Layer,
        buffer: &mut [u8],
    ) -> Result<(), TreeError> {
        let failed = |doing| self.trees.failed(doing, layer, place, name);
        let failed_to = |doing| self.trees.failed_to(doing, place, name);
        let opened = place.layer(layer).and_then(|within| unless_gone(open_file(within, name)));
        let Some(from) = opened.map_err(failed("open"))? else { return Ok(()) };
        // What is open stays what it is, whatever becomes of the name.
        let found = Found::of(&from).map_err(failed("look at"))?;
        if found.kind != FileType::RegularFile {
            return Ok(());
        }
        self.once(&found, place, name, || {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let to = openat(&place.to, name, flags, Mode::RUSR | Mode::WUSR)
                .map_err(failed_to("make"))?;
            let shared =
                self.copier.copy(&found, &from, &to, buffer).map_err(|error| match error {
                    Failed::Read(errno) => failed("read")(errno),
                    Failed::Write(errno) => failed_to("write")(errno),
                })?;
            apply(&found, from.as_fd(), to.as_fd(), self.attributes, buffer)
                .map_err(failed_to("finish"))?;
            self.bytes.fetch_add(found.size, Ordering::Relaxed);
            if shared {
                self.shared_bytes.fetch_add(found.size, Ordering::Relaxed);
            }
            Ok(true)
        })
    }

    /// Makes a symbolic link, unless it has become something else.
    fn symlink(&self, place: &Place, name: &CStr, layer: Layer) -> Result<bool, TreeError> {
        let read = place.layer(layer).and_then(|within| readlinkat(within, name, Vec::new()));
        let target = match unless_gone(read) {
            Ok(Some(target)) => target,
            Ok(None) | Err(Errno::INVAL) => return Ok(false),
            Err(errno) => return Err(self.trees.failed("read", layer, place, name)(errno)),
        };
        symlinkat(target, &place.to, name).map_err(self.trees.failed_to("make", place, name))?;
        Ok(true)
    }
}

/// Returns a relative path as a directory's names make it up.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// Sorts names into tasks.
fn split(place: &Arc<Place>, names: Vec<(CString, bool)>, layer: Layer, tasks: &mut Vec<Task>) {
    let (directories, files): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|(_, is_directory)| *is_directory);
    let mut files = files.into_iter().map(|(name, _)| name).peekable();
    while files.peek().is_some() {
        let names = files.by_ref().take(BATCH).collect();
        tasks.push(Task::Files { place: Arc::clone(place), names, layer });
    }
    for (name, _) in directories {
        tasks.push(Task::Directory { parent: Arc::clone(place), name, layer });
    }
}
