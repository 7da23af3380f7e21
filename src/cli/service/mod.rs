//! `taskspace service`, and the start of a service that does not listen: by the user's systemd, or as a
//! process of its own.

mod control;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::net::{UnixDatagram, UnixStream};
use tokio::process::{Child, Command};

pub use control::Service;

use super::context::Context;
use super::internal;
use crate::config::Paths;
use crate::host::files::{FileError, private_dir};
use crate::host::systemd::UserManager;
use crate::model::{Code, Problem};

/// The unit that serves.
const SERVICE_UNIT: &str = "taskspaced.service";

/// The unit that listens.
const SOCKET_UNIT: &str = "taskspaced.socket";

/// systemd starts a unit some time after it said that it will; a socket is there in milliseconds.
const UNIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often to look meanwhile.
const UNIT_POLL: Duration = Duration::from_millis(5);

/// How long the service may take to be ready. It takes up what a crash left only afterwards.
const READY_TIMEOUT: Duration = Duration::from_secs(150);

/// After how long a start that is not over is told.
const SLOW_START: Duration = Duration::from_secs(3);

/// A log that has grown longer is put aside when the service starts.
const LOG_LIMIT: u64 = 4 << 20;

/// How many lines of the log are shown when the service does not start.
const LOG_LINES: usize = 15;

/// Makes the service answer.
pub(super) async fn start(context: &Context) -> Result<(), Problem> {
    if by_systemd(&context.paths).await { Ok(()) } else { by_ourselves(context).await }
}

/// Makes the directory of the socket, for nobody but the user.
pub(super) fn make_socket_directory(paths: &Paths) -> Result<(), Problem> {
    // A socket that was asked for elsewhere is in a directory that we do not own.
    if paths.socket.starts_with(&paths.runtime_dir)
        && let Some(directory) = paths.socket.parent()
    {
        private_dir(&paths.runtime_dir).map_err(unusable)?;
        private_dir(directory).map_err(unusable)?;
    }
    Ok(())
}

fn unusable(error: FileError) -> Problem {
    let problem = Problem::new(Code::ServiceUnavailable, chain(&error));
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// Returns an error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Starts the socket unit of the user's systemd; false where there is none that works.
async fn by_systemd(paths: &Paths) -> bool {
    // The unit listens in the usual place only.
    if paths.socket != paths.runtime_dir.join("symposium/taskspace.sock") {
        return false;
    }
    let Some(manager) = UserManager::connect(&paths.runtime_dir).await else { return false };
    if !manager.unit_exists(SOCKET_UNIT).await {
        return false;
    }
    if let Err(error) = manager.start_unit(SOCKET_UNIT).await {
        tracing::warn!("could not start {SOCKET_UNIT}: {error}");
        return false;
    }
    let listening = async {
        while UnixStream::connect(&paths.socket).await.is_err() {
            tokio::time::sleep(UNIT_POLL).await;
        }
    };
    let listens = tokio::time::timeout(UNIT_TIMEOUT, listening).await.is_ok();
    if !listens {
        tracing::warn!("{SOCKET_UNIT} was started and does not listen");
    }
    listens
}

/// Starts the service as a process of its own, and waits until it says that it is ready.
async fn by_ourselves(context: &Context) -> Result<(), Problem> {
    let Context { paths, allow_root, output, .. } = context;
    make_socket_directory(paths)?;
    let directory = paths.socket.parent().unwrap_or(Path::new("/"));
    let ready = ReadySocket::bind(directory)
        .map_err(|error| internal("make a socket for the service's word", &error))?;
    let (log, offset) = open_log(&paths.service_log)?;
    let child = spawn(&log, &ready.path, *allow_root)
        .map_err(|error| internal("start the service", &error))?;
    let slow = match child.id() {
        Some(pid) => format!(
            "the service (process {pid}) is not ready yet; waiting for it. Its log is {}",
            paths.service_log.display()
        ),
        None => "the service is not ready yet; waiting for it".to_owned(),
    };
    let mut started = pin!(wait(child, &ready, &paths.service_log, offset));
    match tokio::time::timeout(SLOW_START, &mut started).await {
        Ok(started) => started,
        Err(_) => {
            output.warn(&slow);
            started.await
        }
    }
}

fn spawn(log: &File, ready: &Path, allow_root: bool) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--detached"]);
    if allow_root {
        command.arg("--allow-root");
    }
    for inherited in ["LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(inherited);
    }
    command
        .env("NOTIFY_SOCKET", ready)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()
}

