//! `taskspace policy list`

use clap::Args;
use comfy_table::Cell;
use serde::Serialize;

use crate::cli::arguments::Json;
use crate::cli::output::{Output, plain};
use crate::cli::table::{self, Column};
use crate::cli::{Exit, Outcome};
use crate::config::Paths;
use crate::model::PolicyName;
use crate::policy::network::Policy;

/// `taskspace policy list`
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a PolicyName,
    #[serde(flatten)]
    policy: &'a Policy,
}

const COLUMNS: [Column; 3] =
    [Column::new("NAME"), Column::new("LIKE"), Column::new("DESCRIPTION").at_least(12)];

impl List {
    pub(super) fn run(self, paths: &Paths, output: Output) -> Outcome {
        let settings = super::settings(paths)?;
        let mut rows: Vec<Row<'_>> =
            settings.networks.policies().map(|(name, policy)| Row { name, policy }).collect();
        rows.sort_by_key(|row| (row.policy.like, row.name));
        output.table(self.json.json, &rows, |width| {
            table::render(&COLUMNS, rows.iter().map(cells).collect(), width, output.colour)
        })?;
        Ok(Exit::Done)
    }
}

fn cells(row: &Row<'_>) -> Vec<Cell> {
    vec![
        Cell::new(row.name),
        Cell::new(row.policy.like),
        Cell::new(plain(&row.policy.description).replace('\n', " ")),
    ]
}
