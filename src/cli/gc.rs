//! `taskspace gc`

use clap::Args;
use comfy_table::{Cell, Color};
use jiff::Timestamp;

use super::arguments::Json;
use super::context::Context;
use super::output::{plain, span};
use super::table::{self, Column};
use super::{Exit, Outcome, confirm};
use crate::model::{Code, Collectable, CollectionReason, CollectionView, Problem};

/// `taskspace gc`
#[derive(Debug, Args)]
pub struct Gc {
    /// Show what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove also what belongs to nothing in the registry and may have work in it: all that there is
    /// of this unknown taskspace, or a volume of this name (can be repeated)
    #[arg(long, value_name = "NAME", value_parser = name)]
    work: Vec<String>,
    /// Do not ask before work is removed
    #[arg(long, short, requires = "work")]
    force: bool,
    #[command(flatten)]
    json: Json,
}

const COLUMNS: [Column; 4] = [
    Column::new("WHAT"),
    Column::new("NAME").at_least(20),
    Column::new("WHEN"),
    Column::new("WHY").at_least(12).rank(1),
];

impl Gc {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let output = context.output;
        if !self.work.is_empty() && !self.force && !self.dry_run {
            let names = self.work.join(", ");
            if !confirm::can_ask(output) {
                let detail = format!("what is left of {names} may be somebody's work");
                let problem = Problem::new(Code::UnsavedWork, detail);
                return Err(problem
                    .hint("look at it first; --force removes it all the same")
                    .into());
            }
            if !confirm::ask(&format!("Remove {names}, with the work in it?"))? {
                output.note("nothing was removed");
                return Ok(Exit::Conflict);
            }
        }
        let (dry_run, work) = (self.dry_run, &self.work);
        let view = context.call(async |client| client.collect(dry_run, work).await).await?;
        output.table(self.json.json, &view, |width| {
            text(&view, Timestamp::now(), width, output.colour)
        })?;
        for item in &view.items {
            if let Some(problem) = &item.problem {
                output.warn(&format!("{} is still there: {problem}", item.key()));
            }
        }
        let is_left = view.items.iter().any(|item| item.problem.is_some());
        Ok(if is_left { Exit::Failed } else { Exit::Done })
    }
}

fn text(view: &CollectionView, now: Timestamp, width: Option<u16>, colour: bool) -> String {
    if view.items.is_empty() {
        return "nothing is out of use\n".to_owned();
    }
    let row = |item: &Collectable| {
        let (when, colour) = when(item, view.dry_run, now);
        vec![
            Cell::new(item.kind),
            Cell::new(plain(&item.name)),
            Cell::new(when).fg(colour),
            Cell::new(why(item)),
        ]
    };
    table::render(&COLUMNS, view.items.iter().map(row).collect(), width, colour)
}

fn when(item: &Collectable, dry_run: bool, now: Timestamp) -> (String, Color) {
    match (item.goes, item.until) {
        (true, _) if item.problem.is_some() => ("still there".to_owned(), Color::Red),
        (true, _) if dry_run => ("now".to_owned(), Color::Yellow),
        (true, _) => ("gone".to_owned(), Color::Yellow),
        (false, Some(until)) => {
            (format!("in {}", span(until.as_second() - now.as_second())), Color::Reset)
        }
        (false, None) if item.reason == CollectionReason::Work => {
            ("when named".to_owned(), Color::Reset)
        }
        (false, None) => ("never".to_owned(), Color::Reset),
    }
}

fn why(item: &Collectable) -> String {
    let of = |what: &str| match (&item.taskspace, &item.project) {
        (Some(id), _) => format!("{what} (says it is of {})", plain(id)),
        (None, Some(project)) => format!("{what} (of {})", plain(project)),
        (None, None) => what.to_owned(),
    };
    of(match item.reason {
        CollectionReason::Unused => "no taskspace uses it",
        CollectionReason::Unfinished => "its making or removal broke off",
        CollectionReason::Left => "its taskspace is gone",
        CollectionReason::Stray => "it belongs to nothing",
        CollectionReason::Work => "it belongs to nothing, and may be work",
    })
}

/// Reads a name as Podman has them, which is part of a query.
fn name(text: &str) -> Result<String, String> {
    let is_name = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    match is_name && !text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err("it is not a name; `taskspace gc --dry-run` shows what there is".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CollectableKind;

    #[test]
    fn what_goes_and_what_stays() {
        let now = Timestamp::from_second(3600).unwrap();
        let item = |kind, name: &str, reason, until| Collectable {
            kind,
            name: name.to_owned(),
            project: None,
            taskspace: None,
            reason,
            since: Timestamp::UNIX_EPOCH,
            until,
            goes: until == Some(now),
            problem: None,
        };
        let later = Timestamp::from_second(90_000).ok();
        let mut view = CollectionView {
            dry_run: true,
            items: vec![
                Collectable {
                    taskspace: Some("lost".to_owned()),
                    ..item(CollectableKind::Volume, "v", CollectionReason::Work, None)
                },
                item(CollectableKind::AgentState, "fix", CollectionReason::Left, later),
                Collectable {
                    project: Some("webshop".to_owned()),
                    ..item(CollectableKind::Base, "b", CollectionReason::Unused, Some(now))
                },
            ],
        };
        insta::assert_snapshot!(text(&view, now, None, false), @r"
        WHAT         NAME  WHEN        WHY
        volume       v     when named  it belongs to nothing, and may be work (says it is of lost)
        agent-state  fix   in 1d       its taskspace is gone
        base         b     now         no taskspace uses it (of webshop)
        ");
        view.dry_run = false;
        assert!(text(&view, now, None, false).contains("b     gone"));
        view.items.clear();
        assert_eq!(text(&view, now, None, false), "nothing is out of use\n");
    }
}
