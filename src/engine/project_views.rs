//! Projects as they are shown.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::PathBuf;

use super::{Engine, Inner, problems};
use crate::host::unshared::{IdRange, Unshared};
use crate::model::{
    BaseState, BaseView, CacheView, Document, Problem, ProjectRecord, ProjectView, Record, Shared,
    TaskspaceId, base_commit,
};
use crate::plan::capability::Capabilities;
use crate::podman::IdMap;

impl Engine {
    /// Returns the projects, by name.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn projects(&self) -> Result<Vec<ProjectView>, Problem> {
        let inner = &self.inner;
        let document = inner.document().await?;
        let sizes = inner.sizes(&document).await;
        let views = document.projects.iter();
        Ok(views.map(|(name, project)| view(&document, name, project, &sizes)).collect())
    }
}

impl Inner {
    /// Returns how many bytes each base and build cache occupies. They never change, so that each is
    /// measured once.
    async fn sizes(&self, document: &Document) -> HashMap<String, u64> {
        let volumes = document.projects.values().flat_map(whole);
        let volumes: Vec<String> = volumes.map(str::to_owned).collect();
        let mut sizes = self.sizes.lock().await;
        sizes.retain(|volume, _| volumes.contains(volume));
        let unknown: Vec<String> =
            volumes.into_iter().filter(|volume| !sizes.contains_key(volume)).collect();
        if !unknown.is_empty()
            && let Ok((_, capabilities)) = self.link.get().await
        {
            for volume in unknown {
                let directory = capabilities.volume_directory(&volume);
                match self.measure(vec![directory]).await {
                    Ok(bytes) => {
                        sizes.insert(volume, bytes);
                    }
                    Err(problem) => tracing::debug!(volume, "cannot be measured: {problem}"),
                }
            }
        }
        sizes.clone()
    }

    /// Returns how many bytes directories that containers may have written occupy together.
    pub(super) async fn measure(&self, directories: Vec<PathBuf>) -> Result<u64, Problem> {
        Ok(self.measure_each(directories).await?.iter().sum())
    }

    /// Returns how many bytes each of such directories occupies.
    pub(super) async fn measure_each(
        &self,
        directories: Vec<PathBuf>,
    ) -> Result<Vec<u64>, Problem> {
        let unshared = self.unshared().await?;
        let measured = unshared.measure(directories).await.map_err(problems::unshared)?;
        Ok(measured.iter().map(|it| it.bytes).collect())
    }

    /// Returns the user namespace in which files that containers wrote are worked on.
    pub(super) async fn unshared(&self) -> Result<Unshared, Problem> {
        let (_, capabilities) = self.link.get().await?;
        Ok(unshared(&capabilities))
    }
}

/// Returns the user namespace in which Podman's containers are.
pub(super) fn unshared(capabilities: &Capabilities) -> Unshared {
    // The kernel has no greater ids.
    let range = |map: &IdMap| {
        Some(IdRange {
            inside: map.container_id.try_into().ok()?,
            outside: map.host_id.try_into().ok()?,
            size: map.size.try_into().ok()?,
        })
    };
    let ranges = |map: &[IdMap]| map.iter().filter_map(range).collect();
    Unshared::new(ranges(&capabilities.uid_map), ranges(&capabilities.gid_map))
}

/// Returns the volumes of a project that are whole.
fn whole(project: &ProjectRecord) -> impl Iterator<Item = &str> {
    let bases = project.bases.values().filter(|base| base.state == BaseState::Ready);
    let caches = project.caches.iter().filter(|(_, cache)| cache.state == BaseState::Ready);
    bases.map(|base| base.volume.as_str()).chain(caches.map(|(volume, _)| volume.as_str()))
}

fn view(
    document: &Document,
    name: &str,
    project: &ProjectRecord,
    sizes: &HashMap<String, u64>,
) -> ProjectView {
    let of = |uses: &dyn Fn(&Record) -> bool| -> Vec<TaskspaceId> {
        let uses = |(_, record): &(&TaskspaceId, &Shared<Record>)| {
            record.spec.project.name == name && uses(record)
        };
        document.taskspaces.iter().filter(uses).map(|(id, _)| id.clone()).collect()
    };
    let mut bases: Vec<BaseView> = (project.bases.iter())
        .map(|(key, base)| BaseView {
            commit: base_commit(key).to_owned(),
            volume: base.volume.clone(),
            state: base.state,
            created: base.created,
            bytes: sizes.get(&base.volume).copied(),
            taskspaces: of(&|record| record.spec.project.base() == key),
        })
        .collect();
    bases.sort_by_key(|base| Reverse(base.created));
    let mut caches: Vec<CacheView> = (project.caches.iter())
        .map(|(volume, cache)| CacheView {
            volume: volume.clone(),
            state: cache.state,
            created: cache.created,
            from: cache.from.clone(),
            current: project.cache() == Some(volume.as_str()),
            bytes: sizes.get(volume).copied(),
            taskspaces: of(&|record| record.cache.as_ref() == Some(volume)),
        })
        .collect();
    caches.sort_by_key(|cache| Reverse(cache.created));
    ProjectView { name: name.to_owned(), source: project.source.clone(), bases, caches }
}
