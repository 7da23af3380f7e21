//! Projects: their mirrors, and the immutable bases that taskspaces share.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock, RwLockWriteGuard};
use uuid::Uuid;

use super::problems;
use super::ssh::blocking;
use super::volumes::{Volumes, foreign, is_ours};
use crate::fault;
use crate::host::git::{BaseSpec, Git, RemoteUrls, Sibling, Source, mirror_path, note_user};
use crate::model::{
    BaseRecord, BaseState, Code, CommitSettings, CreateRequest, Document, GitEnvironment, Problem,
    ProjectRecord, ProjectType, SubmoduleSpec, TaskspaceId, base_commit,
};
use crate::plan::{BasePlan, collect, names};
use crate::podman::VolumeSpec;
use crate::policy::retention::Retention;
use crate::registry::Registry;

/// A request's project, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// Where it comes from, without any password.
    pub(crate) source: String,
    /// The URL of `origin` inside, if it is another one.
    pub(crate) origin: Option<String>,
    /// The URL that `origin` is pushed to, if that is another one.
    pub(crate) push_url: Option<String>,
    /// What it is called, unless another source has that name.
    pub(crate) wanted_name: String,
    /// The commit.
    pub(crate) commit: String,
    /// What the files at that commit say.
    pub(crate) detected: ProjectType,
    /// How the caller's commits look there.
    pub(crate) commits: CommitSettings,
    /// The key of the base.
    pub(crate) base_key: String,
    /// The submodules, at any depth.
    pub(crate) submodules: Vec<SubmoduleSpec>,
    /// What of the commit is not in the checkout as its owner would have it.
    pub(crate) warnings: Vec<String>,
    /// Its branches that may be in the way of a taskspace's.
    pub(crate) branches: Vec<String>,
}

/// What there is of a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Unfinished,
    Whole,
}

/// Makes bases; one at a time for each volume.
#[derive(Debug)]
pub(crate) struct Projects {
    mirrors: PathBuf,
    registry: Registry,
    /// For each volume: who makes or removes it has it alone, who links its files shares it.
    locks: Mutex<HashMap<String, Arc<RwLock<()>>>>,
    /// Who removes mirrors has them alone; shared by those who need one that no project has yet.
    using_mirrors: Arc<RwLock<()>>,
}

/// Why a base is removed.
#[derive(Clone, Debug)]
pub(crate) enum Removal {
    /// It was made for this taskspace, in vain.
    InVain(TaskspaceId),
    /// Its time is over.
    Due(Retention),
}

impl Removal {
    /// Whether a base may go, by what is known now.
    fn is_right(&self, document: &Document, project: &str, key: &str) -> bool {
        match self {
            Self::InVain(id) => !document.taskspaces.iter().any(|(other, record)| {
                let of = &record.spec.project;
                other != id && of.name == project && of.base() == key
            }),
            Self::Due(retention) => {
                let volume = names::base_volume(project, key);
                collect::base_is_due(document, retention, Timestamp::now(), &volume)
            }
        }
    }

    fn in_vain_for(&self) -> Option<&TaskspaceId> {
        match self {
            Self::InVain(id) => Some(id),
            Self::Due(_) => None,
        }
    }
}

impl Projects {
    pub(crate) fn new(mirrors: PathBuf, registry: Registry) -> Self {
        Self { mirrors, registry, locks: Mutex::default(), using_mirrors: Arc::default() }
    }

    /// Returns where the mirrors are.
    pub(crate) fn mirrors(&self) -> &Path {
        &self.mirrors
    }

    /// Keeps the mirrors from being removed.
    pub(crate) async fn use_mirrors(&self) -> OwnedRwLockReadGuard<()> {
        self.using_mirrors.clone().read_owned().await
    }

    /// Keeps the mirrors from being used, unless somebody uses them.
    pub(crate) fn keep_mirrors_unused(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.using_mirrors.try_write().ok()
    }

    /// Returns the volumes that are being made or removed.
    pub(crate) async fn busy(&self) -> Vec<String> {
        let locks = self.locks.lock().await;
        let busy = locks.iter().filter(|(_, lock)| lock.try_read().is_err());
        busy.map(|(volume, _)| volume.clone()).collect()
    }

