//! `taskspace patch`

use std::path::PathBuf;
use std::pin::pin;

use clap::Args;
use futures_util::StreamExt;

use super::context::Context;
use super::output::Stop;
use super::{Exit, Outcome, diff};
use crate::host::files::{FileError, Replacement};
use crate::model::{Code, DiffFormat, Problem, TaskspaceId};

/// What `--help` shows at its end.
const EXAMPLES: &str = "\
Examples:
  taskspace patch fix-login | git apply --binary    take the changes over, here
  taskspace patch fix-login -o fix-login.patch      keep them in a file
The patch is one of the commit that the taskspace began with; `git apply --3way` merges it into
another one. What git cannot take is named in warnings; the exit status is 0 all the same.";

/// `taskspace patch`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Patch {
    /// The taskspace
    id: TaskspaceId,
    /// Write it to a file, which is replaced only once all of it has come
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Patch {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let Some(path) = self.output.filter(|path| path.as_os_str() != "-") else {
            return diff::show(context, &self.id, DiffFormat::Patch).await;
        };
        let (left_out, changes) =
            context.call(async |client| client.diff(&self.id, DiffFormat::Patch).await).await?;
        let mut changes = pin!(changes);
        let mut file = Replacement::begin(&path).map_err(unwritten)?;
        while let Some(bytes) = changes.next().await {
            file.write(&bytes?).map_err(unwritten)?;
        }
        file.finish().map_err(unwritten)?;
        diff::warn_of_left_out(context.output, &left_out);
        Ok(Exit::Done)
    }
}

fn unwritten(error: FileError) -> Stop {
    let problem = Problem::new(Code::Internal, error.to_string());
    match error.hint() {
        Some(hint) => problem.hint(hint).into(),
        None => problem.into(),
    }
}
