//! Git LFS: files of which a commit holds only a pointer.
//!
//! Their contents are fetched into the mirror by the user's git-lfs, or taken from a local repository
//! that has them. A base gets them without git-lfs, and without any filter being run.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::files::FileError;
use super::base::LINKED_FILES;
use super::local::LocalRepository;
use super::mirror::{interrupted, lock};
use super::run::Run;
use super::sibling::{is_plain, split};
use super::{Git, GitError, Source};

/// What a pointer begins with.
const VERSION: &str = "version https://git-lfs.github.com/spec/v1";

/// Pointers are at least so long, and shorter than this.
pub(super) const LENGTHS: std::ops::Range<u64> = 100..1024;

/// How many object databases are looked at for alternates.
const MOST_DATABASES: usize = 20;

/// What git is told to compare a file in Git LFS with: the pointer that it is known to have. Git quotes
/// the path for the shell.
const KNOWN_POINTER: &str = "filter.lfs.clean=git cat-file blob :0:%f";

/// A file's content, elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pointer {
    oid: String,
    size: u64,
}

impl Pointer {
    /// Reads a file that may be one.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let (version, oid, size) = (lines.next()?, lines.next()?, lines.next()?);
        let oid = oid.strip_prefix("oid sha256:")?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_whole = version == VERSION && oid.len() == 64 && oid.bytes().all(is_digit);
        let size = size.strip_prefix("size ")?.parse().ok()?;
        (is_whole && lines.next().is_none()).then(|| Self { oid: oid.to_owned(), size })
    }

    /// Returns where its content is in a storage of git-lfs.
    fn object(&self, storage: &Path) -> PathBuf {
        let (first, second) = (&self.oid[..2], &self.oid[2..4]);
        storage.join("objects").join(first).join(second).join(&self.oid)
    }

    /// Whether a storage has its content.
    fn is_in(&self, storage: &Path) -> bool {
        let found = fs::symlink_metadata(self.object(storage));
        found.is_ok_and(|found| found.is_file() && found.len() == self.size)
    }
}

impl Git {
    /// Fetches what a commit has in Git LFS, as far as that is possible, and returns the digests of
    /// the contents that could not be had.
    ///
    /// `clone` is a repository on this host that may have them, as may those of `upstreams` that are on
    /// this host; git-lfs asks the others.
    pub(super) async fn fetch_lfs(
        &self,
        upstreams: &[Source],
        mirror: &Path,
        commit: &str,
        clone: Option<&LocalRepository>,
        progress: &mut (dyn FnMut(String) + Send),
    ) -> Result<Vec<String>, GitError> {
        if !self.uses_lfs(mirror, commit).await {
            return Ok(Vec::new());
        }
        let storage = storage_of(mirror);
        let missing = |pointers: Vec<Pointer>| -> Vec<Pointer> {
            pointers.into_iter().filter(|pointer| !pointer.is_in(&storage)).collect()
        };
        let mut wanted = missing(self.pointers(mirror, commit).await?);
        let mut clones: Vec<LocalRepository> = clone.cloned().into_iter().collect();
        for upstream in upstreams.iter().filter(|_| !wanted.is_empty()) {
            clones.extend(self.local_clone(upstream).await);
        }
        for storage in self.lfs_storages(&clones).await {
            if !wanted.is_empty() {
                self.take_lfs(storage, mirror, &wanted).await?;
                wanted = missing(wanted);
            }
        }
        for upstream in upstreams {
            if wanted.is_empty() || self.offline || !self.has_git_lfs().await {
                break;
            }
            if let Err(error) = self.run_lfs(upstream, mirror, commit, clone, progress).await {
                progress(format!("git lfs: {error}"));
            }
            wanted = missing(wanted);
        }
        Ok(wanted.into_iter().map(|pointer| pointer.oid).collect())
    }

