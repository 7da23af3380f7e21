//! Bases: whole checkouts of one commit, and what a taskspace lays over one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::super::files::{FileError, remove_tree, sync_dir, sync_file_system, write_atomic};
use super::error::filling;
use super::identity;
use super::index::enter_stats;
use super::mirror::{HEAD, interrupted, lock};
use super::partial::Promisor;
use super::source::is_full_id;
use super::{Git, GitError, Sibling, Source, mirror_path};
use crate::model::{CommitSettings, SubmoduleSpec};

/// What git is told to ignore: the mount point of the build cache.
const EXCLUDE: &[u8] = b"# The taskspace's build cache is mounted here.\n/.build-cache\n";

/// What is being done, for errors.
const MAKING: &str = "make the project's base";

/// The branches that are the default ones in most repositories.
const USUAL_DEFAULTS: [&str; 2] = ["main", "master"];

/// Settings with which git finds a file unchanged although linking it from another base has changed its
/// time of change.
pub(super) const LINKED_FILES: [&str; 4] =
    ["-c", "core.checkStat=minimal", "-c", "core.trustctime=false"];

/// A base to be made.
#[derive(Clone, Copy, Debug)]
pub struct BaseSpec<'a> {
    /// Where the project comes from.
    pub source: &'a Source,
    /// Where the mirrors are: that of the source, and those of its submodules.
    pub mirrors: &'a Path,
    /// The commit.
    pub commit: &'a str,
    /// Its submodules, at any depth; each after the one that it is in.
    pub submodules: &'a [SubmoduleSpec],
    /// Another base of the project: files that both have become hard links of its.
    pub sibling: Option<&'a Sibling>,
}

/// One repository of a base.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checkout<'a> {
    pub(super) mirror: &'a Path,
    pub(super) commit: &'a str,
    pub(super) dir: &'a Path,
    pub(super) git_dir: &'a Path,
    pub(super) sibling: Option<&'a Sibling>,
    /// Of a submodule: its file `.git`, and what its configuration has beside the usual.
    pub(super) submodule: Option<(&'a [u8], &'a [u8])>,
}

/// What a taskspace's checkout has that its base has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedSpec {
    /// The branch to be on, `taskspace/<id>`.
    pub branch: String,
    /// The base's commit.
    pub commit: String,
    /// The URL of `origin`.
    pub origin_url: String,
    /// The URL that `origin` is pushed to, if that is another one.
    pub push_url: Option<String>,
    /// How commits look that are made in it.
    pub commits: CommitSettings,
}

impl Git {
    /// Fills an empty directory with a checkout of a commit, submodules included, that needs nothing
    /// outside of itself.
    ///
    /// Objects are shared with the mirrors by hard links where the file system can. HEAD is detached;
    /// branches are those of `origin`, which has no URL. Returns what the base lacks, if it does.
    pub async fn make_base(
        &self,
        spec: &BaseSpec<'_>,
        dir: &Path,
    ) -> Result<Option<String>, GitError> {
        let top = Checkout {
            mirror: &mirror_path(spec.mirrors, spec.source),
            commit: spec.commit,
            dir,
            git_dir: &dir.join(".git"),
            sibling: spec.sibling,
            submodule: None,
        };
        let pointers = self.check_out_repository(&top).await?;
        let pointers = pointers + self.add_submodules(spec, dir).await?;
        let whole = dir.to_owned();
        let syncing = tokio::task::spawn_blocking(move || {
            // A base is called whole only once all of it is on the disk.
            sync_file_system(&whole)
        });
        syncing.await.map_err(|error| interrupted(MAKING, &error))??;
        let warnings = spec.submodules.iter().filter_map(SubmoduleSpec::warning);
        let lacks: Vec<String> = warnings.chain(self.lacks(pointers).await).collect();
        Ok((!lacks.is_empty()).then(|| lacks.join("; ")))
    }

    /// Clones a mirror and checks a commit out; returns how many files are pointers of Git LFS.
    pub(super) async fn check_out_repository(
        &self,
        checkout: &Checkout<'_>,
    ) -> Result<usize, GitError> {
        let Checkout { mirror, commit, dir, git_dir, submodule, .. } = *checkout;
        {
            // The packs must not be replaced while they are linked.
            let lock = lock(mirror, false).await?;
            let mut run = self.on_this_machine().args([
                "clone",
                "--quiet",
                "--no-checkout",
                "--template=",
                "--origin=origin",
            ]);
            if submodule.is_some() {
                let apart = [OsStr::new("--separate-git-dir"), git_dir.as_os_str()];
                run = run.args(apart);
            }
            run.args(["--"]).args([mirror, dir]).holding(&lock).output(MAKING).await?;
        }
        let promisor = self.promisor_of(mirror).await;
        let mut config = config(is_sha256(commit), promisor.is_some()).into_bytes();
        config.extend(promisor.iter().flat_map(Promisor::config));
        if let Some((link, more)) = submodule {
            config.extend_from_slice(more);
            write_atomic(&dir.join(".git"), link, 0o644)?;
        }
        write_atomic(&git_dir.join("config"), &config, 0o644)?;
        let default = self.default_branch(mirror).await?;
        self.fill(checkout).await?;
        let pointers = self.put_lfs(mirror, commit, dir, git_dir).await?;
        self.finish_index(dir, git_dir, commit.len() / 2).await?;
        self.forget_branches(dir).await?;
        if let Some(default) = default {
            let mut target = OsString::from("refs/remotes/origin/");
            target.push(default);
            let run = self.on_this_machine().dir(dir).args(["symbolic-ref"]);
            run.args([OsStr::new("refs/remotes/origin/HEAD"), &target]).output(MAKING).await?;
        }
        let (git_dir, is_top) = (git_dir.to_owned(), submodule.is_none());
        let finishing = tokio::task::spawn_blocking(move || finish(&git_dir, is_top));
        finishing.await.map_err(|error| interrupted(MAKING, &error))??;
        Ok(pointers)
    }

