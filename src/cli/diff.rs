//! `taskspace diff`

use std::pin::pin;

use clap::Args;
use futures_util::StreamExt;

use super::context::Context;
use super::output::Output;
use super::paint_diff::Painter;
use super::{Exit, Outcome};
use crate::model::{DiffFormat, LeftOut, LeftOutHeader, TaskspaceId};

/// What `--help` shows at its end.
const EXAMPLES: &str = "\
Examples:
  taskspace diff fix-login              all changes, as a patch
  taskspace diff fix-login --stat       the files, with how many lines of each
  taskspace diff fix-login --json       the files, for a program
  taskspace diff fix-login --commits    what has been committed
What git cannot take (a file that does not fit its encoding, a socket, a gigabyte) is named in a
warning, and in `left_out` with --json; the exit status is 0 all the same.";

/// `taskspace diff`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Diff {
    /// The taskspace
    id: TaskspaceId,
    /// Show the files only, with how many lines of each
    #[arg(long, conflicts_with_all = ["name_status", "commits"])]
    stat: bool,
    /// Show the files only, with what was done to each
    #[arg(long, conflicts_with = "commits")]
    name_status: bool,
    /// Show the commits, without what is not committed
    #[arg(long, conflicts_with = "json")]
    commits: bool,
    /// Write the files, with what was done to each, as JSON
    #[arg(long)]
    json: bool,
}

impl Diff {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let (id, output) = (&self.id, context.output);
        if self.json {
            let view = context.call(async |client| client.changed_files(id).await).await?;
            output.json(&view)?;
            warn_of_left_out(output, &LeftOutHeader::of(&view.left_out));
            return Ok(Exit::Done);
        }
        show(context, id, self.format()).await
    }

    const fn format(&self) -> DiffFormat {
        match (self.stat, self.name_status, self.commits) {
            (true, ..) => DiffFormat::Stat,
            (_, true, _) => DiffFormat::NameStatus,
            (.., true) => DiffFormat::Commits,
            _ => DiffFormat::Patch,
        }
    }
}

/// Shows what a taskspace has changed: as it is, or on a terminal in colours.
pub(super) async fn show(context: &Context, id: &TaskspaceId, format: DiffFormat) -> Outcome {
    let output = context.output;
    let (left_out, changes) = context.call(async |client| client.diff(id, format).await).await?;
    let mut changes = pin!(changes);
    let mut painter = output.terminal.then(|| Painter::new(format, output.colour));
    while let Some(bytes) = changes.next().await {
        let bytes = bytes?;
        match &mut painter {
            Some(painter) => output.print(&painter.paint(&bytes))?,
            None => output.bytes(&bytes)?,
        }
    }
    if let Some(painter) = painter {
        output.print(&painter.end())?;
    }
    warn_of_left_out(output, &left_out);
    Ok(Exit::Done)
}

/// Warns of what is not in what was shown.
pub(super) fn warn_of_left_out(output: Output, left_out: &LeftOutHeader) {
    for LeftOut { path, reason, .. } in &left_out.first {
        output.warn(&format!("not shown: {path}: {reason}"));
    }
    let more = left_out.count.saturating_sub(left_out.first.len());
    if more > 0 {
        output.warn(&format!("{more} more are not shown: `--json` lists them as left_out"));
    }
}
