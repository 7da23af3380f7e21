//! `taskspace snapshots`

use clap::Args;
use comfy_table::Cell;
use jiff::Timestamp;

use super::arguments::Json;
use super::context::Context;
use super::output::{plain, size, span};
use super::table::{self, Column};
use super::{Exit, Outcome, list};
use crate::model::{BaseState, Recorded, SnapshotView, TaskspaceId};

/// `taskspace snapshots`
#[derive(Debug, Args)]
pub struct Snapshots {
    /// Those of this taskspace [default: those of all]
    #[arg(value_name = "ID")]
    id: Option<TaskspaceId>,
    #[command(flatten)]
    json: Json,
}

const COLUMNS: [Column; 6] = [
    Column::new("TASKSPACE"),
    Column::new("NAME"),
    Column::new("AGE").rank(1),
    Column::new("SIZE").rank(2),
    Column::new("AGENT STATE").rank(3),
    Column::new("NOTE").at_least(12),
];

/// A snapshot and its taskspace, as JSON has them.
#[derive(Debug, serde::Serialize)]
struct Row {
    taskspace: TaskspaceId,
    #[serde(flatten)]
    snapshot: SnapshotView,
}

impl Snapshots {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let rows = match self.id {
            Some(id) => {
                let views = context.call(async |client| client.snapshots(&id).await).await?;
                let row = |snapshot| Row { taskspace: id.clone(), snapshot };
                views.into_iter().map(row).collect()
            }
            None => {
                let read = context.read(
                    async |client| client.list().await,
                    |document| Ok(list::recorded(document)),
                );
                of_all(read.await?.answer)
            }
        };
        let output = context.output;
        output.table(self.json.json, &rows, |width| {
            text(&rows, Timestamp::now(), width, output.colour)
        })?;
        Ok(Exit::Done)
    }
}

fn of_all(taskspaces: Vec<Recorded>) -> Vec<Row> {
    let rows = taskspaces.into_iter().flat_map(|Recorded { id, record, .. }| {
        let view = |(name, record)| SnapshotView { name, record };
        let mut views: Vec<SnapshotView> = record.snapshots.into_iter().map(view).collect();
        views.sort_by_key(|view| view.record.created);
        views.into_iter().map(move |snapshot| Row { taskspace: id.clone(), snapshot })
    });
    rows.collect()
}

fn text(rows: &[Row], now: Timestamp, width: Option<u16>, colour: bool) -> String {
    if rows.is_empty() {
        return "no snapshots; `taskspace snapshot` makes one\n".to_owned();
    }
    let cells = rows.iter().map(|Row { taskspace, snapshot }| {
        let SnapshotView { name, record } = snapshot;
        let name = match record.state {
            BaseState::Ready => name.to_string(),
            BaseState::Making => format!("{name} (being made)"),
        };
        vec![
            Cell::new(taskspace),
            Cell::new(name),
            Cell::new(span(now.as_second() - record.created.as_second())),
            Cell::new(record.bytes.map_or_else(|| "?".to_owned(), size)),
            Cell::new(if record.agent_state { "yes" } else { "-" }),
            Cell::new(plain(record.note.as_deref().unwrap_or("-"))),
        ]
    });
    table::render(&COLUMNS, cells.collect(), width, colour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SnapshotRecord;

    #[test]
    fn each_is_a_line_with_its_note() {
        let row = |name: &str, state, bytes: Option<u64>, note: Option<&str>| Row {
            taskspace: "fix-1".parse().unwrap(),
            snapshot: SnapshotView {
                name: name.parse().unwrap(),
                record: SnapshotRecord {
                    state,
                    created: Timestamp::from_second(1000).unwrap(),
                    note: note.map(str::to_owned),
                    agent_state: bytes.is_some(),
                    bytes,
                },
            },
        };
        let rows = [
            row("before", BaseState::Ready, Some(3 << 20), Some("all \u{1b}green")),
            row("now", BaseState::Making, None, None),
        ];
        let text = text(&rows, Timestamp::from_second(1060).unwrap(), None, false);
        insta::assert_snapshot!(text, @r"
        TASKSPACE  NAME              AGE  SIZE  AGENT STATE  NOTE
        fix-1      before            1m   4 MB  yes          all �green
        fix-1      now (being made)  1m   ?     -            -
        ");
        assert!(super::text(&[], Timestamp::UNIX_EPOCH, None, false).contains("makes one"));
    }
}
