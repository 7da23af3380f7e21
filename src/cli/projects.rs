//! `taskspace projects`

use clap::{Args, Subcommand};
use comfy_table::Cell;
use jiff::Timestamp;

use super::arguments::Json;
use super::context::Context;
use super::output::{plain, size, span};
use super::refresh::Refresh;
use super::table::{self, Column};
use super::{Exit, Outcome};
use crate::model::{BaseState, ProjectView, TaskspaceId};

/// How much of a commit's id is shown.
const SHORT_COMMIT: usize = 12;

/// `taskspace projects`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Projects {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the projects (this is the default)
    List(List),
    /// Fetch projects, and check their newest commits out, so that the next taskspace is quick
    Refresh(Refresh),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    json: Json,
}

const COLUMNS: [Column; 6] = [
    Column::new("PROJECT"),
    Column::new("WHAT"),
    Column::new("SIZE").rank(1),
    Column::new("AGE").rank(2),
    Column::new("TASKSPACES").at_least(10),
    Column::new("SOURCE").at_least(12).rank(3),
];

impl Projects {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        match self.action {
            None => self.list.run(context).await,
            Some(Action::List(list)) => list.run(context).await,
            Some(Action::Refresh(refresh)) => refresh.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Outcome {
        let projects = context.call(async |client| client.projects().await).await?;
        let output = context.output;
        output.table(self.json.json, &projects, |width| {
            text(&projects, Timestamp::now(), width, output.colour)
        })?;
        Ok(Exit::Done)
    }
}

/// A line for each base and each build cache; a project is named in its first one.
fn text(projects: &[ProjectView], now: Timestamp, width: Option<u16>, colour: bool) -> String {
    if projects.is_empty() {
        return "no projects; `taskspace create` makes the first one\n".to_owned();
    }
    let rows = projects.iter().flat_map(|project| {
        let bases = project.bases.iter().map(|base| {
            let commit: String = base.commit.chars().take(SHORT_COMMIT).collect();
            let what = match base.state {
                BaseState::Ready => format!("base {commit}"),
                BaseState::Making => format!("base {commit} (being made)"),
            };
            (what, base.bytes, base.created, base.taskspaces.as_slice())
        });
        let caches = project.caches.iter().map(|cache| {
            let what = match (cache.state, cache.current) {
                (BaseState::Making, _) => "build cache (being made)",
                (BaseState::Ready, true) => "build cache",
                (BaseState::Ready, false) => "build cache (former)",
            };
            (what.to_owned(), cache.bytes, cache.created, cache.taskspaces.as_slice())
        });
        let lines = bases.chain(caches).enumerate();
        lines.map(|(line, (what, bytes, created, taskspaces))| {
            let first = |text: &str| Cell::new(if line == 0 { plain(text) } else { String::new() });
            vec![
                first(&project.name),
                Cell::new(what),
                Cell::new(bytes.map_or_else(|| "?".to_owned(), size)),
                Cell::new(span(now.as_second() - created.as_second())),
                Cell::new(join(taskspaces)),
                first(&project.source),
            ]
        })
    });
    table::render(&COLUMNS, rows.collect(), width, colour)
}

fn join(taskspaces: &[TaskspaceId]) -> String {
    match taskspaces {
        [] => "-".to_owned(),
        taskspaces => taskspaces.iter().map(TaskspaceId::as_str).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BaseView, CacheView};

    #[test]
    fn a_project_is_named_once() {
        let created = Timestamp::UNIX_EPOCH;
        let base = |commit: &str, taskspaces: &[&str]| BaseView {
            commit: commit.repeat(40),
            volume: String::new(),
            state: BaseState::Ready,
            created,
            bytes: Some(3 << 20),
            taskspaces: taskspaces.iter().map(|id| id.parse().unwrap()).collect(),
        };
        let cache = CacheView {
            volume: String::new(),
            state: BaseState::Ready,
            created,
            from: "a".parse().unwrap(),
            current: true,
            bytes: None,
            taskspaces: Vec::new(),
        };
        let project = ProjectView {
            name: "webshop".to_owned(),
            source: "https://host/webshop.git".to_owned(),
            bases: vec![base("a", &["fix-1", "fix-2"]), base("b", &[])],
            caches: vec![cache],
        };
        insta::assert_snapshot!(text(&[project], created, None, false), @r"
        PROJECT  WHAT               SIZE  AGE  TASKSPACES    SOURCE
        webshop  base aaaaaaaaaaaa  4 MB  0s   fix-1, fix-2  https://host/webshop.git
                 base bbbbbbbbbbbb  4 MB  0s   -
                 build cache        ?     0s   -
        ");
        assert!(text(&[], created, None, false).contains("taskspace create"));
    }
}
