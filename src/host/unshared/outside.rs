//! The parent: starts the child, maps its ids, asks and waits.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::UnsharedError;
use super::ids::{self, IdRange, Kind};
use super::tree::{Copied, Measured, Only};
use super::wire::{Request, Said, VERB};

/// How much is kept of what a child wrote that failed.
const LAST_WORDS: u64 = 4096;

/// A user namespace like rootless Podman's, made anew for everything that is done in it.
///
/// Whoever no longer waits for something ends it, half done.
#[derive(Clone, Debug)]
pub struct Unshared {
    /// Its user ids.
    pub users: Vec<IdRange>,
    /// Its group ids.
    pub groups: Vec<IdRange>,
    /// This program.
    pub program: PathBuf,
}

impl Unshared {
    /// Describes the user namespace with these ids.
    pub fn new(users: Vec<IdRange>, groups: Vec<IdRange>) -> Self {
        Self { users, groups, program: "/proc/self/exe".into() }
    }

    /// Measures directories; see [`Measured`].
    ///
    /// # Errors
    /// When there is no such directory, or something in it cannot be looked at.
    pub async fn measure(&self, directories: Vec<PathBuf>) -> Result<Vec<Measured>, UnsharedError> {
        self.ask(&Request::Measure { directories }).await
    }

    /// Removes all that is in directories, and leaves them. Nobody may have them mounted, or be at work
    /// in them. What broke off is gone on with by doing it again.
    ///
    /// # Errors
    /// When there is no such directory, or something in it cannot be removed.
    pub async fn empty(&self, directories: Vec<PathBuf>) -> Result<(), UnsharedError> {
        self.ask(&Request::Empty { directories }).await
    }

