//! `taskspace logs`

use clap::Args;
use futures_util::StreamExt;

use super::context::Context;
use super::{Exit, Outcome};
use crate::model::{Role, TaskspaceId};

/// `taskspace logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// The taskspace
    id: TaskspaceId,
    /// The container: agent or dev
    #[arg(long, short, value_name = "CONTAINER", default_value = "agent")]
    container: Role,
    /// Go on with what is written from now on
    #[arg(long, short)]
    follow: bool,
    /// Show only this many of the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
}

impl Logs {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let Self { id, container, follow, tail } = self;
        let log = context.call(async |client| client.logs(&id, container, follow, tail).await);
        let mut log = log.await?;
        while let Some(bytes) = log.next().await {
            context.output.bytes(&bytes?)?;
        }
        Ok(Exit::Done)
    }
}
