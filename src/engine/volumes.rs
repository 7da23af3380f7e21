//! The volumes of this registry: those that Podman mounts, and the data volumes beside them.
//!
//! A volume with mount options (an overlay) is Podman's: it holds nothing itself and is made anew when it
//! is gone. One without is a data volume ([`DataVolumes`]), which Podman's housekeeping does not see.
//! Earlier releases had these in Podman as well; such a volume works as it is, and is taken over as soon as
//! no container names it.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::ErrorKind as IoErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::project_views::unshared;
use super::ssh::blocking;
use super::{Inner, problems};
use crate::host::data_volume::DataVolumes;
use crate::host::files::FileError;
use crate::model::{Code, Problem};
use crate::plan::capability::Capabilities;
use crate::plan::names::{self, Labels};
use crate::podman::{self, ContainerSummary, ErrorKind, Podman, VolumeSpec};

/// What Podman gives the directory of a new volume.
const MODE: u32 = 0o755;

/// The volumes below one Podman's volume path; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Volumes {
    podman: Podman,
    capabilities: Arc<Capabilities>,
    data: DataVolumes,
}

/// A volume that is there.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    /// Its labels.
    pub(crate) labels: Labels,
    /// What Podman says of it, if it is Podman's.
    pub(crate) of_podman: Option<podman::Volume>,
}

impl Volume {
    /// Whether Podman has it mounted for a container.
    pub(crate) fn is_mounted(&self) -> bool {
        self.of_podman.as_ref().is_some_and(|volume| volume.mount_count > 0)
    }

    /// Whether it was made as described.
    fn is_made_as(&self, spec: &VolumeSpec) -> bool {
        self.of_podman.as_ref().map_or(spec.options.is_empty(), |it| it.options == spec.options)
    }
}

impl Inner {
    /// Returns the volumes of the Podman that is linked.
    pub(super) async fn volumes(&self) -> Result<Volumes, Problem> {
        let (podman, capabilities) = self.link.get().await?;
        Ok(Volumes::new(podman, capabilities))
    }
}

impl Volumes {
    pub(crate) fn new(podman: Podman, capabilities: Arc<Capabilities>) -> Self {
        let data = DataVolumes::new(capabilities.volume_path.clone());
        Self { podman, capabilities, data }
    }

