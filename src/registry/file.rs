//! The registry's file: read with a cache, written atomically.

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;
use tempfile::{PathPersistError, TempPath};
use uuid::Uuid;

use super::RegistryError;
use super::lock::Lock;
use crate::fault;
use crate::model::{Document, FORMAT_VERSION};

/// What the names of temporary files begin with.
const TEMPORARY: &str = ".taskspace-registry-";

/// What is done to the disk to save a document, in this order; tests fail it or look on.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// Writes the whole document to a new file.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    /// Waits until the new file's content is on the disk: before this, its name could get there first.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Puts the new file in the place of the old one.
    fn replace(&self, new: TempPath, old: &Path) -> Result<(), PathPersistError> {
        new.persist(old)
    }

    /// Waits until the names in the directory are on the disk.
    fn sync_directory(&self, dir: &Path) -> io::Result<()> {
        sync_directory(dir)
    }
}

/// The disk as it is.
#[derive(Debug)]
struct RealDisk;

impl Disk for RealDisk {}

fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The file and what was last read from it or written to it.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    lock_path: PathBuf,
    disk: Box<dyn Disk>,
    cache: Mutex<Option<Cached>>,
}

/// A document and the file that it was read from.
#[derive(Debug)]
struct Cached {
    /// Kept open, so that its inode number cannot be given to another file meanwhile.
    _file: File,
    /// What it was like when it was read.
    read_as: Stamp,
    document: Arc<Document>,
}

/// What tells one content of the file from another: device, inode, size and time of change.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(found: &Metadata) -> Stamp {
    (found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec())
}

impl Store {
    /// Makes a store without touching anything.
    pub(super) fn new(path: PathBuf) -> Self {
        Self::on_disk(path, Box::new(RealDisk))
    }

    /// Makes a store on a disk of its own.
    pub(super) fn on_disk(path: PathBuf, disk: Box<dyn Disk>) -> Self {
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(".lock");
        Self { path, lock_path: lock_path.into(), disk, cache: Mutex::new(None) }
    }

    /// Waits for the exclusive lock.
    pub(super) fn lock(&self) -> Result<Lock, RegistryError> {
        Lock::take(&self.lock_path)
    }

    /// Reads the document, or writes a new one where there is no file.
    pub(super) fn make_if_missing(&self) -> Result<(), RegistryError> {
        self.make_dir()?;
        let _lock = self.lock()?;
        self.remove_leftovers();
        match self.load() {
            Err(RegistryError::Gone { .. }) => self.save(Arc::new(Document::new(Uuid::new_v4()))),
            other => other.map(|_| ()),
        }
    }

    /// Makes the directory, and sees to it that a power loss does not take it away again.
    fn make_dir(&self) -> Result<(), RegistryError> {
        let dir = self.dir();
        let missing: Vec<&Path> = dir.ancestors().take_while(|above| !above.exists()).collect();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .and_then(|()| {
                missing.iter().filter_map(|made| made.parent()).try_for_each(sync_directory)
            })
            .map_err(RegistryError::io("make the directory", dir))
    }

