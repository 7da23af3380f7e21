//! The files that settings are read from.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::SettingsError;
use crate::model::PolicyName;
use crate::policy::network::{FileKind, NetworkFile};
use crate::policy::yaml::{self, Flaw};

/// What the network policies are in, and those files that are known by their names.
const NETWORKS: &str = "network";
const GROUPS: &str = "network-groups.yaml";
const NAMES: [&str; 6] = [
    "settings.yaml",
    "images.yaml",
    "coordination.yaml",
    "retention.yaml",
    "resource-policies.yaml",
    GROUPS,
];

/// Which files of settings there are in directories, and what tells each from another one of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<(PathBuf, Stamp)>);

/// Device, inode, size, and the times of the last change of content and of anything: a file that has all of
/// these in common with another one has its content, too.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Fingerprint {
    /// Looks at the files; none of them is read.
    pub fn of(config_dirs: &[PathBuf]) -> Self {
        let stamped = |path: PathBuf| {
            let found = std::fs::metadata(&path).ok()?;
            let (content, any) =
                ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
            Some((path, (found.dev(), found.ino(), found.size(), content, any)))
        };
        Self(files_in(config_dirs).into_iter().filter_map(stamped).collect())
    }

    /// Returns the files and directories whose changes may change the settings.
    pub fn watched(config_dirs: &[PathBuf]) -> Vec<PathBuf> {
        let mut watched = files_in(config_dirs);
        for directory in config_dirs {
            watched.extend([directory.clone(), directory.join(NETWORKS)]);
        }
        watched
    }
}

/// Returns the places of all files of settings, whether they are there or not, and of the policies that are.
fn files_in(config_dirs: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for directory in config_dirs {
        files.extend(NAMES.map(|name| directory.join(name)));
        // A directory that cannot be read is told when the files are.
        files.extend(policies_in(&directory.join(NETWORKS)).unwrap_or_default());
    }
    files
}

/// Directories of settings, and files to be laid over them; later ones over earlier ones.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) config_dirs: &'a [PathBuf],
    pub(super) files: &'a [PathBuf],
}

impl Sources<'_> {
    /// Refuses files that are not there: only in the directories any may be missing.
    pub(super) fn check(self) -> Result<(), SettingsError> {
        self.files.iter().try_for_each(|path| match std::fs::metadata(path) {
            Ok(_) => Ok(()),
            Err(source) => Err(SettingsError::Read { path: path.clone(), source }),
        })
    }

    /// Reads the files of a name over what is built in.
    pub(super) fn layered<T: DeserializeOwned>(
        self,
        name: &str,
        built_in: T,
        merge: impl Fn(T, T) -> T,
    ) -> Result<T, SettingsError> {
        let mut layered = built_in;
        for path in self.paths(name) {
            let Some(text) = read(&path)? else { continue };
            // What is empty says nothing.
            let over: Option<T> = yaml::parse(&text).map_err(|flaw| invalid(&path, flaw))?;
            if let Some(over) = over {
                layered = merge(layered, over);
            }
        }
        Ok(layered)
    }

    /// Reads the files of network policies and groups, those that are built in before them.
    pub(super) fn networks(self) -> Result<Vec<NetworkFile>, SettingsError> {
        let mut files = NetworkFile::built_in();
        let mut add = |path: PathBuf, kind: FileKind| {
            let text = read(&path)?;
            files.extend(text.map(|text| NetworkFile { path, kind, text }));
            Ok::<(), SettingsError>(())
        };
        for path in self.paths(GROUPS) {
            add(path, FileKind::Groups)?;
        }
        for dir in self.config_dirs {
            for path in policies_in(&dir.join(NETWORKS))? {
                let kind = FileKind::Policy(policy_name(&path)?);
                add(path, kind)?;
            }
        }
        for path in self.files.iter().filter(|path| known_name(path).is_none()) {
            add(path.clone(), FileKind::Policy(policy_name(path)?))?;
        }
        Ok(files)
    }

    fn paths(self, name: &str) -> impl Iterator<Item = PathBuf> {
        let in_dirs = self.config_dirs.iter().map(move |dir| dir.join(name));
        in_dirs.chain(self.files.iter().filter(move |path| known_name(path) == Some(name)).cloned())
    }
}

/// Returns the name by which a file is known; none for a network policy.
fn known_name(path: &Path) -> Option<&'static str> {
    let is_policy = path.parent().is_some_and(|directory| directory.ends_with(NETWORKS));
    NAMES.into_iter().find(|name| !is_policy && path.file_name().is_some_and(|file| file == *name))
}

/// Returns the network policies of a directory, in order.
fn policies_in(directory: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    let listed = match std::fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let mut paths =
        listed.map_err(|source| SettingsError::Read { path: directory.to_owned(), source })?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort_unstable();
    Ok(paths)
}

/// Returns the name of the policy that a file has.
fn policy_name(path: &Path) -> Result<PolicyName, SettingsError> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.parse().map_err(|reason| invalid(path, Flaw { line: 1, column: 1, reason }))
}

/// Reads a file, if there is one.
fn read(path: &Path) -> Result<Option<String>, SettingsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SettingsError::Read { path: path.to_owned(), source }),
    }
}

fn invalid(path: &Path, flaw: Flaw) -> SettingsError {
    let Flaw { line, column, reason } = flaw;
    SettingsError::Invalid { path: path.to_owned(), line, column, reason }
}
