//! `taskspace run-op`

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep, sleep_until};

use super::asking::{AGENT, Asking, LOCK};
use super::context::Context;
use super::hold::{Holding, Progress};
use super::output::{Output, plain};
use super::{Exit, Outcome, internal};
use crate::host::child::Child;
use crate::host::signals::{Received, Signals};
use crate::model::{
    AgentName, Code, Hold, OperationClass, OperationRequest, Outcome as Ending, Priority, Problem,
    Target,
};
use crate::policy::text::Period;

/// How long a command may take to end once its lock is lost.
const LAST_DEEDS: Duration = Duration::from_secs(10);

/// How often to look whether everything is gone that it started.
const LOOK: Duration = Duration::from_millis(20);

/// The statuses with which shells say that a command cannot be run, and that there is none.
const CANNOT_RUN: u8 = 126;
const NO_COMMAND: u8 = 127;

/// What is added to the number of the signal that ended a command.
const BY_SIGNAL: i32 = 128;

const EXAMPLES: &str = "\
CMD has the variables TASKSPACE_OPERATION, TASKSPACE_TOKEN, TASKSPACE_LOCK and TASKSPACE_AGENT:
what it asks of taskspace itself is done under the lock that it has.

Exit status: that of CMD; 128 and the number of the signal that ended it; 127 when there is no such
command, 126 when it cannot be run; 4 when something is in the way, and when the lock is lost while
CMD runs: then CMD is asked to end, and killed after 10 seconds.

Examples:
  taskspace run-op --target api --kind config --agent me -- ./change-settings
      as soon as nobody restarts, deploys or stops the container api, nor what it depends on
  taskspace run-op --target taskspace:fix-login --kind deploy --no-wait -- make deploy
      only if it can be done at once
  taskspace run-op --target api --kind restart -- sh -c 'podman restart api && ./check'
      with several steps under one lock";

/// `taskspace run-op`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunOp {
    /// What CMD acts on: a registered container such as api, taskspace:ID or taskspace:ID/dev
    #[arg(long, short, value_name = "TARGET")]
    target: Target,
    /// What CMD does to it: read, config, restart, stop, start, deploy, scale or health
    #[arg(long, short, value_name = "KIND")]
    kind: OperationClass,
    /// Who does it [env: TASKSPACE_AGENT] [default: user]
    #[arg(long, visible_alias = "as", value_name = "NAME")]
    agent: Option<AgentName>,
    /// Where it has to wait, go before what is less urgent: 1 to 10, the most urgent
    /// [env: TASKSPACE_PRIORITY] [default: 5]
    #[arg(long, value_name = "N")]
    priority: Option<Priority>,
    /// How long it will probably take, such as 30s or 5m
    #[arg(long, value_name = "TIME")]
    estimate: Option<Period>,
    /// After what time it is ended [default: as the settings say]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Period>,
    /// For how long the lock is kept when the service is restarted meanwhile and not heard of
    /// [default: as the settings say]
    #[arg(long, value_name = "TIME")]
    lease: Option<Period>,
    /// What it is about, for those who look
    #[arg(long, short, value_name = "TEXT")]
    description: Option<String>,
    /// Fail when it would have to wait
    #[arg(long)]
    no_wait: bool,
    /// Fail when it still has to wait after this time
    #[arg(long, value_name = "TIME", conflicts_with = "no_wait")]
    wait_for: Option<Period>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// How waiting for the lock ended.
enum Waited {
    /// It is ours.
    Held(Hold),
    /// We were asked to end.
    Interrupted(Received),
    /// It takes longer than we are to wait.
    TooLong(Problem),
}

/// How the command ended.
enum Ran {
    /// By itself.
    Ended(ExitStatus),
    /// After its lock was lost.
    Lost,
}

