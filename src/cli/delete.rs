//! `taskspace delete`

use clap::Args;

use super::arguments::Doing;
use super::context::Context;
use super::output::Stop;
use super::progress::{self, Waited};
use super::{Exit, Outcome, confirm, plan, states};
use crate::model::{Code, DeleteOptions, Operation, TaskspaceId};

/// `taskspace delete`
#[derive(Debug, Args)]
pub struct Delete {
    /// The taskspace (can be repeated)
    #[arg(required = true, value_name = "ID")]
    ids: Vec<TaskspaceId>,
    /// Remove the agent's state too; otherwise `create --agent-state-of` can take it up
    #[arg(long)]
    purge: bool,
    /// Delete also what has work that is saved nowhere else, without asking
    #[arg(long, short)]
    force: bool,
    /// Show what would be done, and remove nothing
    #[arg(long, conflicts_with = "no_wait")]
    dry_run: bool,
    #[command(flatten)]
    doing: Doing,
}

impl Delete {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let context = &context.asking(self.doing.asking.asker()?);
        let output = context.output;
        let mut exit = Exit::Done;
        let mut operations: Vec<Operation> = Vec::new();
        // What is asked is asked first; then all go at once. One that cannot be deleted does not
        // keep the others.
        for id in &self.ids {
            let begun = match self.dry_run {
                true => self.show(context, id).await,
                false => self.begin(context, id).await,
            };
            match begun {
                Ok(Some(operation)) => operations.push(operation),
                Ok(None) if self.dry_run => {}
                Ok(None) => exit = exit.or(Exit::Conflict),
                Err(Stop::Problem(problem)) if self.ids.len() > 1 => {
                    output.report(&problem);
                    exit = exit.or(Exit::of(problem.code));
                }
                Err(stop) => return Err(stop),
            }
        }
        for operation in operations {
            if self.doing.no_wait {
                progress::under_way(output, &operation, self.doing.json.json)?;
                continue;
            }
            match progress::wait(context, &operation, false).await? {
                Waited::Done => self.done(context, &operation).await?,
                Waited::Failed(problem) => {
                    output.report(&problem);
                    exit = exit.or(Exit::of(problem.code));
                }
                Waited::Interrupted => return Ok(Exit::Interrupted),
            }
        }
        Ok(exit)
    }

    /// Shows how one would be deleted; that begins no operation.
    async fn show(&self, context: &Context, id: &TaskspaceId) -> Result<Option<Operation>, Stop> {
        let options = DeleteOptions { purge: self.purge, force: self.force };
        let plan = context.call(async |client| client.plan_removal(id, options).await).await?;
        plan::show(context.output, &plan, self.doing.json.json)?;
        Ok(None)
    }

    /// Begins to delete one; none when the user would rather not.
    async fn begin(&self, context: &Context, id: &TaskspaceId) -> Result<Option<Operation>, Stop> {
        let mut options = DeleteOptions { purge: self.purge, force: self.force };
        let refused = match context.call(async |client| client.delete(id, options).await).await {
            Err(Stop::Problem(problem)) if problem.code == Code::UnsavedWork => problem,
            begun => return begun.map(Some),
        };
        let (question, otherwise) = (format!("Delete {id} all the same?"), format!("{id} stays"));
        if !confirm::all_the_same(context.output, refused, &question, &otherwise)? {
            return Ok(None);
        }
        options.force = true;
        context.call(async |client| client.delete(id, options).await).await.map(Some)
    }

    async fn done(&self, context: &Context, operation: &Operation) -> Result<(), Stop> {
        if self.doing.json.json {
            let number = operation.id;
            let over = context.call(async |client| client.operation(number).await).await?;
            return context.output.json(&over);
        }
        let Some(id) = &operation.taskspace else { return Ok(()) };
        context.output.line(&format!("deleted {id}"))?;
        if !self.purge {
            states::tell_kept(context, id).await;
        }
        Ok(())
    }
}
