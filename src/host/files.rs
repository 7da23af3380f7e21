//! Files and directories that survive a crash and belong to nobody else.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{geteuid, syncfs};

use crate::fault;

/// What the names of temporary files begin with.
const TEMPORARY: &str = ".taskspace-";

/// Why a file or directory could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A directory that must be private belongs to another user.
    #[error("the directory {path} belongs to another user (uid {owner})", path = path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Something that is no directory stands where one is needed.
    #[error("{path} is not a directory", path = path.display())]
    NotADirectory {
        /// What stands there.
        path: PathBuf,
    },
}

impl FileError {
    /// Wraps an error of the system.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// Whether the disk or the quota is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_no_space(source))
    }

    /// Whether it is not allowed.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if is_no_space(source) => {
                Some("make room on that file system and try again".to_owned())
            }
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some(format!("check who owns {} and its permissions", path.display()))
            }
            Self::Io { .. } => None,
            Self::NotOurs { path, .. } | Self::NotADirectory { path } => {
                Some(format!("remove {} or move it away", path.display()))
            }
        }
    }
}

/// Whether an error says that the disk or the quota is full.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes a file so that either the old or the new content is there, whatever happens.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default();
    write_all_atomic(parent, &[(name.as_ref(), bytes, mode)])
}

/// Writes several files of one directory, each atomically, in the given order.
///
/// One sync of the directory serves them all.
pub fn write_all_atomic(dir: &Path, files: &[(&Path, &[u8], u32)]) -> Result<(), FileError> {
    let mut written = Vec::with_capacity(files.len());
    for (name, bytes, mode) in files {
        let path = dir.join(name);
        written.push((write_beside(&path, bytes, *mode)?, path));
    }
    for (temporary, path) in written {
        temporary.persist(&path).map_err(|error| FileError::io("replace", &path)(error.error))?;
    }
    sync_dir(dir)
}

/// Writes and syncs a temporary file beside `path`; it removes itself unless it is persisted.
pub(crate) fn write_beside(
    path: &Path,
    bytes: &[u8],
    mode: u32,
) -> Result<tempfile::NamedTempFile, FileError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(parent)
        .map_err(FileError::io("create a file in", parent))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.as_file().sync_data())
        .map_err(FileError::io("write", path))?;
    fault::point(|| format!("file: {}: written", path.file_name().unwrap_or_default().display()));
    Ok(file)
}

/// A file that is replaced once all of its new content is there.
///
/// What is no file, such as a pipe, cannot be replaced and is written to at once.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    content: File,
    /// Where the content is meanwhile; it removes itself.
    beside: Option<tempfile::TempPath>,
}

impl Replacement {
    /// Begins with no content; whoever may read the file afterwards is for the umask to say.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn begin(path: &Path) -> Result<Self, FileError> {
        let path = path.to_owned();
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            let content = OpenOptions::new().write(true).open(&path);
            let content = content.map_err(FileError::io("open", &path))?;
            return Ok(Self { path, content, beside: None });
        }
        // What a symbolic link leads to is replaced, and not the link.
        let path = fs::canonicalize(&path).unwrap_or(path);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(parent)
            .map_err(FileError::io("create a file in", parent))?;
        let (content, beside) = file.into_parts();
        Ok(Self { path, content, beside: Some(beside) })
    }

    /// Adds to the content.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.content.write_all(bytes).map_err(FileError::io("write", &self.path))
    }

    /// Puts the content in the place of what was there.
    ///
    /// # Errors
    /// When it cannot be written; then what was there is there still.
    pub fn finish(self) -> Result<(), FileError> {
        let Some(beside) = self.beside else { return Ok(()) };
        self.content.sync_data().map_err(FileError::io("write", &self.path))?;
        beside.persist(&self.path).map_err(|it| FileError::io("replace", &self.path)(it.error))
    }
}

/// Removes the temporary files that a writer left that was killed; the caller is the only writer.
pub(crate) fn remove_leftovers(dir: &Path) -> Result<(), FileError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileError::io("read", dir)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(FileError::io("read", dir))?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Waits until all that was written to the file system of a directory is on the disk.
pub fn sync_file_system(dir: &Path) -> Result<(), FileError> {
    File::open(dir)
        .and_then(|dir| syncfs(dir).map_err(io::Error::from))
        .map_err(FileError::io("sync", dir))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), FileError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(FileError::io("sync", dir))
}

