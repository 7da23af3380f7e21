//! `taskspace snapshot`

use clap::Args;

use super::arguments::Doing;
use super::context::Context;
use super::{Outcome, progress};
use crate::model::{SnapshotName, SnapshotRequest, TaskspaceId};

const EXAMPLES: &str = "\
Examples:
  taskspace snapshot fix-login before-rewrite --note 'all tests pass'
  taskspace restore fix-login before-rewrite
  taskspace snapshot --delete fix-login before-rewrite";

/// `taskspace snapshot`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Snapshot {
    /// The taskspace; it is paused meanwhile, and goes on
    #[arg(value_name = "ID")]
    id: TaskspaceId,
    /// The snapshot's name [default: from the day]
    #[arg(value_name = "NAME", required_if_eq("delete", "true"))]
    name: Option<SnapshotName>,
    /// What it is about, in a line
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Copy the agent's state, too
    #[arg(long)]
    agent_state: bool,
    /// Delete this snapshot instead
    #[arg(long, conflicts_with_all = ["note", "agent_state"])]
    delete: bool,
    #[command(flatten)]
    doing: Doing,
}

impl Snapshot {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let context = &context.asking(self.doing.asking.asker()?);
        let Self { id, name, note, agent_state, .. } = self;
        let (operation, done) = match (self.delete, name) {
            (true, Some(name)) => {
                let call = context.call(async |client| client.delete_snapshot(&id, &name).await);
                (call.await?, format!("deleted the snapshot {name} of {id}"))
            }
            (_, name) => {
                let request = SnapshotRequest { name, note, agent_state };
                let call = context.call(async |client| client.snapshot(&id, &request).await);
                let operation = call.await?;
                let name = operation.description.clone().unwrap_or_default();
                let done = match context.output.quiet {
                    true => name,
                    false => format!("{name} is a snapshot of {id}"),
                };
                (operation, done)
            }
        };
        progress::finish(context, &operation, &done, &self.doing).await
    }
}
