//! What Podman leaves of volumes.
//!
//! It forgets a volume before it removes the files. Where it is ended in between, or a tree is deeper than
//! it may have files open, these stay: nobody knows of them, and the next volume of that name has them.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::problems;
use super::project_views::unshared;
use super::ssh::blocking;
use crate::host::files::FileError;
use crate::model::Problem;
use crate::plan::capability::Capabilities;
use crate::podman::{Podman, PodmanError};

/// What Podman gives the directory of a new volume.
const MODE: u32 = 0o755;

/// Goes on with a removal that failed when Podman had forgotten the volume.
pub(super) async fn finish_removal(
    podman: &Podman,
    volume: &str,
    error: PodmanError,
) -> Result<(), Problem> {
    match podman.inspect_volume(volume).await {
        Err(gone) if gone.is_not_found() => {}
        _ => return Err(problems::podman(error)),
    }
    let capabilities = capabilities(podman).await?;
    let files = capabilities.volume_directory(volume);
    empty(&capabilities, &files).await?;
    let remove = |directory: &Path| {
        fs::remove_dir(directory)
            .map_err(|error| problems::file(&FileError::io("remove", directory)(error)))
    };
    blocking(move || {
        remove(&files)?;
        files.parent().map_or(Ok(()), remove)
    })
    .await
}

/// Removes what an earlier volume of the same name has left in one that was just made.
pub(super) async fn clear_new(podman: &Podman, files: &Path) -> Result<(), Problem> {
    let looked_at = files.to_owned();
    let is_left = blocking(move || {
        Ok(match fs::read_dir(&looked_at) {
            Ok(mut entries) => entries.next().is_some(),
            // It may be closed: then a container had it.
            Err(error) => error.kind() == ErrorKind::PermissionDenied,
        })
    });
    if !is_left.await? {
        return Ok(());
    }
    empty(&capabilities(podman).await?, files).await?;
    let files = files.to_owned();
    blocking(move || {
        fs::set_permissions(&files, Permissions::from_mode(MODE))
            .map_err(|error| problems::file(&FileError::io("open up", &files)(error)))
    })
    .await
}

async fn capabilities(podman: &Podman) -> Result<Capabilities, Problem> {
    let info = podman.info().await.map_err(problems::podman)?;
    Capabilities::new(&info).map_err(|error| problems::unsuitable(&error))
}

async fn empty(capabilities: &Capabilities, files: &Path) -> Result<(), Problem> {
    tracing::warn!(files = %files.display(), "removing what Podman has left");
    let emptied = unshared(capabilities).empty(vec![files.to_owned()]).await;
    emptied.map_err(problems::unshared)
}
