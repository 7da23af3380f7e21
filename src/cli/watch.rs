//! `taskspace operations --watch`: on a terminal the table, drawn anew with each change and each
//! second; elsewhere a line for each change.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::ctrl_c;
use tokio::sync::Notify;

use super::context::Context;
use super::events::{moment, what};
use super::operations::{listed, nothing, text};
use super::output::{Output, Stop, plain};
use super::{Exit, Outcome, follow, internal};
use crate::host::terminal;
use crate::model::{Event, EventBody, EventQuery, Operation};

/// How often the table is drawn although nothing changes: times go on.
const TICK: Duration = Duration::from_secs(1);

/// How long changes are collected before the table is drawn: people read no faster.
const CALM: Duration = Duration::from_millis(50);

/// Shows the operations until Ctrl-C.
pub(super) async fn operations(context: &Context, all: bool, json: bool) -> Outcome {
    let shown = async {
        match (json, std::io::stdout().is_terminal()) {
            (true, _) => documents(context, all).await,
            (false, true) => table(context, all).await,
            (false, false) => lines(context, all).await,
        }
    };
    tokio::select! {
        shown = shown => shown.map(|()| Exit::Done),
        // It has no other end.
        interrupted = ctrl_c() => match interrupted {
            Ok(()) => Ok(Exit::Done),
            Err(error) => Err(internal("watch for Ctrl-C", &error).into()),
        },
    }
}

/// Asks for all that happens from now on.
const fn from_now() -> EventQuery {
    EventQuery { after: None, operation: None, taskspace: None, follow: true }
}

/// Whether an event says something about which operations there are, and how far they have got.
const fn is_of_operations(body: &EventBody) -> bool {
    matches!(
        body,
        EventBody::OperationRequested { .. }
            | EventBody::OperationQueued { .. }
            | EventBody::OperationAdmitted { .. }
            | EventBody::OperationFinished { .. }
            | EventBody::Missed
    )
}

/// Writes what there is, then each change.
async fn lines(context: &Context, all: bool) -> Result<(), Stop> {
    let output = context.output;
    for operation in listed(context, all).await? {
        output.line(&standing(&operation))?;
    }
    follow::each(context, &from_now(), async |event| {
        if let Some(line) = change(&event) {
            output.line(&line)?;
        }
        Ok(ControlFlow::Continue(()))
    })
    .await
}

/// Returns the line of an operation that is there from the beginning.
fn standing(operation: &Operation) -> String {
    let Operation { id, agent, state, .. } = operation;
    let since = operation.finished.or(operation.started).unwrap_or(operation.created);
    let line = format!("operation {id}: {} by {agent}: {state}", operation.name());
    format!("{}  {}", moment(since), plain(&line))
}

/// Returns the line of a change, if it is one of an operation.
fn change(event: &Event) -> Option<String> {
    let line = is_of_operations(&event.body)
        .then(|| what(&event.body, event.operation.unwrap_or_default()))?;
    Some(format!("{}  {}", moment(event.time), plain(&line).replace('\n', " ")))
}

/// Writes what there is, then each operation that changes.
async fn documents(context: &Context, all: bool) -> Result<(), Stop> {
    let output = context.output;
    let mut written: HashMap<u64, Operation> = HashMap::new();
    for operation in listed(context, all).await? {
        output.json_line(&operation)?;
        written.insert(operation.id, operation);
    }
    follow::each(context, &from_now(), async |event| {
        let changed = match (&event.body, event.operation) {
            (EventBody::Missed, _) => {
                let mut known = listed(context, true).await?;
                known.retain(|it| !it.state.is_over() || written.contains_key(&it.id));
                known
            }
            (body, Some(number)) if is_of_operations(body) => {
                // One that is known no more has nothing to be shown.
                let known = context.call(async |client| client.operation(number).await).await;
                known.ok().into_iter().collect()
            }
            _ => Vec::new(),
        };
        for operation in changed {
            write_changed(output, &mut written, operation)?;
        }
        Ok(ControlFlow::Continue(()))
    })
    .await
}

/// Several events may come before the first of them is looked at: what is as it was is not written
/// again. What is over changes no more.
fn write_changed(
    output: Output,
    written: &mut HashMap<u64, Operation>,
    operation: Operation,
) -> Result<(), Stop> {
    if written.get(&operation.id) == Some(&operation) {
        return Ok(());
    }
    output.json_line(&operation)?;
    if operation.state.is_over() {
        written.remove(&operation.id);
    } else {
        written.insert(operation.id, operation);
    }
    Ok(())
}

