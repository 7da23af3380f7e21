//! `taskspace exec`

use std::env;
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

const HELP: &str = "\
The command reads standard input with -i, or when that is a terminal. Otherwise its input is at its end at \
once, so that what is piped into a loop around it stays there, as with `podman exec` and `kubectl exec`.

Exit status: that of the command, 128+N when the signal N ended it, 126 when it cannot be run, 127 when \
there is no such command; else see `taskspace --help`.

Examples:
  taskspace exec fix-login cargo test
  taskspace exec -it fix-login bash
      (from a terminal, -it goes without saying)
  taskspace exec -i fix-login psql < dump.sql
  taskspace exec fix-login -w /workspace/docs -e LANG=C -- make";

/// `taskspace exec`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Exec {
    /// The taskspace
    id: TaskspaceId,
    /// The container: dev or agent
    #[arg(long, short, value_name = "CONTAINER", default_value = "dev")]
    container: Role,
    /// Pass standard input on to the command [default: when it is a terminal]
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal [default: when standard input and output are terminals]
    #[arg(long, short, value_name = "WHEN", num_args = 0..=1, require_equals = true,
        default_value = "auto", default_missing_value = "always", hide_default_value = true)]
    tty: When,
    /// Give the command no terminal: short for --tty=never
    #[arg(long, short = 'T')]
    no_tty: bool,
    /// Run as this user
    #[arg(long, short)]
    user: Option<String>,
    /// Run in this directory [default: /workspace]
    #[arg(long, short)]
    workdir: Option<String>,
    /// Set a variable; without a value, to the one that it has here (can be repeated)
    #[arg(long, short, value_name = "NAME[=VALUE]", value_parser = variable)]
    env: Vec<Variable>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// A variable for the command: its name, and its value unless it is to have the one from here.
type Variable = (String, Option<String>);

fn variable(text: &str) -> Result<Variable, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err("a variable needs a name, as in NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), value))
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
        let from_terminal = host::terminal::can_be_read();
        let tty = match self.tty {
            _ if self.no_tty => false,
            When::Auto => from_terminal && io::stdout().is_terminal(),
            When::Always => true,
            When::Never => false,
        };
        let stdin = self.interactive || from_terminal;
        // As with podman, a variable that is not set here is not set there either.
        let env = self.env.into_iter().filter_map(|(name, value)| {
            let value = value.or_else(|| env::var(&name).ok())?;
            Some((name, value))
        });
        let request = ExecRequest {
            role: self.container,
            command: self.command,
            tty,
            stdin,
            user: self.user,
            workdir: self.workdir,
            env: env.collect(),
        };
        let id = self.id;
        let session = context.call(async |client| client.exec(&id, &request).await).await?;
        let raw = tty && from_terminal;
        let raw = raw.then(terminal::RawMode::enter).transpose();
        let raw = raw.map_err(|error| internal("take over the terminal", &error))?;
        let (reader, writer) = session;
        let inward = inward(writer, stdin, tty);
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

/// Passes input, if there is any, and the terminal's size on. Returns only when it cannot even watch for them: that
/// the session is over is for the other side to say.
async fn inward(mut writer: ExecWriter, stdin: bool, tty: bool) -> Problem {
    let mut resized = match signal(SignalKind::window_change()) {
        Ok(resized) => resized,
        Err(error) => return internal("watch the terminal's size", &error),
    };
    let mut open = stdin;
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; READ_SIZE];
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
    fn variables_may_have_any_value_but_need_a_name() {
        assert_eq!(variable("A=b=c"), Ok(("A".to_owned(), Some("b=c".to_owned()))));
        assert_eq!(variable("A="), Ok(("A".to_owned(), Some(String::new()))));
        assert_eq!(variable("A"), Ok(("A".to_owned(), None)));
        assert!(["", "=x"].iter().all(|text| variable(text).is_err()));
    }

    #[test]
    fn a_status_that_does_not_fit_is_a_failure() {
        assert_eq!([0, 7, 255, 256, -1].map(clamp), [0, 7, 255, 255, 255]);
    }
}