/// Makes sure that a directory exists which only this user may enter.
///
/// Missing parents are made alike. One that exists must belong to this user, and so must a symbolic
/// link that stands for it; permissions that it gives to others are taken away.
pub fn private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            FileError::NotADirectory { path: path.to_owned() }
        } else {
            FileError::io("make the directory", path)(source)
        }
    })?;
    let uid = geteuid().as_raw();
    let link = fs::symlink_metadata(path).map_err(FileError::io("look at", path))?;
    let target = fs::metadata(path).map_err(FileError::io("look at", path))?;
    if let Some(other) = [&link, &target].into_iter().find(|found| found.uid() != uid) {
        return Err(FileError::NotOurs { path: path.to_owned(), owner: other.uid() });
    }
    if target.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(FileError::io("change the permissions of", path))?;
    }
    Ok(())
}

/// Removes a directory with all that is in it, or a file; a missing one is fine.
///
/// Directories without write permission, as some tools make them, are opened up first.
pub fn remove_tree(path: &Path) -> Result<(), FileError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileError::io("look at", path)(error)),
    };
    let removed = if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && found.is_dir() => {
            open_up(path)?;
            fs::remove_dir_all(path).map_err(FileError::io("remove", path))
        }
        other => other.map_err(FileError::io("remove", path)),
    }
}

/// Lets the owner write in every directory of a tree.
fn open_up(dir: &Path) -> Result<(), FileError> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))
        .map_err(FileError::io("change the permissions of", dir))?;
    for entry in fs::read_dir(dir).map_err(FileError::io("read", dir))? {
        let entry = entry.map_err(FileError::io("read", dir))?;
        let kind = entry.file_type().map_err(FileError::io("look at", &entry.path()))?;
        if kind.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// Opens (and makes, if need be) an empty file to lock; it is never removed.
pub(crate) fn open_lock_file(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(FileError::io("open", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (text, mode) in [("one", 0o600), ("two, longer", 0o644)] {
            write_atomic(&path, text.as_bytes(), mode).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        remove_leftovers(&dir.path().join("missing")).unwrap();
        let killed = write_beside(&dir.path().join("file"), b"half", 0o600).unwrap();
        killed.keep().unwrap();
        write_atomic(&dir.path().join("file"), b"whole", 0o600).unwrap();
        remove_leftovers(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "whole");
    }

    #[test]
    fn a_replacement_is_whole_or_has_not_been() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&path, "old").unwrap();
        symlink(&path, &link).unwrap();
        let begin = |path: &Path| {
            let mut new = Replacement::begin(path).unwrap();
            new.write(b"one ").unwrap();
            new
        };
        drop(begin(&path));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        let mut new = begin(&link);
        new.write(b"two").unwrap();
        new.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one two");
        assert!(link.is_symlink() && fs::read_dir(dir.path()).unwrap().count() == 2);
        begin(Path::new("/dev/null")).finish().unwrap();
        assert!(!Path::new("/dev/null").is_file());
        let error = Replacement::begin(Path::new("/nowhere/x")).unwrap_err();
        assert!(error.to_string().starts_with("cannot create a file in /nowhere: "), "{error}");
    }

    #[test]
    fn a_failed_write_names_the_place() {
        let error = write_atomic(Path::new("/nowhere/file"), b"", 0o600).unwrap_err();
        assert!(error.to_string().starts_with("cannot create a file in /nowhere: "), "{error}");
    }

    #[test]
    fn a_private_directory_is_made_and_closed_to_others() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        private_dir(&dir).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(dir.parent().unwrap())), (0o700, 0o700));
        fs::set_permissions(&dir, Permissions::from_mode(0o775)).unwrap();
        private_dir(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(private_dir(&file), Err(FileError::NotADirectory { .. })));
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("theirs");
        fs::create_dir(&dir).unwrap();
        if chown(&dir, Some(12345), None).is_ok() {
            let error = private_dir(&dir).unwrap_err();
            assert!(matches!(error, FileError::NotOurs { owner: 12345, .. }), "{error}");
        }
    }

    #[test]
    fn a_tree_goes_even_when_it_is_read_only_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (tree, other) = (root.path().join("tree"), root.path().join("other"));
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), "").unwrap();
        fs::write(tree.join("sub/file"), "").unwrap();
        symlink(&other, tree.join("link")).unwrap();
        fs::set_permissions(tree.join("sub"), Permissions::from_mode(0o500)).unwrap();
        remove_tree(&tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && other.join("kept").exists());
    }
}
