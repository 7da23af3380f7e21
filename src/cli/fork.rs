//! `taskspace fork`

use clap::Args;

use super::arguments::Json;
use super::asking::Asking;
use super::context::Context;
use super::create::{self, Shown};
use super::limits::Limits;
use super::{Outcome, network};
use crate::model::{ForkRequest, SnapshotName, TaskspaceId};

const EXAMPLES: &str = "\
Examples:
  taskspace fork fix-login try-another-way
      for a second attempt from where `fix-login` is now
  taskspace fork fix-login --agent-state --prompt 'Do the same with fewer queries'
      with what its agent knows";

/// `taskspace fork`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Fork {
    /// The taskspace that is copied; it is paused meanwhile, and goes on
    #[arg(value_name = "ID")]
    from: TaskspaceId,
    /// The id of the new one [default: from the project's name]
    #[arg(value_name = "NAME")]
    id: Option<TaskspaceId>,
    /// Begin where this snapshot of the other one is, not where that is now
    #[arg(long, value_name = "NAME")]
    snapshot: Option<SnapshotName>,
    /// Copy the agent's state, too
    #[arg(long)]
    agent_state: bool,
    /// claude-code, q-cli, shell, or a command line [default: the same]
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// What the agent is told when it starts for the first time
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    network: network::Flags,
    /// Leave what was made when it fails, to look at it
    #[arg(long)]
    keep_on_failure: bool,
    /// Do not wait until it is ready
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    json: Json,
}

impl Fork {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let context = &context.asking(self.asking.asker()?);
        let shown = Shown { json: self.json.json, no_wait: self.no_wait, build_output: false };
        let request = ForkRequest {
            id: self.id,
            agent_state: self.agent_state,
            snapshot: self.snapshot,
            agent: self.agent,
            prompt: self.prompt,
            tier: self.limits.tier,
            storage: self.limits.storage,
            on_full: self.limits.on_full,
            hard: self.limits.hard,
            network: self.network.chosen(),
            keep_on_failure: self.keep_on_failure,
        };
        let from = &self.from;
        let operation = context.call(async |client| client.fork(from, &request).await).await?;
        create::await_new(context, operation, shown).await
    }
}
