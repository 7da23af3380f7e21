//! The stream of events: the latest are kept, so that who comes late or lost its connection can
//! catch up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

#[derive(Debug)]
struct State {
    last: u64,
    kept: VecDeque<Event>,
}

impl State {
    /// Returns word of the events after `after` that are kept no longer, if there were any. Asking
    /// from 0 on is asking for what is kept.
    fn missed(&self, after: u64) -> Option<Event> {
        let dropped = self.last - self.kept.len() as u64;
        // One that has not happened yet is of an earlier run, before the clock was set back.
        let is_missed = (1..dropped).contains(&after) || after > self.last;
        is_missed.then(|| Event {
            id: dropped,
            time: Timestamp::now(),
            operation: None,
            taskspace: None,
            body: EventBody::Missed,
        })
    }
}

impl EventBus {
    /// Makes one whose events come after those of every earlier run of the service: a client that
    /// saw those can go on after the last one that it saw.
    pub(crate) fn new() -> Self {
        let now = Timestamp::now().as_microsecond();
        let state = State { last: now.try_into().unwrap_or_default(), kept: VecDeque::new() };
        Self { state: Mutex::new(state), sender: broadcast::channel(CHANNEL).0 }
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
        self: &Arc<Self>,
        after: Option<u64>,
    ) -> impl Stream<Item = Event> + Send + use<> {
        let (receiver, seen, missed) = {
            let state = self.lock();
            let missed = after.and_then(|after| state.missed(after));
            (self.sender.subscribe(), after.unwrap_or(state.last), missed)
        };
        let bus = self.clone();
        let seen = missed.as_ref().map_or(seen, |missed| missed.id);
        let kept = stream::iter(self.kept_after(seen));
        let live = BroadcastStream::new(receiver).map(|item| item.ok());
        let following = kept
            .map(Some)
            .chain(live)
            .scan(seen, move |seen, item| {
                let events = match item {
                    Some(event) if event.id <= *seen => Vec::new(),
                    Some(event) if event.id == *seen + 1 => vec![event],
                    // A gap, or word of one: what was missed is among the kept, or told to be missed.
                    _ => bus.kept(*seen),
                };
                *seen = events.last().map_or(*seen, |event| event.id);
                std::future::ready(Some(stream::iter(events)))
            })
            .flatten();
        stream::iter(missed).chain(following)
    }

    /// Returns the kept events after `after`, behind word of those that are kept no longer.
    pub(crate) fn kept(&self, after: u64) -> Vec<Event> {
        let state = self.lock();
        let kept = state.kept.iter().filter(|event| event.id > after);
        state.missed(after).iter().chain(kept).cloned().collect()
    }

    fn kept_after(&self, seen: u64) -> Vec<Event> {
        self.lock().kept.iter().filter(|event| event.id > seen).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_too_late_is_told_that_it_missed_something() {
        let earlier = Arc::new(EventBus::new());
        earlier.publish(None, None, line(0));
        let seen = earlier.lock().last;
        // A later run of the service.
        while Timestamp::now().as_microsecond().unsigned_abs() <= seen {}
        let bus = Arc::new(EventBus::new());
        bus.publish(None, None, line(1));
        let bodies: Vec<EventBody> =
            bus.subscribe(Some(seen)).take(2).map(|event| event.body).collect().await;
        assert_eq!(bodies, [EventBody::Missed, line(1)]);
        let all: Vec<EventBody> =
            bus.subscribe(Some(0)).take(1).map(|event| event.body).collect().await;
        assert_eq!(all, [line(1)]);
        let kept = |after| bus.kept(after).into_iter().map(|event| event.body).collect::<Vec<_>>();
        assert_eq!((kept(seen), kept(0)), (bodies, all));
        let last = bus.lock().last;
        assert!(bus.kept(last).is_empty());
    }

    fn line(n: usize) -> EventBody {
        EventBody::Output { line: n.to_string() }
    }

    #[tokio::test]
    async fn a_late_watcher_gets_what_it_missed_and_then_the_rest_in_order() {
        let bus = Arc::new(EventBus::new());
        let first = bus.lock().last + 1;
        (0..5).for_each(|n| bus.publish(None, None, line(n)));
        let late = bus.subscribe(Some(first + 1));
        let live = bus.subscribe(None);
        (5..5 + 3 * CHANNEL).for_each(|n| bus.publish(None, None, line(n)));
        let ids: Vec<u64> = late.take(3 + 3 * CHANNEL).map(|event| event.id).collect().await;
        let end = first + 5 + 3 * CHANNEL as u64;
        assert_eq!(ids, (first + 2..end).collect::<Vec<_>>());
        let ids: Vec<u64> = live.take(3 * CHANNEL).map(|event| event.id).collect().await;
        assert_eq!(ids, (first + 5..end).collect::<Vec<_>>());
    }
}