    /// Has git-lfs fetch what a commit needs into a mirror.
    async fn run_lfs(
        &self,
        upstream: &Source,
        mirror: &Path,
        commit: &str,
        clone: Option<&LocalRepository>,
        progress: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), GitError> {
        let located = self.locate(upstream).await?;
        let mut storage = OsString::from("lfs.storage=");
        storage.push(storage_of(mirror));
        let remote = format!("remote.origin.url={}", located.fetch_url());
        let endpoint = self.lfs_endpoint(upstream, mirror, commit, clone).await;
        let endpoint = endpoint.map(|url| format!("lfs.url={url}"));
        let lock = lock(mirror, true).await?;
        let mut run = self.towards(&located).await.dir(mirror).holding(&lock);
        run = run.args(["-c", &remote]).args([OsStr::new("-c"), &storage]);
        if let Some(endpoint) = &endpoint {
            run = run.args(["-c", endpoint]);
        }
        run.args(["lfs", "fetch", "origin", commit]).talk(&upstream.public(), progress).await
    }

    /// Returns the server of Git LFS where it is not that of the repository (git-lfs-config(5)): what
    /// the user's clone is configured to goes before what the commit says in `.lfsconfig`.
    async fn lfs_endpoint(
        &self,
        upstream: &Source,
        mirror: &Path,
        commit: &str,
        clone: Option<&LocalRepository>,
    ) -> Option<String> {
        let text = |output: Vec<u8>| Some(String::from_utf8(output).ok()?.trim_end().to_owned());
        let doing = "read the configuration of Git LFS";
        if let Some(clone) = clone {
            let run = self.as_the_user().variable("GIT_DIR", &clone.git_dir);
            let own = run.args(["config", "--get", "lfs.url"]).output(doing).await;
            if let Some(own) = own.ok().and_then(text) {
                return Some(own);
            }
        }
        let blob = format!("--blob={commit}:.lfsconfig");
        let run = self.on_this_machine().dir(mirror).args(["config", &blob, "--get", "lfs.url"]);
        let said = text(run.output(doing).await.ok()?)?;
        let source = Source::parse(&said).ok().filter(Source::is_plain)?;
        (!source.is_on_this_host() || upstream.is_on_this_host()).then_some(said)
    }

    /// Returns where git-lfs keeps contents: in `lfs.storage`, beside the objects of each clone, and
    /// beside those of its alternates (git-lfs-config(5)).
    async fn lfs_storages(&self, clones: &[LocalRepository]) -> Vec<PathBuf> {
        let configured = async |run: Run| {
            let run = run.args(["config", "--null", "--type=path", "--get", "lfs.storage"]);
            let output = run.output("read the configuration of Git LFS").await.ok()?;
            Some(PathBuf::from(OsStr::from_bytes(output.strip_suffix(b"\0")?)))
        };
        let global = configured(self.as_the_user().dir(Path::new("/"))).await;
        let mut found: Vec<PathBuf> =
            global.into_iter().filter(|path| path.is_absolute()).collect();
        for clone in clones {
            let common = clone.common_dir();
            let run = self.as_the_user().variable("GIT_DIR", &clone.git_dir);
            found.extend(configured(run).await.map(|storage| common.join(storage)));
            found.extend(databases(common.join("objects")).iter().filter_map(|it| beside_of(it)));
        }
        found
    }

    /// Takes contents from a storage on this host.
    async fn take_lfs(
        &self,
        from: PathBuf,
        mirror: &Path,
        wanted: &[Pointer],
    ) -> Result<(), GitError> {
        let (to, all) = (storage_of(mirror), wanted.to_vec());
        let taking = move || {
            let mut there = all.iter().filter(|pointer| pointer.is_in(&from));
            there.try_for_each(|pointer| bring(&pointer.object(&from), &pointer.object(&to)))
        };
        let taken = tokio::task::spawn_blocking(taking).await;
        Ok(taken.map_err(|error| interrupted("copy what is in Git LFS", &error))??)
    }

    /// Whether files of a commit may be in Git LFS.
    async fn uses_lfs(&self, mirror: &Path, commit: &str) -> bool {
        let search = ["grep", "--quiet", "-e", "filter=lfs", commit, "--"];
        let attributes = ":(glob)**/.gitattributes";
        let run = self.on_this_machine().dir(mirror).args(search).args([attributes]);
        run.output("look for Git LFS").await.is_ok()
    }

    async fn has_git_lfs(&self) -> bool {
        self.as_the_user().args(["lfs", "version"]).output("look for git-lfs").await.is_ok()
    }