impl RunOp {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let asking = Asking { agent: self.agent.clone(), priority: self.priority };
        let asker = asking.asker()?;
        let agent = asker.agent.clone().unwrap_or_else(AgentName::user);
        let request = self.request(agent.clone(), asker.priority.unwrap_or_default());
        let context = &context.asking(asker);
        // From here on, being asked to end is to let go first.
        let mut signals =
            Signals::take().map_err(|error| internal("take over the signals", &error))?;
        let mut holding = tokio::select! {
            asked = Holding::ask(context, &request) => asked?,
            received = signals.next() => return interrupted(received),
        };
        let hold = match self.wait(&mut holding, &mut signals, context.output).await? {
            Waited::Held(hold) => hold,
            Waited::Interrupted(received) => {
                holding.cancel().await;
                return Ok(by_signal(received));
            }
            Waited::TooLong(problem) => {
                holding.cancel().await;
                return Err(problem.into());
            }
        };
        let (program, arguments) = match self.command.split_first() {
            Some((program, arguments)) => (program.as_os_str(), arguments),
            None => (OsStr::new(""), &[][..]),
        };
        let exit = match Child::start(program, arguments, &variables(hold, &agent)) {
            Ok(mut child) => {
                match attend(&mut child, &mut holding, &mut signals, context.output).await? {
                    Ran::Ended(status) => of_status(status),
                    Ran::Lost => return Ok(Exit::Conflict),
                }
            }
            Err(error) => {
                let problem = internal(&format!("run {}", program.display()), &error);
                context.output.report(&problem);
                of_error(&error)
            }
        };
        let (outcome, reason) = outcome(exit);
        tokio::select! {
            let_go = holding.end(outcome, reason) => Ok(match let_go {
                Ok(()) => exit,
                // What was done was done without the lock, at least in its last part.
                Err(problem) => {
                    context.output.report(&problem);
                    Exit::Conflict
                }
            }),
            // Our end frees it too.
            received = signals.next() => interrupted(received),
        }
    }

    fn request(&self, agent: AgentName, priority: Priority) -> OperationRequest {
        OperationRequest {
            kind: self.kind,
            target: self.target.clone(),
            agent,
            priority,
            estimated_seconds: self.estimate.map(seconds),
            timeout_seconds: self.timeout.map(seconds),
            lease_seconds: self.lease.map(seconds),
            description: self.description.clone(),
        }
    }

    /// Waits until it is our turn; a problem when it never will be.
    async fn wait(
        &self,
        holding: &mut Holding<'_>,
        signals: &mut Signals,
        output: Output,
    ) -> Result<Waited, Problem> {
        let deadline = self.wait_for.map(|Period(time)| Instant::now() + time);
        let mut waits_for = String::new();
        loop {
            tokio::select! {
                progress = holding.progress() => match progress? {
                    Progress::Begins { hold, cautions } => {
                        for caution in cautions {
                            output.warn(&format!("goes on beside {caution}"));
                        }
                        return Ok(Waited::Held(hold));
                    }
                    Progress::Waits(what) if self.no_wait => {
                        return Ok(Waited::TooLong(too_long(holding, &what)));
                    }
                    Progress::Waits(what) if what == waits_for => {}
                    Progress::Waits(what) => {
                        output.note(&format!("… {}: {}", holding.name(), plain(&what)));
                        waits_for = what;
                    }
                },
                received = signals.next() => {
                    let received =
                        received.map_err(|error| internal("hear of signals", &error))?;
                    return Ok(Waited::Interrupted(received));
                }
                () = at(deadline) => return Ok(Waited::TooLong(too_long(holding, &waits_for))),
            }
        }
    }
}

/// Waits for the command's end: passes signals on to it, and ends it when its lock is lost.
async fn attend(
    child: &mut Child,
    holding: &mut Holding<'_>,
    signals: &mut Signals,
    output: Output,
) -> Result<Ran, Problem> {
    let mut held = pin!(holding.lost());
    let (mut is_lost, mut kill_at) = (false, None);
    let status = loop {
        tokio::select! {
            biased;
            status = child.wait() => {
                break status.map_err(|error| internal("wait for the command", &error))?;
            }
            problem = &mut held, if !is_lost => {
                output.report(&problem);
                output.note("The lock is lost; the command is asked to end.");
                child.terminate();
                (is_lost, kill_at) = (true, Some(Instant::now() + LAST_DEEDS));
            }
            received = signals.next() => {
                child.pass_on(received.map_err(|error| internal("hear of signals", &error))?);
            }
            () = at(kill_at) => {
                child.kill();
                kill_at = None;
            }
        }
    };
    if !is_lost {
        return Ok(Ran::Ended(status));
    }
    // What it started goes no further without the lock than it does.
    while !child.is_gone() {
        if kill_at.is_none_or(|kill_at| Instant::now() >= kill_at) {
            child.kill();
        }
        sleep(LOOK).await;
    }
    Ok(Ran::Lost)
}

