//! `taskspace events`

use std::ops::ControlFlow;

use clap::Args;
use jiff::Timestamp;
use tokio::signal::ctrl_c;

use super::context::Context;
use super::output::{Output, Stop, plain};
use super::progress::{seconds, waits};
use super::{Exit, Outcome, follow, storage};
use crate::model::{Conflict, Ending, Event, EventBody, EventQuery, StepOutcome, TaskspaceId};

const EXAMPLES: &str = "\
Examples:
  taskspace events --follow
      what has happened since the service started, and what happens from now on
  taskspace events --taskspace fix-login --follow --json
      what happens to one taskspace, as one JSON document a line";

/// `taskspace events`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Events {
    /// Go on with what happens from now on, also when the service is restarted
    #[arg(long, short)]
    follow: bool,
    /// Only what came after this event
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// Only what concerns this taskspace
    #[arg(long, value_name = "ID")]
    taskspace: Option<TaskspaceId>,
    /// Only what this operation does; ends with it
    #[arg(long, value_name = "NUMBER")]
    operation: Option<u64>,
    /// Write JSON, one document a line
    #[arg(long)]
    json: bool,
}

impl Events {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let Self { follow, after, taskspace, operation, json } = self;
        let query = EventQuery { after: after.or(Some(0)), operation, taskspace, follow };
        tokio::select! {
            told = tell(context, &query, json) => told.map(|()| Exit::Done),
            // It has no other end.
            interrupted = ctrl_c(), if follow => match interrupted {
                Ok(()) => Ok(Exit::Done),
                Err(error) => Err(super::internal("watch for Ctrl-C", &error).into()),
            },
        }
    }
}

