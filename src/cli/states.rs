//! `taskspace states`

use clap::{Args, Subcommand};
use comfy_table::Cell;
use jiff::Timestamp;

use super::arguments::Json;
use super::context::Context;
use super::output::{Stop, plain, size, span};
use super::table::{self, Column};
use super::{Exit, Outcome, confirm};
use crate::model::{AgentStateView, Code, Problem, TaskspaceId};

/// `taskspace states`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct States {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the states that are kept (this is the default)
    List(List),
    /// Remove states before their time
    Purge(Purge),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct Purge {
    /// The former taskspace (can be repeated)
    #[arg(required = true, value_name = "ID")]
    ids: Vec<TaskspaceId>,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
}

const COLUMNS: [Column; 6] = [
    Column::new("TASKSPACE"),
    Column::new("PROJECT").at_least(8).rank(2),
    Column::new("AGENT").rank(3),
    Column::new("SINCE").rank(1),
    Column::new("SIZE"),
    Column::new("GOES"),
];

impl States {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        match self.action {
            None => self.list.run(context).await,
            Some(Action::List(list)) => list.run(context).await,
            Some(Action::Purge(purge)) => purge.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Outcome {
        let states = context.call(async |client| client.agent_states().await).await?;
        let output = context.output;
        output.table(self.json.json, &states, |width| {
            text(&states, Timestamp::now(), width, output.colour)
        })?;
        Ok(Exit::Done)
    }
}

impl Purge {
    /// One that cannot be removed does not keep the others.
    async fn run(self, context: &Context) -> Outcome {
        let mut exit = Exit::Done;
        for id in &self.ids {
            match self.purge(context, id).await {
                Ok(true) => {}
                Ok(false) => exit = exit.or(Exit::Conflict),
                Err(Stop::Problem(problem)) => {
                    context.output.report(&problem);
                    exit = exit.or(Exit::of(problem.code));
                }
                Err(stop) => return Err(stop),
            }
        }
        Ok(exit)
    }

    /// Removes one, unless the user would rather not.
    async fn purge(&self, context: &Context, id: &TaskspaceId) -> Result<bool, Stop> {
        // What is not there is not asked about.
        context.call(async |client| client.agent_state(id).await).await?;
        if !self.force {
            if !confirm::can_ask(context.output) {
                let detail = format!("what the agent of '{id}' remembers is kept nowhere else");
                let problem = Problem::new(Code::UnsavedWork, detail);
                return Err(problem.hint("--force removes it all the same").into());
            }
            if !confirm::ask(&format!("Remove what the agent of {id} remembers?"))? {
                context.output.note(&format!("the state of {id} stays"));
                return Ok(false);
            }
        }
        let operation = context.call(async |client| client.purge(id).await).await?;
        let number = operation.id;
        let over = context.call(async |client| client.wait(number).await).await?;
        match over.problem {
            Some(problem) => Err(problem.into()),
            None => {
                context.output.line(&format!("purged the state of {id}"))?;
                Ok(true)
            }
        }
    }
}

/// Tells until when the state of a taskspace is kept that is gone. That nothing can be told is no reason
/// to say that it is not gone.
pub(super) async fn tell_kept(context: &Context, id: &TaskspaceId) {
    match context.call(async |client| client.agent_state(id).await).await {
        Ok(state) => context.output.note(&kept(&state)),
        Err(stop) => tracing::debug!("no state is told: {stop:?}"),
    }
}

fn kept(state: &AgentStateView) -> String {
    let id = &state.id;
    let time = match state.until {
        None => "somebody purges it".to_owned(),
        Some(until) => until.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    };
    format!(
        "what its agent remembers is kept until {time}; `taskspace create --agent-state-of {id}` goes on \
         with it"
    )
}

fn text(states: &[AgentStateView], now: Timestamp, width: Option<u16>, colour: bool) -> String {
    if states.is_empty() {
        return "no agent state is kept\n".to_owned();
    }
    let row = |state: &AgentStateView| {
        let known = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), plain);
        let goes = match (state.going, state.until) {
            (true, _) => "now".to_owned(),
            (false, None) => "never".to_owned(),
            (false, Some(until)) => format!("in {}", span(until.as_second() - now.as_second())),
        };
        let since = span(now.as_second() - state.since.as_second());
        vec![
            Cell::new(&state.id),
            Cell::new(known(&state.project)),
            Cell::new(known(&state.agent)),
            Cell::new(format!("{since} ago")),
            Cell::new(state.bytes.map_or_else(|| "?".to_owned(), size)),
            Cell::new(goes),
        ]
    };
    table::render(&COLUMNS, states.iter().map(row).collect(), width, colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(id: &str, until: Option<i64>) -> AgentStateView {
        AgentStateView {
            id: id.parse().unwrap(),
            project: Some("webshop".to_owned()),
            agent: Some("claude-code".to_owned()),
            volume: format!("taskspace-{id}-agent-state"),
            since: Timestamp::UNIX_EPOCH,
            until: until.map(|second| Timestamp::from_second(second).unwrap()),
            going: false,
            bytes: Some(3 << 20),
        }
    }

    #[test]
    fn states_are_listed() {
        let now = Timestamp::from_second(3600).unwrap();
        let old = AgentStateView { project: None, agent: None, bytes: None, ..state("old", None) };
        let states = [state("fix-1", Some(90_000)), old];
        insta::assert_snapshot!(text(&states, now, None, false), @r"
        TASKSPACE  PROJECT  AGENT        SINCE   SIZE  GOES
        fix-1      webshop  claude-code  1h ago  4 MB  in 1d
        old        -        -            1h ago  ?     never
        ");
        assert!(kept(&states[0]).contains("is kept until 1970-01-02 01:00:00Z;"));
        assert!(kept(&states[1]).contains("until somebody purges it"));
    }
}