    /// Checks a commit out, with what it can share with a sibling.
    async fn fill(&self, checkout: &Checkout<'_>) -> Result<(), GitError> {
        let Checkout { mirror, commit, dir, git_dir, sibling, .. } = *checkout;
        if let Some(sibling) = sibling
            && self.share(mirror, commit, dir, git_dir, sibling).await?
        {
            // Git removes what it replaces and never writes into it, so the sibling stays as it is.
            match self.check_out(commit, dir).await {
                Err(GitError::Other { reason, .. }) => {
                    tracing::debug!(reason, dir = %dir.display(), "checked out once more");
                    self.unshare(dir, git_dir).await?;
                }
                other => return other,
            }
        }
        self.check_out(commit, dir).await
    }

    /// Makes the files be those of a commit; what is so already is not touched.
    async fn check_out(&self, commit: &str, dir: &Path) -> Result<(), GitError> {
        let run = self.on_this_machine().dir(dir).args(LINKED_FILES);
        run.args(["-c", "checkout.workers=0", "checkout", "--quiet", "--force", "--detach"])
            .args([commit, "--"])
            .output(MAKING)
            .await
            .map(drop)
            .map_err(|error| filling(dir, error))
    }

    /// Has the index of a base know its files as they are seen inside.
    async fn finish_index(
        &self,
        dir: &Path,
        git_dir: &Path,
        id_length: usize,
    ) -> Result<(), GitError> {
        let (files, index) = (dir.to_owned(), git_dir.to_owned());
        let entering = tokio::task::spawn_blocking(move || enter_stats(&files, &index, id_length));
        entering.await.map_err(|error| interrupted(MAKING, &error))??;
        // It gets its checksum.
        let write = ["update-index", "--force-write-index"];
        self.on_this_machine().dir(dir).args(write).output(MAKING).await.map(drop)
    }

    /// Guesses which branch the repository's HEAD is, since fetching tells only the commit.
    async fn default_branch(&self, mirror: &Path) -> Result<Option<OsString>, GitError> {
        let output = self
            .on_this_machine()
            .dir(mirror)
            .args([
                "for-each-ref",
                "--format=%(refname:lstrip=2)",
                "--points-at",
                HEAD,
                "refs/heads",
            ])
            .output("find the default branch")
            .await;
        // A repository without HEAD has no default branch.
        let Ok(output) = output else { return Ok(None) };
        let mut names = output.split(|&byte| byte == b'\n').filter(|name| !name.is_empty());
        let usual = names.clone().find(|name| USUAL_DEFAULTS.map(str::as_bytes).contains(name));
        Ok(usual.or_else(|| names.next()).map(|name| OsStr::from_bytes(name).to_owned()))
    }

    /// Removes the local branch, and the default branch of `origin`, that `git clone` makes.
    async fn forget_branches(&self, dir: &Path) -> Result<(), GitError> {
        let list = ["for-each-ref", "--format=delete %(refname)", "refs/heads"];
        let mut commands = self.on_this_machine().dir(dir).args(list).output(MAKING).await?;
        commands.extend_from_slice(b"option no-deref\ndelete refs/remotes/origin/HEAD\n");
        let run = self.on_this_machine().dir(dir).args(["update-ref", "--stdin"]).input(commands);
        run.output(MAKING).await.map(|_| ())
    }

    /// Fills the upper directory of an overlay so that the whole is on a branch of its own.
    pub async fn seed_upper(
        &self,
        base_dir: &Path,
        upper: &Path,
        seed: SeedSpec,
    ) -> Result<(), GitError> {
        let (base, upper) = (base_dir.to_owned(), upper.to_owned());
        tokio::task::spawn_blocking(move || seed_upper(&base, &upper, &seed))
            .await
            .map_err(|error| interrupted("prepare the checkout", &error))?
            .map_err(GitError::from)
    }
}

fn is_sha256(commit: &str) -> bool {
    commit.len() == 64 && is_full_id(commit)
}

