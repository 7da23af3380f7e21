//! `taskspace network ID blocked`

use std::collections::HashMap;
use std::time::Duration;

use comfy_table::Cell;
use jiff::Timestamp;

use crate::cli::context::Context;
use crate::cli::output::{Stop, plain, span};
use crate::cli::table::{self, Column};
use crate::cli::{Exit, Outcome};
use crate::model::{Blocked, DomainName, TaskspaceId};

/// How often it is asked what was refused meanwhile.
const INTERVAL: Duration = Duration::from_secs(1);

const COLUMNS: [Column; 5] = [
    Column::new("DESTINATION"),
    Column::new("COUNT"),
    Column::new("LAST"),
    Column::new("RESULT"),
    Column::new("WHY").at_least(12).rank(1),
];

/// Lists what a taskspace was refused; with `follow` until it is interrupted.
pub(super) async fn list(context: &Context, id: &TaskspaceId, follow: bool, json: bool) -> Outcome {
    let output = context.output;
    let mut blocked = refused(context, id).await?;
    if !follow {
        if blocked.is_empty() && !json {
            output.note("Nothing was refused.");
            return Ok(Exit::Done);
        }
        output.table(json, &blocked, |width| {
            text(&blocked, Timestamp::now(), width, output.colour)
        })?;
        return Ok(Exit::Done);
    }
    let mut counts: HashMap<(String, bool), u64> = HashMap::new();
    loop {
        // The latest comes first, and is shown last.
        for it in blocked.iter().rev() {
            let before = counts.insert((it.destination.clone(), it.let_through), it.count);
            if before != Some(it.count) {
                match json {
                    true => output.json_line(it)?,
                    false => output.line(&line(it))?,
                }
            }
        }
        tokio::time::sleep(INTERVAL).await;
        blocked = refused(context, id).await?;
    }
}

/// Returns the names that were refused and can be allowed.
pub(super) async fn names(context: &Context, id: &TaskspaceId) -> Result<Vec<DomainName>, Stop> {
    Ok(refused(context, id).await?.into_iter().filter_map(|it| it.name).collect())
}

async fn refused(context: &Context, id: &TaskspaceId) -> Result<Vec<Blocked>, Stop> {
    context.call(async |client| client.blocked(id).await).await
}

fn line(blocked: &Blocked) -> String {
    let Blocked { destination, reason, count, .. } = blocked;
    format!("{}  {count}  {}  {}", plain(destination), result(blocked), plain(reason))
}

fn result(blocked: &Blocked) -> &'static str {
    if blocked.let_through { "let through" } else { "refused" }
}

fn text(blocked: &[Blocked], now: Timestamp, width: Option<u16>, colour: bool) -> String {
    let row = |it: &Blocked| {
        let last = span(now.as_second() - it.last.as_second());
        let (count, last, result) = (it.count.to_string(), format!("{last} ago"), result(it));
        [plain(&it.destination), count, last, result.to_owned(), plain(&it.reason)]
            .map(Cell::new)
            .into()
    };
    table::render(&COLUMNS, blocked.iter().map(row).collect(), width, colour)
}
