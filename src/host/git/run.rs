//! One run of git.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use nix::sys::stat::{Mode, umask};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::error::{local, remote};
use super::source::{Credentials, redact};
use super::{Git, GitError, Source};

/// Variables that would send git to another repository than the one it is given.
const NOT_INHERITED: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CEILING_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DEFAULT_HASH",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_TRACE",
    "GIT_WORK_TREE",
];

/// Settings of every run: nothing of the repository runs, nothing goes on in the background.
const ALWAYS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.logAllRefUpdates=false",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
];

/// A connection that moves less than 1 kB/s for this many seconds is given up.
const STALL_SECONDS: u32 = 60;

/// How many lines of git's output an error keeps, and how much of each.
const LOG_LINES: usize = 20;
const LINE_LENGTH: usize = 400;

/// One run of git that is being put together.
pub(super) struct Run {
    command: Command,
    input: Option<Vec<u8>>,
}

impl Git {
    /// Prepares a run that reads the user's configuration.
    pub(super) fn as_the_user(&self) -> Run {
        let mut run = Run::new(&self.variables);
        let variables = [
            ("SSH_AUTH_SOCK", &self.environment.ssh_auth_sock),
            ("GIT_ASKPASS", &self.environment.askpass),
            ("SSH_ASKPASS", &self.environment.askpass),
        ];
        for (name, value) in variables {
            if let Some(value) = value {
                run.command.env(name, value);
            }
        }
        run
    }

    /// Prepares a run that reads nobody's configuration.
    pub(super) fn on_this_machine(&self) -> Run {
        let mut run = Run::new(&self.variables);
        run.command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        run.args(["-c", "core.attributesFile=/dev/null", "-c", "core.excludesFile=/dev/null"])
    }

    /// Prepares a run that talks to a repository.
    pub(super) async fn towards(&self, source: &Source) -> Run {
        let mut run = self.as_the_user();
        run.command.args(["-c", "http.lowSpeedLimit=1000"]);
        run.command.arg("-c").arg(format!("http.lowSpeedTime={STALL_SECONDS}"));
        // Nobody is there to answer questions. A command that the user configured is left alone; one
        // in the environment goes before this setting anyway.
        let own = self.as_the_user().args(["config", "--get", "core.sshCommand"]);
        if own.output("read git's configuration").await.is_err() {
            run.command.args(["-c", "core.sshCommand=ssh -o BatchMode=yes -o ConnectTimeout=30"]);
        }
        if let Source::Url { public, credentials: Some(credentials) } = source {
            // In the environment, since everybody can read a command line.
            run.command
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", format!("http.{public}.extraHeader"))
                .env("GIT_CONFIG_VALUE_0", authorization(credentials));
        }
        run
    }
}

impl Run {
    fn new(variables: &[(&'static str, String)]) -> Self {
        let mut command = Command::new("git");
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file")
            .env("GIT_DEFAULT_REF_FORMAT", "files")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for setting in ALWAYS {
            command.args(["-c", setting]);
        }
        keep_from_others(&mut command);
        Self { command, input: None }
    }

    /// Makes git work on the repository `dir`.
    pub(super) fn dir(mut self, dir: &Path) -> Self {
        self.command.arg("-C").arg(dir);
        self
    }

    /// Adds arguments.
    pub(super) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    pub(super) fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives git something to read.
    pub(super) fn input(mut self, input: Vec<u8>) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(input);
        self
    }

    /// Makes git hold a lock for as long as it lives, even when this program is killed before.
    pub(super) fn holding(mut self, lock: &File) -> Self {
        // The lock belongs to the open file, which git gets as its (empty) standard input.
        if let Ok(lock) = lock.try_clone() {
            self.command.stdin(Stdio::from(lock));
        }
        self
    }

    /// Runs git on this machine alone and returns what it wrote.
    pub(super) async fn output(self, doing: &str) -> Result<Vec<u8>, GitError> {
        self.run(&mut |_| {}).await?.map_err(|log| local(doing, log))
    }

    /// The same, with the lines that it wrote to its standard error.
    pub(super) async fn output_and_warnings(
        self,
        doing: &str,
    ) -> Result<(Vec<u8>, Vec<String>), GitError> {
        let mut lines = Vec::new();
        let output = self.run(&mut |line| lines.push(line)).await?;
        output.map(|output| (output, lines)).map_err(|log| local(doing, log))
    }

    /// Runs a git that talks to a repository, and tells the lines that it writes meanwhile.
    pub(super) async fn talk(
        self,
        repository: &str,
        progress: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), GitError> {
        match self.run(progress).await? {
            Ok(_) => Ok(()),
            Err(log) => Err(remote(repository.to_owned(), log)),
        }
    }

    /// Runs git; the inner error is what it wrote last when it failed.
    async fn run(
        mut self,
        progress: &mut (dyn FnMut(String) + Send),
    ) -> Result<Result<Vec<u8>, Vec<String>>, GitError> {
        let mut child = self.command.spawn().map_err(GitError::NotInstalled)?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin, self.input) {
                // A git that stops reading says why by its exit code.
                let _ = stdin.write_all(&input).await;
            }
        };
        let read = async {
            let mut bytes = Vec::new();
            if let Some(mut stdout) = stdout
                && let Err(error) = stdout.read_to_end(&mut bytes).await
            {
                tracing::debug!(%error, "cannot read what git writes");
            }
            bytes
        };
        let ((), bytes, log) = tokio::join!(feed, read, follow(stderr, progress));
        let status = child.wait().await.map_err(GitError::NotInstalled)?;
        Ok(if status.success() { Ok(bytes) } else { Err(log) })
    }
}