    /// Brings the mirror up to date, finds the commit, and fetches what a base of it needs besides.
    pub(crate) async fn resolve(
        &self,
        request: &CreateRequest,
        output: impl Fn(String) + Send + Sync,
    ) -> Result<Resolved, Problem> {
        let git = Git::new(request.git.clone()).offline(request.offline);
        let told = |error| problems::git(&error);
        let source = Source::parse(&request.project).map_err(told)?;
        let source = git.locate(&source).await.map_err(told)?;
        let mirror = mirror_path(&self.mirrors, &source);
        git.update_mirror(&source, &mirror, &output).await.map_err(told)?;
        let asked = request.git_ref.as_deref();
        let commit = match source.local_path().filter(|_| request.dirty) {
            Some(work_tree) => {
                let head = git.work_tree_head(work_tree).await.map_err(told)?;
                if let Some(asked) = asked.filter(|asked| *asked != "HEAD") {
                    let other = git.resolve(&source, &mirror, Some(asked)).await.map_err(told)?;
                    if other != head {
                        return Err(dirty_elsewhere(asked, &other, &head));
                    }
                }
                git.resolve(&source, &mirror, Some(&head)).await.map_err(told)?
            }
            None => git.resolve(&source, &mirror, asked).await.map_err(told)?,
        };
        let contents = git.fetch_contents(&source, &self.mirrors, &commit, &output);
        let contents = contents.await.map_err(told)?;
        let base_key = contents.base_key(&commit);
        self.note_users(&mirror, contents.mirrors).await?;
        let files = git.top_level_names(&mirror, &commit).await.map_err(told)?;
        let RemoteUrls { fetch, push } = git.remote_urls(&source).await;
        Ok(Resolved {
            origin: Some(fetch).filter(|url| *url != source.public()),
            push_url: push,
            source: source.public(),
            wanted_name: source.project_name(),
            commit,
            detected: ProjectType::detect(files.iter().map(String::as_str)),
            commits: git.commit_settings(&source).await,
            base_key,
            submodules: contents.submodules,
            warnings: contents.warnings,
            branches: git.branches_below(&mirror, names::BRANCHES).await.map_err(told)?,
        })
    }

    /// Notes in the mirrors of a project and its submodules that they are used for it.
    async fn note_users(&self, mirror: &Path, submodules: Vec<PathBuf>) -> Result<(), Problem> {
        let document = self.registry.read().await.map_err(problems::registry)?;
        let (registry, mirror) = (document.registry.to_string(), mirror.to_owned());
        blocking(move || {
            let project = mirror.file_name().unwrap_or_default().to_string_lossy();
            let noted = [&mirror]
                .into_iter()
                .chain(&submodules)
                .try_for_each(|used| note_user(used, &registry, &project));
            noted.map_err(|error| problems::git(&error))
        })
        .await
    }

    /// Counts what would come along of the work tree, if that is asked for.
    pub(crate) async fn uncommitted(
        &self,
        request: &CreateRequest,
        resolved: &Resolved,
    ) -> Result<Option<usize>, Problem> {
        if !request.dirty {
            return Ok(None);
        }
        let git = Git::new(request.git.clone());
        let found = git.uncommitted(Path::new(&resolved.source)).await;
        found.map(|found| Some(found.count())).map_err(|error| problems::git(&error))
    }

    /// Makes a base, unless it is there; returns whether it was made.
    pub(crate) async fn ensure_base(
        &self,
        volumes: &Volumes,
        plan: &BasePlan,
    ) -> Result<bool, Problem> {
        let lock = self.lock_of(&plan.volume).await;
        {
            // One that others link from need not wait for them.
            let _together = lock.read().await;
            if self.look_at(volumes, plan).await? == Found::Whole {
                return Ok(false);
            }
        }
        let _one_at_a_time = lock.write().await;
        let document = self.registry.read().await.map_err(problems::registry)?;
        match self.look_at(volumes, plan).await? {
            Found::Whole => return Ok(false),
            Found::Unfinished => volumes.remove(document.registry, &plan.volume).await?,
            Found::Nothing => {}
        }
        let base = |state, lacks| BaseRecord {
            volume: plan.volume.clone(),
            state,
            created: Timestamp::now(),
            serial: 0,
            lacks,
            unused_since: None,
        };
        self.record(plan, Some(base(BaseState::Making, None))).await?;
        match self.make(volumes, plan, document.registry).await {
            Ok(lacks) => {
                self.record(plan, Some(base(BaseState::Ready, lacks))).await?;
                Ok(true)
            }
            Err(problem) => {
                if let Err(left) = volumes.remove(document.registry, &plan.volume).await {
                    tracing::warn!(volume = %plan.volume, "it stays for now: {left}");
                }
                self.record(plan, None).await?;
                Err(problem)
            }
        }
    }

