//! `taskspace containers`

mod register;

use clap::{Args, Subcommand};
use comfy_table::{Cell, Color};
use jiff::Timestamp;

use super::arguments::Json;
use super::context::Context;
use super::output::{Stop, plain, span};
use super::table::{self, Column};
use super::{Exit, Outcome};
use crate::model::{ContainerName, ContainerState, RegisteredContainer};

const EXAMPLES: &str = "\
Examples:
  taskspace containers register --name worker --depends-on api --depends-on redis
      the container `worker`, which cannot do without two others
  taskspace containers register containers.yaml
      several at once, all of them or none, from a file such as
          containers:
            api: {ports: [8000]}
            webui: {ports: [3000], depends_on: [api]}

A container that carries the label io.symposium.coordinate=true is registered by itself; others with
the key `containers` of coordination.yaml. A call goes before the settings, and these before labels.";

/// `taskspace containers`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Containers {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the registered containers (this is the default)
    List(List),
    /// Register containers, or change how they are registered
    #[command(after_help = EXAMPLES)]
    Register(register::Register),
    /// Forget containers that were registered by this command
    Forget(Forget),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct Forget {
    /// The container (can be repeated)
    #[arg(required = true, value_name = "NAME")]
    names: Vec<ContainerName>,
}

/// Narrower than this, a note says nothing.
const NOTE_WIDTH: u16 = 16;

const COLUMNS: [Column; 7] = [
    Column::new("NAME"),
    Column::new("STATE"),
    Column::new("SINCE").rank(2),
    Column::new("PORTS").at_least(6).rank(3),
    Column::new("DEPENDS ON").at_least(10).rank(1),
    Column::new("SOURCE").rank(4),
    Column::new("NOTE").at_least(NOTE_WIDTH).rank(0),
];

impl Containers {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        match self.action {
            None => self.list.run(context).await,
            Some(Action::List(list)) => list.run(context).await,
            Some(Action::Register(register)) => register.run(context).await,
            Some(Action::Forget(forget)) => forget.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Outcome {
        let containers = context.call(async |client| client.containers().await).await?;
        if containers.is_empty() && !self.json.json {
            context.output.note(
                "No containers are registered; `taskspace containers register` registers some.",
            );
            return Ok(Exit::Done);
        }
        show(context, &containers, self.json.json)?;
        Ok(Exit::Done)
    }
}

impl Forget {
    async fn run(self, context: &Context) -> Outcome {
        let mut exit = Exit::Done;
        // One that cannot be forgotten does not keep the others.
        for name in &self.names {
            match context.call(async |client| client.forget(name).await).await {
                Ok(_) => context.output.line(&format!("forgot {name}"))?,
                Err(Stop::Problem(problem)) if self.names.len() > 1 => {
                    context.output.report(&problem);
                    exit = exit.or(Exit::of(problem.code));
                }
                Err(stop) => return Err(stop),
            }
        }
        Ok(exit)
    }
}

fn show(context: &Context, containers: &[RegisteredContainer], json: bool) -> Result<(), Stop> {
    let output = context.output;
    output
        .table(json, &containers, |width| text(containers, Timestamp::now(), width, output.colour))
}

/// Returns the table.
fn text(
    containers: &[RegisteredContainer],
    now: Timestamp,
    width: Option<u16>,
    colour: bool,
) -> String {
    let rows = containers.iter().map(|container| row(container, now)).collect();
    // The last one only where there is something to note.
    let noted = containers.iter().any(|container| container.reason.is_some());
    let columns = if noted { &COLUMNS } else { &COLUMNS[..COLUMNS.len() - 1] };
    table::render(columns, rows, width, colour)
}

fn row(container: &RegisteredContainer, now: Timestamp) -> Vec<Cell> {
    let mut cells = vec![
        Cell::new(&container.name),
        Cell::new(container.state).fg(colour_of(container.state)),
        Cell::new(span(now.as_second() - container.since.as_second())),
        Cell::new(listed(&container.ports)),
        Cell::new(listed(&container.depends_on)),
        Cell::new(container.source),
    ];
    let note = container.reason.as_ref().map(|reason| plain(reason).replace(['\n', '\t'], " "));
    cells.extend(note.map(Cell::new));
    cells
}

fn listed(items: &[impl ToString]) -> String {
    if items.is_empty() {
        return "-".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns the colour in which a state is shown.
const fn colour_of(state: ContainerState) -> Color {
    match state {
        ContainerState::Running => Color::Green,
        ContainerState::Error => Color::Red,
        ContainerState::Unknown => Color::Magenta,
        ContainerState::Stopped => Color::DarkGrey,
        ContainerState::Starting | ContainerState::Stopping | ContainerState::Restarting => {
            Color::Yellow
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Source;

    fn container(
        name: &str,
        (ports, depends_on): (&[u16], &[&str]),
        source: Source,
        (state, reason): (ContainerState, Option<&str>),
    ) -> RegisteredContainer {
        RegisteredContainer {
            name: name.parse().unwrap(),
            container: None,
            ports: ports.to_vec(),
            depends_on: depends_on.iter().map(|it| it.parse().unwrap()).collect(),
            source,
            state,
            since: "2026-01-01T00:00:00Z".parse().unwrap(),
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn containers_are_listed() {
        let now: Timestamp = "2026-01-01T05:30:00Z".parse().unwrap();
        let containers = [
            container("api", (&[8000], &[]), Source::Api, (ContainerState::Running, None)),
            container(
                "worker",
                (&[], &["api", "postgres", "redis"]),
                Source::Label,
                (ContainerState::Error, Some("it ended with status 1")),
            ),
        ];
        insta::assert_snapshot!(text(&containers, now, Some(100), false), @r"
        NAME    STATE    SINCE  PORTS  DEPENDS ON            SOURCE  NOTE
        api     running  5h     8000   -                     api
        worker  error    5h     -      api, postgres, redis  label   it ended with status 1
        ");
        insta::assert_snapshot!(text(&containers[..1], now, Some(30), false), @r"
        NAME  STATE    DEPENDS ON
        api   running  -
        ");
    }
}
