//! `taskspace start`, `stop` and `restart`

use clap::Args;

use super::arguments::Doing;
use super::context::Context;
use super::progress::{self, Waited};
use super::{Exit, Outcome};
use crate::model::TaskspaceId;

/// `taskspace start`, `stop` and `restart`
#[derive(Debug, Args)]
pub struct Lifecycle {
    /// The taskspace (can be repeated)
    #[arg(required = true, value_name = "ID")]
    ids: Vec<TaskspaceId>,
    #[command(flatten)]
    doing: Doing,
}

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Start,
    Stop,
    Restart,
}

impl Action {
    const fn done(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Stop => "stopped",
            Self::Restart => "restarted",
        }
    }
}

impl Lifecycle {
    pub(super) async fn run(self, context: &Context, action: Action) -> Outcome {
        let context = &context.asking(self.doing.asking.asker()?);
        let output = context.output;
        let mut operations = Vec::new();
        // All are asked for before the first is waited for.
        for id in &self.ids {
            let operation = context.call(async |client| match action {
                Action::Start => client.start(id).await,
                Action::Stop => client.stop(id).await,
                Action::Restart => client.restart(id).await,
            });
            operations.push(operation.await?);
        }
        let mut exit = Exit::Done;
        for (id, operation) in self.ids.iter().zip(operations) {
            if self.doing.no_wait {
                progress::under_way(output, &operation, self.doing.json.json)?;
                continue;
            }
            match progress::wait(context, &operation, false).await? {
                Waited::Done => {}
                Waited::Failed(problem) => {
                    output.report(&problem);
                    exit = exit.or(Exit::of(problem.code));
                    continue;
                }
                Waited::Interrupted => return Ok(Exit::Interrupted),
            }
            if self.doing.json.json {
                output.json(&context.call(async |client| client.show(id).await).await?)?;
            } else {
                output.line(&format!("{} {id}", action.done()))?;
            }
        }
        Ok(exit)
    }
}
