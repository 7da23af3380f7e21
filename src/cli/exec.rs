//! `taskspace exec`

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use hyper::body::Bytes;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use super::context::Context;
use super::output::Output;
use super::{Exit, Outcome, internal, terminal};
use crate::client::{ExecReader, ExecWriter};
use crate::frames::Frame;
use crate::host;
use crate::model::{ExecRequest, Problem, Role, TaskspaceId};

/// How much input is read at once.
const READ_SIZE: usize = 16 * 1024;

/// `taskspace exec`
#[derive(Debug, Args)]
pub struct Exec {
    /// The taskspace
    id: TaskspaceId,
    /// The container: dev or agent
    #[arg(long, short, value_name = "CONTAINER", default_value = "dev")]
    container: Role,
    /// Give the command a terminal [default: when this one has one]
    #[arg(long, short, value_name = "WHEN", num_args = 0..=1, require_equals = true,
        default_value = "auto", default_missing_value = "always", hide_default_value = true)]
    tty: When,
    /// Run as this user
    #[arg(long, short)]
    user: Option<String>,
    /// Run in this directory [default: /workspace]
    #[arg(long, short)]
    workdir: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    /// When standard input and output are terminals
    Auto,
    Always,
    Never,
}

impl Exec {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let both = io::stdin().is_terminal() && io::stdout().is_terminal();
        let tty = match self.tty {
            When::Auto => both,
            When::Always => true,
            When::Never => false,
        };
        let request = ExecRequest {
            role: self.container,
            command: self.command,
            tty,
            stdin: true,
            user: self.user,
            workdir: self.workdir,
        };
        let id = self.id;
        let session = context.call(async |client| client.exec(&id, &request).await).await?;
        let raw = tty && io::stdin().is_terminal();
        let raw = raw.then(terminal::RawMode::enter).transpose();
        let raw = raw.map_err(|error| internal("take over the terminal", &error))?;
        let (reader, writer) = session;
        let inward = inward(writer, tty);
        let outward = outward(reader, context.output);
        let ended = tokio::select! {
            ended = outward => ended,
            error = inward => Err(error.into()),
        };
        drop(raw);
        ended
    }
}

/// Shows what the command writes, until it ends.
async fn outward(mut reader: ExecReader, output: Output) -> Outcome {
    loop {
        match reader.next().await? {
            Frame::Output(bytes) => output.bytes(&bytes)?,
            Frame::ErrorOutput(bytes) => output.error_bytes(&bytes)?,
            Frame::Exit(status) => return Ok(Exit::Command(clamp(status))),
            frame => tracing::debug!(?frame, "not for a client"),
        }
    }
}

/// A status that does not fit is a failure, not a success.
fn clamp(status: i32) -> u8 {
    u8::try_from(status).unwrap_or(u8::MAX)
}

/// Passes input and the terminal's size on. Returns only when it cannot even watch for them: that
/// the session is over is for the other side to say.
async fn inward(mut writer: ExecWriter, tty: bool) -> Problem {
    let mut resized = match signal(SignalKind::window_change()) {
        Ok(resized) => resized,
        Err(error) => return internal("watch the terminal's size", &error),
    };
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; READ_SIZE];
    let mut open = true;
    if tty && let Some((columns, rows)) = host::terminal::size() {
        ignore_end(writer.resize(columns, rows).await);
    }
    loop {
        tokio::select! {
            read = stdin.read(&mut buffer), if open => match read {
                Ok(0) => {
                    open = false;
                    ignore_end(writer.end_of_input().await);
                }
                Ok(length) => {
                    let bytes = Bytes::copy_from_slice(&buffer[..length]);
                    ignore_end(writer.input(bytes).await);
                }
                Err(error) => return internal("read standard input", &error),
            },
            Some(()) = resized.recv(), if tty => {
                if let Some((columns, rows)) = host::terminal::size() {
                    ignore_end(writer.resize(columns, rows).await);
                }
            }
            else => return std::future::pending().await,
        }
    }
}

fn ignore_end(written: io::Result<()>) {
    if let Err(error) = written {
        tracing::debug!("the session takes no more: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_does_not_fit_is_a_failure() {
        assert_eq!([0, 7, 255, 256, -1].map(clamp), [0, 7, 255, 255, 255]);
    }
}
