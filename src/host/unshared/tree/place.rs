//! A directory that is being made, and the one or two that it is made of.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::TreeError;
use super::find::{Found, name_of, open_top};
use super::metadata::{Attributes, apply};

/// Where something is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Upper,
    Lower,
}

/// The trees, by their paths, which errors need.
#[derive(Clone, Copy)]
pub(super) struct Trees<'a> {
    pub(super) upper: &'a Path,
    pub(super) lower: Option<&'a Path>,
    pub(super) to: &'a Path,
}

/// A directory that is being made. Whoever makes something in it keeps it, and so do the directories
/// in it: when nobody does any more, it is finished.
pub(super) struct Place {
    pub(super) parent: Option<Arc<Place>>,
    /// In relation to the top.
    pub(super) path: PathBuf,
    pub(super) depth: usize,
    pub(super) upper: Option<OwnedFd>,
    pub(super) lower: Option<OwnedFd>,
    pub(super) to: OwnedFd,
    /// Whether what is in it is wanted, whatever it is called.
    pub(super) is_wanted: bool,
    /// What the upper of the two is like.
    pub(super) found: Found,
}

impl Place {
    /// Opens the top of the trees.
    pub(super) fn top(trees: Trees<'_>, is_wanted: bool) -> Result<Self, TreeError> {
        let open = |path: &Path| open_top(path).map_err(TreeError::at("open", path));
        let upper = open(trees.upper)?;
        let found = Found::of(&upper).map_err(TreeError::at("look at", trees.upper))?;
        Ok(Self {
            parent: None,
            path: PathBuf::new(),
            depth: 0,
            upper: Some(upper),
            lower: trees.lower.map(open).transpose()?,
            to: open(trees.to)?,
            is_wanted,
            found,
        })
    }

    /// Returns the directory of a layer, which the place has.
    pub(super) fn layer(&self, layer: Layer) -> Result<&OwnedFd, Errno> {
        let directory = match layer {
            Layer::Upper => &self.upper,
            Layer::Lower => &self.lower,
        };
        directory.as_ref().ok_or(Errno::BADF)
    }

    /// Makes the directory itself like the one that it is made of.
    pub(super) fn finish(&self, attributes: Attributes, buffer: &mut [u8]) -> Result<(), Errno> {
        let from = self.upper.as_ref().or(self.lower.as_ref()).ok_or(Errno::BADF)?;
        apply(&self.found, from.as_fd(), self.to.as_fd(), attributes, buffer)
    }
}

impl Trees<'_> {
    /// Returns an error about something in a layer.
    pub(super) fn failed(
        &self,
        doing: &'static str,
        layer: Layer,
        place: &Place,
        name: &CStr,
    ) -> impl FnOnce(Errno) -> TreeError {
        let tree = match layer {
            Layer::Upper => self.upper,
            Layer::Lower => self.lower.unwrap_or(self.upper),
        };
        let path = join(tree, place, name);
        move |errno| TreeError::new(doing, path, errno)
    }

    /// Returns an error about something that is made.
    pub(super) fn failed_to(
        &self,
        doing: &'static str,
        place: &Place,
        name: &CStr,
    ) -> impl FnOnce(Errno) -> TreeError {
        let path = join(self.to, place, name);
        move |errno| TreeError::new(doing, path, errno)
    }
}

fn join(tree: &Path, place: &Place, name: &CStr) -> PathBuf {
    // Without a slash at the end, where there is no name.
    [tree, &place.path, name_of(name).as_ref()].iter().flat_map(|part| part.components()).collect()
}
