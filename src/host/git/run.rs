//! One run of git.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use nix::sys::stat::{Mode, umask};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::error::{local, remote};
use super::local::is_git_dir;
use super::source::{Credentials, percent_decode, redact};
use super::{Git, GitError, Source};
use crate::config::git_environment;
use crate::model::GitEnvironment;

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

/// The settings of a user that are looked up before a repository is talked to.
const LOOKED_UP: &str = r"^(core\.sshcommand|http\.lowspeedlimit|http\.lowspeedtime)$";

/// One run of git that is being put together.
pub(super) struct Run {
    command: Command,
    input: Option<Vec<u8>>,
    /// How many settings its environment has.
    settings: usize,
    /// What must not be seen in what it writes.
    secrets: Vec<String>,
}

impl Git {
    /// Prepares a run with the caller's environment, which reads the user's configuration.
    pub(super) fn as_the_user(&self) -> Run {
        Run::new(self, |_| true)
    }

    /// Prepares a run that reads no configuration of the user or the system, and fetches no missing object.
    pub(super) fn on_this_machine(&self) -> Run {
        let run = Run::new(self, |name| !name.starts_with("GIT_"))
            .variable("GIT_CONFIG_GLOBAL", "/dev/null")
            .variable("GIT_CONFIG_NOSYSTEM", "1")
            .variable("GIT_NO_LAZY_FETCH", "1");
        run.args(["-c", "core.attributesFile=/dev/null", "-c", "core.excludesFile=/dev/null"])
    }

    /// Prepares a run that talks to a repository.
    pub(super) async fn towards(&self, source: &Source) -> Run {
        if let Source::Local(path) = source {
            return self.towards_directory(path);
        }
        let public = source.public();
        let mut run = self.as_the_user();
        // For settings that are included where a remote has this URL (git-config(1), `hasconfig`).
        run.set("remote.taskspace.url", &public);
        if let Source::Url { credentials: Some(credentials), .. } = source {
            // In the environment, since everybody can read a command line.
            run.set(&format!("http.{public}.extraHeader"), authorization(credentials));
        }
        let questions = self.as_the_user().setting("remote.taskspace.url", &public);
        self.without_questions(run, questions).await
    }

    /// Keeps a run from waiting for answers, or for a connection that has died; what the user has
    /// configured goes before. `own` is a run that reads the same configuration.
    pub(super) async fn without_questions(&self, mut run: Run, own: Run) -> Run {
        let own = own.args(["config", "-z", "--name-only", "--get-regexp", LOOKED_UP]);
        let own = own.output("read git's configuration").await.unwrap_or_default();
        let is_set = |name: &str| own.split(|&byte| byte == 0).any(|it| it == name.as_bytes());
        if !is_set("http.lowspeedlimit") && !is_set("http.lowspeedtime") {
            run.command.args(["-c", "http.lowSpeedLimit=1000"]);
            run.command.arg("-c").arg(format!("http.lowSpeedTime={STALL_SECONDS}"));
        }
        // `GIT_SSH_COMMAND` goes before this setting, which goes before `GIT_SSH`.
        if !is_set("core.sshcommand") && !self.has_variable("GIT_SSH") {
            let batch = if self.has_variable("SSH_ASKPASS") { "" } else { " -o BatchMode=yes" };
            run.command.arg("-c").arg(format!("core.sshCommand=ssh{batch} -o ConnectTimeout=30"));
        }
        run
    }

    /// Prepares a run that reads a repository on this host: what is there is taken as it is, by
    /// whatever settings for repositories elsewhere.
    fn towards_directory(&self, path: &Path) -> Run {
        let mut run = self.as_the_user().variable("GIT_ALLOW_PROTOCOL", "file");
        // The longest match counts, so no `url.*.insteadOf` of the user leads elsewhere.
        run.set(&format!("url.{0}.insteadOf", path.display()), path);
        run.args(["-c", "protocol.version=2", "-c", "fetch.fsckObjects=false"])
    }

    /// Whether the caller's environment has a variable.
    fn has_variable(&self, name: &str) -> bool {
        let own = git_environment();
        let found = |environment: &GitEnvironment| {
            environment.variables().map(|mut all| all.any(|(known, _)| known == name))
        };
        found(&self.environment).or_else(|| found(&own)).unwrap_or_default()
    }
}

