//! `taskspace quota show`

use std::collections::HashMap;

use clap::Args;
use comfy_table::Cell;
use serde::Serialize;

use super::{Pools, problem};
use crate::cli::arguments::Json;
use crate::cli::context::Context;
use crate::cli::output::{Output, Stop, plain};
use crate::cli::table::{self, Column};
use crate::cli::{Exit, Outcome};
use crate::host::project_quota;
use crate::model::{Quantity, TaskspaceId};
use crate::policy::project_quotas::Pool;

/// `taskspace quota show`
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    json: Json,
}

/// An id that is prepared.
#[derive(Debug, Serialize)]
struct Row {
    id: u32,
    user: String,
    limit: Quantity,
    /// Only root is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<Quantity>,
    /// Only its user knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    taskspace: Option<TaskspaceId>,
}

const FOR_USER: [Column; 3] =
    [Column::new("ID"), Column::new("LIMIT"), Column::new("TASKSPACE").at_least(8)];
const FOR_ROOT: [Column; 4] =
    [Column::new("ID"), Column::new("LIMIT"), Column::new("USED"), Column::new("USER").at_least(8)];

impl Show {
    /// Shows the user's own ids, with the taskspaces that use them.
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let pool = project_quota::read_own(&context.paths.project_quotas).map_err(problem)?;
        let taskspaces = context.call(async |client| client.list().await).await?;
        let by_id: HashMap<u32, TaskspaceId> = taskspaces
            .into_iter()
            .filter_map(|it| Some((it.record.storage?.hard?, it.id)))
            .collect();
        let rows = pool.iter().flat_map(rows).map(|row| {
            let taskspace = by_id.get(&row.id).cloned();
            Row { taskspace, ..row }
        });
        self.show(context.output, &rows.collect::<Vec<_>>(), &FOR_USER)?;
        Ok(Exit::Done)
    }

    /// Shows all users' ids, with what is in use of each.
    pub(super) fn run_as_root(self, pools: &Pools, output: Output) -> Result<(), Stop> {
        let mut shown = Vec::new();
        for pool in pools.all()? {
            for row in rows(&pool) {
                let found = project_quota::project(&pool.volumes, row.id).map_err(problem)?;
                shown.push(Row {
                    limit: Quantity(found.limit),
                    used: Some(Quantity(found.used)),
                    ..row
                });
            }
        }
        self.show(output, &shown, &FOR_ROOT)
    }

    fn show(&self, output: Output, rows: &[Row], columns: &[Column]) -> Result<(), Stop> {
        if rows.is_empty() && !self.json.json {
            output.note(
                "Nothing is prepared: storage is measured. See `taskspace quota setup --help`.",
            );
            return Ok(());
        }
        output.table(self.json.json, &rows, |width| {
            table::render(columns, rows.iter().map(cells).collect(), width, output.colour)
        })
    }
}

fn rows(pool: &Pool) -> impl Iterator<Item = Row> {
    pool.ids.iter().map(|(&id, &limit)| Row {
        id,
        user: pool.user.clone(),
        limit,
        used: None,
        taskspace: None,
    })
}

fn cells(row: &Row) -> Vec<Cell> {
    let mut cells = vec![Cell::new(row.id), Cell::new(row.limit)];
    match row.used {
        Some(used) => cells.extend([Cell::new(used), Cell::new(plain(&row.user))]),
        None => cells.push(match &row.taskspace {
            Some(id) => Cell::new(id),
            None => Cell::new("-"),
        }),
    }
    cells
}
