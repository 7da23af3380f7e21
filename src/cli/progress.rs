//! What is shown while an operation is waited for.
//!
//! On a terminal a spinner with what is being done right now, and a line for each step that has
//! ended; elsewhere the lines alone. All of it goes to standard error.

use std::time::Duration;

use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::ctrl_c;

use super::arguments::Doing;
use super::context::Context;
use super::output::{Output, Stop, plain};
use super::{Exit, Outcome};
use crate::model::{
    Code, Conflict, Event, EventBody, EventQuery, Operation, OperationKind, Problem, StepOutcome,
    Target,
};

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(100);

/// How many runs of the service an operation is followed through.
const RUNS: usize = 5;

/// How waiting ended.
#[derive(Debug)]
pub(super) enum Waited {
    /// The operation is done.
    Done,
    /// It failed.
    Failed(Box<Problem>),
    /// The user does not want to wait any longer.
    Interrupted,
}

/// Waits until an operation is over, and shows how it goes; with `build_output` every line that
/// builds write.
pub(super) async fn wait(
    context: &Context,
    operation: &Operation,
    build_output: bool,
) -> Result<Waited, Stop> {
    let mut screen = Screen::new(context.output, build_output);
    let watched = tokio::select! {
        watched = watch(context, operation, &mut screen) => watched,
        interrupted = ctrl_c() => {
            drop(screen);
            interrupted.map_err(|error| super::internal("watch for Ctrl-C", &error))?;
            context.output.note(&goes_on(operation));
            return Ok(Waited::Interrupted);
        }
    };
    drop(screen);
    Ok(match watched? {
        None => Waited::Done,
        Some(problem) => Waited::Failed(Box::new(problem)),
    })
}

/// Waits until an operation is done, unless it is not to be waited for; returns the status to end with
/// at once where it was not.
pub(super) async fn until_done(
    context: &Context,
    operation: &Operation,
    no_wait: bool,
    build_output: bool,
    json: bool,
) -> Result<Option<Exit>, Stop> {
    if no_wait {
        under_way(context.output, operation, json)?;
        return Ok(Some(Exit::Done));
    }
    match wait(context, operation, build_output).await? {
        Waited::Done => Ok(None),
        Waited::Failed(problem) => Err(Stop::Problem(problem)),
        Waited::Interrupted => Ok(Some(Exit::Interrupted)),
    }
}

/// Waits until an operation is done, unless it is not to be waited for, and says so.
pub(super) async fn finish(
    context: &Context,
    operation: &Operation,
    done: &str,
    doing: &Doing,
) -> Outcome {
    let (no_wait, json) = (doing.no_wait, doing.json.json);
    if let Some(exit) = until_done(context, operation, no_wait, false, json).await? {
        return Ok(exit);
    }
    if json {
        let number = operation.id;
        let over = context.call(async |client| client.operation(number).await).await?;
        context.output.json(&over)?;
    } else {
        context.output.line(done)?;
    }
    Ok(Exit::Done)
}

/// Says that an operation that is not waited for is under way.
pub(super) fn under_way(output: Output, operation: &Operation, json: bool) -> Result<(), Stop> {
    if json {
        return output.json(operation);
    }
    match &operation.taskspace {
        Some(id) => output.line(&format!("{} of {id} is under way", operation.kind)),
        None => output.line(&format!("{} is under way", operation.kind)),
    }
}

fn goes_on(operation: &Operation) -> String {
    let kind = operation.kind;
    match &operation.taskspace {
        Some(id) => {
            format!("{kind} of {id} goes on in the service; `taskspace show {id}` tells how it is")
        }
        None => {
            let look = match kind {
                OperationKind::Refresh => "projects",
                _ => "images",
            };
            format!("{kind} goes on in the service; `taskspace {look}` tells how it is")
        }
    }
}

/// Follows an operation; returns why it failed, if it did.
async fn watch(
    context: &Context,
    operation: &Operation,
    screen: &mut Screen,
) -> Result<Option<Problem>, Stop> {
    let number = operation.id;
    let query = EventQuery::of_operation(number);
    // A service that ends in between hands the operation to its next start, under the same number.
    for _ in 0..RUNS {
        let mut events = match context.call(async |client| client.watch(&query, None).await).await {
            Ok(events) => events,
            Err(Stop::Problem(problem)) if problem.code == Code::NotFound => {
                return Err(lost(operation).into());
            }
            // It ended just then.
            Err(Stop::Problem(problem)) if problem.code == Code::ServiceUnavailable => {
                tracing::debug!("cannot watch: {problem}");
                continue;
            }
            Err(stop) => return Err(stop),
        };
        while let Some(event) = context.attend(events.next()).await {
            match event {
                Ok(Event { body: EventBody::OperationFinished { problem, .. }, .. }) => {
                    return Ok(problem);
                }
                Ok(event) => screen.show(&event.body),
                Err(error) => {
                    tracing::debug!("the events broke off: {error}");
                    break;
                }
            }
        }
        // The last event may have been missed; the operation itself knows.
        if let Ok(operation) = context.call(async |client| client.operation(number).await).await
            && operation.state.is_over()
        {
            return Ok(operation.problem);
        }
        screen.begin_again();
    }
    Err(lost(operation).into())
}

