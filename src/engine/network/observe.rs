//! Has policies enforced again whose time to observe is over.
//!
//! The kernel lets nothing through for longer than that by itself; what is recorded, answered for names and
//! told follows here.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::engine::Inner;
use crate::model::{EventBody, NetworkPolicy, Problem, TaskspaceId};

/// How long it is slept at most: the clock may be set meanwhile.
const LONGEST: Duration = Duration::from_secs(30);

impl Inner {
    /// Looks which policies are to be enforced again, until the service ends.
    pub(in crate::engine) async fn watch_observed(self: Arc<Self>) {
        loop {
            let next = self.enforce_observed().await.unwrap_or(LONGEST).min(LONGEST);
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = tokio::time::sleep(next) => {}
                () = self.networks.observing.notified() => {}
            }
        }
    }

    /// Has those enforced that have observed long enough; returns when the next one has.
    async fn enforce_observed(&self) -> Option<Duration> {
        let document = self.document().await.ok()?;
        let now = Timestamp::now();
        let mut next: Option<Duration> = None;
        for (id, record) in document.taskspaces.iter().filter(|(_, record)| record.network.observe)
        {
            match record.network.observes(now) {
                Some(left) => next = Some(next.map_or(left, |next| next.min(left))),
                None => {
                    if let Err(problem) = self.enforce_again(id).await {
                        tracing::warn!(%id, "its network policy is not enforced again: {problem}");
                    }
                }
            }
        }
        next
    }

    async fn enforce_again(&self, id: &TaskspaceId) -> Result<(), Problem> {
        let ended =
            |policy: &NetworkPolicy| policy.observe && policy.observes(Timestamp::now()).is_none();
        let change = self.change(id, move |record| {
            if ended(&record.network) {
                record.network = record.network.clone().at(Timestamp::now());
            }
            Ok(())
        });
        change.await?;
        let policy = self.record(id).await?.network.name;
        self.guard_as_recorded(id).await?;
        self.bus.publish(None, Some(id.clone()), EventBody::NetworkEnforced { policy });
        Ok(())
    }
}
