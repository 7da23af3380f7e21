//! `taskspace cache`

use clap::{Args, Subcommand};

use super::arguments::{Doing, Json};
use super::context::Context;
use super::{Exit, Outcome, progress};
use crate::model::TaskspaceId;

/// `taskspace cache`
#[derive(Debug, Args)]
pub struct Cache {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Have later taskspaces of the project begin with the build cache of this one
    ///
    /// It is copied as it is at one moment: the containers are paused meanwhile. Whatever was put
    /// into it, by an agent too, is what later builds begin with.
    Promote(Promote),
    /// Have later taskspaces of a project begin without a build cache
    ///
    /// Taskspaces that began with one keep it.
    Withdraw(Withdraw),
}

#[derive(Debug, Args)]
struct Promote {
    /// The taskspace
    #[arg(value_name = "ID")]
    id: TaskspaceId,
    #[command(flatten)]
    doing: Doing,
}

#[derive(Debug, Args)]
struct Withdraw {
    /// The project, as in `taskspace projects`
    #[arg(value_name = "PROJECT", value_parser = project)]
    project: String,
    #[command(flatten)]
    json: Json,
}

impl Cache {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        match self.action {
            Action::Promote(promote) => promote.run(context).await,
            Action::Withdraw(withdraw) => withdraw.run(context).await,
        }
    }
}

impl Promote {
    async fn run(self, context: &Context) -> Outcome {
        let context = &context.asking(self.doing.asking.asker()?);
        let id = &self.id;
        let operation = context.call(async |client| client.promote_cache(id).await).await?;
        let done = format!("later taskspaces begin with the build cache of {id}");
        progress::finish(context, &operation, &done, &self.doing).await
    }
}

impl Withdraw {
    async fn run(self, context: &Context) -> Outcome {
        let project = &self.project;
        let view = context.call(async |client| client.withdraw_cache(project).await).await?;
        if self.json.json {
            context.output.json(&view)?;
        } else {
            context.output.line(&format!("later taskspaces of {project} begin without"))?;
        }
        Ok(Exit::Done)
    }
}

/// Reads the name of a project, which is part of a path.
pub(super) fn project(text: &str) -> Result<String, String> {
    let is_name = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    match is_name && text.contains(|c: char| c.is_ascii_alphanumeric()) {
        true => Ok(text.to_owned()),
        false => Err("it is not the name of a project; `taskspace projects` shows them".to_owned()),
    }
}
