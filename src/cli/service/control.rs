//! `taskspace service`: what can be done about the service without its help.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{SERVICE_UNIT, start};
use crate::api;
use crate::cli::arguments::Json;
use crate::cli::context::Context;
use crate::cli::output::Stop;
use crate::cli::show::Page;
use crate::cli::{Exit, Outcome, internal};
use crate::host::processes::Process;
use crate::host::systemd::UserManager;
use crate::model::{Code, Problem};

/// How long the service may take to say that it is alive.
const ANSWER: Duration = Duration::from_secs(2);

/// How long a service that answers may take to end: it finishes what it does, for a minute.
const GRACE: Duration = Duration::from_secs(75);

/// How long one that does not answer may take.
const SHORT_GRACE: Duration = Duration::from_secs(2);

/// How often to look whether it has ended.
const POLL: Duration = Duration::from_millis(20);

const EXAMPLES: &str = "\
Examples:
  taskspace service status
      whether it runs, whether it answers, and where its log is; nothing is started for it
  taskspace service restart
      end the service, by force if it does not answer, and start another one; taskspaces run on
  taskspace service logs -f";

/// `taskspace service`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Service {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show whether the service runs and answers (exit status 1: it does not)
    Status {
        #[command(flatten)]
        json: Json,
    },
    /// End the service; the next command starts it again
    Stop,
    /// End the service and start it again
    Restart,
    /// Show the service's log
    Logs {
        /// Go on with what is written from now on
        #[arg(long, short)]
        follow: bool,
        /// Only this many of the last lines
        #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
        lines: u32,
    },
}

/// How the service is, told without its help.
#[derive(Debug, Serialize)]
struct View {
    /// Its process, if it runs.
    pid: Option<i32>,
    /// What that does, as the kernel tells.
    activity: Option<&'static str>,
    /// Whether it answers.
    answers: bool,
    /// The unit of systemd that it is, if it is one.
    unit: Option<&'static str>,
    socket: String,
    /// Its log, where systemd's journal does not have it.
    log: Option<String>,
}

impl Service {
    pub(in crate::cli) async fn run(self, context: &Context) -> Outcome {
        match self.action {
            Action::Status { json } => status(context, json.json).await,
            Action::Stop => {
                let line = match stop(context).await? {
                    Some(process) => format!("the service (process {}) has ended", process.number),
                    None => "the service does not run".to_owned(),
                };
                context.output.line(&line)?;
                Ok(Exit::Done)
            }
            Action::Restart => {
                stop(context).await?;
                start(context).await?;
                let alive = context.call(async |client| client.liveness(GRACE).await).await?;
                context.output.line(&format!("the service runs as process {}", alive.pid))?;
                Ok(Exit::Done)
            }
            Action::Logs { follow, lines } => Err(logs(context, follow, lines).await),
        }
    }
}

async fn status(context: &Context, json: bool) -> Outcome {
    let process = process(context);
    let unit = unit(context).await.filter(|(main, _)| Some(*main) == process.map(|it| it.number));
    let view = View {
        pid: process.map(|process| process.number),
        activity: process.and_then(Process::activity),
        answers: process.is_some() && answers(context).await,
        unit: unit.as_ref().map(|_| SERVICE_UNIT),
        socket: context.paths.socket.display().to_string(),
        log: unit.is_none().then(|| context.paths.service_log.display().to_string()),
    };
    if json {
        context.output.json(&view)?;
    } else {
        let mut page = Page::default();
        match (view.pid, view.activity) {
            (Some(pid), Some(activity)) => {
                page.line("Service", format!("process {pid}, {activity}"));
            }
            _ => page.line("Service", "does not run; the next command starts it"),
        }
        if view.pid.is_some() {
            page.line("Answers", if view.answers { "yes" } else { "no" });
        }
        if let Some(unit) = view.unit {
            page.line("Unit", unit);
        }
        page.line("Socket", &view.socket);
        page.line("Log", view.log.as_deref().unwrap_or("`taskspace service logs` (journal)"));
        context.output.print(&page.0)?;
    }
    Ok(if view.answers { Exit::Done } else { Exit::Failed })
}

/// Ends the service, by force where it does not answer or does not end; returns its process.
async fn stop(context: &Context) -> Result<Option<Process>, Stop> {
    let Some(process) = process(context) else { return Ok(None) };
    let manager = unit(context).await.filter(|(main, _)| *main == process.number);
    let grace = if answers(context).await { GRACE } else { SHORT_GRACE };
    let not_ended = |error| internal("end the service", &error);
    process.terminate().map_err(not_ended)?;
    if !has_ended(process, grace).await {
        let number = process.number;
        context.output.warn(&format!("the service (process {number}) does not end: killing it"));
        process.end().map_err(not_ended)?;
        if !has_ended(process, GRACE).await {
            let activity = process.activity().unwrap_or("gone");
            let detail = format!("the service (process {number}, {activity}) cannot be ended");
            return Err(Problem::new(Code::ServiceUnavailable, detail)
                .hint("it waits for the kernel: look at the disks and `dmesg`")
                .into());
        }
        // One that ended by a signal is started again by systemd, unless that is told not to.
        if let Some((_, manager)) = manager
            && let Err(error) = manager.stop_unit(SERVICE_UNIT).await
        {
            tracing::debug!("could not stop {SERVICE_UNIT}: {error}");
        }
    }
    Ok(Some(process))
}

/// Waits until a process has ended; returns whether it has within a time.
async fn has_ended(process: Process, grace: Duration) -> bool {
    let ended = async {
        while process.runs() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(grace, ended).await.is_ok()
}

/// Becomes the program that shows the log; only returns when that fails.
async fn logs(context: &Context, follow: bool, lines: u32) -> Stop {
    let lines = lines.to_string();
    let log = &context.paths.service_log;
    let by_systemd = unit(context).await.is_some();
    let mut command = if by_systemd || fs::metadata(log).is_err() {
        let mut journal = Command::new("journalctl");
        journal.args(["--user", "--unit", SERVICE_UNIT, "--lines", &lines]);
        if follow {
            journal.arg("--follow")
        } else {
            journal.arg("--no-pager")
        };
        journal
    } else {
        let mut tail = Command::new("tail");
        tail.args(["--lines", &lines]);
        if follow {
            // It may be put aside when the service starts.
            tail.arg("--follow=name");
        }
        tail.arg("--").arg(log);
        tail
    };
    let program = command.get_program().to_string_lossy().into_owned();
    let error = command.exec();
    internal(&format!("run {program}"), &error).into()
}

/// Returns the process that serves, or is about to.
fn process(context: &Context) -> Option<Process> {
    let process = api::instance(&context.paths.socket).and_then(Process::of)?;
    // An instance that has just begun has not written its number yet: another process may have that of the
    // one before.
    let serves = process.arguments().iter().any(|argument| argument == "serve");
    (serves && process.is_ours()).then_some(process)
}

async fn answers(context: &Context) -> bool {
    context.client().liveness(ANSWER).await.is_ok()
}

/// Returns the process of the unit that serves, and what manages it, if it runs.
async fn unit(context: &Context) -> Option<(i32, UserManager)> {
    let manager = UserManager::connect(&context.paths.runtime_dir).await?;
    Some((manager.main_process(SERVICE_UNIT).await?, manager))
}
