//! Following the events, through one run of the service after the other.

use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::StreamExt;

use super::context::Context;
use super::output::Stop;
use crate::model::{Event, EventQuery};

/// How long to wait before a service whose stream has ended is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Hands over each event that is asked for, until `take` has had enough; of one run of the service
/// only, where the query does not follow.
pub(super) async fn each(
    context: &Context,
    query: &EventQuery,
    mut take: impl AsyncFnMut(Event) -> Result<ControlFlow<()>, Stop>,
) -> Result<(), Stop> {
    let mut seen = None;
    loop {
        let mut events = context.call(async |client| client.watch(query, seen).await).await?;
        let broken = loop {
            match context.attend(events.next()).await {
                Some(Ok(event)) => {
                    seen = Some(event.id);
                    if take(event).await?.is_break() {
                        return Ok(());
                    }
                }
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        match broken {
            None if !query.follow => return Ok(()),
            Some(error) if !query.follow => return Err(error.into()),
            None => tracing::debug!("the service ended"),
            Some(error) => tracing::debug!("the events broke off: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
