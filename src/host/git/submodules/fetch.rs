//! Brings mirrors up to what a base of a commit needs: submodules, and what is in Git LFS.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::local::LocalRepository;
use super::super::mirror::{lock, mirror_path};
use super::super::{Git, GitError, Source};
use super::clone::{Setting, Settings};
use super::list::{Listing, named_source, resolve_url};
use super::{Listed, MOST};
use crate::model::{SubmoduleSpec, base_key};

/// The branches of its remote that a clone knows become those of a mirror made of it.
const BRANCHES: [&str; 2] = ["+refs/remotes/origin/*:refs/heads/*", "^refs/remotes/origin/HEAD"];

/// A repository can have a warning for each of its submodules.
const MOST_WARNINGS: usize = 20;

/// What a base of a commit has beside the commit's own files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The submodules, at any depth; each after the one that it is in.
    pub submodules: Vec<SubmoduleSpec>,
    /// The mirrors of the submodules.
    pub mirrors: Vec<PathBuf>,
    /// What else the checkout lacks, and why.
    pub warnings: Vec<String>,
    /// The contents in Git LFS that could not be had, by digest.
    missing: BTreeSet<String>,
}

impl Contents {
    /// Adds warnings, as many as somebody would read.
    fn warn(&mut self, warnings: impl IntoIterator<Item = String>) {
        let left = MOST_WARNINGS.saturating_sub(self.warnings.len());
        self.warnings.extend(warnings.into_iter().take(left));
    }

    /// Returns the key of the base that has them.
    pub fn base_key(&self, commit: &str) -> String {
        let missing: Vec<String> = self.missing.iter().cloned().collect();
        base_key(commit, &self.submodules, &missing)
    }
}

/// A commit whose submodules are wanted.
struct Wanted {
    /// Its path in the base.
    path: PathBuf,
    mirror: PathBuf,
    commit: String,
    /// Where relative URLs lead on from, and where Git LFS may have what is missing.
    upstreams: Vec<Source>,
    /// A repository on this host, which may have what no other has, and says which submodules are
    /// wanted.
    clone: Option<LocalRepository>,
}

impl Git {
    /// Fetches the submodules of a commit, and theirs, as far as their mirrors lack the commits, and
    /// what is in Git LFS. The commit is in the mirror of `source`.
    ///
    /// A submodule comes from the clone that a local repository has of it (its commit need not be
    /// published yet), else from the URL that this repository or `.gitmodules` tells. One that is not
    /// wanted, cannot be fetched, or is described in a way that could do harm, is left out.
    ///
    /// # Errors
    /// When this host cannot hold what is fetched.
    pub async fn fetch_contents(
        &self,
        source: &Source,
        mirrors: &Path,
        commit: &str,
        mut progress: impl FnMut(String) + Send,
    ) -> Result<Contents, GitError> {
        let here = self.local_clone(source).await;
        let clone = here.clone().filter(|_| source.local_path().is_some());
        let mirror = mirror_path(mirrors, source);
        let upstreams = self.upstreams(source, clone.as_ref()).await;
        let mut contents = Contents::default();
        let lfs = self.fetch_lfs(&upstreams, &mirror, commit, here.as_ref(), &mut progress);
        contents.missing.extend(lfs.await?);
        let path = PathBuf::new();
        let mut wanted = vec![Wanted { path, mirror, commit: commit.to_owned(), upstreams, clone }];
        while let Some(one) = wanted.pop() {
            let Listing { submodules: listed, warnings } =
                self.submodules(&one.mirror, &one.commit, &one.path).await?;
            contents.warn(warnings);
            let filters =
                self.unapplied_filters(&one.mirror, &one.commit, one.clone.as_ref(), &one.path);
            contents.warn(filters.await?);
            let settings = match &one.clone {
                Some(clone) => self.submodule_settings(clone).await,
                None => Settings::default(),
            };
            let inactive = self.inactive(&settings, &one.mirror, &one.commit, &listed).await?;
            for listed in listed {
                if contents.submodules.len() == MOST {
                    contents.warn([format!("only the first {MOST} submodules are checked out")]);
                    return Ok(contents);
                }
                let setting = settings.of(&listed.name);
                let candidates = candidates(&one, &listed, &setting);
                let mut spec = listed.spec(&one.path, setting.update, public(&candidates));
                spec.inactive |= inactive.contains(&listed.name);
                let path = one.path.join(&listed.path);
                if !spec.inactive && path.to_str().is_none() {
                    spec.lacking = Some("its path is not UTF-8".to_owned());
                }
                if !spec.is_checked_out() {
                    spec.url = self.url_inside(spec.url).await;
                    contents.submodules.push(spec);
                    continue;
                }
                let clone = one.clone.as_ref().and_then(|clone| clone.submodule(&listed));
                let brought =
                    self.bring(&listed.commit, candidates, mirrors, clone.as_ref(), &mut progress);
                match brought.await {
                    Ok(sources) => {
                        spec.source = sources[0].public();
                        if spec.url.is_empty() {
                            spec.url.clone_from(&spec.source);
                        }
                        let mirror = mirror_path(mirrors, &sources[0]);
                        let (commit, upstreams) = (listed.commit, sources);
                        let clone = clone.as_ref();
                        let lfs =
                            self.fetch_lfs(&upstreams, &mirror, &commit, clone, &mut progress);
                        contents.missing.extend(lfs.await?);
                        contents.mirrors.push(mirror.clone());
                        let clone = clone.cloned();
                        wanted.push(Wanted { path, mirror, commit, upstreams, clone });
                    }
                    Err(error) if error.is_of_this_host() => return Err(listed.told(error)),
                    Err(error) => spec.lacking = Some(error.to_string()),
                }
                spec.url = self.url_inside(spec.url).await;
                contents.submodules.push(spec);
            }
        }
        Ok(contents)
    }

