//! Commands in containers.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{AsyncWrite as ApiWrite, Stream, StreamExt};
use podman_api::opts::{ExecCreateOpts, ExecStartOpts, UserOpt};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::api::{chunks, explain};
use super::{LogChunk, LogStream};
use crate::podman::objects::ExecState;
use crate::podman::transport::{ANSWER, segment};
use crate::podman::{Podman, PodmanError, Result};

/// How long the exit code is waited for after the output has ended; it takes some milliseconds.
const EXIT_WAIT: Duration = Duration::from_secs(10);

/// How often the exit code is asked for meanwhile.
const EXIT_PAUSE: Duration = Duration::from_millis(10);

/// The most output that [`ExecSession::finish`] collects of each stream.
const MAX_COLLECTED: usize = 16 << 20;

/// A command to be run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub cmd: Vec<String>,
    /// The user, and group, that it runs as; the container's if not given.
    pub user: Option<String>,
    /// The working directory; the container's if not given.
    pub workdir: Option<String>,
    /// Variables, beside the container's.
    pub env: BTreeMap<String, String>,
    /// Whether it has a terminal; all output is standard output then.
    pub tty: bool,
    /// Whether it has standard input; without, it reads the end at once.
    pub stdin: bool,
    /// The size of the terminal at the beginning, in columns and rows.
    pub size: Option<(u16, u16)>,
}

/// A command that runs in a container, in three parts that can go their own ways.
///
/// When output and input are dropped the command runs on.
pub struct ExecSession {
    /// What it writes.
    pub output: ExecOutput,
    /// What it reads.
    pub input: ExecInput,
    /// The size of its terminal, and its end.
    pub control: ExecControl,
}

/// What a command writes: a stream of [`LogChunk`]s that ends with the command.
pub struct ExecOutput(Pin<Box<dyn Stream<Item = Result<LogChunk>> + Send>>);

/// What a command reads; shutting it down is the end of its input.
///
/// A terminal has no end: there it is the character that says so, usually `^D`.
pub struct ExecInput(Pin<Box<dyn ApiWrite + Send>>);

/// The size of a command's terminal, and its end; cheap to clone.
#[derive(Clone, Debug)]
pub struct ExecControl {
    podman: Podman,
    id: String,
}

/// A command that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecResult {
    /// How it ended; 126 and 127 also mean that it could not be started.
    pub exit_code: i64,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Podman {
    /// Starts a command in a container that runs.
    pub async fn exec(&self, container: &str, spec: ExecSpec) -> Result<ExecSession> {
        let request = format!("POST /containers/{container}/exec");
        let within = tokio::time::timeout(ANSWER, self.start_exec(container, spec, &request));
        within.await.unwrap_or_else(|_| {
            Err(PodmanError::Timeout { request: request.clone(), after: ANSWER })
        })
    }

    async fn start_exec(
        &self,
        container: &str,
        spec: ExecSpec,
        request: &str,
    ) -> Result<ExecSession> {
        let failed = |error| explain(error, self.socket(), request);
        let mut start = ExecStartOpts::builder().tty(spec.tty);
        if let Some((columns, rows)) = spec.size {
            start = start.width(columns.into()).height(rows.into());
        }
        let api = self.api().containers().get(segment("container", container)?);
        let exec = api.create_exec(&spec.encode()).await.map_err(failed)?;
        let id = exec.id().to_string();
        let attached = exec.start(&start.build()).await.map_err(failed)?;
        let Some(attached) = attached else {
            let detail = "the command was detached".to_owned();
            return Err(PodmanError::Nonsense { request: request.to_owned(), detail });
        };
        let (output, input) = attached.split();
        let output = chunks(output, self.socket(), request);
        Ok(ExecSession {
            output: ExecOutput(Box::pin(output)),
            input: ExecInput(Box::pin(input)),
            control: ExecControl { podman: self.clone(), id },
        })
    }
}

impl ExecSpec {
    fn encode(self) -> ExecCreateOpts {
        let mut options = ExecCreateOpts::builder()
            .command(self.cmd)
            .env(self.env)
            .tty(self.tty)
            .attach_stdin(self.stdin)
            .attach_stdout(true)
            .attach_stderr(true);
        if let Some(user) = self.user {
            options = options.user(UserOpt::User(user));
        }
        if let Some(directory) = self.workdir {
            options = options.working_dir(directory);
        }
        options.build()
    }
}

impl ExecSession {
    /// Ends the input, collects the output and waits for the end; not for what has a terminal.
    pub async fn finish(mut self) -> Result<ExecResult> {
        if let Err(error) = self.input.shutdown().await {
            tracing::debug!(%error, "the command ended before its input did");
        }
        let mut result = ExecResult { exit_code: 0, stdout: Vec::new(), stderr: Vec::new() };
        while let Some(chunk) = self.output.next().await {
            let chunk = chunk?;
            let collected = match chunk.stream {
                LogStream::Stdout => &mut result.stdout,
                LogStream::Stderr => &mut result.stderr,
            };
            let room = MAX_COLLECTED.saturating_sub(collected.len());
            collected.extend_from_slice(&chunk.bytes[..chunk.bytes.len().min(room)]);
        }
        result.exit_code = self.control.exit_code().await?;
        Ok(result)
    }
}