/// Draws the table over and over.
async fn table(context: &Context, all: bool) -> Result<(), Stop> {
    let changed = Notify::new();
    let query = from_now();
    let followed = follow::each(context, &query, async |event| {
        if is_of_operations(&event.body) || matches!(event.body, EventBody::StepStarted { .. }) {
            changed.notify_one();
        }
        Ok(ControlFlow::Continue(()))
    });
    let drawn = async {
        let mut height = 0;
        loop {
            let operations = listed(context, all).await?;
            let (columns, rows) = terminal::size().unwrap_or((u16::MAX, u16::MAX));
            let table = match operations.is_empty() {
                true => format!("{}\n", nothing(all)),
                false => text(&operations, Timestamp::now(), Some(columns), context.output.colour),
            };
            let shown = cut(&table, usize::from(rows));
            context.output.print(&over_the_last(height, &shown))?;
            height = shown.lines().count();
            tokio::select! {
                () = changed.notified() => tokio::time::sleep(CALM).await,
                () = tokio::time::sleep(TICK) => {}
            }
        }
    };
    tokio::select! {
        ended = followed => ended,
        ended = drawn => ended,
    }
}

/// Leaves of a table what fits above the cursor's line, with the newest operations, and says that
/// there are more.
fn cut(table: &str, rows: usize) -> String {
    let lines: Vec<&str> = table.lines().collect();
    let fits = rows.saturating_sub(1).max(3);
    if lines.len() <= fits {
        return table.to_owned();
    }
    let kept = &lines[lines.len() - (fits - 2)..];
    let more = format!("… and {} before", lines.len() - 1 - kept.len());
    let shown = [&lines[..1], &[more.as_str()], kept].concat();
    shown.iter().flat_map(|line| [line, "\n"]).collect()
}

/// Returns what draws a text where one of so many lines stands.
fn over_the_last(height: usize, text: &str) -> String {
    let up = if height == 0 { String::new() } else { format!("\x1b[{height}A") };
    // To the line's beginning, and away with what stood from there on.
    format!("{up}\r\x1b[J{text}")
}

#[cfg(test)]
mod tests {
    use super::super::operations::tests::operations;
    use super::*;
    use crate::model::{Code, OperationState, Problem};

    #[test]
    fn every_change_is_one_line() {
        let at: Timestamp = "2026-01-01T05:30:00Z".parse().unwrap();
        let event = |body| Event { id: 1, time: at, operation: Some(8), taskspace: None, body };
        let waiting = &operations()[1];
        let problem = Problem::new(Code::PodmanFailed, "it\nbroke");
        let bodies = [
            EventBody::OperationRequested {
                kind: waiting.kind,
                target: waiting.target.clone(),
                agent: waiting.agent.clone(),
                priority: waiting.priority,
                under: None,
            },
            EventBody::OperationQueued { behind: waiting.behind.clone(), full: None },
            EventBody::OperationAdmitted { token: 4, cautions: vec![] },
            EventBody::StepStarted { step: "not told".to_owned() },
            EventBody::OperationFinished { state: OperationState::Failed, problem: Some(problem) },
        ];
        let mut lines: Vec<String> = operations().iter().map(standing).collect();
        lines.extend(bodies.into_iter().filter_map(|body| change(&event(body))));
        insta::assert_snapshot!(lines.join("\n"), @r"
        2026-01-01 05:29:50Z  operation 7: restart of postgres by agent-1: running
        2026-01-01 05:29:00Z  operation 8: config of worker by agent-1: queued
        2026-01-01 05:29:00Z  operation 9: config of postgres by agent-1: running
        2026-01-01 05:29:15Z  operation 10: deploy of taskspace:fix-login/dev by agent-1: failed
        2026-01-01 05:30:00Z  operation 11: build-images by user: running
        2026-01-01 05:30:00Z  operation 8: config of worker by agent-1
        2026-01-01 05:30:00Z  operation 8: waits for operation 7, restart of postgres by ops (high)
        2026-01-01 05:30:00Z  operation 8: begins, token 4
        2026-01-01 05:30:00Z  operation 8: failed: it broke
        ");
    }

    #[test]
    fn a_table_that_is_too_long_shows_the_newest() {
        let table = "HEAD\n1\n2\n3\n4\n5\n";
        assert_eq!(cut(table, 7), table);
        assert_eq!(cut(table, 6), "HEAD\n… and 2 before\n3\n4\n5\n");
        assert_eq!(cut(table, 1), "HEAD\n… and 4 before\n5\n");
    }

    #[test]
    fn a_drawing_goes_over_the_one_before() {
        assert_eq!(over_the_last(0, "a\n"), "\r\x1b[Ja\n");
        assert_eq!(over_the_last(3, "a\n"), "\x1b[3A\r\x1b[Ja\n");
    }
}