    /// Returns the URL that a submodule has inside, where no `url.*.insteadOf` of the user is set.
    async fn url_inside(&self, url: String) -> String {
        match Source::parse(&url) {
            Ok(source) => self.remote_urls(&source).await.fetch,
            Err(_) => url,
        }
    }

    /// Makes sure that a mirror has the commit of a submodule. Returns where it may come from; first
    /// the source whose mirror has it.
    async fn bring(
        &self,
        commit: &str,
        candidates: Vec<Result<Source, GitError>>,
        mirrors: &Path,
        clone: Option<&LocalRepository>,
        progress: &mut (dyn FnMut(String) + Send),
    ) -> Result<Vec<Source>, GitError> {
        let (mut sources, mut first) = (Vec::new(), None);
        for candidate in candidates {
            match candidate {
                Ok(source) => sources.push(source),
                Err(error) => first = first.or(Some(error)),
            }
        }
        let mut found = None;
        for (number, source) in sources.iter().enumerate() {
            if self.has_commit(&mirror_path(mirrors, source), commit).await {
                found = Some(number);
                break;
            }
        }
        if let (None, Some(clone)) = (found, clone) {
            if sources.is_empty() {
                sources.push(Source::Local(clone.git_dir.clone()));
            }
            let mirror = mirror_path(mirrors, &sources[0]);
            match self.bring_from_clone(clone, commit, &mirror, progress).await {
                Ok(()) => found = Some(0),
                Err(error) if error.is_of_this_host() => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "a submodule's clone does not have its commit")
                }
            }
        }
        let mut number = 0;
        while found.is_none() && number < sources.len() {
            let (source, mirror) = (&sources[number], mirror_path(mirrors, &sources[number]));
            let fetched = async {
                self.update_mirror(source, &mirror, &mut *progress).await?;
                self.resolve(source, &mirror, Some(commit)).await
            };
            match fetched.await {
                Ok(_) => found = Some(number),
                Err(error) if error.is_of_this_host() => return Err(error),
                Err(error) => first = first.or(Some(error)),
            }
            number += 1;
        }
        match (found, first) {
            (Some(number), _) => {
                sources.swap(0, number);
                Ok(sources)
            }
            (None, Some(error)) => Err(error),
            (None, None) => {
                Err(GitError::BadSource { text: String::new(), reason: "it has no URL" })
            }
        }
    }

    /// Takes a commit from a clone on this host, which needs no network.
    async fn bring_from_clone(
        &self,
        clone: &LocalRepository,
        commit: &str,
        mirror: &Path,
        progress: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), GitError> {
        let source = Source::Local(clone.git_dir.clone());
        if !self.clone_has(clone, commit).await {
            let repository = source.public();
            return Err(GitError::RefNotFound {
                repository,
                git_ref: commit.into(),
                similar: vec![],
            });
        }
        let here = self.clone().offline(false);
        if !mirror.is_dir() {
            here.update_mirror(&source, mirror, &mut *progress).await?;
            let lock = lock(mirror, true).await?;
            let branches = here.fetch(&source, mirror, &lock, &BRANCHES, progress).await;
            if let Err(error) = branches {
                tracing::debug!(%error, "a clone's branches of its remote are left out");
            }
        }
        here.resolve(&source, mirror, Some(commit)).await.map(drop)
    }
}

/// Returns where a submodule may come from, the most likely one first.
fn candidates(above: &Wanted, listed: &Listed, setting: &Setting) -> Vec<Result<Source, GitError>> {
    let mut found = Vec::new();
    let said = [(setting.url.as_deref(), true), (Some(listed.url.as_str()), false)];
    for (url, is_the_users) in said {
        let Some(url) = url else { continue };
        if url.starts_with("./") || url.starts_with("../") {
            found.extend(above.upstreams.iter().map(|from| resolve_url(from, url)));
        } else if is_the_users {
            found.push(named_source(url));
        } else {
            found.extend(above.upstreams.first().map(|from| resolve_url(from, url)));
        }
    }
    let mut known = Vec::new();
    found.retain(|candidate| match candidate {
        Ok(source) if known.contains(source) => false,
        Ok(source) => {
            known.push(source.clone());
            true
        }
        Err(_) => true,
    });
    found
}

/// Picks the URL that a taskspace can use: a place on this host only if there is no other.
fn public(candidates: &[Result<Source, GitError>]) -> String {
    let all = || candidates.iter().flatten();
    let exists = |source: &&Source| source.directory().is_some_and(|dir| dir.is_dir());
    let elsewhere = all().find(|source| !source.is_on_this_host());
    let picked = elsewhere.or_else(|| all().find(exists)).or_else(|| all().next());
    picked.map(Source::public).unwrap_or_default()
}