    /// Lists what may be pointers in a commit.
    async fn pointers(&self, mirror: &Path, commit: &str) -> Result<Vec<Pointer>, GitError> {
        let doing = "list what is in Git LFS";
        let run = || self.on_this_machine().dir(mirror);
        let list = ["ls-tree", "-r", "-l", "-z", "--end-of-options", commit];
        let list = run().args(list).output(doing).await?;
        let blobs: Vec<u8> = split(&list).filter_map(short_blob).collect::<Vec<_>>().concat();
        let contents = run().args(["cat-file", "--batch"]).input(blobs).output(doing).await?;
        let mut found = BTreeMap::new();
        let mut rest = contents.as_slice();
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let head = String::from_utf8_lossy(&rest[..end]);
            let size = head.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
            let (from, size) = (end + 1, size.unwrap_or_default());
            let Some(content) = rest.get(from..from + size) else { break };
            if let Some(pointer) = Pointer::parse(content) {
                found.insert(pointer.oid.clone(), pointer);
            }
            rest = rest.get(from + size + 1..).unwrap_or_default();
        }
        Ok(found.into_values().collect())
    }

    /// Puts the contents that the mirror has in the place of a checkout's pointers, and returns how
    /// many it lacks. Git takes the files for unchanged.
    pub(super) async fn put_lfs(
        &self,
        mirror: &Path,
        commit: &str,
        dir: &Path,
        git_dir: &Path,
    ) -> Result<usize, GitError> {
        if !self.uses_lfs(mirror, commit).await {
            return Ok(0);
        }
        let doing = "put in place what is in Git LFS";
        let run = || self.on_this_machine().dir(dir);
        let list = ["ls-files", "--stage", "-z", "--", ":(attr:filter=lfs)"];
        let list = run().args(list).output(doing).await?;
        let pointers = self.pointers(mirror, commit).await?;
        let (from, to, store) = (storage_of(mirror), dir.to_owned(), git_dir.to_owned());
        let putting = tokio::task::spawn_blocking(move || {
            let (mut put, mut lacking) = (Vec::new(), 0);
            for entry in split(&list) {
                let Some(tab) = entry.iter().position(|&byte| byte == b'\t') else { continue };
                let path = Path::new(OsStr::from_bytes(&entry[tab + 1..]));
                let Some(pointer) = pointer_at(&to, path) else { continue };
                if pointer.is_in(&from) {
                    replace(&pointer.object(&from), &to.join(path), &store)?;
                    put.extend_from_slice(entry);
                    put.push(0);
                } else {
                    lacking += 1;
                }
            }
            // A git-lfs in the taskspace need not fetch them again.
            let mut there = pointers.iter().filter(|pointer| pointer.is_in(&from));
            there.try_for_each(|pointer| {
                bring(&pointer.object(&from), &pointer.object(&storage_of(&store)))
            })?;
            Ok::<_, FileError>((put, lacking))
        });
        let (put, lacking) = putting.await.map_err(|error| interrupted(doing, &error))??;
        if !put.is_empty() {
            // Entered once more, since git takes a file that has another size than it had for changed,
            // and does not compare it.
            let enter = run().args(["update-index", "-z", "--index-info"]).input(put);
            enter.output(doing).await?;
            // Quiet, since it is no error that git takes other files for changed.
            let refresh = ["-c", KNOWN_POINTER, "update-index", "-q", "--refresh"];
            run().args(LINKED_FILES).args(refresh).output(doing).await?;
        }
        Ok(lacking)
    }

    /// Says what it means that a base has pointers for files.
    pub(super) async fn lacks(&self, pointers: usize) -> Option<String> {
        let what = match pointers {
            0 => return None,
            1 => "1 file is in Git LFS, and only its pointer is here".to_owned(),
            _ => format!("{pointers} files are in Git LFS, and only their pointers are here"),
        };
        let why = match self.has_git_lfs().await {
            true => "the rest could not be fetched; when it can be",
            false => "git-lfs is not installed on this host; when it is",
        };
        Some(format!("{what}: {why}, create another taskspace of this commit"))
    }
}