impl ExecControl {
    /// Returns the id of the session.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Changes the size of the terminal.
    pub async fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let path = format!("/exec/{}/resize?h={rows}&w={columns}", self.id);
        self.podman.post(path).run().await
    }

    /// Returns how the command ended, to be asked when its output has.
    ///
    /// Podman forgets it five minutes after the end.
    pub async fn exit_code(&self) -> Result<i64> {
        let path = format!("/exec/{}/json", self.id);
        let ended = async {
            loop {
                let state: ExecState = self.podman.get(path.clone()).read().await?;
                if !state.running {
                    return Ok(state.exit_code);
                }
                tokio::time::sleep(EXIT_PAUSE).await;
            }
        };
        tokio::time::timeout(EXIT_WAIT, ended).await.unwrap_or_else(|_| {
            Err(PodmanError::Timeout { request: format!("GET {path}"), after: EXIT_WAIT })
        })
    }
}

impl Stream for ExecOutput {
    type Item = Result<LogChunk>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl AsyncWrite for ExecInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::podman::ErrorKind;
    use crate::uds::fake_podman::{Answer, FakePodman};

    /// A piece of output as it is framed on the wire.
    const FRAME: &[u8] = b"\x01\0\0\0\0\0\0\x03abc";

    fn ended(running: bool, code: i64) -> Answer {
        Answer::json(200, json!({"Running": running, "ExitCode": code, "ID": "e1"}))
    }

    async fn start(answers: Vec<Answer>) -> (FakePodman, Result<ExecSession>) {
        let fake = FakePodman::script(answers);
        let spec = ExecSpec {
            cmd: vec!["cat".to_owned()],
            user: Some("1000".to_owned()),
            workdir: Some("/w".to_owned()),
            env: [("A".to_owned(), "b c".to_owned())].into(),
            stdin: true,
            size: Some((80, 24)),
            ..ExecSpec::default()
        };
        let session = Podman::new(fake.socket().to_owned()).exec("c", spec).await;
        (fake, session)
    }

    fn created() -> Answer {
        Answer::json(201, json!({"Id": "e1"}))
    }

    #[tokio::test]
    async fn the_end_of_the_input_leaves_the_output_open() {
        let answers =
            vec![created(), Answer::UpgradedEcho, ended(true, 0), ended(true, 0), ended(false, 3)];
        let (fake, session) = start(answers).await;
        let mut session = session.unwrap();
        session.input.write_all(FRAME).await.unwrap();
        let result = session.finish().await.unwrap();
        assert_eq!((result.exit_code, &result.stdout[..]), (3, &b"abc"[..]));

        let requests = fake.requests();
        assert_eq!(requests[0].head(), "POST /v5.0.0/libpod/containers/c/exec");
        assert_eq!(
            requests[0].json(),
            json!({
                "Cmd": ["cat"], "User": "1000", "WorkingDir": "/w", "Env": ["A=b c"], "Tty": false,
                "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
            })
        );
        assert_eq!(requests[1].head(), "POST /v5.0.0/libpod/exec/e1/start");
        assert_eq!(requests[1].json(), json!({"Tty": false, "w": 80, "h": 24}));
        assert_eq!(requests[1].header("upgrade"), Some("tcp"));
        assert_eq!(requests[4].head(), "GET /v5.0.0/libpod/exec/e1/json");
    }

    #[tokio::test]
    async fn output_that_makes_no_sense_is_an_error_and_no_panic() {
        let (_fake, session) =
            start(vec![created(), Answer::Upgraded(b"\x09\0\0\0\0\0\0\x01x".to_vec())]).await;
        let error = session.unwrap().output.next().await.unwrap().unwrap_err();
        assert!(matches!(error, PodmanError::Nonsense { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_meaning() {
        let improper = "can only create exec sessions on running containers: \
                        container state improper";
        let (_fake, session) =
            start(vec![Answer::error(409, "container state improper", improper)]).await;
        let error = session.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::BadState);
        assert_eq!(
            error.to_string(),
            format!("podman refused POST /containers/c/exec: {improper}")
        );
    }

    #[tokio::test]
    async fn a_terminal_changes_its_size() {
        let answers = vec![created(), Answer::Upgraded(Vec::new()), Answer::json(201, json!(null))];
        let (fake, session) = start(answers).await;
        session.unwrap().control.resize(120, 50).await.unwrap();
        assert_eq!(fake.requests()[2].head(), "POST /v5.0.0/libpod/exec/e1/resize?h=50&w=120");
    }
}
