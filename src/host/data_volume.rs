//! Data volumes: directories in Podman's layout of volumes that are not in Podman's database.
//!
//! `podman volume prune` and `podman system prune --volumes` remove each volume that no container names,
//! also one whose files are the layer of a mounted overlay. What cannot be made anew is therefore no
//! volume of Podman's: it lies where the user wants volumes to be (`volume_path`, containers.conf(5)),
//! and no housekeeping command but `podman system reset` knows of it.
//!
//! ```text
//! <volume path>/<name>/taskspace.json   labels and time of creation: with it, the volume exists
//! <volume path>/<name>/_data            the files
//! ```

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::{FileError, remove_leftovers, sync_dir, write_atomic};

/// The file that makes a directory a data volume.
const OWNER: &str = "taskspace.json";

/// The directory of a volume's files.
const FILES: &str = "_data";

/// What the name of a volume begins with that is being taken over from Podman; none of Podman's does.
const ADOPTION: &str = ".adopting-";

/// The mode of a volume's files, as that of a new volume of Podman's.
const MODE: u32 = 0o755;

/// The data volumes below one volume path.
#[derive(Clone, Debug)]
pub struct DataVolumes {
    root: PathBuf,
}

/// A data volume's owner, as its file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

impl DataVolumes {
    /// Returns those below Podman's volume path; nothing is read yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Returns the directory of a volume's files.
    pub fn files(&self, name: &str) -> PathBuf {
        self.root.join(name).join(FILES)
    }

    /// Returns the owner of a data volume, if there is one of this name.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Owner>, FileError> {
        read_owner(&self.root.join(name))
    }

    /// Returns all of them, by name.
    ///
    /// # Errors
    /// When the volume path cannot be listed. A volume of somebody else's that cannot be read is left out.
    pub fn list(&self) -> Result<Vec<(String, Owner)>, FileError> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(FileError::io("list", &self.root))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(FileError::io("list", &self.root))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            match read_owner(&entry.path()) {
                Ok(Some(owner)) => found.push((name, owner)),
                Ok(None) => {}
                Err(error) => tracing::debug!("{error}"),
            }
        }
        Ok(found)
    }

    /// Makes a data volume; its files, if some are there, stay.
    ///
    /// # Errors
    /// When the disk is full, or something of that name is in the way.
    pub fn create(&self, name: &str, labels: BTreeMap<String, String>) -> Result<(), FileError> {
        let volume = self.root.join(name);
        make_directory(&volume)?;
        write_owner(&volume, &Owner { labels, created: Timestamp::now() })?;
        let files = volume.join(FILES);
        // An empty one that a volume of Podman has left may be of another owner.
        if let Err(error) = fs::remove_dir(&files) {
            tracing::debug!(files = %files.display(), "not made anew: {error}");
        }
        make_directory(&files)?;
        fs::set_permissions(&files, Permissions::from_mode(MODE))
            .map_err(FileError::io("open up", &files))
    }

    /// Removes a data volume whose files are gone, or what is left of its directories.
    ///
    /// # Errors
    /// When files are left in it, or the system refuses.
    pub fn remove(&self, name: &str) -> Result<(), FileError> {
        let (volume, files) = (self.root.join(name), self.files(name));
        if fs::read_dir(&files).is_ok_and(|mut left| left.next().is_some()) {
            return Err(FileError::io("remove", &files)(ErrorKind::DirectoryNotEmpty.into()));
        }
        remove_if_there(|it| fs::remove_file(it), &volume.join(OWNER))?;
        // A creation that was killed may have left an unfinished file of labels.
        remove_leftovers(&volume)?;
        remove_if_there(|it| fs::remove_dir(it), &files)?;
        remove_if_there(|it| fs::remove_dir(it), &volume)
    }

    /// Takes the files of one of Podman's volumes out of its directory, which Podman can then remove.
    /// It can be done again.
    ///
    /// # Errors
    /// When the system refuses; the files are then in either place.
    pub fn begin_adoption(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<(), FileError> {
        let aside = self.aside(name);
        make_directory(&aside)?;
        write_owner(&aside, &Owner { labels, created: Timestamp::now() })?;
        let (from, to) = (self.files(name), aside.join(FILES));
        if !to.exists()
            && let Err(error) = fs::rename(&from, &to)
        {
            // Somebody may have removed the volume meanwhile.
            Self::abandon(&aside)?;
            return Err(FileError::io("move", &from)(error));
        }
        sync_dir(&self.root)
    }

    /// Gives the files their place again, as a data volume: Podman has forgotten the volume.
    ///
    /// # Errors
    /// When the system refuses, or Podman's directory is not empty.
    pub fn end_adoption(&self, name: &str) -> Result<(), FileError> {
        let (aside, volume) = (self.aside(name), self.root.join(name));
        if !aside.join(FILES).exists() {
            // It was interrupted before it had the files, and the volume is gone.
            return Self::abandon(&aside);
        }
        remove_if_there(|it| fs::remove_dir(it), &self.files(name))?;
        remove_if_there(|it| fs::remove_dir(it), &volume)?;
        fs::rename(&aside, &volume).map_err(FileError::io("move", &aside))?;
        sync_dir(&self.root)
    }

    /// Gives the files back to Podman, which has not forgotten the volume.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn cancel_adoption(&self, name: &str) -> Result<(), FileError> {
        let (aside, to) = (self.aside(name), self.files(name));
        let from = aside.join(FILES);
        fs::rename(&from, &to).map_err(FileError::io("move", &from))?;
        remove_if_there(|it| fs::remove_file(it), &aside.join(OWNER))?;
        remove_if_there(|it| fs::remove_dir(it), &aside)
    }

    /// Returns the volumes whose adoption broke off, with their owners.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn unfinished_adoptions(&self) -> Result<Vec<(String, Owner)>, FileError> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(FileError::io("list", &self.root))?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let names = names.filter_map(|name| name.strip_prefix(ADOPTION).map(str::to_owned));
        let owned = |name: String| {
            let owner = read_owner(&self.aside(&name)).transpose()?;
            Some(owner.map(|owner| (name, owner)))
        };
        names.filter_map(owned).collect()
    }

    /// Removes the directory of an adoption that has no files.
    fn abandon(aside: &Path) -> Result<(), FileError> {
        remove_leftovers(aside)?;
        remove_if_there(|it| fs::remove_file(it), &aside.join(OWNER))?;
        remove_if_there(|it| fs::remove_dir(it), aside)
    }

    fn aside(&self, name: &str) -> PathBuf {
        self.root.join(format!("{ADOPTION}{name}"))
    }
}