/// Writes the events; those to come from one run of the service after the other.
async fn tell(context: &Context, query: &EventQuery, json: bool) -> Result<(), Stop> {
    follow::each(context, query, async |event| {
        write(context.output, &event, json)?;
        let is_last = matches!(event.body, EventBody::OperationFinished { .. });
        let ends = query.follow && query.operation.is_some() && is_last;
        Ok(if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .await
}

fn write(output: Output, event: &Event, json: bool) -> Result<(), Stop> {
    if json { output.json_line(event) } else { output.line(&text(event)) }
}

/// Returns an event as one line.
fn text(event: &Event) -> String {
    let time = moment(event.time);
    let taskspace = event.taskspace.as_ref().map_or("-", TaskspaceId::as_str);
    let what = what(&event.body, event.operation.unwrap_or_default());
    format!("{time}  {taskspace:<16}  {}", plain(&what).replace('\n', " "))
}

/// Returns a time as it stands before what happened.
pub(super) fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Says what happened.
pub(super) fn what(body: &EventBody, operation: u64) -> String {
    match body {
        EventBody::OperationRequested { kind, target: None, .. } => {
            format!("operation {operation}: {kind}")
        }
        EventBody::OperationRequested { kind, target: Some(target), agent, .. } => {
            format!("operation {operation}: {kind} of {target} by {agent}")
        }
        EventBody::OperationQueued { behind, full } => {
            format!("operation {operation}: {}", waits(behind, full.as_ref()))
        }
        EventBody::OperationAdmitted { token, cautions } => {
            let beside = |conflict: &Conflict| format!("; beside {conflict}");
            let cautions: String = cautions.iter().map(beside).collect();
            format!("operation {operation}: begins, token {token}{cautions}")
        }
        EventBody::OperationFinished { state, problem: None } => {
            format!("operation {operation}: {state}")
        }
        EventBody::OperationFinished { state, problem: Some(problem) } => {
            format!("operation {operation}: {state}: {problem}")
        }
        EventBody::ContainerChanged { container, from, to, reason } => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("container {container}: {from} → {to}{reason}")
        }
        EventBody::StepStarted { step } => format!("begun: {step}"),
        EventBody::StepEnded { step, outcome: StepOutcome::Done, milliseconds } => {
            format!("done: {step} ({})", seconds(*milliseconds))
        }
        EventBody::StepEnded { step, outcome: StepOutcome::Failed, milliseconds } => {
            format!("failed: {step} ({})", seconds(*milliseconds))
        }
        EventBody::StepEnded { step, outcome: StepOutcome::Undone, .. } => {
            format!("taken back: {step}")
        }
        EventBody::Output { line } => format!("| {line}"),
        EventBody::Warning { message } => format!("warning: {message}"),
        EventBody::StatusChanged { from: None, to: None } => "gone".to_owned(),
        EventBody::StatusChanged { from: None, to: Some(to) } => format!("new: {to}"),
        EventBody::StatusChanged { from: Some(from), to: None } => format!("{from} → gone"),
        EventBody::StatusChanged { from: Some(from), to: Some(to) } => format!("{from} → {to}"),
        EventBody::ContainerEnded(ending) => {
            format!("the {} container ended with {}", ending.role, how(ending))
        }
        EventBody::HealthChanged { role, healthy: true, .. } => {
            format!("the sshd of the {role} container answers again")
        }
        EventBody::HealthChanged { role, healthy: false, reason } => {
            let reason = reason.as_deref().unwrap_or("silence");
            format!("the sshd of the {role} container does not answer: {reason}")
        }
        EventBody::StorageChanged { level, used, limit, on_full, held } => {
            storage::changed(*level, *used, *limit, *on_full, *held)
        }
        EventBody::NetworkRefused { destination, let_through, reason, count } => {
            let times = if *count == 1 { String::new() } else { format!(", {count} times") };
            let what = if *let_through { "let through" } else { "refused" };
            format!("{what} {destination}{times}: {reason}")
        }
        EventBody::NetworkEnforced { policy } => {
            format!("the time to observe is over: the network policy '{policy}' is enforced again")
        }
        EventBody::SettingsReloaded { files, notes } => {
            let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
            match files.as_slice() {
                [] => format!("the settings are as they were read{notes}"),
                files => format!("other settings are in force: {}{notes}", files.join(", ")),
            }
        }
        EventBody::SettingsRefused { reason } => reason.clone(),
        EventBody::Missed => {
            "some events are no longer known; `taskspace list` tells how everything is".to_owned()
        }
    }
}

/// Says how a container ended.
pub(super) fn how(ending: &Ending) -> String {
    let oom = if ending.oom_killed { ", out of memory" } else { "" };
    format!("status {}{oom}", ending.exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AgentName, Code, ContainerState, OnFull, OperationKind, OperationState, Priority, Problem,
        Quantity, Role, Severity, Status, StorageAction, StorageLevel,
    };

    #[test]
    fn every_event_is_one_line_of_words() {
        let at = "2026-01-01T05:30:00Z".parse().unwrap();
        let step = || "volume for the changes".to_owned();
        let ended = |outcome| EventBody::StepEnded { step: step(), outcome, milliseconds: 1_250 };
        let changed = |from, to| EventBody::StatusChanged { from, to };
        let health = |healthy, reason: Option<&str>| EventBody::HealthChanged {
            role: Role::Dev,
            healthy,
            reason: reason.map(str::to_owned),
        };
        let full = |level, used: u64, held| EventBody::StorageChanged {
            level,
            used: Quantity(used << 20),
            limit: Quantity(100 << 20),
            on_full: OnFull::Warn,
            held,
        };
        let conflict = || Conflict {
            operation: 7,
            kind: OperationKind::Config,
            target: "api".parse().unwrap(),
            agent: "agent-2".parse().unwrap(),
            severity: Severity::High,
            chain: vec![],
        };
        let problem = Problem::new(Code::PodmanFailed, "pod: it\nbroke\u{1b}[2J");
        let bodies = [
            EventBody::OperationRequested {
                kind: OperationKind::Create,
                target: Some("taskspace:a".parse().unwrap()),
                agent: "agent-1".parse().unwrap(),
                priority: Priority::default(),
                under: None,
            },
            EventBody::OperationRequested {
                kind: OperationKind::BuildImages,
                target: None,
                agent: AgentName::user(),
                priority: Priority::default(),
                under: None,
            },
            EventBody::OperationQueued { behind: vec![conflict()], full: None },
            EventBody::OperationQueued { behind: vec![], full: Some("api".parse().unwrap()) },
            EventBody::OperationAdmitted { token: 3, cautions: vec![conflict()] },
            EventBody::OperationAdmitted { token: 4, cautions: vec![] },
            EventBody::ContainerChanged {
                container: "api".parse().unwrap(),
                from: ContainerState::Running,
                to: ContainerState::Error,
                reason: Some("it ended with status 1".to_owned()),
            },
            changed(None, Some(Status::Creating)),
            EventBody::StepStarted { step: step() },
            EventBody::Output { line: "STEP 1".to_owned() },
            ended(StepOutcome::Done),
            ended(StepOutcome::Failed),
            ended(StepOutcome::Undone),
            EventBody::Warning { message: "Podman is old".to_owned() },
            EventBody::OperationFinished { state: OperationState::Failed, problem: Some(problem) },
            EventBody::OperationFinished { state: OperationState::Done, problem: None },
            changed(Some(Status::Running), Some(Status::Degraded)),
            changed(Some(Status::Deleting), None),
            EventBody::ContainerEnded(Ending {
                role: Role::Dev,
                at,
                exit_code: 0,
                oom_killed: false,
            }),
            EventBody::ContainerEnded(Ending {
                role: Role::Agent,
                at,
                exit_code: 137,
                oom_killed: true,
            }),
            health(false, Some("no banner within 5s")),
            health(true, None),
            full(StorageLevel::High, 83, None),
            full(StorageLevel::Full, 100, None),
            full(StorageLevel::Full, 104, Some(StorageAction::Frozen)),
            full(StorageLevel::Ample, 10, None),
        ];
        let mut lines: Vec<String> = bodies
            .into_iter()
            .map(|body| {
                let taskspace = Some("fix-login".parse().unwrap());
                text(&Event { id: 1, time: at, operation: Some(7), taskspace, body })
            })
            .collect();
        let missed = EventBody::Missed;
        lines.push(text(&Event {
            id: 1,
            time: at,
            operation: None,
            taskspace: None,
            body: missed,
        }));
        insta::assert_snapshot!(lines.join("\n"), @r"
        2026-01-01 05:30:00Z  fix-login         operation 7: create of taskspace:a by agent-1
        2026-01-01 05:30:00Z  fix-login         operation 7: build-images
        2026-01-01 05:30:00Z  fix-login         operation 7: waits for operation 7, config of api by agent-2 (high)
        2026-01-01 05:30:00Z  fix-login         operation 7: waits for room on api
        2026-01-01 05:30:00Z  fix-login         operation 7: begins, token 3; beside operation 7, config of api by agent-2 (high)
        2026-01-01 05:30:00Z  fix-login         operation 7: begins, token 4
        2026-01-01 05:30:00Z  fix-login         container api: running → error: it ended with status 1
        2026-01-01 05:30:00Z  fix-login         new: creating
        2026-01-01 05:30:00Z  fix-login         begun: volume for the changes
        2026-01-01 05:30:00Z  fix-login         | STEP 1
        2026-01-01 05:30:00Z  fix-login         done: volume for the changes (1.2s)
        2026-01-01 05:30:00Z  fix-login         failed: volume for the changes (1.2s)
        2026-01-01 05:30:00Z  fix-login         taken back: volume for the changes
        2026-01-01 05:30:00Z  fix-login         warning: Podman is old
        2026-01-01 05:30:00Z  fix-login         operation 7: failed: pod: it broke�[2J
        2026-01-01 05:30:00Z  fix-login         operation 7: done
        2026-01-01 05:30:00Z  fix-login         running → degraded
        2026-01-01 05:30:00Z  fix-login         deleting → gone
        2026-01-01 05:30:00Z  fix-login         the dev container ended with status 0
        2026-01-01 05:30:00Z  fix-login         the agent container ended with status 137, out of memory
        2026-01-01 05:30:00Z  fix-login         the sshd of the dev container does not answer: no banner within 5s
        2026-01-01 05:30:00Z  fix-login         the sshd of the dev container answers again
        2026-01-01 05:30:00Z  fix-login         storage is nearly full: 83Mi of 100Mi (83 %)
        2026-01-01 05:30:00Z  fix-login         STORAGE IS FULL, 100Mi of 100Mi (100 %): it may go on all the same
        2026-01-01 05:30:00Z  fix-login         storage is full, 104Mi of 100Mi (104 %): it is paused
        2026-01-01 05:30:00Z  fix-login         storage has room again: 10Mi of 100Mi (10 %)
        2026-01-01 05:30:00Z  -                 some events are no longer known; `taskspace list` tells how everything is
        ");
    }
}