    /// Returns what a base lacks, if it does.
    pub(crate) async fn lacks(&self, plan: &BasePlan) -> Result<Option<String>, Problem> {
        let document = self.registry.read().await.map_err(problems::registry)?;
        let project = document.projects.get(&plan.project);
        let base = project.and_then(|project| project.bases.get(&plan.key));
        Ok(base.and_then(|base| base.lacks.clone()))
    }

    /// Returns the lock of a volume, or of whatever else has a name of its own.
    pub(crate) async fn lock_of(&self, volume: &str) -> Arc<RwLock<()>> {
        self.locks.lock().await.entry(volume.to_owned()).or_default().clone()
    }

    /// Looks what there is of a base.
    async fn look_at(&self, volumes: &Volumes, plan: &BasePlan) -> Result<Found, Problem> {
        let document = self.registry.read().await.map_err(problems::registry)?;
        let known = document.projects.get(&plan.project).and_then(|p| p.bases.get(&plan.key));
        match volumes.find(&plan.volume).await? {
            Some(volume) if !is_ours(&volume.labels, document.registry) => {
                Err(foreign(Code::PodmanFailed, &plan.volume))
            }
            Some(_) if known.is_some_and(|base| base.state == BaseState::Ready) => Ok(Found::Whole),
            Some(_) => Ok(Found::Unfinished),
            None => Ok(Found::Nothing),
        }
    }

    /// Finds the newest other base of the project, and keeps it from being removed. Where there is
    /// none, or it is being removed, the new one is made without it.
    async fn sibling(
        &self,
        volumes: &Volumes,
        plan: &BasePlan,
    ) -> Option<(Sibling, OwnedRwLockReadGuard<()>)> {
        let document = self.registry.read().await.ok()?;
        let bases = document.projects.get(&plan.project)?.bases.iter();
        let others =
            bases.filter(|(key, base)| base.state == BaseState::Ready && **key != plan.key);
        let (key, base) = others.max_by_key(|(_, base)| (base.serial, base.created))?;
        let kept = self.lock_of(&base.volume).await.try_read_owned().ok()?;
        // It may have been condemned before it was locked.
        let now = self.registry.read().await.ok()?;
        let still = now.projects.get(&plan.project)?.bases.get(key)?;
        let volume = volumes.find(&base.volume).await.ok()??;
        let usable = still.state == BaseState::Ready && is_ours(&volume.labels, document.registry);
        let sibling = Sibling::new(volumes.directory(&base.volume), base_commit(key).to_owned());
        usable.then_some((sibling, kept))
    }

    /// Makes a base, and returns what it lacks.
    async fn make(
        &self,
        volumes: &Volumes,
        plan: &BasePlan,
        registry: Uuid,
    ) -> Result<Option<String>, Problem> {
        let spec = VolumeSpec {
            name: plan.volume.clone(),
            options: BTreeMap::new(),
            labels: names::base_labels(registry, &plan.project, &plan.commit),
        };
        fault::point(|| "base: volume: before".to_owned());
        volumes.create(registry, &spec, Code::PodmanFailed).await?;
        fault::point(|| "base: checkout: before".to_owned());
        let git = Git::new(GitEnvironment::default());
        let sibling = self.sibling(volumes, plan).await;
        let told = |error| problems::git(&error);
        let spec = BaseSpec {
            source: &Source::parse(&plan.source).map_err(told)?,
            mirrors: &plan.mirrors,
            commit: &plan.commit,
            submodules: &plan.submodules,
            sibling: sibling.as_ref().map(|(sibling, _kept)| sibling),
        };
        let lacks = git.make_base(&spec, &volumes.directory(&plan.volume)).await.map_err(told)?;
        fault::point(|| "base: checkout: after".to_owned());
        Ok(lacks)
    }

    async fn record(&self, plan: &BasePlan, base: Option<BaseRecord>) -> Result<(), Problem> {
        let plan = plan.clone();
        let updated = self.registry.update(move |document| {
            let BasePlan { project: name, key, .. } = plan;
            document.note_uses(&name, Timestamp::now(), |document| {
                let project = document.projects.get_mut(&name);
                // Nobody would find what is made for a project that is gone.
                let project = project.ok_or_else(|| problems::no_project(&name))?;
                match base {
                    Some(base) => {
                        let serial = project.next_base();
                        project.bases.insert(key, BaseRecord { serial, ..base })
                    }
                    None => project.bases.remove(&key),
                };
                Ok::<(), Problem>(())
            })
        });
        updated.await.map_err(problems::registry)?
    }