    /// Copies what is in the directory `from`, and what `from` itself is like, to the empty directory
    /// `to`, except what is at the relative paths `excludes`.
    ///
    /// Owners, modes, times, extended attributes, hard links and holes stay as they are, an overlay's
    /// marks too. Data is shared where the file system can. Sockets are left out, for nobody would
    /// listen on them. Somebody may write meanwhile: what vanishes or becomes something else is left
    /// out, as in a copy made a little earlier or later.
    ///
    /// The directories above `from` and `to` have to be those of somebody trusted; those in them not.
    ///
    /// # Errors
    /// When something can be neither read nor written: `to` is then in part there.
    pub async fn copy(
        &self,
        from: &Path,
        to: &Path,
        excludes: Vec<PathBuf>,
    ) -> Result<Copied, UnsharedError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.ask(&Request::Copy { from, to, excludes }).await
    }

    /// Makes the empty directory `to` what an overlay of `upper` on `lower` shows, as if `upper` had
    /// nothing at the relative paths `upper_excludes`.
    ///
    /// What is only in `lower`, which must never change again, is not copied but gets another name in
    /// `to` where that can be. With `only`, nothing is made but the directories that it selects, and
    /// those above them. Otherwise as [`Self::copy`], except that an overlay's own marks are
    /// heeded and not copied.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub async fn merge(
        &self,
        lower: Option<&Path>,
        upper: &Path,
        to: &Path,
        upper_excludes: Vec<PathBuf>,
        only: Option<Only>,
    ) -> Result<Copied, UnsharedError> {
        let (lower, upper, to) = (lower.map(Path::to_owned), upper.to_owned(), to.to_owned());
        self.ask(&Request::Merge { lower, upper, to, upper_excludes, only }).await
    }

    async fn ask<T: Serialize + DeserializeOwned>(
        &self,
        request: &Request,
    ) -> Result<T, UnsharedError> {
        if !(ids::has_sub_ids(&self.users) && ids::has_sub_ids(&self.groups)) {
            return Err(UnsharedError::NoSubIds);
        }
        let mut request =
            serde_json::to_vec(request).map_err(|error| self.not_run(error.into()))?;
        request.push(b'\n');
        let mut child = Command::new(&self.program)
            .arg(VERB)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A key press that ends the foreground process must not end this before its time.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.not_run(error))?;
        match self.talk(&mut child, &request).await {
            Ok(Some(Said::Done(value))) => Ok(value),
            Ok(Some(Said::Failed(error))) => Err(error.into()),
            Ok(Some(Said::Refused { doing, errno })) => {
                Err(UnsharedError::Refused { doing, source: io::Error::from_raw_os_error(errno) })
            }
            Ok(Some(Said::Ready)) => Err(UnsharedError::Nonsense("Ready".to_owned())),
            Ok(None) => Err(self.ended(child).await),
            Err(error) => Err(error),
        }
    }

    /// Returns the child's last word, if it did not end before.
    async fn talk<T: Serialize + DeserializeOwned>(
        &self,
        child: &mut Child,
        request: &[u8],
    ) -> Result<Option<Said<T>>, UnsharedError> {
        let missing = || self.not_run(io::Error::other("it has no number or no pipes"));
        let pid = child.id().ok_or_else(missing)?;
        let mut stdin: ChildStdin = child.stdin.take().ok_or_else(missing)?;
        let stdout: ChildStdout = child.stdout.take().ok_or_else(missing)?;
        let mut stdout = BufReader::new(stdout);
        match self.hear(&mut stdout).await? {
            Some(Said::Ready) => {}
            other => return Ok(other),
        }
        tokio::try_join!(
            ids::map(Kind::Users, pid, &self.users),
            ids::map(Kind::Groups, pid, &self.groups),
        )?;
        if stdin.write_all(request).await.is_err() {
            // It ended.
            return Ok(None);
        }
        // The pipe stays open until the answer is there: it would end the child.
        self.hear(&mut stdout).await
    }

    async fn hear<T: DeserializeOwned>(
        &self,
        stdout: &mut BufReader<ChildStdout>,
    ) -> Result<Option<Said<T>>, UnsharedError> {
        let mut line = String::new();
        let read = stdout.read_line(&mut line).await.map_err(|error| self.not_run(error))?;
        if read == 0 {
            return Ok(None);
        }
        let said = serde_json::from_str(&line);
        said.map(Some).map_err(|_| UnsharedError::Nonsense(line.trim_end().to_owned()))
    }

    async fn ended(&self, mut child: Child) -> UnsharedError {
        let stderr = child.stderr.take();
        let status = match child.wait().await {
            Ok(status) => status,
            Err(error) => return self.not_run(error),
        };
        let mut said = Vec::new();
        if let Some(stderr) = stderr
            && let Err(error) = stderr.take(LAST_WORDS).read_to_end(&mut said).await
        {
            tracing::debug!("cannot read what a process in a user namespace wrote: {error}");
        }
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        UnsharedError::Ended { status, said }
    }

    fn not_run(&self, source: io::Error) -> UnsharedError {
        UnsharedError::NotRun { program: self.program.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::time::{Duration, Instant};

    use nix::sys::signal::kill;
    use nix::unistd::Pid;

    use super::*;

    /// A user namespace in which something else plays our part.
    fn played_by(room: &tempfile::TempDir, script: &str) -> Unshared {
        let program = room.path().join("program");
        // Not written by this process: what another test starts meanwhile would have it open, and a
        // program that is open for writing cannot be run.
        let write = r#"printf '%s\n' '#!/bin/sh' "$1" > "$2" && chmod 755 "$2""#;
        let mut write_it = std::process::Command::new("sh");
        let written = write_it.args(["-c", write, "sh", script]).arg(&program).status();
        assert!(written.unwrap().success());
        let all = IdRange { inside: 0, outside: 0, size: u32::MAX };
        Unshared { program, ..Unshared::new(vec![all], vec![all]) }
    }

    async fn failure(script: &str) -> UnsharedError {
        let room = tempfile::tempdir().unwrap();
        played_by(&room, script).measure(Vec::new()).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_apart() {
        let killed = failure("echo some words >&2; kill -KILL $$").await;
        assert!(
            matches!(&killed, UnsharedError::Ended { status, .. } if status.signal() == Some(9))
        );
        let message = "the process in the user namespace ended (signal: 9 (SIGKILL)): some words";
        assert_eq!(killed.to_string(), message);
        let refused = failure(r#"echo '{"Refused":{"doing":"make it","errno":28}}'"#).await;
        assert!(refused.to_string().starts_with("cannot make it: No space left"), "{refused}");
        assert!(refused.hint().unwrap().contains("max_user_namespaces"));
        let failed = r#"{"Failed":{"doing":"write","path":"/to/x","errno":28}}"#;
        let failed = failure(&format!("echo '{failed}'")).await;
        assert!(failed.to_string().starts_with("cannot write /to/x: No space left"), "{failed}");
        assert!(failed.is_no_space() && failed.hint().unwrap().contains("make room"));
        let nonsense = failure("echo usage: no such verb").await;
        assert!(nonsense.to_string().contains(r#"it said "usage: no such verb""#), "{nonsense}");
    }

    #[tokio::test]
    async fn without_other_ids_nothing_is_tried() {
        let own = vec![IdRange { inside: 0, outside: 1000, size: 1 }];
        let error = Unshared::new(own.clone(), own).measure(Vec::new()).await.unwrap_err();
        assert!(matches!(error, UnsharedError::NoSubIds));
        assert!(error.hint().unwrap().contains("/etc/subuid"));
    }

    #[tokio::test]
    async fn ids_of_others_are_not_mapped() {
        // `Ready` from a process that is in no user namespace of its own.
        let error = failure("echo '\"Ready\"'; exec sleep 60").await;
        let refused = matches!(
            error,
            UnsharedError::NotMapped { .. }
                | UnsharedError::IdsRefused { .. }
                | UnsharedError::HelperMissing { .. }
        );
        assert!(refused && error.hint().is_some(), "{error}");
    }

    #[tokio::test]
    async fn who_no_longer_waits_ends_it() {
        let room = tempfile::tempdir().unwrap();
        let told = room.path().join("told");
        let script =
            format!("echo $$ > '{0}.new'; mv '{0}.new' '{0}'; exec sleep 60", told.display());
        let unshared = played_by(&room, &script);
        let deadline = Instant::now() + Duration::from_secs(20);
        let pid = tokio::select! {
            ended = unshared.measure(Vec::new()) => panic!("{ended:?}"),
            pid = async {
                loop {
                    if let Ok(pid) = std::fs::read_to_string(&told) {
                        break pid.trim().parse().unwrap();
                    }
                    assert!(Instant::now() < deadline);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            } => Pid::from_raw(pid),
        };
        while kill(pid, None).is_ok() {
            assert!(Instant::now() < deadline, "it still runs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