/// Reads the lines of git's standard error; returns the last ones that are not about progress.
async fn follow(
    stderr: Option<impl AsyncRead + Unpin>,
    progress: &mut (dyn FnMut(String) + Send),
) -> Vec<String> {
    let mut log = VecDeque::new();
    let Some(mut stderr) = stderr else { return Vec::new() };
    let (mut line, mut chunk) = (Vec::new(), vec![0; 4096]);
    loop {
        let count = stderr.read(&mut chunk).await.unwrap_or(0);
        // What comes last may lack its line feed.
        let ends: &[u8] = if count == 0 { b"\n" } else { &chunk[..count] };
        for &byte in ends {
            if byte != b'\r' && byte != b'\n' {
                if line.len() < LINE_LENGTH {
                    line.push(byte);
                }
                continue;
            }
            let text = presentable(&std::mem::take(&mut line));
            if text.is_empty() {
                continue;
            }
            if byte == b'\n' && !text.contains("% (") {
                if log.len() == LOG_LINES {
                    log.pop_front();
                }
                log.push_back(text.clone());
            }
            progress(text);
        }
        if count == 0 {
            return log.into();
        }
    }
}

/// Returns a line that may be shown: the far end writes into it, too.
fn presentable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    redact(text.replace(|c: char| c.is_control(), "").trim())
}

/// Returns the header that carries a user name and a password.
fn authorization(credentials: &Credentials) -> OsString {
    let pair = format!("{}:{}", credentials.user, credentials.password);
    format!("Authorization: Basic {}", base64(pair.as_bytes())).into()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0_u32, |group, n| {
            group << 8 | u32::from(chunk.get(n).copied().unwrap_or_default())
        });
        for n in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * n) & 63) as usize];
            text.push(if n <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Keeps others from writing to the files that the command makes, whatever the umask is.
#[expect(unsafe_code, reason = "a file mode mask can be set for a child in no other way")]
fn keep_from_others(command: &mut Command) {
    // SAFETY: between fork and exec only functions that are safe in signal handlers may be called;
    // umask is one (POSIX, 2.4.3), and it neither allocates nor locks.
    unsafe {
        command.pre_exec(|| {
            umask(Mode::from_bits_truncate(0o022));
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_specification() {
        // RFC 4648, section 10.
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[tokio::test]
    async fn progress_is_told_and_only_the_rest_is_kept() {
        let written = b"remote: Counting: 50% (1/2)\rremote: Counting: 100% (2/2), done.\n\
                        \x1b[31mfatal: 'https://u:p@h/x' is bad\n\nlast";
        let mut told = Vec::new();
        let log = follow(Some(&written[..]), &mut |line| told.push(line)).await;
        assert_eq!(log, ["[31mfatal: 'https://h/x' is bad", "last"]);
        assert_eq!(told.len(), 4);
    }
}
