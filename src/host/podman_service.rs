//! Podman's socket: found, or brought about.
//!
//! Unless `CONTAINER_HOST` names a socket, Podman's service is a child of this one, with settings of its
//! own over the user's (`CONTAINERS_CONF_OVERRIDE`, containers.conf(5)), on the user's storage. The user's
//! own socket is used where no child can be started.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::files::{FileError, private_dir, remove_tree, write_atomic};
use super::systemd::UserManager;

/// How long a socket may take to appear; the first start of Podman for a user prepares its storage.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is looked for meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the output of a Podman that ended is waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How many of Podman's last lines an error keeps.
const LOG_LINES: usize = 10;

/// The variable that names settings over all others.
const OVERRIDE: &str = "CONTAINERS_CONF_OVERRIDE";

/// The settings of a Podman service that is a child. A user has few kernel keys (keyrings(7)), of which
/// each container would take one: the 67th taskspace would not start.
const SETTINGS: &str = "[containers]\nkeyring = false\n";

/// systemd's unit that listens for Podman.
const UNIT: &str = "podman.socket";

/// Where Podman's socket may be.
#[derive(Clone, Debug)]
pub struct Places {
    /// `CONTAINER_HOST`, if it is set.
    pub container_host: Option<String>,
    /// Whether the user has set `CONTAINERS_CONF_OVERRIDE`: then a child gets no settings of its own.
    pub has_settings: bool,
    /// The user's directory for sockets.
    pub runtime_dir: PathBuf,
    /// The usual place.
    pub default_socket: PathBuf,
    /// The socket of a Podman that this program starts itself.
    pub own_socket: PathBuf,
}

/// Podman's socket, and the Podman that had to be started for it.
#[derive(Debug)]
pub struct PodmanService {
    /// The socket.
    pub socket: PathBuf,
    /// It ends when this is dropped.
    pub child: Option<ChildGuard>,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum PodmanServiceError {
    /// `CONTAINER_HOST` names something else than a Unix socket.
    #[error("CONTAINER_HOST is {0:?}, and only unix:///… can be used")]
    NotUnix(String),
    /// `CONTAINER_HOST` names a socket on which nobody answers.
    #[error("nobody answers on CONTAINER_HOST ({path}): {source}", path = path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no Podman.
    #[error("there is no Podman: {tried}")]
    NotInstalled {
        /// What was tried.
        tried: String,
    },
    /// Podman's service could not be brought about.
    #[error("cannot start Podman's service: {tried}")]
    NotStarted {
        /// What was tried, and what came of it.
        tried: String,
        /// What Podman wrote last.
        log: Vec<String>,
    },
    /// The place of the socket could not be prepared.
    #[error(transparent)]
    File(#[from] FileError),
}

impl PodmanServiceError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotUnix(_) | Self::NoAnswer { .. } => {
                "unset CONTAINER_HOST to use the Podman of this host".to_owned()
            }
            Self::NotInstalled { .. } => {
                "install podman (5 or newer), for example: sudo apt install podman".to_owned()
            }
            Self::NotStarted { .. } => {
                "see what `podman info` says; `systemctl --user start podman.socket` starts the \
                 service by hand"
                    .to_owned()
            }
            Self::File(error) => return error.hint(),
        })
    }

    /// Returns the same error with what was tried besides.
    fn after(self, others: &[String]) -> Self {
        let all = |tried: String| [std::slice::from_ref(&tried), others].concat().join("; ");
        match self {
            Self::NotInstalled { tried } => Self::NotInstalled { tried: all(tried) },
            Self::NotStarted { tried, log } => Self::NotStarted { tried: all(tried), log },
            other => other,
        }
    }

    /// Returns what Podman wrote last.
    pub fn log(&self) -> &[String] {
        match self {
            Self::NotStarted { log, .. } => log,
            _ => &[],
        }
    }
}

/// Finds Podman's socket, or starts Podman's service.
pub async fn find_or_start(places: &Places) -> Result<PodmanService, PodmanServiceError> {
    find_or_run(places, Path::new("podman")).await
}

async fn find_or_run(places: &Places, program: &Path) -> Result<PodmanService, PodmanServiceError> {
    if let Some(host) = &places.container_host {
        let path = host
            .strip_prefix("unix://")
            .filter(|path| path.starts_with('/'))
            .map(PathBuf::from)
            .ok_or_else(|| PodmanServiceError::NotUnix(host.clone()))?;
        return match UnixStream::connect(&path) {
            Ok(_) => Ok(found(&path)),
            Err(source) => Err(PodmanServiceError::NoAnswer { path, source }),
        };
    }
    // One that an earlier service left behind when it was killed.
    if answers(&places.own_socket) {
        return Ok(found(&places.own_socket));
    }
    let failed = match run(places, program).await {
        Err(PodmanServiceError::File(error)) => return Err(error.into()),
        Err(failed) => failed,
        started => return started,
    };
    tracing::warn!("the user's own Podman service is tried: {failed}");
    let mut tried = match UnixStream::connect(&places.default_socket) {
        Ok(_) => return Ok(found(&places.default_socket)),
        Err(error) => vec![format!("{}: {error}", places.default_socket.display())],
    };
    match start_by_systemd(places).await {
        Ok(()) => return Ok(found(&places.default_socket)),
        Err(error) => tried.push(error),
    }
    Err(failed.after(&tried))
}