fn lost(operation: &Operation) -> Problem {
    let detail = format!("the service ended before {} did", operation.kind);
    Problem::new(Code::ServiceUnavailable, detail)
        .hint("its next start finishes or undoes what was begun; `taskspace list` tells")
}

/// Says what an operation waits for.
pub(super) fn waits(behind: &[Conflict], full: Option<&Target>) -> String {
    let behind = behind.iter().map(Conflict::to_string);
    let full = full.map(|target| format!("room on {target}"));
    format!("waits for {}", behind.chain(full).collect::<Vec<_>>().join("; "))
}

/// The steps that are under way.
#[derive(Debug, Default)]
struct Steps {
    running: Vec<String>,
    last_line: Option<String>,
}

impl Steps {
    /// Takes an event; returns the line that it leaves behind.
    fn take(&mut self, body: &EventBody, build_output: bool) -> Option<String> {
        match body {
            EventBody::StepStarted { step } => {
                self.running.push(step.clone());
                None
            }
            EventBody::StepEnded { step, outcome, milliseconds } => {
                self.running.retain(|running| running != step);
                self.last_line = None;
                let mark = match outcome {
                    StepOutcome::Done => "✓",
                    StepOutcome::Failed => "✗",
                    StepOutcome::Undone => "↶",
                };
                Some(format!("{mark} {} ({})", plain(step), seconds(*milliseconds)))
            }
            EventBody::Output { line } if build_output => Some(format!("  {}", plain(line))),
            EventBody::Output { line } => {
                self.last_line = Some(plain(line));
                None
            }
            EventBody::Warning { message } => Some(format!("! {}", plain(message))),
            EventBody::OperationQueued { behind, full } => {
                Some(format!("… {}", plain(&waits(behind, full.as_ref()))))
            }
            EventBody::OperationRequested { .. }
            | EventBody::OperationAdmitted { .. }
            | EventBody::ContainerChanged { .. }
            | EventBody::StatusChanged { .. }
            | EventBody::ContainerEnded(_)
            | EventBody::StorageChanged { .. }
            | EventBody::NetworkRefused { .. }
            | EventBody::NetworkEnforced { .. }
            | EventBody::HealthChanged { .. }
            | EventBody::SettingsReloaded { .. }
            | EventBody::SettingsRefused { .. }
            | EventBody::Missed
            | EventBody::OperationFinished { .. } => None,
        }
    }

    /// Returns what is being done right now.
    fn now(&self) -> String {
        let steps: Vec<String> = self.running.iter().map(|step| plain(step)).collect();
        let steps = if steps.is_empty() { "waiting".to_owned() } else { steps.join(", ") };
        match &self.last_line {
            Some(line) => format!("{steps} · {line}"),
            None => steps,
        }
    }
}

/// Returns a time that something took.
pub(super) fn seconds(milliseconds: u64) -> String {
    format!("{}.{:01}s", milliseconds / 1000, milliseconds % 1000 / 100)
}

/// Where progress is shown.
struct Screen {
    output: Output,
    build_output: bool,
    steps: Steps,
    spinner: Option<ProgressBar>,
}

impl Screen {
    fn new(output: Output, build_output: bool) -> Self {
        let spinner = (output.error_terminal && !output.quiet).then(|| {
            let spinner = ProgressBar::new_spinner();
            // The default style only shows when this template of our own does not parse.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                spinner.set_style(style);
            }
            spinner.set_message("waiting");
            spinner.enable_steady_tick(TICK);
            spinner
        });
        Self { output, build_output, steps: Steps::default(), spinner }
    }

    /// Forgets the steps of a service that has ended.
    fn begin_again(&mut self) {
        self.steps = Steps::default();
    }

    fn show(&mut self, body: &EventBody) {
        let line = self.steps.take(body, self.build_output);
        match (&self.spinner, line) {
            (Some(spinner), line) => {
                if let Some(line) = line {
                    spinner.println(line);
                }
                spinner.set_message(self.steps.now());
            }
            (None, Some(line)) => self.output.note(&line),
            (None, None) => {}
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown() {
        let step = |name: &str| EventBody::StepStarted { step: name.to_owned() };
        let line = |text: &str| EventBody::Output { line: text.to_owned() };
        let ended = |name: &str, outcome| EventBody::StepEnded {
            step: name.to_owned(),
            outcome,
            milliseconds: 1_250,
        };
        let mut steps = Steps::default();
        assert_eq!(steps.now(), "waiting");
        assert_eq!(steps.take(&step("make the volumes"), false), None);
        assert_eq!(steps.take(&step("build dev-rust"), false), None);
        assert_eq!(steps.take(&line("STEP 1\u{7}"), false), None);
        assert_eq!(steps.now(), "make the volumes, build dev-rust · STEP 1\u{fffd}");
        assert_eq!(steps.take(&line("STEP 2"), true).as_deref(), Some("  STEP 2"));
        let done = steps.take(&ended("make the volumes", StepOutcome::Done), false);
        assert_eq!(done.as_deref(), Some("✓ make the volumes (1.2s)"));
        assert_eq!(steps.now(), "build dev-rust");
        let failed = steps.take(&ended("build dev-rust", StepOutcome::Failed), false);
        assert_eq!(failed.as_deref(), Some("✗ build dev-rust (1.2s)"));
    }
}
