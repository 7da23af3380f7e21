//! `taskspace projects refresh`

use clap::Args;

use super::arguments::Json;
use super::asking::Asking;
use super::cache::project;
use super::context::Context;
use super::output::Stop;
use super::progress::{self, Waited};
use super::{Exit, Outcome};
use crate::config::git_environment;
use crate::model::{Operation, RefreshRequest};

/// `taskspace projects refresh`
#[derive(Debug, Args)]
pub(super) struct Refresh {
    /// The project (can be repeated) [default: all]
    #[arg(value_name = "NAME", value_parser = project)]
    names: Vec<String>,
    /// Fetch only, and check nothing out
    #[arg(long)]
    no_base: bool,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    json: Json,
}

impl Refresh {
    /// One after the other: what asks for a password asks for one at a time. One that fails does not keep
    /// the others.
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let context = &context.asking(self.asking.asker()?);
        let mut names = self.names;
        if names.is_empty() {
            let projects = context.call(async |client| client.projects().await).await?;
            names = projects.into_iter().map(|project| project.name).collect();
        }
        let git = git_environment();
        let request = RefreshRequest { base: !self.no_base, git };
        let mut exit = Exit::Done;
        let mut over = Vec::new();
        for name in &names {
            context.output.note(&format!("{name}:"));
            match refresh(context, name, &request).await {
                Ok(None) => return Ok(Exit::Interrupted),
                Ok(Some(operation)) if self.json.json => over.push(operation),
                Ok(Some(_)) => context.output.line(&format!("refreshed {name}"))?,
                Err(Stop::Problem(mut problem)) => {
                    problem.detail = format!("{name}: {}", problem.detail);
                    // With one project alone its own status says most.
                    exit = exit.or(if names.len() == 1 {
                        Exit::of(problem.code)
                    } else {
                        Exit::Failed
                    });
                    context.output.report(&problem);
                }
                Err(stop) => return Err(stop),
            }
        }
        if self.json.json {
            context.output.json(&over)?;
        }
        Ok(exit)
    }
}

/// Refreshes one project; none when the user does not want to wait any longer.
async fn refresh(
    context: &Context,
    name: &str,
    request: &RefreshRequest,
) -> Result<Option<Operation>, Stop> {
    let operation = context.call(async |client| client.refresh(name, request).await).await?;
    match progress::wait(context, &operation, false).await? {
        Waited::Done => {}
        Waited::Failed(problem) => return Err(Stop::Problem(problem)),
        Waited::Interrupted => return Ok(None),
    }
    let number = operation.id;
    context.call(async |client| client.operation(number).await).await.map(Some)
}
