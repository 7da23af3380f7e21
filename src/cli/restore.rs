//! `taskspace restore`

use clap::Args;

use super::arguments::Doing;
use super::context::Context;
use super::output::Stop;
use super::{Exit, Outcome, confirm, plan, progress};
use crate::model::{Code, RestoreRequest, SnapshotName, TaskspaceId};

/// `taskspace restore`
#[derive(Debug, Args)]
pub struct Restore {
    /// The taskspace; it is stopped, and started again if it runs
    #[arg(value_name = "ID")]
    id: TaskspaceId,
    /// The snapshot, as in `taskspace snapshots`
    #[arg(value_name = "NAME")]
    name: SnapshotName,
    /// Keep what there is now as a snapshot of this name
    #[arg(long, value_name = "NAME")]
    save: Option<SnapshotName>,
    /// Give the agent its state of then, too; otherwise it keeps the one that it has
    #[arg(long)]
    agent_state: bool,
    /// Lose what there is now without asking
    #[arg(long, short)]
    force: bool,
    /// Show what would be done, and replace nothing
    #[arg(long, conflicts_with = "no_wait")]
    dry_run: bool,
    #[command(flatten)]
    doing: Doing,
}

impl Restore {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let context = &context.asking(self.doing.asking.asker()?);
        let (output, json) = (context.output, self.doing.json.json);
        let Self { id, name, agent_state, save, force, .. } = self;
        let mut request = RestoreRequest { agent_state, save, force };
        if self.dry_run {
            let plan = context.call(async |client| {
                let (id, name) = (&id, &name);
                client.plan_restoration(id, name, &request).await
            });
            plan::show(output, &plan.await?, json)?;
            return Ok(Exit::Done);
        }
        let begin = async |request: &RestoreRequest| {
            context.call(async |client| client.restore(&id, &name, request).await).await
        };
        let operation = match begin(&request).await {
            Err(Stop::Problem(problem)) if problem.code == Code::UnsavedWork => {
                let question = format!("Restore {id} all the same?");
                let otherwise = format!("{id} stays as it is");
                if !confirm::all_the_same(output, problem, &question, &otherwise)? {
                    return Ok(Exit::Conflict);
                }
                request.force = true;
                begin(&request).await?
            }
            begun => begun?,
        };
        let done = format!("{id} is as it was in {name}");
        progress::finish(context, &operation, &done, &self.doing).await
    }
}
