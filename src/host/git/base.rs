//! Bases: whole checkouts of one commit, and what a taskspace lays over one.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::super::files::{FileError, remove_tree, sync_dir, sync_file_system, write_atomic};
use super::error::filling;
use super::mirror::{HEAD, interrupted, lock};
use super::source::is_full_id;
use super::{Git, GitError, Sibling};

/// What git is told to ignore: the mount point of the build cache.
const EXCLUDE: &[u8] = b"# The taskspace's build cache is mounted here.\n/.build-cache\n";

/// The branches that are the default ones in most repositories.
const USUAL_DEFAULTS: [&str; 2] = ["main", "master"];

/// What a taskspace's checkout has that its base has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedSpec {
    /// The branch to be on, `taskspace/<id>`.
    pub branch: String,
    /// The base's commit.
    pub commit: String,
    /// The URL of `origin`.
    pub origin_url: String,
    /// The user's name for commits.
    pub user_name: Option<String>,
    /// The user's address for commits.
    pub user_email: Option<String>,
}

impl Git {
    /// Fills an empty directory with a checkout of a commit that needs nothing outside of itself.
    ///
    /// Objects are shared with the mirror by hard links where the file system can. HEAD is detached;
    /// branches are those of `origin`, which has no URL. Files that a `sibling` has, too, are hard links
    /// of it.
    pub async fn make_base(
        &self,
        mirror: &Path,
        commit: &str,
        dir: &Path,
        sibling: Option<&Sibling>,
    ) -> Result<(), GitError> {
        let doing = "make the project's base";
        {
            // The packs must not be replaced while they are linked.
            let lock = lock(mirror, false).await?;
            self.on_this_machine()
                .args(["clone", "--quiet", "--no-checkout", "--template=", "--origin=origin", "--"])
                .args([mirror, dir])
                .holding(&lock)
                .output(doing)
                .await?;
        }
        let git_dir = dir.join(".git");
        write_atomic(&git_dir.join("config"), config(is_sha256(commit)).as_bytes(), 0o644)?;
        let default = self.default_branch(mirror).await?;
        self.fill(mirror, commit, dir, &git_dir, sibling).await?;
        self.forget_branches(dir).await?;
        if let Some(default) = default {
            let (head, target) =
                ("refs/remotes/origin/HEAD", format!("refs/remotes/origin/{default}"));
            let run = self.on_this_machine().dir(dir).args(["symbolic-ref", head, &target]);
            run.output(doing).await?;
        }
        let whole = dir.to_owned();
        let finishing = tokio::task::spawn_blocking(move || {
            finish(&whole.join(".git"))?;
            // A base is called whole only once all of it is on the disk.
            sync_file_system(&whole)
        });
        finishing.await.map_err(|error| interrupted(doing, &error))??;
        Ok(())
    }

    /// Checks a commit out, with what it can share with a sibling.
    async fn fill(
        &self,
        mirror: &Path,
        commit: &str,
        dir: &Path,
        git_dir: &Path,
        sibling: Option<&Sibling>,
    ) -> Result<(), GitError> {
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
        let run = self.on_this_machine().dir(dir);
        run.args(["-c", "checkout.workers=0", "checkout", "--quiet", "--force", "--detach"])
            .args([commit, "--"])
            .output("make the project's base")
            .await
            .map(drop)
            .map_err(|error| filling(dir, error))
    }

    /// Guesses which branch the repository's HEAD is, since fetching tells only the commit.
    async fn default_branch(&self, mirror: &Path) -> Result<Option<String>, GitError> {
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
        let text = String::from_utf8_lossy(&output);
        let usual = text.lines().find(|name| USUAL_DEFAULTS.contains(name));
        Ok(usual.or(text.lines().next()).map(str::to_owned))
    }

    /// Removes the local branch, and the default branch of `origin`, that `git clone` makes.
    async fn forget_branches(&self, dir: &Path) -> Result<(), GitError> {
        let doing = "make the project's base";
        let list = ["for-each-ref", "--format=delete %(refname)", "refs/heads"];
        let mut commands = self.on_this_machine().dir(dir).args(list).output(doing).await?;
        commands.extend_from_slice(b"option no-deref\ndelete refs/remotes/origin/HEAD\n");
        let run = self.on_this_machine().dir(dir).args(["update-ref", "--stdin"]).input(commands);
        run.output(doing).await.map(|_| ())
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
fn config(sha256: bool) -> String {
    // The overlay gives files other inode numbers and times of change than the index knows, so git
    // is told to look at sizes and times of modification only.
    let (version, extensions) =
        if sha256 { (1, "[extensions]\n\tobjectformat = sha256\n") } else { (0, "") };
    format!(
        "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = false\n\
         \tlogallrefupdates = true\n\tcheckStat = minimal\n\ttrustctime = false\n{extensions}\
         [remote \"origin\"]\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
    )
}

/// Puts the last touches to a base's `.git`.
fn finish(git_dir: &Path) -> Result<(), FileError> {
    // What git logged here names places and people of this host.
    remove_tree(&git_dir.join("logs"))?;
    for dir in ["info", "refs/heads"] {
        let dir = git_dir.join(dir);
        fs::create_dir_all(&dir).map_err(FileError::io("make the directory", &dir))?;
    }
    write_atomic(&git_dir.join("info/exclude"), EXCLUDE, 0o644)
}

fn seed_upper(base: &Path, upper: &Path, seed: &SeedSpec) -> Result<(), FileError> {
    let config = base.join(".git/config");
    let mut config = fs::read_to_string(&config).map_err(FileError::io("read", &config))?;
    // Sections may be repeated; what comes last counts.
    let mut add = |section: &str, key: &str, value: &str| {
        config.push_str(&format!("[{section}]\n\t{key} = {}\n", quoted(value)));
    };
    add("remote \"origin\"", "url", &seed.origin_url);
    for (key, value) in [("name", &seed.user_name), ("email", &seed.user_email)] {
        if let Some(value) = value {
            add("user", key, value);
        }
    }
    let branch = format!("refs/heads/{}", seed.branch);
    let contents = [
        ("HEAD".to_owned(), format!("ref: {branch}\n")),
        (branch, format!("{}\n", seed.commit)),
        ("config".to_owned(), config),
    ];
    copy_mode(base, upper)?;
    for (name, content) in contents {
        let name = Path::new(".git").join(name);
        make_parents(base, upper, &name)?;
        let path = upper.join(name);
        File::create(&path)
            .and_then(|mut file| {
                file.set_permissions(Permissions::from_mode(0o644))?;
                file.write_all(content.as_bytes())?;
                file.sync_data()
            })
            .map_err(FileError::io("write", &path))?;
    }
    make_parents(base, upper, Path::new(".build-cache/x"))?;
    sync_below(upper)
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

/// Writes a value as git's configuration files want it.
fn quoted(value: &str) -> String {
    let mut text = String::from('"');
    for c in value.chars().filter(|c| !c.is_control()) {
        if c == '"' || c == '\\' {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}
