//! The clone that a user has of a project: what it says of the submodules, where it has them, and where
//! it comes from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::super::local::LocalRepository;
use super::super::sibling::split;
use super::super::source::is_full_id;
use super::super::{Git, GitError, Source};
use super::Listed;
use super::base::is_directory;

/// How many local clones of local clones are followed.
const MOST_CLONES: usize = 8;

/// The settings of submodules (git-config(1)).
const SETTINGS: &str = r"^submodule\.";

/// The settings that tell the default remote and its URL (git-config(1)).
const REMOTES: &str = r"^(remote\..*\.url|branch\..*\.remote)$";

/// The empty tree, with SHA-1 and SHA-256.
const EMPTY_TREES: [&str; 2] = [
    "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
];

/// What a clone's configuration says of its submodules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// By name.
    of: BTreeMap<String, Setting>,
    /// The pathspecs of those that are active where nothing else is said.
    active: Vec<String>,
}

/// What a clone's configuration says of one submodule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Setting {
    /// Where it comes from.
    pub(super) url: Option<String>,
    /// How it is brought up to date.
    pub(super) update: Option<String>,
    /// Whether it is wanted.
    active: Option<bool>,
}

impl LocalRepository {
    /// Finds the clone of a submodule: in the work tree, else among those that git keeps.
    pub(super) fn submodule(&self, listed: &Listed) -> Option<Self> {
        let inside = self.work_tree.as_ref().filter(|top| is_directory(top, &listed.path));
        let work_tree = inside.map(|top| top.join(&listed.path));
        let own = work_tree.as_ref().and_then(|dir| {
            let link = dir.join(".git");
            match fs::symlink_metadata(&link).ok()? {
                found if found.is_dir() => Some(link),
                found if found.is_file() => {
                    let text = fs::read_to_string(&link).ok()?;
                    Some(dir.join(text.strip_prefix("gitdir: ")?.trim_end_matches('\n')))
                }
                _ => None,
            }
        });
        let kept = [&self.git_dir, &self.common_dir()].map(|above| listed.git_dir(above));
        let is_in_use = own.is_some();
        let git_dir = own.into_iter().chain(kept).find(|dir| dir.join("HEAD").is_file())?;
        Some(Self { git_dir, work_tree: work_tree.filter(|_| is_in_use) })
    }
}

impl Settings {
    /// Returns what is said of a submodule.
    pub(super) fn of(&self, name: &str) -> Setting {
        self.of.get(name).cloned().unwrap_or_default()
    }

    /// Reads the output of `git config --null --get-regexp`.
    fn parse(output: &[u8]) -> Self {
        let mut all = Self::default();
        for entry in split(output) {
            let entry = String::from_utf8_lossy(entry).into_owned();
            let (key, value) = match entry.split_once('\n') {
                Some((key, value)) => (key, Some(value)),
                None => (entry.as_str(), None),
            };
            let Some(key) = key.strip_prefix("submodule.") else { continue };
            let value = value.map(str::to_owned);
            let Some((name, variable)) = key.rsplit_once('.') else {
                if key == "active" {
                    all.active.extend(value);
                }
                continue;
            };
            let of = all.of.entry(name.to_owned()).or_default();
            // What comes last counts, as it does in git.
            match variable {
                "url" => of.url = value,
                "update" => of.update = value,
                "active" => of.active = boolean(value.as_deref()),
                _ => {}
            }
        }
        all
    }
}

/// Reads a boolean as git does (git-config(1), "Values"); one without a value is true.
fn boolean(value: Option<&str>) -> Option<bool> {
    let Some(value) = value else { return Some(true) };
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" | "" => Some(false),
        number => number.parse::<i64>().ok().map(|number| number != 0),
    }
}

/// Picks the URL of the default remote from the output of `git config --null --get-regexp`: that of the
/// branch, else the only one, else `origin` (git-fetch(1)).
fn default_remote(output: &[u8], branch: Option<&str>) -> Option<String> {
    let mut urls: BTreeMap<String, String> = BTreeMap::new();
    let mut of_branch = None;
    for entry in split(output) {
        let entry = String::from_utf8_lossy(entry).into_owned();
        let Some((key, value)) = entry.split_once('\n') else { continue };
        if let Some(name) = key.strip_prefix("remote.").and_then(|key| key.strip_suffix(".url")) {
            // The first URL is the one that is fetched from.
            urls.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        } else if branch.is_some_and(|branch| key == format!("branch.{branch}.remote")) {
            of_branch = Some(value.to_owned());
        }
    }
    let named = of_branch.and_then(|name| urls.get(&name)).or_else(|| match urls.len() {
        1 => urls.values().next(),
        _ => urls.get("origin"),
    });
    named.cloned()
}

impl Git {
    /// Finds the repository of a source that is on this host.
    pub(in super::super) async fn local_clone(&self, source: &Source) -> Option<LocalRepository> {
        self.local_repository(&source.directory()?).await.ok().flatten()
    }

    /// Reads settings of a clone, with all that applies there.
    async fn settings_of(&self, clone: &LocalRepository, which: &str) -> Vec<u8> {
        let run = self.as_the_user().variable("GIT_DIR", &clone.git_dir);
        let run = run.args(["config", "--null", "--get-regexp", which]);
        // There are none, or they cannot be read.
        run.output("read git's configuration").await.unwrap_or_default()
    }

