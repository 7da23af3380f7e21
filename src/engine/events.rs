//! The stream of events: the latest are kept, so that who comes late or lost its connection can
//! catch up.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, Stream, StreamExt};
use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use crate::model::{Event, EventBody, TaskspaceId};

/// How many events are kept: more than the output of a few image builds.
const KEPT: usize = 10_000;
/// How far a watcher may lag before it is told from the kept events again.
const CHANNEL: usize = 1_024;

/// The bus that every event goes over.
#[derive(Debug)]
pub(crate) struct EventBus {
    state: Mutex<State>,
    sender: broadcast::Sender<Event>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    kept: VecDeque<Event>,
}

impl EventBus {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), sender: broadcast::channel(CHANNEL).0 }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells an event to all who watch.
    pub(crate) fn publish(
        &self,
        operation: Option<u64>,
        taskspace: Option<TaskspaceId>,
        body: EventBody,
    ) {
        let mut state = self.lock();
        state.last += 1;
        let event = Event { id: state.last, time: Timestamp::now(), operation, taskspace, body };
        if state.kept.len() == KEPT {
            state.kept.pop_front();
        }
        state.kept.push_back(event.clone());
        // Sent under the lock, so that the order is the same for all. Nobody listening is fine.
        self.sender.send(event).ok();
    }

    /// Returns the kept events after `after`, then those to come; with `None` only those to come.
    ///
    /// A watcher that lags behind the channel is served from the kept events.
    pub(crate) fn subscribe(
        self: &std::sync::Arc<Self>,
        after: Option<u64>,
    ) -> impl Stream<Item = Event> + Send + use<> {
        let (receiver, seen) = {
            let state = self.lock();
            (self.sender.subscribe(), after.unwrap_or(state.last))
        };
        let bus = self.clone();
        let kept = stream::iter(self.kept_after(seen));
        let live = BroadcastStream::new(receiver).map(|item| item.ok());
        kept.map(Some)
            .chain(live)
            .scan(seen, move |seen, item| {
                let events = match item {
                    Some(event) if event.id <= *seen => Vec::new(),
                    Some(event) if event.id == *seen + 1 => vec![event],
                    // A gap, or word of one: what was missed is among the kept.
                    _ => bus.kept_after(*seen),
                };
                *seen = events.last().map_or(*seen, |event| event.id);
                std::future::ready(Some(stream::iter(events)))
            })
            .flatten()
    }

    fn kept_after(&self, seen: u64) -> Vec<Event> {
        self.lock().kept.iter().filter(|event| event.id > seen).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn line(n: usize) -> EventBody {
        EventBody::Output { line: n.to_string() }
    }

    #[tokio::test]
    async fn a_late_watcher_gets_what_it_missed_and_then_the_rest_in_order() {
        let bus = Arc::new(EventBus::new());
        (0..5).for_each(|n| bus.publish(None, None, line(n)));
        let late = bus.subscribe(Some(2));
        let live = bus.subscribe(None);
        (5..5 + 3 * CHANNEL).for_each(|n| bus.publish(None, None, line(n)));
        let ids: Vec<u64> = late.take(3 + 3 * CHANNEL).map(|event| event.id).collect().await;
        assert_eq!(ids, (3..=5 + 3 * CHANNEL as u64).collect::<Vec<_>>());
        let ids: Vec<u64> = live.take(3 * CHANNEL).map(|event| event.id).collect().await;
        assert_eq!(ids, (6..=5 + 3 * CHANNEL as u64).collect::<Vec<_>>());
    }
}
