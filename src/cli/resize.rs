//! `taskspace resize`

use clap::Args;

use super::arguments::Doing;
use super::context::Context;
use super::{Exit, Outcome, progress};
use crate::model::{OnFull, Quantity, ResizeRequest, TaskspaceId};

const EXAMPLES: &str = "\
Examples:
  taskspace resize fix-login --storage 30Gi
      let it write more; one that was paused because it was full goes on
  taskspace resize fix-login --on-full warn
      have it go on although it is full, to tidy up in it";

/// `taskspace resize`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "limits", required = true, multiple = true, args = ["storage", "on_full"])]
pub struct Resize {
    /// The taskspace
    #[arg(value_name = "ID")]
    id: TaskspaceId,
    /// How much it may write, such as 10Gi: the changes to its checkout and its own build cache
    #[arg(long, value_name = "SIZE")]
    storage: Option<Quantity>,
    /// What is done when it has written as much: warn, freeze or stop
    #[arg(long, value_name = "ACTION")]
    on_full: Option<OnFull>,
    #[command(flatten)]
    doing: Doing,
}

impl Resize {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let context = &context.asking(self.doing.asking.asker()?);
        let (output, id) = (context.output, &self.id);
        let request = ResizeRequest { storage: self.storage, on_full: self.on_full };
        let operation = context.call(async |client| client.resize(id, &request).await).await?;
        let (no_wait, json) = (self.doing.no_wait, self.doing.json.json);
        if let Some(exit) = progress::until_done(context, &operation, no_wait, false, json).await? {
            return Ok(exit);
        }
        if json {
            output.json(&context.call(async |client| client.show(id).await).await?)?;
        } else {
            output.line(&format!("resized {id}"))?;
        }
        Ok(Exit::Done)
    }
}