/// Returns at a time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn too_long(holding: &Holding<'_>, what: &str) -> Problem {
    let what = if what.is_empty() { "waits" } else { what };
    Problem::new(Code::OperationConflict, format!("{} {what}", holding.name()))
        .hint("`taskspace locks` shows who holds what, and until when")
}

fn interrupted(received: io::Result<Received>) -> Outcome {
    let received = received.map_err(|error| internal("hear of signals", &error))?;
    Ok(by_signal(received))
}

fn by_signal(received: Received) -> Exit {
    command(BY_SIGNAL + received.signal as i32)
}

/// What the command knows of its lock.
fn variables(hold: Hold, agent: &AgentName) -> [(&'static str, String); 4] {
    [
        ("TASKSPACE_OPERATION", hold.operation.to_string()),
        ("TASKSPACE_TOKEN", hold.token.to_string()),
        (LOCK, hold.to_string()),
        (AGENT, agent.to_string()),
    ]
}

/// A part of a second is one more: nothing is to take no time at all.
fn seconds(Period(time): Period) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn of_status(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => command(code),
        (None, Some(signal)) => command(BY_SIGNAL + signal),
        (None, None) => Exit::Failed,
    }
}

fn of_error(error: &io::Error) -> Exit {
    Exit::Command(match error.kind() {
        io::ErrorKind::NotFound => NO_COMMAND,
        _ => CANNOT_RUN,
    })
}

/// A status that does not fit is a failure, not a success.
fn command(status: i32) -> Exit {
    Exit::Command(u8::try_from(status).unwrap_or(u8::MAX))
}

/// Says how it ended, as it is recorded.
fn outcome(exit: Exit) -> (Ending, Option<String>) {
    match exit.code() {
        0 => (Ending::Done, None),
        NO_COMMAND | CANNOT_RUN => {
            (Ending::Failed, Some("the command could not be run".to_owned()))
        }
        code => (Ending::Failed, Some(format!("the command ended with status {code}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_that_of_the_command() {
        let ended = |raw| of_status(ExitStatus::from_raw(raw)).code();
        let cases = [(0, 0), (7 << 8, 7), (255 << 8, 255), (9, 137), (15, 143), (2, 130)];
        for (raw, code) in cases {
            assert_eq!(ended(raw), code, "{raw}");
        }
        let failed = |kind: io::ErrorKind| of_error(&kind.into()).code();
        assert_eq!(failed(io::ErrorKind::NotFound), 127);
        assert_eq!(failed(io::ErrorKind::PermissionDenied), 126);
        assert_eq!(failed(io::ErrorKind::ArgumentListTooLong), 126);
    }

    #[test]
    fn only_a_status_of_zero_is_done() {
        let cases = [
            (0, Ending::Done, None),
            (1, Ending::Failed, Some("the command ended with status 1")),
            (143, Ending::Failed, Some("the command ended with status 143")),
            (127, Ending::Failed, Some("the command could not be run")),
        ];
        for (code, ending, reason) in cases {
            let expected = (ending, reason.map(str::to_owned));
            assert_eq!(outcome(Exit::Command(code)), expected, "{code}");
        }
    }

    #[test]
    fn a_command_knows_its_lock() {
        let known = variables(Hold { operation: 12, token: 7 }, &"me".parse().unwrap());
        let known: Vec<String> =
            known.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            known,
            [
                "TASKSPACE_OPERATION=12",
                "TASKSPACE_TOKEN=7",
                "TASKSPACE_LOCK=12:7",
                "TASKSPACE_AGENT=me"
            ]
        );
    }

    #[test]
    fn times_are_told_in_whole_seconds() {
        for (text, expected) in [("30s", 30), ("10m", 600), ("1ms", 1), ("1500ms", 2)] {
            assert_eq!(seconds(text.parse().unwrap()), expected, "{text}");
        }
    }
}