    /// Returns the directory of a volume's files.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.capabilities.volume_directory(name)
    }

    /// Returns a volume, if it is there.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Volume>, Problem> {
        match self.find_data(name).await? {
            Some(labels) => Ok(Some(Volume { labels, of_podman: None })),
            None => self.find_in_podman(name).await,
        }
    }

    async fn find_data(&self, name: &str) -> Result<Option<Labels>, Problem> {
        let name = name.to_owned();
        let owner = self.with_data(move |data| data.find(&name)).await?;
        Ok(owner.map(|owner| owner.labels))
    }

    async fn find_in_podman(&self, name: &str) -> Result<Option<Volume>, Problem> {
        match self.podman.inspect_volume(name).await {
            Ok(volume) => {
                Ok(Some(Volume { labels: volume.labels.clone(), of_podman: Some(volume) }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(problems::podman(error)),
        }
    }

    /// Returns the volumes of a registry, by name.
    pub(crate) async fn list(&self, registry: Uuid) -> Result<Vec<(String, Labels)>, Problem> {
        let registry_text = registry.to_string();
        let labels = [(names::REGISTRY_LABEL, registry_text.as_str())];
        let (of_podman, data) = tokio::try_join!(
            async { self.podman.volumes(&labels).await.map_err(problems::podman) },
            self.with_data(DataVolumes::list)
        )?;
        let data = data.into_iter().map(|(name, owner)| (name, owner.labels));
        let mut all: Vec<_> = data.filter(|(_, labels)| is_ours(labels, registry)).collect();
        all.extend(of_podman.into_iter().map(|volume| (volume.name, volume.labels)));
        Ok(all)
    }

    /// Returns the containers that have a volume, or would have when they are started.
    pub(crate) async fn containers_with(
        &self,
        name: &str,
    ) -> Result<Vec<ContainerSummary>, Problem> {
        let files = self.directory(name).display().to_string();
        self.podman.containers_with(&[name, &files]).await.map_err(problems::podman)
    }

    /// Makes a volume, unless it is there as described; `taken` is the error's code when one of that name
    /// belongs to somebody else.
    pub(crate) async fn create(
        &self,
        registry: Uuid,
        spec: &VolumeSpec,
        taken: Code,
    ) -> Result<(), Problem> {
        let there = if spec.options.is_empty() {
            self.find(&spec.name).await?
        } else {
            match self.podman.create_volume(spec).await {
                Ok(made) => return self.clear_left(&made.mountpoint).await,
                Err(error) if error.kind() == ErrorKind::Exists => {
                    self.find_in_podman(&spec.name).await?
                }
                Err(error) => return Err(problems::podman(error)),
            }
        };
        match there {
            None => {}
            Some(there) if is_ours(&there.labels, registry) && there.is_made_as(spec) => {
                return Ok(());
            }
            Some(_) => return Err(foreign(taken, &spec.name)),
        }
        // Files without an owner were left by a removal that was interrupted.
        self.clear_left(&self.directory(&spec.name)).await?;
        let (name, labels) = (spec.name.clone(), spec.labels.clone());
        self.with_data(move |data| data.create(&name, labels)).await
    }

    /// Removes a volume of a registry. It is no error when it is gone; one of that name that is somebody
    /// else's is left alone.
    pub(crate) async fn remove(&self, registry: Uuid, name: &str) -> Result<(), Problem> {
        match self.find(name).await? {
            Some(volume) if is_ours(&volume.labels, registry) => {
                self.remove_found(name, &volume, true).await
            }
            Some(_) => Ok(()),
            None => {
                // A removal that was interrupted may have left the directories.
                let name = name.to_owned();
                self.with_data(move |data| Ok(data.remove(&name).ok())).await.map(drop)
            }
        }
    }

    /// Removes a volume, unless a container names it.
    pub(crate) async fn remove_unused(&self, name: &str, volume: &Volume) -> Result<(), Problem> {
        if volume.of_podman.is_none()
            && let Some(user) = self.containers_with(name).await?.first()
        {
            let detail = format!("the container '{}' uses the volume '{name}'", user.name());
            return Err(Problem::new(Code::StateConflict, detail)
                .hint("remove the container, and try again"));
        }
        self.remove_found(name, volume, false).await
    }

    async fn remove_found(&self, name: &str, volume: &Volume, force: bool) -> Result<(), Problem> {
        if volume.of_podman.is_none() {
            return self.remove_files(name).await;
        }
        match self.podman.remove_volume(name, force).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                // Podman forgets a volume before it removes the files, and cannot remove a tree that is
                // deeper than it may have files open.
                match self.find_in_podman(name).await? {
                    None => self.remove_files(name).await,
                    Some(_) => Err(problems::podman(error)),
                }
            }
            _ => Ok(()),
        }
    }

    /// Removes the files of a volume that Podman does not know, and their directory.
    async fn remove_files(&self, name: &str) -> Result<(), Problem> {
        let files = self.directory(name);
        if has_files(&files).await? {
            self.empty(&files).await?;
        }
        let name = name.to_owned();
        self.with_data(move |data| data.remove(&name)).await
    }

    /// Removes what an earlier volume of the same name has left in a directory: Podman forgets a volume
    /// before it removes the files.
    async fn clear_left(&self, files: &Path) -> Result<(), Problem> {
        if !has_files(files).await? {
            return Ok(());
        }
        tracing::warn!(files = %files.display(), "removing what an interrupted removal has left");
        self.empty(files).await?;
        // It may be of another owner: it is made anew, as Podman makes it.
        let files = files.to_owned();
        blocking(move || {
            fs::remove_dir(&files)
                .and_then(|()| fs::create_dir(&files))
                .and_then(|()| fs::set_permissions(&files, Permissions::from_mode(MODE)))
                .map_err(|error| problems::file(&FileError::io("make anew", &files)(error)))
        })
        .await
    }

    async fn empty(&self, files: &Path) -> Result<(), Problem> {
        let emptied = unshared(&self.capabilities).empty(vec![files.to_owned()]).await;
        emptied.map_err(problems::unshared)
    }

    /// Takes over what an earlier release has left in Podman, as far as no container names it.
    pub(super) async fn adopt_all(&self, registry: Uuid) -> Result<(), Problem> {
        let text = registry.to_string();
        let labels = [(names::REGISTRY_LABEL, text.as_str())];
        let there = self.podman.volumes(&labels).await.map_err(problems::podman)?;
        let plain = there.into_iter().filter(|volume| volume.options.is_empty());
        let mut names: BTreeSet<String> = plain.map(|volume| volume.name).collect();
        let unfinished = self.with_data(DataVolumes::unfinished_adoptions).await?;
        let ours = unfinished.into_iter().filter(|(_, owner)| is_ours(&owner.labels, registry));
        names.extend(ours.map(|(name, _)| name));
        for name in names {
            if let Err(problem) = self.adopt(registry, &name).await {
                tracing::warn!(%name, "`podman volume prune` may remove this volume: {problem}");
            }
        }
        Ok(())
    }

    /// Takes one of Podman's volumes over as a data volume, unless a container names it.
    pub(super) async fn adopt(&self, registry: Uuid, name: &str) -> Result<(), Problem> {
        if let Some(volume) = self.find_in_podman(name).await? {
            let users = self.containers_with(name).await?;
            let is_plain = volume.of_podman.is_some_and(|volume| volume.options.is_empty());
            if !users.is_empty() || !is_plain || !is_ours(&volume.labels, registry) {
                return Ok(());
            }
            let of = name.to_owned();
            self.with_data(move |data| data.begin_adoption(&of, volume.labels)).await?;
            match self.podman.remove_volume(name, false).await {
                Err(error) if !error.is_not_found() => {
                    let of = name.to_owned();
                    self.with_data(move |data| data.cancel_adoption(&of)).await?;
                    return Err(problems::podman(error));
                }
                _ => {}
            }
        }
        let of = name.to_owned();
        self.with_data(move |data| data.end_adoption(&of)).await
    }

    async fn with_data<T: Send + 'static>(
        &self,
        act: impl FnOnce(&DataVolumes) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, Problem> {
        let data = self.data.clone();
        blocking(move || act(&data).map_err(|error| problems::file(&error))).await
    }
}

/// Whether there is anything in a directory, as far as that can be seen.
async fn has_files(files: &Path) -> Result<bool, Problem> {
    let files = files.to_owned();
    blocking(move || {
        Ok(match fs::read_dir(&files) {
            Ok(mut entries) => entries.next().is_some(),
            // It may be closed: then a container had it.
            Err(error) => error.kind() == IoErrorKind::PermissionDenied,
        })
    })
    .await
}

/// Whether an object's labels say that it belongs to this registry.
pub(crate) fn is_ours(labels: &Labels, registry: Uuid) -> bool {
    labels.get(names::REGISTRY_LABEL) == Some(&registry.to_string())
}

/// A volume has our name and is not ours.
pub(crate) fn foreign(code: Code, name: &str) -> Problem {
    Problem::new(code, format!("there is a volume '{name}' that does not belong to this registry"))
        .hint(
            "look at it with `podman volume inspect`, or in Podman's volume path if Podman does not know \
             it, and remove it if it is not needed",
        )
}
