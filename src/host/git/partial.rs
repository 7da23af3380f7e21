//! Partial clones (git-clone(1), `--filter`): repositories on this host that lack objects, which their
//! *promisor remote* has.
//!
//! Such a clone cannot send what it lacks, so its mirror links its objects instead, and is a partial
//! clone, too. What the checkout of one commit needs is fetched by the clone itself, with its own
//! settings, as `git worktree add` does it there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::mirror::{interrupted, lock};
use super::objects;
use super::rewrite::rewrites_of;
use super::source::redact;
use super::{Git, GitError, Source};

/// The remote of a mirror, and of its bases, that stands for the promisor remote of the clone.
const PROMISOR: &str = "promisor";

/// The settings of remotes that may be promisor remotes.
const SETTINGS: &str =
    r"^(remote\..*\.(promisor|partialclonefilter|url)|extensions\.partialclone)$";

/// Trees may name further trees that are lacking; more rounds than this are an error.
const ROUNDS: usize = 32;

/// A remote that has what a partial clone lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Promisor {
    name: String,
    is_one: bool,
    url: Option<String>,
    filter: Option<String>,
}

impl Promisor {
    /// Returns what the configuration of a base says of it. A place on this host is out of reach there,
    /// and a password stays here.
    pub(super) fn config(&self) -> Vec<u8> {
        let setting = |key: &str, value: &str| {
            [b"\t", key.as_bytes(), b" = ", &super::base::quoted(value.as_bytes()), b"\n"].concat()
        };
        let url = self.url.as_deref().and_then(|url| Source::parse(url).ok());
        let url = url.filter(|url| url.is_plain() && !url.is_on_this_host());
        let filter = self.filter.iter().map(|filter| setting("partialclonefilter", filter));
        let url = url.iter().map(|url| setting("url", &url.public()));
        let head = format!("[remote \"{PROMISOR}\"]\n\tpromisor = true\n").into_bytes();
        [head].into_iter().chain(filter).chain(url).collect::<Vec<_>>().concat()
    }

    /// Returns the setting that makes a repository a partial clone.
    pub(super) fn extension() -> String {
        format!("\tpartialclone = {PROMISOR}\n")
    }
}

/// Whether a mirror is that of a partial clone.
pub(super) fn is_partial(mirror: &Path) -> bool {
    let config = fs::read_to_string(mirror.join("config")).unwrap_or_default();
    config.to_ascii_lowercase().contains("partialclone")
}

impl Git {
    /// Returns the promisor remotes of a repository on this host.
    pub(super) async fn promisors(&self, source: &Source) -> Vec<Promisor> {
        let Some(clone) = source.local_path().filter(|path| path.is_dir()) else {
            return Vec::new();
        };
        let run = self.as_the_user().dir(clone).args(["config", "-z", "--get-regexp", SETTINGS]);
        // Without such settings git fails.
        parse(&run.output("look for promisor remotes").await.unwrap_or_default())
    }

    /// Returns the promisor remote of a mirror.
    pub(super) async fn promisor_of(&self, mirror: &Path) -> Option<Promisor> {
        if !is_partial(mirror) {
            return None;
        }
        let run = self.on_this_machine().dir(mirror);
        let run = run.args(["config", "-z", "--get-regexp", SETTINGS]);
        parse(&run.output("look for promisor remotes").await.ok()?).into_iter().next()
    }

    /// Has the mirror of a partial clone be one, with all objects that the clone has now; `directory` is
    /// the mirror. Others are left alone.
    pub(super) async fn link_objects(
        &self,
        source: &Source,
        directory: &Path,
    ) -> Result<(), GitError> {
        let Some(promisor) = self.promisors(source).await.into_iter().next() else {
            return Ok(());
        };
        let clone = source.local_path().unwrap_or(Path::new("/"));
        let doing = "find the objects of a partial clone";
        let find = ["rev-parse", "--git-path", "objects"];
        let found = self.as_the_user().dir(clone).args(find).output(doing).await?;
        let found = String::from_utf8_lossy(&found).trim_end_matches('\n').to_owned();
        let (from, to) = (clone.join(found), directory.join("objects"));
        let linking = tokio::task::spawn_blocking(move || objects::link_all(&from, &to));
        linking.await.map_err(|error| interrupted(doing, &error))??;
        let remote = |key: &str| format!("remote.{PROMISOR}.{key}");
        let mut settings = vec![
            ("core.repositoryFormatVersion".to_owned(), "1".to_owned()),
            (remote("promisor"), "true".to_owned()),
            ("extensions.partialClone".to_owned(), PROMISOR.to_owned()),
        ];
        let rewrites = rewrites_of(self.as_the_user().dir(clone)).await;
        let url = promisor.url.map(|url| redact(&rewrites.instead_of(&url).unwrap_or(url)));
        let optional = [("url", url), ("partialclonefilter", promisor.filter)];
        settings
            .extend(optional.into_iter().filter_map(|(key, value)| Some((remote(key), value?))));
        for (key, value) in &settings {
            let run = self.on_this_machine().dir(directory).args(["config", key, value]);
            run.output("make a mirror").await?;
        }
        Ok(())
    }