    /// Reads what a clone says of its submodules.
    pub(super) async fn submodule_settings(&self, clone: &LocalRepository) -> Settings {
        Settings::parse(&self.settings_of(clone, SETTINGS).await)
    }

    /// Tells which submodules of a commit a clone does not want, by name. One that was never
    /// initialised may be wanted.
    pub(super) async fn inactive(
        &self,
        settings: &Settings,
        mirror: &Path,
        commit: &str,
        listed: &[Listed],
    ) -> Result<Vec<String>, GitError> {
        let matched = match settings.active.as_slice() {
            [] => None,
            pathspecs => {
                let empty = EMPTY_TREES[usize::from(commit.len() == 64)];
                let compare = ["diff-tree", "-r", "-z", "--name-only", empty, commit, "--"];
                let run = self.on_this_machine().dir(mirror).args(compare).args(pathspecs);
                Some(run.output("find the active submodules").await?)
            }
        };
        let is_active = |submodule: &&Listed| {
            settings.of(&submodule.name).active.unwrap_or_else(|| {
                let path = submodule.path.as_os_str().as_encoded_bytes();
                matched.as_ref().is_none_or(|paths| split(paths).any(|it| it == path))
            })
        };
        let inactive = listed.iter().filter(|submodule| !is_active(submodule));
        Ok(inactive.map(|submodule| submodule.name.clone()).collect())
    }

    /// Whether a clone has a commit.
    pub(super) async fn clone_has(&self, clone: &LocalRepository, commit: &str) -> bool {
        let object = format!("{commit}^{{commit}}");
        let run = self.as_the_user().variable("GIT_DIR", &clone.git_dir);
        let run = run.variable("GIT_NO_LAZY_FETCH", "1").args(["cat-file", "-e", &object]);
        is_full_id(commit) && run.output("look for a commit").await.is_ok()
    }

    /// Returns from where relative URLs of submodules lead on, the most likely one first: from the
    /// default remote (git-submodule(1)); where that is a clone on this host, from its remote, too.
    pub(in super::super) async fn upstreams(
        &self,
        source: &Source,
        clone: Option<&LocalRepository>,
    ) -> Vec<Source> {
        let is_bare = |clone: &LocalRepository| clone.work_tree.is_none();
        let mut found = Vec::new();
        let mut next = clone.cloned();
        while let Some(at) = next.take().filter(|_| found.len() < MOST_CLONES) {
            let Some(remote) = self.remote_of(&at).await.filter(|it| !found.contains(it)) else {
                break;
            };
            // Submodules are cloned from beside a bare repository; where that came from is no matter.
            next = self.local_clone(&remote).await.filter(|clone| !is_bare(clone));
            found.push(remote);
        }
        if found.is_empty() || clone.is_none_or(is_bare) {
            found.insert(0, source.clone());
        }
        found
    }

    /// Returns the default remote of a clone.
    async fn remote_of(&self, clone: &LocalRepository) -> Option<Source> {
        let head = self.as_the_user().variable("GIT_DIR", &clone.git_dir);
        let head =
            head.args(["symbolic-ref", "--quiet", "--short", "HEAD"]).output("read HEAD").await;
        let branch = head.ok().and_then(|name| String::from_utf8(name).ok());
        let remotes = self.settings_of(clone, REMOTES).await;
        let url = default_remote(&remotes, branch.as_deref().map(str::trim_end))?;
        match Source::parse(&url) {
            Ok(Source::Shorthand(text)) if self.is_shorthand(&text).await => {
                Some(Source::Shorthand(text))
            }
            // A path from the work tree.
            Ok(Source::Shorthand(_)) | Err(_) => {
                let from = clone.work_tree.as_ref().unwrap_or(&clone.git_dir);
                fs::canonicalize(from.join(url)).ok().map(Source::Local)
            }
            Ok(source) => Some(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_remote_is_the_branchs_or_the_only_one_or_origin() {
        let one = b"remote.up.url\nhttps://h/up\0";
        let two = b"remote.up.url\nhttps://h/up\0remote.up.url\nhttps://h/2\0remote.origin.url\n\
            https://h/o\0branch.a.b.remote\nup\0branch.local.remote\n.\0";
        let url = |output: &[u8], branch| default_remote(output, branch).unwrap();
        assert_eq!(url(one, None), "https://h/up");
        assert_eq!(url(two, None), "https://h/o");
        assert_eq!(url(two, Some("a.b")), "https://h/up");
        assert_eq!(url(two, Some("local")), "https://h/o");
        assert_eq!(default_remote(b"", Some("main")), None);
    }

    #[test]
    fn settings_of_submodules_are_read_as_git_reads_them() {
        let output = b"submodule.recurse\ntrue\0submodule.active\nlib\0submodule.active\n:!x\0\
            submodule.a.b.url\n../old\0submodule.a.b.url\n../new\0submodule.a.b.active\0\
            submodule.c.active\n0\0submodule.c.update\nnone\0";
        let settings = Settings::parse(output);
        assert_eq!(settings.active, ["lib", ":!x"]);
        let (one, other) = (settings.of("a.b"), settings.of("c"));
        assert_eq!((one.url.as_deref(), one.active), (Some("../new"), Some(true)));
        assert_eq!((other.update.as_deref(), other.active), (Some("none"), Some(false)));
        assert_eq!(settings.of("none"), Setting::default());
    }
}