impl Run {
    /// Prepares a run with the `wanted` variables of the caller's environment, or of our own.
    fn new(git: &Git, wanted: impl Fn(&str) -> bool) -> Self {
        let mut command = Command::new("git");
        let own = git_environment();
        let variables = [&git.environment, &own].into_iter().find_map(GitEnvironment::variables);
        let variables: BTreeMap<_, _> = variables.into_iter().flatten().collect();
        let settings = variables.get("GIT_CONFIG_COUNT").filter(|_| wanted("GIT_CONFIG_COUNT"));
        let settings = settings.and_then(|count| count.parse().ok()).unwrap_or_default();
        let secrets = proxy_secrets(&variables);
        command
            .env_clear()
            .envs(variables.into_iter().filter(|(name, _)| wanted(name)))
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_DEFAULT_REF_FORMAT", "files")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .envs(git.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for setting in ALWAYS {
            command.args(["-c", setting]);
        }
        keep_from_others(&mut command);
        Self { command, input: None, settings, secrets }
    }

    /// Makes git work on the repository `dir`: a git directory, or a directory in a work tree.
    ///
    /// A git directory is named to git, so that it need not find it, nor can find another one around
    /// it: a user may forbid to find bare ones (git-config(1), `safe.bareRepository`).
    pub(super) fn dir(mut self, dir: &Path) -> Self {
        self.command.arg(if is_git_dir(dir) { "--git-dir" } else { "-C" }).arg(dir);
        self
    }

    /// Adds a setting that is not seen on the command line.
    pub(super) fn set(&mut self, key: &str, value: impl AsRef<OsStr>) {
        let number = self.settings;
        self.settings += 1;
        self.command
            .env("GIT_CONFIG_COUNT", self.settings.to_string())
            .env(format!("GIT_CONFIG_KEY_{number}"), key)
            .env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }

    /// The same, for a chain.
    pub(super) fn setting(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.set(key, value);
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
        let ((), bytes, log) = tokio::join!(feed, read, follow(stderr, &self.secrets, progress));
        let status = child.wait().await.map_err(GitError::NotInstalled)?;
        Ok(if status.success() { Ok(bytes) } else { Err(log) })
    }
}

/// Reads the lines of git's standard error; returns the last ones that are not about progress.
async fn follow(
    stderr: Option<impl AsyncRead + Unpin>,
    secrets: &[String],
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
            let text = presentable(&std::mem::take(&mut line), secrets);
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
fn presentable(line: &[u8], secrets: &[String]) -> String {
    let text = String::from_utf8_lossy(line).replace(|c: char| c.is_control(), "");
    let hide = |text: String, secret: &String| text.replace(secret, "…");
    redact(secrets.iter().fold(text, hide).trim())
}

/// Returns users and passwords of the proxies that an environment names. Their URLs may lack the
/// scheme (curl(1), "ENVIRONMENT"), so they are not found by their form.
fn proxy_secrets(variables: &BTreeMap<&str, &str>) -> Vec<String> {
    let mut secrets = Vec::new();
    for (name, value) in variables {
        let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
        let Some((before, _)) = value.rsplit_once('@').filter(|_| is_proxy) else { continue };
        let login = before.split_once("://").map_or(before, |(_, login)| login);
        let password = login.split_once(':').map_or(login, |(_, password)| password);
        secrets.extend([login.to_owned(), password.to_owned(), percent_decode(password)]);
    }
    secrets.retain(|secret| !secret.is_empty());
    secrets
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
        let log = follow(Some(&written[..]), &[], &mut |line| told.push(line)).await;
        assert_eq!(log, ["[31mfatal: 'https://h/x' is bad", "last"]);
        assert_eq!(told.len(), 4);
    }
    #[test]
    fn passwords_of_proxies_are_hidden_in_every_form() {
        let variables = [
            ("http_proxy", "http://user:p%40ss@proxy.example:1"),
            ("ALL_PROXY", "other:word@proxy.example"),
            ("no_proxy", "a.example,b.example"),
            ("MAIL", "me@example.org"),
        ];
        let secrets = proxy_secrets(&BTreeMap::from(variables));
        let line = b"bad proxy 'user:p%40ss@proxy.example:1' p@ss other:word@proxy.example me";
        let shown = presentable(line, &secrets);
        assert_eq!(shown, "bad proxy '…@proxy.example:1' … …@proxy.example me");
    }
}