    /// Makes sure that the mirror of a partial clone has all that a checkout of a commit needs; other
    /// mirrors have it.
    ///
    /// # Errors
    /// When the clone cannot fetch what it lacks.
    pub(super) async fn complete(
        &self,
        source: &Source,
        mirror: &Path,
        commit: &str,
    ) -> Result<(), GitError> {
        if !is_partial(mirror) || self.missing(mirror, commit).await?.is_empty() {
            return Ok(());
        }
        let lacking = |reason: String, log: Vec<String>| GitError::RepositoryUnavailable {
            repository: source.public(),
            reason: format!("it is a partial clone, and lacks files of {commit}: {reason}"),
            hint: Some(
                "see that `git fetch` reaches its remote, or give the URL of that as the project"
                    .to_owned(),
            ),
            log,
        };
        let clone = source.local_path().filter(|clone| !self.offline && clone.is_dir());
        let Some(clone) = clone else {
            return Err(lacking("they are not fetched now".to_owned(), Vec::new()));
        };
        let promisors = self.promisors(source).await;
        let mut wanted = self.missing(clone, commit).await?;
        for _ in 0..ROUNDS {
            if wanted.is_empty() {
                break;
            }
            let mut fetched = Err(lacking("it has no promisor remote".to_owned(), Vec::new()));
            for promisor in &promisors {
                let result = self.fetch_promised(clone, promisor, &wanted).await;
                fetched = result.map_err(|error| lacking(error.to_string(), error.log().to_vec()));
                if fetched.is_ok() {
                    break;
                }
            }
            fetched?;
            let left = self.missing(clone, commit).await?;
            if left == wanted {
                return Err(lacking("its remote does not have them".to_owned(), Vec::new()));
            }
            wanted = left;
        }
        let _alone = lock(mirror, true).await?;
        self.link_objects(source, mirror).await
    }

    /// Fetches objects into a partial clone as git itself does it (promisor-remote.c).
    async fn fetch_promised(
        &self,
        clone: &Path,
        promisor: &Promisor,
        wanted: &[String],
    ) -> Result<(), GitError> {
        let own = || self.as_the_user().dir(clone);
        let run = self.without_questions(own(), own()).await;
        run.args(["-c", "fetch.negotiationAlgorithm=noop", "fetch", "--no-tags"])
            .args(["--no-write-fetch-head", "--recurse-submodules=no", "--filter=blob:none"])
            .args(["--no-auto-maintenance", "--stdin", "--", promisor.name.as_str()])
            .input(wanted.iter().map(|id| format!("{id}\n")).collect::<String>().into_bytes())
            .talk(&redact(promisor.url.as_ref().unwrap_or(&promisor.name)), &mut |_| {})
            .await
    }

    /// Lists objects that a checkout of a commit needs and a repository lacks. Trees that are lacking
    /// may name more.
    async fn missing(&self, repository: &Path, commit: &str) -> Result<Vec<String>, GitError> {
        let doing = "look for objects of a partial clone";
        let run = || self.as_the_user().dir(repository).variable("GIT_NO_LAZY_FETCH", "1");
        let content = run().args(["cat-file", "commit", commit]).output(doing).await?;
        let content = String::from_utf8_lossy(&content);
        let tree = content.lines().next().and_then(|line| line.strip_prefix("tree "));
        let tree = tree.unwrap_or_default().to_owned();
        let check = run().args(["cat-file", "--batch-check"]).input(format!("{tree}\n").into());
        if check.output(doing).await?.ends_with(b" missing\n") {
            return Ok(vec![tree]);
        }
        let list = ["rev-list", "--objects", "--missing=print", &tree];
        let list = run().args(list).output(doing).await?;
        let list = String::from_utf8_lossy(&list);
        Ok(list.lines().filter_map(|line| line.strip_prefix('?')).map(str::to_owned).collect())
    }
}

/// Reads the promisor remotes from the output of `git config -z --get-regexp`.
fn parse(output: &[u8]) -> Vec<Promisor> {
    let text = String::from_utf8_lossy(output);
    let mut remotes: BTreeMap<&str, Promisor> = BTreeMap::new();
    for entry in text.split('\0') {
        let (key, value) =
            entry.split_once('\n').map_or((entry, None), |(key, it)| (key, Some(it)));
        if key == "extensions.partialclone" {
            remotes.entry(value.unwrap_or_default()).or_default().is_one = true;
            continue;
        }
        let named = key.strip_prefix("remote.").and_then(|rest| rest.rsplit_once('.'));
        let Some((name, key)) = named else { continue };
        let remote = remotes.entry(name).or_default();
        let text = value.map(str::to_owned);
        match key {
            // A name alone means that it is so (git-config(1)).
            "promisor" => {
                let no = ["false", "no", "off", "0", ""];
                remote.is_one |= value.is_none_or(|value| !no.contains(&value));
            }
            "partialclonefilter" => remote.filter = text,
            _ => remote.url = remote.url.take().or(text),
        }
    }
    let named = remotes.into_iter().filter(|(name, remote)| remote.is_one && !name.is_empty());
    named.map(|(name, remote)| Promisor { name: name.to_owned(), ..remote }).collect()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn promisor_remotes_are_told_from_others() {
        let output = b"remote.origin.url\nhttps://u:secret@example.org/x\0\
            remote.a.b.promisor\0remote.a.b.partialclonefilter\ntree:0\0remote.off.promisor\nfalse\0\
            remote.off.url\n/x\0extensions.partialclone\norigin\0";
        let found = parse(output);
        let names: Vec<_> = found.iter().map(|remote| remote.name.as_str()).collect();
        assert_eq!(names, ["a.b", "origin"]);
        assert_eq!(found[0].filter.as_deref(), Some("tree:0"));
        let config = String::from_utf8(found[1].config()).unwrap();
        assert!(config.contains("url = \"https://example.org/x\"\n"), "{config}");
        assert!(parse(b"").is_empty());
    }
}