    /// Removes a base, if that is still right when nobody else has it; returns whether it did.
    pub(crate) async fn drop_base(
        &self,
        volumes: &Volumes,
        project: &str,
        key: &str,
        removal: Removal,
    ) -> Result<bool, Problem> {
        let volume = names::base_volume(project, key);
        let lock = self.lock_of(&volume).await;
        let _alone = lock.write().await;
        let (of, at, why) = (project.to_owned(), key.to_owned(), removal.clone());
        // Under the registry's lock it becomes one that is not whole: who wants it from now on makes
        // it, and when the removal fails, the next collection finds it.
        let condemned = self.registry.update(move |document| {
            let is_right = why.is_right(document, &of, &at);
            if is_right {
                document.note_uses(&of, Timestamp::now(), |document| {
                    let project = document.projects.get_mut(&of);
                    if let Some(base) = project.and_then(|project| project.bases.get_mut(&at)) {
                        base.state = BaseState::Making;
                    }
                });
            }
            Ok::<bool, Problem>(is_right)
        });
        if !condemned.await.map_err(problems::registry)?? {
            return Ok(false);
        }
        fault::point(|| "base: remove the volume: before".to_owned());
        let registry = self.registry.read().await.map_err(problems::registry)?.registry;
        volumes.remove(registry, &volume).await?;
        fault::point(|| "base: remove the volume: after".to_owned());
        let (project, key) = (project.to_owned(), key.to_owned());
        let forgotten = self.registry.update(move |document| {
            document.note_uses(&project, Timestamp::now(), |document| {
                if let Some(record) = document.projects.get_mut(&project) {
                    record.bases.remove(&key);
                }
                forget_unused_project(document, &project, removal.in_vain_for());
            });
            Ok::<(), Problem>(())
        });
        forgotten.await.map_err(problems::registry)??;
        Ok(true)
    }
}

/// Enters the project of a resolved source and returns its name: the wanted one, unless another
/// source has it.
pub(crate) fn enter_project(document: &mut Document, resolved: &Resolved) -> String {
    let known = document.projects.iter().find(|(_, project)| project.source == resolved.source);
    if let Some((name, _)) = known {
        return name.clone();
    }
    let name = if document.projects.contains_key(&resolved.wanted_name) {
        let hash = Sha256::digest(resolved.source.as_bytes());
        let suffix: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{suffix}", resolved.wanted_name)
    } else {
        resolved.wanted_name.clone()
    };
    document.projects.insert(name.clone(), ProjectRecord::new(resolved.source.clone()));
    name
}

/// Takes a project without bases, build caches and taskspaces (but `except`) out of the registry.
pub(crate) fn forget_unused_project(
    document: &mut Document,
    project: &str,
    except: Option<&TaskspaceId>,
) {
    let used = document
        .taskspaces
        .iter()
        .any(|(id, record)| Some(id) != except && record.spec.project.name == project);
    let is_empty = |project: &ProjectRecord| project.bases.is_empty() && project.caches.is_empty();
    if !used && document.projects.get(project).is_some_and(is_empty) {
        document.projects.remove(project);
    }
}

/// Another commit was asked for than the one that has been changed.
fn dirty_elsewhere(asked: &str, other: &str, head: &str) -> Problem {
    let detail = format!("{asked} is {other}, but the uncommitted changes are those to {head}");
    Problem::new(Code::MessageFormatInvalid, detail)
        .hint("leave out --ref, or check that out first, or leave out --dirty")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(source: &str) -> Resolved {
        Resolved {
            source: source.to_owned(),
            origin: None,
            push_url: None,
            wanted_name: "app".to_owned(),
            commit: "c".to_owned(),
            detected: ProjectType::Generic,
            commits: CommitSettings::default(),
            base_key: "c".to_owned(),
            submodules: Vec::new(),
            warnings: Vec::new(),
            branches: Vec::new(),
        }
    }

    #[test]
    fn two_sources_of_one_name_are_two_projects() {
        let mut document = Document::new(Uuid::nil());
        assert_eq!(enter_project(&mut document, &resolved("https://a.example/app")), "app");
        assert_eq!(enter_project(&mut document, &resolved("https://a.example/app")), "app");
        let other = enter_project(&mut document, &resolved("https://b.example/app"));
        assert!(other.starts_with("app-") && other.len() == 12, "{other}");
        assert_eq!(enter_project(&mut document, &resolved("https://b.example/app")), other);
    }
}