/// Picks the blobs from the output of `ls-tree -l` that are as long as pointers.
fn short_blob(entry: &[u8]) -> Option<Vec<u8>> {
    let tab = entry.iter().position(|&byte| byte == b'\t')?;
    let text = std::str::from_utf8(&entry[..tab]).ok()?;
    let mut fields = text.strip_prefix("100")?.split_whitespace().skip(2);
    let (blob, size) = (fields.next()?, fields.next()?.parse().ok()?);
    LENGTHS.contains(&size).then(|| format!("{blob}\n").into_bytes())
}

/// Reads a pointer in a checkout.
fn pointer_at(dir: &Path, path: &Path) -> Option<Pointer> {
    let file = dir.join(path);
    let found = fs::symlink_metadata(&file).ok()?;
    let is_short = is_plain(path) && found.is_file() && LENGTHS.contains(&found.len());
    is_short.then(|| fs::read(&file).ok()).flatten().and_then(|bytes| Pointer::parse(&bytes))
}

/// Puts a content in the place of its pointer, which another base may share.
fn replace(object: &Path, file: &Path, git_dir: &Path) -> Result<(), FileError> {
    let beside = git_dir.join("lfs-content");
    let written = || {
        let permissions = fs::metadata(file)?.permissions();
        fs::copy(object, &beside)?;
        fs::set_permissions(&beside, permissions)?;
        // Git looks into files that are as new as its index, and finds no pointer: so it is older.
        let times = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(5));
        File::options().write(true).open(&beside)?.set_times(times)?;
        fs::rename(&beside, file)
    };
    written().map_err(FileError::io("write", file))
}

/// Returns where git-lfs keeps contents in a git directory.
fn storage_of(git_dir: &Path) -> PathBuf {
    git_dir.join("lfs")
}

/// Returns the storage beside an object database.
fn beside_of(database: &Path) -> Option<PathBuf> {
    database.parent().map(storage_of)
}

/// Returns an object database and its alternates (gitrepository-layout(5)), and theirs.
fn databases(first: PathBuf) -> Vec<PathBuf> {
    let mut found = vec![first];
    let mut next = 0;
    while let Some(database) = found.get(next).filter(|_| next < MOST_DATABASES) {
        let listed = fs::read_to_string(database.join("info/alternates")).unwrap_or_default();
        let lines = listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let more: Vec<PathBuf> = lines.map(|line| database.join(line)).collect();
        found.extend(more);
        next += 1;
    }
    found
}

/// Links a content, or copies it to another file system, so that the whole is there or nothing.
fn bring(from: &Path, to: &Path) -> Result<(), FileError> {
    let parent = to.parent().unwrap_or(to);
    let brought = || {
        fs::create_dir_all(parent)?;
        match fs::hard_link(from, to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(_) => {
                let beside = tempfile::NamedTempFile::new_in(parent)?;
                fs::copy(from, beside.path())?;
                beside.persist(to).map(drop).map_err(|error| error.error)
            }
            Ok(()) => Ok(()),
        }
    };
    brought().map_err(FileError::io("write", to))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn only_whole_pointers_are_some() {
        let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let good = format!("{VERSION}\noid sha256:{oid}\nsize 12345\n");
        let pointer = Pointer::parse(good.as_bytes()).unwrap();
        assert_eq!((pointer.oid.as_str(), pointer.size), (oid, 12345));
        assert!(LENGTHS.contains(&(good.len() as u64)));
        assert!(pointer.object(Path::new("/g")).ends_with(format!("objects/4d/7a/{oid}")));
        for bad in [
            good.replace("v1", "v9"),
            good.replace("4d7a", "../."),
            good.replace("4d7a", "4d7"),
            good.replace("12345", "-1"),
            good.replace("oid", "ext-0-foo sha256:00\noid"),
            format!("{good}more\n"),
            String::new(),
        ] {
            assert_eq!(Pointer::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn blobs_as_long_as_pointers_are_picked() {
        let cases: [(&[u8], bool); 4] = [
            (b"100644 blob 0123     130\ta\n b", true),
            (b"100644 blob 0123      12\ta", false),
            (b"120000 blob 0123     130\ta", false),
            (b"160000 commit 0123       -\ta", false),
        ];
        for (entry, picked) in cases {
            let expected = picked.then(|| b"0123\n".to_vec());
            assert_eq!(short_blob(entry), expected);
        }
    }
}