    /// Removes what writers left that were killed; whoever holds the lock is the only writer.
    fn remove_leftovers(&self) {
        let Ok(entries) = fs::read_dir(self.dir()) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY)
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::debug!(path = %entry.path().display(), %error, "cannot remove a leftover");
            }
        }
    }

    /// Returns the document if the file is still the one it was read from.
    pub(super) fn cached(&self) -> Result<Option<Arc<Document>>, RegistryError> {
        let there = match fs::metadata(&self.path) {
            Ok(there) => there,
            Err(error) => return Err(self.unreadable(error)),
        };
        let cache = self.cache();
        let Some(cached) = &*cache else { return Ok(None) };
        let unchanged = cached.read_as == stamp(&there);
        Ok(unchanged.then(|| Arc::clone(&cached.document)))
    }

    /// Returns the document, read from the file unless that is unchanged.
    pub(super) fn load(&self) -> Result<Arc<Document>, RegistryError> {
        if let Some(document) = self.cached()? {
            return Ok(document);
        }
        let mut file = File::open(&self.path).map_err(|error| self.unreadable(error))?;
        // Taken before the content is read: a change in place in between is then read again.
        let read_as = self.stamp_of(&file)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(RegistryError::io("read", &self.path))?;
        let document = Arc::new(parse(&self.path, &bytes)?);
        self.remember(file, read_as, &document);
        Ok(document)
    }

    /// Replaces the file; the caller holds the lock.
    pub(super) fn save(&self, document: Arc<Document>) -> Result<(), RegistryError> {
        let dir = self.dir();
        fault::point(|| "registry: write: before".to_owned());
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(dir)
            .map_err(RegistryError::io("create a file in", dir))?;
        let bytes = render(&document).map_err(RegistryError::io("write", &self.path))?;
        let (mut file, temporary) = temporary.into_parts();
        self.disk
            .write(&mut file, &bytes)
            .and_then(|()| self.disk.sync(&file))
            .and_then(|()| match fault::fails(|| "registry: write: fail".to_owned()) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            })
            .map_err(RegistryError::io("write", &self.path))?;
        fault::point(|| "registry: write: written".to_owned());
        self.disk
            .replace(temporary, &self.path)
            .map_err(|error| RegistryError::io("replace", &self.path)(error.error))?;
        fault::point(|| "registry: write: replaced".to_owned());
        let read_as = self.stamp_of(&file)?;
        self.remember(file, read_as, &document);
        self.disk.sync_directory(dir).map_err(RegistryError::io("sync the directory", dir))?;
        fault::point(|| "registry: write: after".to_owned());
        Ok(())
    }

    fn stamp_of(&self, file: &File) -> Result<Stamp, RegistryError> {
        file.metadata().map(|found| stamp(&found)).map_err(RegistryError::io("look at", &self.path))
    }

    fn remember(&self, file: File, read_as: Stamp, document: &Arc<Document>) {
        *self.cache() = Some(Cached { _file: file, read_as, document: Arc::clone(document) });
    }

    fn unreadable(&self, error: io::Error) -> RegistryError {
        if error.kind() == io::ErrorKind::NotFound {
            RegistryError::Gone { path: self.path.clone() }
        } else {
            RegistryError::io("read", &self.path)(error)
        }
    }

    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn cache(&self) -> MutexGuard<'_, Option<Cached>> {
        // The cache is replaced whole, so a panic elsewhere cannot leave it half done.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a document that every format has.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Document, RegistryError> {
    let damaged = |error: serde_json::Error| RegistryError::Damaged {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
        reason: without_position(&error),
    };
    let parsed = serde_json::from_slice::<Document>(bytes);
    // What does not fit may be of another format: that is said rather than what does not fit.
    let version = match &parsed {
        Ok(document) => document.version.into(),
        Err(_) => serde_json::from_slice::<Versioned>(bytes).map_err(damaged)?.version,
    };
    match version {
        found if found > FORMAT_VERSION.into() => {
            Err(RegistryError::NewerVersion { path: path.to_owned(), found })
        }
        0 => Err(RegistryError::Damaged {
            path: path.to_owned(),
            line: 1,
            column: 1,
            reason: "there is no format 0".to_owned(),
        }),
        _ => parsed.map_err(damaged),
    }
}

/// Returns what is wrong, without the position that `serde_json` appends.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

/// Renders a document with one line for each entry: quick to write, and fit for `grep` and `diff`.
fn render(document: &Document) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut bytes, LinePerEntry::default());
    document.serialize(&mut serializer)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// How deep the document is broken into lines: its fields, and the entries of each.
const BROKEN_LEVELS: usize = 2;

/// A JSON formatter that breaks the outer levels into lines and leaves the inner ones compact.
#[derive(Default)]
struct LinePerEntry {
    depth: usize,
    has_content: bool,
}

impl LinePerEntry {
    fn break_line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        if self.depth > BROKEN_LEVELS {
            return Ok(());
        }
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl Formatter for LinePerEntry {
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.has_content = false;
        writer.write_all(b"{")
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.break_line(writer)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(if self.depth > BROKEN_LEVELS { b":" } else { b": " })
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.has_content = true;
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let broken = self.depth <= BROKEN_LEVELS;
        self.depth -= 1;
        if self.has_content && broken {
            self.break_line(writer)?;
        }
        writer.write_all(b"}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_has_a_line_of_its_own() {
        let text = r#"{"version":1,"registry":"00000000-0000-0000-0000-000000000000",
            "projects":{"a":{"source":"s","bases":{}},"b":{"source":"t","bases":{}}}}"#;
        let document = parse(Path::new("/r"), text.as_bytes()).unwrap();
        let rendered = String::from_utf8(render(&document).unwrap()).unwrap();
        assert_eq!(
            rendered,
            r#"{
  "version": 1,
  "registry": "00000000-0000-0000-0000-000000000000",
  "operations": 0,
  "taskspaces": {},
  "projects": {
    "a": {"source":"s","bases":{}},
    "b": {"source":"t","bases":{}}
  },
  "agent_states": {}
}
"#
        );
        assert_eq!(parse(Path::new("/r"), rendered.as_bytes()).unwrap(), document);
    }
}
