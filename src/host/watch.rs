//! Tells when files may have changed: inotify(7) on them, and on the directories that they are in.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What is of interest in a directory, and about a file itself: that one was written and closed, replaced,
/// made or removed. A file that is only half written is not.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF);

/// Waits until something about the paths may have changed; for each that is not there, about the nearest
/// directory above it that is.
///
/// Begin to wait, then look at the files: what changes after that look is told.
pub struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the kernel gives no more watches to this user (`fs.inotify.max_user_instances`).
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        for path in paths {
            // One that goes in between is not there, either.
            let there = path.ancestors().find(|path| is_watched(&inotify, path));
            if there.is_none() {
                tracing::debug!("{} cannot be watched", path.display());
            }
        }
        #[expect(unsafe_code, reason = "the runtime's own way to wait for a file descriptor")]
        // SAFETY: the descriptor is owned, so it stays open, and the same, until this is dropped.
        let events = unsafe { AsyncFd::register_with_interest(inotify.into(), Interest::READABLE) };
        Ok(Self(events.map_err(io::Error::from)?))
    }

    /// Waits for a change. Cancel-safe.
    ///
    /// # Errors
    /// When the kernel tells no more.
    pub async fn changed(&self) -> io::Result<()> {
        self.0.readable().await?.retain_ready();
        Ok(())
    }
}

/// Watches a path, which may be a symbolic link to a file; returns whether it is there.
fn is_watched(inotify: &Inotify, path: &Path) -> bool {
    match inotify.add_watch(path, CHANGES) {
        Ok(_) => true,
        Err(Errno::ENOENT | Errno::ENOTDIR) => false,
        Err(error) => {
            tracing::debug!("{} cannot be watched: {error}", path.display());
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Whatever an editor does to a file, and wherever the file is, is told.
    #[tokio::test]
    async fn changes_of_files_are_told_also_where_directories_are_made() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let watch = || Watch::new([path("config/network"), path("config/a.yaml")]).unwrap();
        let steps: [&dyn Fn(); 6] = [
            &|| fs::create_dir_all(path("config/network")).unwrap(),
            &|| fs::write(path("config/a.yaml"), "a").unwrap(),
            &|| fs::write(path("config/a.yaml"), "b").unwrap(),
            &|| {
                fs::write(path("new"), "c").unwrap();
                fs::rename(path("new"), path("config/a.yaml")).unwrap();
            },
            &|| fs::write(path("config/network/shop.yaml"), "d").unwrap(),
            &|| fs::remove_file(path("config/a.yaml")).unwrap(),
        ];
        for change in steps {
            let watch = watch();
            change();
            watch.changed().await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_file_behind_a_symbolic_link_is_watched() {
        let root = tempfile::tempdir().unwrap();
        let (file, link) = (root.path().join("elsewhere.yaml"), root.path().join("config/a.yaml"));
        fs::create_dir(root.path().join("config")).unwrap();
        fs::write(&file, "a").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let watch = Watch::new([link]).unwrap();
        fs::write(&file, "b").unwrap();
        watch.changed().await.unwrap();
    }
}