async fn wait(
    mut child: Child,
    ready: &ReadySocket,
    log: &Path,
    offset: u64,
) -> Result<(), Problem> {
    let ended = tokio::select! {
        told = tokio::time::timeout(READY_TIMEOUT, ready.wait()) => {
            return match told {
                Ok(told) => told.map_err(|error| internal("hear of the service", &error)),
                Err(_) => Err(failed(log, offset, "does not get ready")),
            };
        }
        ended = child.wait() => ended.map_err(|error| internal("wait for the service", &error))?,
    };
    if ended.success() {
        // Another instance listens: two clients started one each.
        Ok(())
    } else {
        Err(failed(log, offset, &describe(ended)))
    }
}

fn describe(ended: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (ended.code(), ended.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn failed(log: &Path, offset: u64, how: &str) -> Problem {
    Problem::new(Code::ServiceUnavailable, format!("the service was started and {how}"))
        .log(last_lines(log, offset).unwrap_or_default())
        .hint(format!("its log is {}", log.display()))
}

/// Opens the log to append to, and returns where the new part begins.
fn open_log(path: &Path) -> Result<(File, u64), Problem> {
    if let Some(directory) = path.parent() {
        private_dir(directory).map_err(unusable)?;
    }
    if fs::metadata(path).is_ok_and(|found| found.len() > LOG_LIMIT)
        && let Err(error) = fs::rename(path, path.with_extension("log.old"))
    {
        tracing::debug!("could not put the old log aside: {error}");
    }
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let measured = opened.and_then(|file| Ok((file.metadata()?.len(), file)));
    let (offset, file) =
        measured.map_err(|error| internal(&format!("open the log {}", path.display()), &error))?;
    Ok((file, offset))
}

/// Returns the last lines of the log's new part.
fn last_lines(path: &Path, offset: u64) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(LOG_LIMIT).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(ToString::to_string).collect())
}

/// The socket on which the service says that it is ready (sd_notify(3)).
struct ReadySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ReadySocket {
    fn bind(directory: &Path) -> io::Result<Self> {
        let path = directory.join(format!("start-{}.sock", std::process::id()));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self { socket: UnixDatagram::bind(&path)?, path })
    }

    async fn wait(&self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer).await?;
            let says = |line: &[u8]| line == b"READY=1";
            if buffer[..length].split(|byte| *byte == b'\n').any(says) {
                return Ok(());
            }
        }
    }
}

impl Drop for ReadySocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("could not remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_word_of_readiness_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let ready = ReadySocket::bind(dir.path()).unwrap();
        let path = ready.path.clone();
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"STATUS=READY=1?\n", &path).await.unwrap();
        sender.send_to(b"STATUS=ready\nREADY=1\n", &path).await.unwrap();
        ready.wait().await.unwrap();
        drop(ready);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_service_that_does_not_start_is_told_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("logs/service.log");
        let (mut file, _) = open_log(&log).unwrap();
        io::Write::write_all(&mut file, b"of an earlier run\n").unwrap();
        let (file, offset) = open_log(&log).unwrap();
        let ready = ReadySocket::bind(dir.path()).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the disk is full >&2; exit 7"]).stderr(file);
        let child = command.spawn().unwrap();
        let problem = wait(child, &ready, &log, offset).await.unwrap_err();
        assert_eq!(problem.detail, "the service was started and ended with status 7");
        assert_eq!(problem.log, ["the disk is full"]);
        // One that finds another instance at work ends well.
        let child = Command::new("true").spawn().unwrap();
        wait(child, &ready, &log, offset).await.unwrap();
    }
}