fn make_directory(path: &Path) -> Result<(), FileError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && !path.is_dir() => {
            Err(FileError::NotADirectory { path: path.to_owned() })
        }
        made => made.map_err(FileError::io("make", path)),
    }
}

fn write_owner(volume: &Path, owner: &Owner) -> Result<(), FileError> {
    let path = volume.join(OWNER);
    let text =
        serde_json::to_vec(owner).map_err(|error| FileError::io("write", &path)(error.into()))?;
    write_atomic(&path, &text, 0o600)
}

fn read_owner(volume: &Path) -> Result<Option<Owner>, FileError> {
    let path = volume.join(OWNER);
    let text = match fs::read(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        text => text.map_err(FileError::io("read", &path))?,
    };
    let owner = serde_json::from_slice(&text);
    owner.map(Some).map_err(|error| FileError::io("read", &path)(error.into()))
}

fn remove_if_there(
    remove: impl for<'a> FnOnce(&'a Path) -> io::Result<()>,
    path: &Path,
) -> Result<(), FileError> {
    match remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(FileError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> BTreeMap<String, String> {
        BTreeMap::from([("k".to_owned(), "v".to_owned())])
    }

    #[test]
    fn data_volume_exists_from_creation_to_removal() {
        let root = tempfile::tempdir().unwrap();
        let volumes = DataVolumes::new(root.path().join("volumes"));
        assert!(volumes.list().unwrap().is_empty() && volumes.find("a").unwrap().is_none());
        volumes.create("a", labels()).unwrap();
        assert_eq!(volumes.find("a").unwrap().unwrap().labels, labels());
        let mode = volumes.files("a").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, MODE);
        // Podman's own volumes, and files that somebody left there, are none.
        fs::create_dir_all(volumes.files("podman")).unwrap();
        fs::write(root.path().join("volumes/file"), "").unwrap();
        let names: Vec<_> = volumes.list().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a"]);
        fs::write(volumes.files("a").join("work"), "").unwrap();
        assert!(volumes.remove("a").is_err());
        assert!(volumes.find("a").unwrap().is_some());
        fs::remove_file(volumes.files("a").join("work")).unwrap();
        // As a service leaves it that is killed while it writes the labels.
        fs::write(root.path().join("volumes/a/.taskspace-unfinished"), "").unwrap();
        volumes.remove("a").unwrap();
        volumes.remove("a").unwrap();
        assert!(!root.path().join("volumes/a").exists());
    }

    #[test]
    fn interrupted_adoption_is_found_and_completed_or_cancelled() {
        let root = tempfile::tempdir().unwrap();
        let volumes = DataVolumes::new(root.path().to_owned());
        let work = volumes.files("v").join("work");
        fs::create_dir_all(volumes.files("v")).unwrap();
        fs::write(&work, "precious").unwrap();
        volumes.begin_adoption("v", labels()).unwrap();
        volumes.begin_adoption("v", labels()).unwrap();
        let unfinished = volumes.unfinished_adoptions().unwrap();
        assert_eq!((unfinished.len(), unfinished[0].0.as_str()), (1, "v"));
        assert!(volumes.list().unwrap().is_empty());
        volumes.cancel_adoption("v").unwrap();
        assert!(work.exists() && volumes.unfinished_adoptions().unwrap().is_empty());
        // A volume that is removed meanwhile leaves nothing, whenever the adoption is interrupted.
        assert!(volumes.begin_adoption("gone", labels()).is_err());
        make_directory(&volumes.aside("gone")).unwrap();
        write_owner(&volumes.aside("gone"), &Owner { labels: labels(), created: Timestamp::now() })
            .unwrap();
        volumes.end_adoption("gone").unwrap();
        assert!(volumes.unfinished_adoptions().unwrap().is_empty());
        volumes.begin_adoption("v", labels()).unwrap();
        volumes.end_adoption("v").unwrap();
        assert_eq!(fs::read_to_string(&work).unwrap(), "precious");
        assert_eq!(volumes.find("v").unwrap().unwrap().labels, labels());
        assert!(volumes.unfinished_adoptions().unwrap().is_empty());
    }
}
