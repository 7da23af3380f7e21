//! The socket: from systemd or our own, for one instance at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fs4::TryLockError;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

/// The socket can be used by nobody but the user.
const SOCKET_MODE: u32 = 0o600;

/// Nor can its directory be entered.
const DIRECTORY_MODE: u32 = 0o700;

/// Between an instance's taking the lock and its listening, and between its last connection and its
/// end, there is a moment in which a second instance can neither connect nor lock. It looks again
/// this often; the moment is too short to build a notification for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// For how long a second instance looks. An instance that ends lets its operations end first, which
/// takes up to 65 s; systemd gives up after 90 s.
const LOOK_FOR: Duration = Duration::from_secs(75);

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The directory, the lock file or the socket.
    #[error("could not {what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another instance holds the lock and does not answer.
    #[error("another instance holds {} and does not answer", .0.display())]
    Stuck(PathBuf),
}

/// What came of asking for the socket.
#[derive(Debug)]
pub enum Claim {
    /// It is ours.
    Ours(Socket),
    /// Another instance listens on it.
    Taken,
}

/// A listening socket, held under the lock of its instance.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    /// Where it is, when we made it; systemd's own sockets stay when we go.
    made: Option<Made>,
    /// One instance at a time has it.
    lock: Arc<File>,
}

/// A socket's name in the file system.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    /// Device and inode, to tell it from another one that has taken its place.
    identity: (u64, u64),
}

/// Takes the socket at `path`: the one that systemd handed over, or a new one.
///
/// An instance that listens on `path` already goes on. Systemd's socket, though, has taken the place
/// of any other: an instance that a client had started before can no longer be reached, and is told
/// to end. (What it was doing it finishes, and taskspaces run on.)
///
/// # Errors
/// When the directory, the lock or the socket cannot be made, or an instance is stuck.
pub async fn claim(inherited: Option<UnixListener>, path: &Path) -> Result<Claim, ListenError> {
    if let Some(directory) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory);
        made.map_err(failed("make the directory", directory))?;
    }
    let lock_path = lock_path(path);
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(SOCKET_MODE)
        .open(&lock_path)
        .map_err(failed("open the lock file", &lock_path))?;
    let deadline = Instant::now() + LOOK_FOR;
    let mut told = None;
    loop {
        match fs4::FileExt::try_lock(&lock) {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        if inherited.is_some() {
            tell_to_end(&mut lock, &mut told);
        } else if UnixStream::connect(path).await.is_ok() {
            return Ok(Claim::Taken);
        }
        if Instant::now() > deadline {
            return Err(ListenError::Stuck(lock_path));
        }
        sleep(LOOK_AGAIN).await;
    }
    write_pid(&mut lock).map_err(failed("write to", &lock_path))?;
    let (listener, made) = match inherited {
        Some(listener) => (listener, None),
        None => bind(path).map(|(listener, made)| (listener, Some(made)))?,
    };
    Ok(Claim::Ours(Socket { listener, made, lock: Arc::new(lock) }))
}

impl Socket {
    /// Returns what keeps every other instance from beginning, also when the socket is given up.
    pub(super) fn lock(&self) -> Arc<File> {
        self.lock.clone()
    }

    /// Removes our own socket's name; one that has taken its place stays.
    pub(super) fn remove(&self) {
        let Some(made) = &self.made else { return };
        let removed = identity(&made.path).and_then(|found| {
            if found == made.identity { fs::remove_file(&made.path) } else { Ok(()) }
        });
        if let Err(error) = removed {
            tracing::debug!("could not remove {}: {error}", made.path.display());
        }
    }

    /// Listens on a new socket of the same name, where the name was our own.
    pub(super) fn bind_again(&mut self) -> Result<(), ListenError> {
        if let Some(made) = &self.made {
            let (listener, made) = bind(&made.path)?;
            (self.listener, self.made) = (listener, Some(made));
        }
        Ok(())
    }
}

/// Returns the number of the process that serves a socket, or is about to; none where there is none.
///
/// That is told by the lock of the instance, so a process that does not answer is found as well.
pub fn instance(socket: &Path) -> Option<i32> {
    let mut lock = File::open(lock_path(socket)).ok()?;
    match fs4::FileExt::try_lock_shared(&lock) {
        Err(TryLockError::WouldBlock) => {}
        // Let go of with the file.
        Ok(()) | Err(TryLockError::Error(_)) => return None,
    }
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 1)
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Says in the lock file whose it is.
fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// Tells the instance that holds the lock to end, once.
fn tell_to_end(lock: &mut File, told: &mut Option<i32>) {
    let mut text = String::new();
    let read = lock.rewind().and_then(|()| lock.take(32).read_to_string(&mut text));
    // Half written, or not yet: the next look will find it.
    let (Ok(_), Ok(holder)) = (read, text.trim().parse::<i32>()) else { return };
    // The lock is held, so its holder lives, and this is its number.
    if holder > 1 && *told != Some(holder) {
        tracing::info!("process {holder} served before systemd did; telling it to end");
        if let Err(error) = kill(Pid::from_raw(holder), Signal::SIGTERM) {
            tracing::warn!("could not tell process {holder} to end: {error}");
        }
        *told = Some(holder);
    }
}

/// Listens on a new socket; to be called under the lock.
fn bind(path: &Path) -> Result<(UnixListener, Made), ListenError> {
    match fs::remove_file(path) {
        Ok(()) => tracing::debug!("removed the stale socket {}", path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove the stale socket", path)(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed("listen on", path))?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))
        .map_err(failed("restrict", path))?;
    let identity = identity(path).map_err(failed("look at", path))?;
    Ok((listener, Made { path: path.to_owned(), identity }))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ListenError {
    let path = path.to_owned();
    move |source| ListenError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    async fn ours(path: &Path) -> Socket {
        match claim(None, path).await.unwrap() {
            Claim::Ours(socket) => socket,
            Claim::Taken => panic!("the socket is taken"),
        }
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/s");
        let socket = ours(&path).await;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let lock = fs::read_to_string(lock_path(&path)).unwrap();
        assert_eq!(lock.trim(), std::process::id().to_string());
        socket.remove();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_took_the_place_of_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let socket = ours(&path).await;
        // As systemd does when it begins to listen.
        fs::remove_file(&path).unwrap();
        let _theirs = UnixListener::bind(&path).unwrap();
        socket.remove();
        assert!(path.exists());
    }

    #[tokio::test]
    async fn an_instance_that_can_no_longer_be_reached_is_told_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let theirs = UnixListener::bind(&path).unwrap();
        // A holder of the lock that ends when it is told to, as an instance does.
        let script = "exec 9>>\"$0\"; flock 9; echo $$ >&9; echo ready; exec sleep 60";
        let mut holder = Command::new("sh")
            .args(["-c", script])
            .arg(lock_path(&path))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 5];
        holder.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        assert!(matches!(claim(Some(theirs), &path).await, Ok(Claim::Ours(_))));
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(holder.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
    }
}