/// Returns the configuration of a base.
fn config(sha256: bool, is_partial: bool) -> String {
    // Git is left to look at everything that tells a changed file from an unchanged one: what is copied
    // into the upper directory gets another time of change, and so is read.
    let mut extensions = String::new();
    if sha256 {
        extensions += "\tobjectformat = sha256\n";
    }
    if is_partial {
        extensions += &Promisor::extension();
    }
    let version = u8::from(!extensions.is_empty());
    if version == 1 {
        extensions.insert_str(0, "[extensions]\n");
    }
    format!(
        "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = false\n\
         \tlogallrefupdates = true\n{extensions}\
         [remote \"origin\"]\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
    )
}

/// Puts the last touches to a git directory of a base.
fn finish(git_dir: &Path, is_top: bool) -> Result<(), FileError> {
    // What git logged here names places and people of this host.
    remove_tree(&git_dir.join("logs"))?;
    for dir in ["info", "refs/heads"] {
        let dir = git_dir.join(dir);
        fs::create_dir_all(&dir).map_err(FileError::io("make the directory", &dir))?;
    }
    if is_top {
        write_atomic(&git_dir.join("info/exclude"), EXCLUDE, 0o644)?;
    }
    Ok(())
}

fn seed_upper(base: &Path, upper: &Path, seed: &SeedSpec) -> Result<(), FileError> {
    let commits = identity::configuration(&seed.commits);
    let remote = |key: &str, url: &str| section("remote \"origin\"", key, url);
    let push_url = seed.push_url.as_deref().map(|url| remote("pushurl", url));
    let origin = [remote("url", &seed.origin_url), push_url.unwrap_or_default()].concat();
    // Sections may be repeated; what comes last counts.
    let and = |config: &Path, more: &[&[u8]]| {
        let path = base.join(config);
        let config = fs::read(&path).map_err(FileError::io("read", &path))?;
        Ok::<_, FileError>([config, more.concat()].concat())
    };
    let (branch, config) = (format!("refs/heads/{}", seed.branch), PathBuf::from(".git/config"));
    let mut contents = vec![
        (PathBuf::from(".git/HEAD"), format!("ref: {branch}\n").into_bytes()),
        (Path::new(".git").join(branch), format!("{}\n", seed.commit).into_bytes()),
        (config.clone(), and(&config, &[&origin, &commits])?),
    ];
    if !commits.is_empty() {
        for config in submodule_configs(base, Path::new(".git/modules"))? {
            contents.push((config.clone(), and(&config, &[&commits])?));
        }
    }
    copy_mode(base, upper)?;
    for (name, content) in contents {
        make_parents(base, upper, &name)?;
        let path = upper.join(name);
        File::create(&path)
            .and_then(|mut file| {
                file.set_permissions(Permissions::from_mode(0o644))?;
                file.write_all(&content)?;
                file.sync_data()
            })
            .map_err(FileError::io("write", &path))?;
    }
    make_parents(base, upper, Path::new(".build-cache/x"))?;
    sync_below(upper)
}

/// Finds the configurations of a base's submodules, whose names may have slashes.
fn submodule_configs(base: &Path, below: &Path) -> Result<Vec<PathBuf>, FileError> {
    let dir = base.join(below);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::io("read", &dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let inner = below.join(entry.file_name());
        if base.join(&inner).join("HEAD").is_file() {
            found.push(inner.join("config"));
            found.extend(submodule_configs(base, &inner.join("modules"))?);
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(submodule_configs(base, &inner)?);
        }
    }
    Ok(found)
}

/// Makes the directories above `name` in the upper directory, like those of the base.
fn make_parents(base: &Path, upper: &Path, name: &Path) -> Result<(), FileError> {
    let parents: Vec<&Path> = name.ancestors().skip(1).collect();
    for parent in parents.into_iter().rev().filter(|parent| !parent.as_os_str().is_empty()) {
        let path = upper.join(parent);
        match DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => copy_mode(&base.join(parent), &path)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(FileError::io("make the directory", &path)(error)),
        }
    }
    Ok(())
}

/// Gives the directory `to` the mode of `from`, or the usual one if that is no directory.
pub(super) fn copy_mode(from: &Path, to: &Path) -> Result<(), FileError> {
    let found = fs::symlink_metadata(from).ok().filter(fs::Metadata::is_dir);
    let mode = found.map_or(0o755, |found| found.permissions().mode() & 0o7755);
    fs::set_permissions(to, Permissions::from_mode(mode))
        .map_err(FileError::io("change the permissions of", to))
}

/// Makes the names of a small tree durable.
fn sync_below(dir: &Path) -> Result<(), FileError> {
    sync_dir(dir)?;
    for entry in fs::read_dir(dir).map_err(FileError::io("read", dir))? {
        let entry = entry.map_err(FileError::io("read", dir))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sync_below(&entry.path())?;
        }
    }
    Ok(())
}

/// Returns a section of a git configuration with one value.
pub(super) fn section(section: &str, key: &str, value: &str) -> Vec<u8> {
    let text = format!("[{section}]\n\t{key} = ");
    [text.as_bytes(), &quoted(value.as_bytes()), b"\n"].concat()
}

/// Writes a value as git's configuration files want it.
pub(super) fn quoted(value: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for &byte in value.iter().filter(|byte| !byte.is_ascii_control()) {
        if byte == b'"' || byte == b'\\' {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text.push(b'"');
    text
}