fn found(socket: &Path) -> PodmanService {
    PodmanService { socket: socket.to_owned(), child: None }
}

fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// Lets systemd listen on the default socket; the error is what came of it.
async fn start_by_systemd(places: &Places) -> Result<(), String> {
    let Some(manager) = UserManager::connect(&places.runtime_dir).await else {
        return Err("there is no systemd of the user".to_owned());
    };
    if !manager.unit_exists(UNIT).await {
        return Err(format!("systemd has no {UNIT}"));
    }
    manager.start_unit(UNIT).await.map_err(|error| format!("{UNIT}: {error}"))?;
    let give_up = Instant::now() + PATIENCE;
    while !answers(&places.default_socket) {
        if Instant::now() >= give_up {
            let place = places.default_socket.display();
            return Err(format!("systemd started {UNIT}, but nobody answers on {place}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Writes the settings of a Podman service that is a child, beside its socket.
fn write_settings(socket: &Path) -> Result<Option<PathBuf>, FileError> {
    let Some(parent) = socket.parent() else { return Ok(None) };
    private_dir(parent)?;
    let path = parent.join("containers.conf");
    write_atomic(&path, SETTINGS.as_bytes(), 0o600)?;
    Ok(Some(path))
}

/// Runs Podman's service as a child.
async fn run(places: &Places, program: &Path) -> Result<PodmanService, PodmanServiceError> {
    let socket = places.own_socket.as_path();
    let mut tried = Vec::new();
    let settings = write_settings(socket)?.filter(|_| !places.has_settings);
    remove_tree(socket)?;
    let mut command = Command::new(program);
    without_the_users_keys(&mut command);
    let spawned = command
        .args(["system", "service", "--time", "0"])
        .envs(settings.map(|settings| (OVERRIDE, settings)))
        .arg(format!("unix://{}", socket.display()))
        // What systemd says to us is not meant for a child.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDNAMES")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // A key press that ends the foreground process must not end Podman before its time.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => ChildGuard(child),
        Err(error) => {
            tried.push(format!("{}: {error}", program.display()));
            return Err(PodmanServiceError::NotInstalled { tried: tried.join("; ") });
        }
    };
    let log = Arc::new(Mutex::new(VecDeque::new()));
    let reading = (child.0.stderr.take())
        .map(|stderr| tokio::spawn(keep_last_lines(stderr, Arc::clone(&log))));
    let give_up = Instant::now() + PATIENCE;
    loop {
        if answers(socket) {
            return Ok(PodmanService { socket: socket.to_owned(), child: Some(child) });
        }
        match child.0.try_wait() {
            Ok(None) if Instant::now() < give_up => tokio::time::sleep(PAUSE).await,
            Ok(None) => {
                tried.push("podman system service does not listen".to_owned());
                break;
            }
            Ok(Some(status)) => {
                // Its last words may still be on the way; whatever it started may hold the line open.
                if let Some(reading) = reading
                    && tokio::time::timeout(LAST_WORDS, reading).await.is_err()
                {
                    tracing::debug!("podman system service ended, but not its output");
                }
                tried.push(format!("podman system service: {status}"));
                break;
            }
            Err(error) => {
                tried.push(format!("podman system service: {error}"));
                break;
            }
        }
    }
    let log = log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
    Err(PodmanServiceError::NotStarted { tried: tried.join("; "), log })
}

/// Has a command begin with a new, empty session keyring (keyctl(2)): containers without keyrings of their
/// own have that of their Podman service, and are not to have the keys of the user.
fn without_the_users_keys(command: &mut Command) {
    let join = || {
        let name = std::ptr::null::<libc::c_char>();
        // SAFETY: a system call that takes no memory of this process, without a name.
        #[expect(unsafe_code, reason = "nix has no keyctl")]
        let joined =
            unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name) };
        match Errno::result(joined) {
            // Neither this process nor what it starts has keys then.
            Err(Errno::ENOSYS | Errno::EPERM) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    };
    // SAFETY: between fork and exec it does nothing but that system call.
    #[expect(unsafe_code, reason = "the keyring is that of the process that makes it")]
    unsafe {
        command.pre_exec(join);
    }
}

async fn keep_last_lines(stream: impl AsyncRead + Unpin, log: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(line, "podman system service");
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LOG_LINES {
            log.pop_front();
        }
        log.push_back(line);
    }
}

/// Podman's service as a child; dropping this ends it. Containers go on.
#[derive(Debug)]
pub struct ChildGuard(Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Politely first: what drops the child afterwards kills it only if it is still there.
        if let Some(pid) = self.0.id().and_then(|id| i32::try_from(id).ok())
            && let Err(error) = kill(Pid::from_raw(pid), Signal::SIGTERM)
        {
            tracing::debug!(%error, "cannot end podman system service");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn places(root: &Path) -> Places {
        Places {
            container_host: None,
            has_settings: false,
            runtime_dir: root.to_owned(),
            default_socket: root.join("podman.sock"),
            own_socket: root.join("own/podman.sock"),
        }
    }

    fn script(root: &Path, text: &str) -> PathBuf {
        let path = root.join("podman");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn container_host_is_used_or_refused_but_never_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let mut places = places(root.path());
        let _default = UnixListener::bind(&places.default_socket).unwrap();
        let other = root.path().join("other.sock");
        places.container_host = Some(format!("unix://{}", other.display()));
        let error = find_or_start(&places).await.unwrap_err();
        assert!(matches!(error, PodmanServiceError::NoAnswer { .. }), "{error}");
        let _other = UnixListener::bind(&other).unwrap();
        assert_eq!(find_or_start(&places).await.unwrap().socket, other);
        for host in ["ssh://me@host/run/podman.sock", "tcp://h:1", "unix://relative", "x"] {
            places.container_host = Some(host.to_owned());
            let error = find_or_start(&places).await.unwrap_err();
            assert!(matches!(error, PodmanServiceError::NotUnix(_)), "{error}");
            assert!(error.hint().unwrap().contains("CONTAINER_HOST"));
        }
    }

    #[tokio::test]
    async fn own_service_is_preferred_and_the_default_socket_is_used_without_one() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let listener = UnixListener::bind(&places.default_socket).unwrap();
        let nowhere = Path::new("/nowhere/podman");
        let found = find_or_run(&places, nowhere).await.unwrap();
        assert!(found.socket == places.default_socket && found.child.is_none());
        // The file alone is not enough.
        drop(listener);
        let error = find_or_run(&places, nowhere).await.unwrap_err();
        assert!(matches!(error, PodmanServiceError::NotInstalled { .. }));
        let message = error.to_string();
        for part in
            ["podman.sock: Connection refused", "no systemd", "/nowhere/podman: No such file"]
        {
            assert!(message.contains(part), "{message}");
        }
        let _own = UnixListener::bind(&places.own_socket).unwrap();
        assert_eq!(find_or_run(&places, nowhere).await.unwrap().socket, places.own_socket);
    }

    #[tokio::test]
    async fn a_podman_that_fails_is_quoted() {
        let root = tempfile::tempdir().unwrap();
        let program = script(root.path(), "echo 'no subuid ranges' >&2; exit 125");
        let error = find_or_run(&places(root.path()), &program).await.unwrap_err();
        assert_eq!(error.log(), ["no subuid ranges"]);
        assert!(error.to_string().contains("exit status: 125"), "{error}");
    }

    #[tokio::test]
    async fn a_podman_that_was_started_ends_with_its_guard() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let told = root.path().join("told");
        let program = script(
            root.path(),
            &format!(
                "{{ echo \"$$ $*\"; cat \"$CONTAINERS_CONF_OVERRIDE\"; }} > '{0}.new'; mv '{0}.new' '{0}'; \
                 trap 'echo end >> \"{0}\"; exit' TERM; sleep 60 & wait",
                told.display()
            ),
        );
        // Someone else plays the socket, since a shell cannot.
        let (socket, running) = (places.own_socket.clone(), told.clone());
        let listening = tokio::spawn(async move {
            while !fs::read_to_string(&running).is_ok_and(|text| text.ends_with('\n')) {
                tokio::time::sleep(PAUSE).await;
            }
            UnixListener::bind(&socket).unwrap()
        });
        let service = find_or_run(&places, &program).await.unwrap();
        assert!(service.socket == places.own_socket && service.child.is_some());
        let _listener = listening.await.unwrap();
        let args = format!(" system service --time 0 unix://{}", places.own_socket.display());
        let said = fs::read_to_string(&told).unwrap();
        assert!(said.contains(&args) && said.contains("keyring = false"), "{said}");
        let pid: i32 =
            fs::read_to_string(&told).unwrap().split(' ').next().unwrap().parse().unwrap();
        drop(service);
        for _ in 0..500 {
            if kill(Pid::from_raw(pid), None).is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("podman system service still runs");
    }
}
