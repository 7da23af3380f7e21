//! `taskspace operations`

use clap::{Args, Subcommand};
use comfy_table::{Cell, Color};
use jiff::Timestamp;

use super::arguments::Json;
use super::context::Context;
use super::output::{Stop, plain, span};
use super::progress::waits;
use super::show::{Page, when};
use super::table::{self, Column};
use super::{Exit, Outcome, watch};
use crate::model::{Conflict, Lease, Operation, OperationState};

const EXAMPLES: &str = "\
Examples:
  taskspace operations
      what is being done, and what waits for what
  taskspace operations --watch
      the same, kept up to date; without a terminal a line for each change
  taskspace operations cancel 12
      do not wait for it any longer, or take its lock away";

/// `taskspace operations`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Operations {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the operations that wait or run (this is the default)
    List(List),
    /// Show an operation in full
    Show(Show),
    /// Cancel operations that wait, or that agents hold
    Cancel(Cancel),
}

#[derive(Debug, Args)]
struct List {
    /// List also those that are over
    #[arg(long, short)]
    all: bool,
    /// Go on until Ctrl-C, with every change
    #[arg(long, short)]
    watch: bool,
    /// Write JSON; with --watch a document a line, for each operation as it is when it changes
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// The operation
    #[arg(value_name = "NUMBER")]
    number: u64,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct Cancel {
    /// The operation (can be repeated)
    #[arg(required = true, value_name = "NUMBER")]
    numbers: Vec<u64>,
    #[command(flatten)]
    json: Json,
}

/// Narrower than this, a note says nothing.
const NOTE_WIDTH: u16 = 16;

const COLUMNS: [Column; 8] = [
    Column::new("NUMBER"),
    Column::new("KIND"),
    Column::new("TARGET").at_least(10),
    Column::new("AGENT").at_least(8).rank(2),
    Column::new("PRIORITY").rank(3),
    Column::new("STATE"),
    Column::new("FOR").rank(1),
    Column::new("NOTE").at_least(NOTE_WIDTH).rank(0),
];

impl Operations {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        match self.action {
            None => self.list.run(context).await,
            Some(Action::List(list)) => list.run(context).await,
            Some(Action::Show(show)) => show.run(context).await,
            Some(Action::Cancel(cancel)) => cancel.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Outcome {
        let Self { all, watch, json } = self;
        if watch {
            return watch::operations(context, all, json).await;
        }
        let operations = listed(context, all).await?;
        let output = context.output;
        if operations.is_empty() && !json {
            output.note(nothing(all));
            return Ok(Exit::Done);
        }
        output.table(json, &operations, |width| {
            text(&operations, Timestamp::now(), width, output.colour)
        })?;
        Ok(Exit::Done)
    }
}

impl Show {
    async fn run(self, context: &Context) -> Outcome {
        let number = self.number;
        let operation = context.call(async |client| client.operation(number).await).await?;
        if self.json.json {
            context.output.json(&operation)?;
        } else {
            context.output.print(&page(&operation, Timestamp::now()))?;
        }
        Ok(Exit::Done)
    }
}

impl Cancel {
    async fn run(self, context: &Context) -> Outcome {
        let output = context.output;
        let mut exit = Exit::Done;
        for &number in &self.numbers {
            match context.call(async |client| client.cancel_operation(number).await).await {
                Ok(operation) if self.json.json => output.json(&operation)?,
                Ok(operation) => {
                    output.line(&format!("cancelled operation {number}, {}", operation.name()))?;
                }
                Err(Stop::Problem(problem)) if self.numbers.len() > 1 => {
                    output.report(&problem);
                    exit = exit.or(Exit::of(problem.code));
                }
                Err(stop) => return Err(stop),
            }
        }
        Ok(exit)
    }
}

/// Returns the operations that wait or run, with `all` those too that are over.
pub(super) async fn listed(context: &Context, all: bool) -> Result<Vec<Operation>, Stop> {
    let mut operations = context.call(async |client| client.operations().await).await?;
    operations.retain(|operation| all || !operation.state.is_over());
    Ok(operations)
}

/// Says that there is nothing to list.
pub(super) const fn nothing(all: bool) -> &'static str {
    if all { "There were no operations lately." } else { "No operation waits or runs." }
}

/// Returns the table.
pub(super) fn text(
    operations: &[Operation],
    now: Timestamp,
    width: Option<u16>,
    colour: bool,
) -> String {
    let rows = operations.iter().map(|operation| row(operation, now)).collect();
    // The last one only where there is something to note.
    let noted = operations.iter().any(|operation| !note(operation).is_empty());
    let columns = if noted { &COLUMNS } else { &COLUMNS[..COLUMNS.len() - 1] };
    table::render(columns, rows, width, colour)
}

fn row(operation: &Operation, now: Timestamp) -> Vec<Cell> {
    let note = note(operation);
    let mut cells = vec![
        Cell::new(operation.id),
        Cell::new(operation.kind),
        Cell::new(target(operation)),
        Cell::new(plain(&operation.agent.to_string())),
        Cell::new(operation.priority),
        Cell::new(operation.state).fg(colour_of(operation.state)),
        Cell::new(span(lasts(operation, now))),
    ];
    if !note.is_empty() {
        cells.push(Cell::new(note));
    }
    cells
}

const fn colour_of(state: OperationState) -> Color {
    match state {
        OperationState::Queued => Color::Yellow,
        OperationState::Running | OperationState::Done => Color::Green,
        OperationState::Failed | OperationState::TimedOut | OperationState::Rejected => Color::Red,
        OperationState::Cancelled => Color::DarkGrey,
    }
}

fn target(operation: &Operation) -> String {
    match (&operation.target, &operation.taskspace) {
        (Some(target), _) => target.to_string(),
        (None, Some(id)) => id.to_string(),
        (None, None) => "-".to_owned(),
    }
}

/// Returns for how many seconds it has been waiting or running, or ran.
fn lasts(operation: &Operation, now: Timestamp) -> i64 {
    let from = operation.started.unwrap_or(operation.created);
    operation.finished.unwrap_or(now).as_second() - from.as_second()
}

/// Says what it waits for, what it runs beside, what it does or how it ended; else what it is about.
fn note(operation: &Operation) -> String {
    let Operation { behind, full, cautions, step, problem, description, .. } = operation;
    let note = match operation.state {
        OperationState::Queued if behind.is_empty() && full.is_none() => None,
        OperationState::Queued => Some(waits(behind, full.as_ref())),
        OperationState::Running if !cautions.is_empty() => Some(beside(cautions)),
        OperationState::Running => step.clone(),
        _ => problem.as_ref().map(|problem| problem.detail.clone()),
    };
    let note = note.or_else(|| description.clone()).unwrap_or_default();
    plain(note.lines().next().unwrap_or_default()).replace('\t', " ")
}

fn beside(cautions: &[Conflict]) -> String {
    let cautions: Vec<String> = cautions.iter().map(Conflict::to_string).collect();
    format!("beside {}", cautions.join("; "))
}

/// Returns everything about an operation.
fn page(operation: &Operation, now: Timestamp) -> String {
    let mut page = Page::default();
    page.line("Number", operation.id);
    page.line("Kind", operation.kind);
    page.line("Target", target(operation));
    page.line("Agent", &operation.agent);
    page.line("Priority", operation.priority);
    let preposition = if operation.state.is_over() { "after" } else { "for" };
    let time = span(lasts(operation, now));
    page.line("State", format!("{} {preposition} {time}", operation.state));
    if let Some(under) = operation.under {
        page.line("Under", format!("operation {under}"));
    }
    page.lines("About", operation.description.as_slice());
    page.lines("Doing", operation.step.as_slice());
    let conflicts = |conflicts: &[Conflict]| -> Vec<String> {
        conflicts.iter().map(Conflict::to_string).collect()
    };
    let room = operation.full.as_ref().map(|target| format!("room on {target}"));
    page.lines("Waits for", &[conflicts(&operation.behind), room.into_iter().collect()].concat());
    page.lines("Beside", &conflicts(&operation.cautions));
    if let Some(problem) = &operation.problem {
        page.line("Reason", &problem.detail);
        page.lines("", &problem.log);
        page.lines("Hint", problem.hint.as_slice());
    }
    page.line("Asked for", when(operation.created, now));
    let moments = [("Begun", operation.started), ("Ended", operation.finished)];
    for (key, moment) in moments {
        page.lines(key, moment.map(|moment| when(moment, now)).as_slice());
    }
    page.lines("Estimated", operation.estimated_seconds.map(|time| format!("{time}s")).as_slice());
    let limit = operation.timeout_seconds.map(|time| format!("{time}s after its beginning"));
    page.lines("Ends", limit.as_slice());
    page.lines("Token", operation.token.map(|token| token.to_string()).as_slice());
    if let Some(lease) = &operation.lease
        && !operation.state.is_over()
    {
        page.line("Lease", lease_text(lease, now));
    }
    page.0
}

/// Says for how long it is held.
fn lease_text(Lease { seconds, expires }: &Lease, now: Timestamp) -> String {
    match expires {
        None => format!("{seconds}s once its holder is no longer connected"),
        Some(expires) => {
            let left = span(expires.as_second() - now.as_second());
            format!("{seconds}s; ends in {left} unless it is renewed")
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{Code, OperationKind, Priority, Problem, Severity};

    fn at(time: &str) -> Timestamp {
        format!("2026-01-01T{time}Z").parse().unwrap()
    }

    fn conflict(severity: Severity) -> Conflict {
        Conflict {
            operation: 7,
            kind: OperationKind::Restart,
            target: "postgres".parse().unwrap(),
            agent: "ops".parse().unwrap(),
            severity,
            chain: vec![],
        }
    }

    /// One of each kind: it runs, it waits, it runs beside another, it failed, it is the service's.
    pub(in crate::cli) fn operations() -> Vec<Operation> {
        let asked = |id, kind, target: &str| Operation {
            target: Some(target.parse().unwrap()),
            agent: "agent-1".parse().unwrap(),
            ..Operation::new(id, kind, at("05:29:00"))
        };
        vec![
            Operation {
                state: OperationState::Running,
                started: Some(at("05:29:50")),
                token: Some(3),
                lease: Some(Lease { seconds: 30, expires: Some(at("05:30:20")) }),
                description: Some("new\tmajor version\nof it".to_owned()),
                ..asked(7, OperationKind::Restart, "postgres")
            },
            Operation {
                priority: Priority::MAX,
                behind: vec![conflict(Severity::High)],
                full: Some("worker".parse().unwrap()),
                estimated_seconds: Some(30),
                ..asked(8, OperationKind::Config, "worker")
            },
            Operation {
                state: OperationState::Running,
                started: Some(at("05:29:00")),
                cautions: vec![conflict(Severity::Medium)],
                token: Some(4),
                lease: Some(Lease { seconds: 30, expires: None }),
                ..asked(9, OperationKind::Config, "postgres")
            },
            Operation {
                state: OperationState::Failed,
                started: Some(at("05:29:10")),
                finished: Some(at("05:29:15")),
                problem: Some(
                    Problem::new(Code::PodmanFailed, "it\nbroke\u{1b}[2J").hint("mend it"),
                ),
                ..asked(10, OperationKind::Deploy, "taskspace:fix-login/dev")
            },
            Operation {
                state: OperationState::Running,
                started: Some(at("05:30:00")),
                step: Some("build dev-rust".to_owned()),
                under: Some(7),
                ..Operation::new(11, OperationKind::BuildImages, at("05:30:00"))
            },
        ]
    }

    #[test]
    fn what_waits_and_why() {
        let shown = |width| text(&operations(), at("05:30:00"), Some(width), false);
        insta::assert_snapshot!(shown(200), @r"
        NUMBER  KIND          TARGET                   AGENT    PRIORITY  STATE    FOR  NOTE
        7       restart       postgres                 agent-1  5         running  10s  new major version
        8       config        worker                   agent-1  10        queued   1m   waits for operation 7, restart of postgres by ops (high); room on worker
        9       config        postgres                 agent-1  5         running  1m   beside operation 7, restart of postgres by ops (medium)
        10      deploy        taskspace:fix-login/dev  agent-1  5         failed   5s   it
        11      build-images  -                        user     5         running  0s   build dev-rust
        ");
        insta::assert_snapshot!(shown(80), @r"
        NUMBER  KIND          TARGET             AGENT    STATE    FOR  NOTE
        7       restart       postgres           agent-1  running  10s  new major…
        8       config        worker             agent-1  queued   1m   waits for…
        9       config        postgres           agent-1  running  1m   beside operatio…
        10      deploy        taskspace:fix-lo…  agent-1  failed   5s   it
        11      build-images  -                  user     running  0s   build dev-rust
        ");
        insta::assert_snapshot!(shown(40), @r"
        NUMBER  KIND          TARGET      STATE
        7       restart       postgres    running
        8       config        worker      queued
        9       config        postgres    running
        10      deploy        taskspace…  failed
        11      build-images  -           running
        ");
    }

    #[test]
    fn an_operation_in_full() {
        let pages: Vec<String> =
            operations()[..4].iter().map(|operation| page(operation, at("05:30:00"))).collect();
        insta::assert_snapshot!(pages.join("\n"), @r"
        Number      7
        Kind        restart
        Target      postgres
        Agent       agent-1
        Priority    5
        State       running for 10s
        About       new	major version
                    of it
        Asked for   2026-01-01 05:29:00Z (1m ago)
        Begun       2026-01-01 05:29:50Z (10s ago)
        Token       3
        Lease       30s; ends in 20s unless it is renewed

        Number      8
        Kind        config
        Target      worker
        Agent       agent-1
        Priority    10
        State       queued for 1m
        Waits for   operation 7, restart of postgres by ops (high)
                    room on worker
        Asked for   2026-01-01 05:29:00Z (1m ago)
        Estimated   30s

        Number      9
        Kind        config
        Target      postgres
        Agent       agent-1
        Priority    5
        State       running for 1m
        Beside      operation 7, restart of postgres by ops (medium)
        Asked for   2026-01-01 05:29:00Z (1m ago)
        Begun       2026-01-01 05:29:00Z (1m ago)
        Token       4
        Lease       30s once its holder is no longer connected

        Number      10
        Kind        deploy
        Target      taskspace:fix-login/dev
        Agent       agent-1
        Priority    5
        State       failed after 5s
        Reason      it
                    broke�[2J
        Hint        mend it
        Asked for   2026-01-01 05:29:00Z (1m ago)
        Begun       2026-01-01 05:29:10Z (50s ago)
        Ended       2026-01-01 05:29:15Z (45s ago)
        ");
    }
}
