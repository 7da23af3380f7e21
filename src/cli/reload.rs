//! `taskspace reload`

use clap::Args;

use super::arguments::Json;
use super::context::Context;
use super::{Exit, Outcome};

/// `taskspace reload`
#[derive(Debug, Args)]
pub struct Reload {
    #[command(flatten)]
    json: Json,
}

impl Reload {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let settings = context.call(async |client| client.reload_settings().await).await?;
        if self.json.json {
            context.output.json(&settings)?;
            return Ok(Exit::Done);
        }
        let directories = settings.directories.join(" and ");
        context.output.line(&format!("the settings of {directories} are in force"))?;
        for pending in &settings.pending {
            context.output.warn(pending);
        }
        Ok(Exit::Done)
    }
}
