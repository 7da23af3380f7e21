//! Tells those who watch what taskspaces were refused.

use futures_util::stream::{self, StreamExt};

use super::{Guarded, blocked};
use crate::engine::Inner;
use crate::host::pod_network::PodNetwork;
use crate::model::{Blocked, EventBody, TaskspaceId};
use crate::plan::ruleset;

/// How many networks are looked at at a time.
const AT_A_TIME: usize = 4;

/// From how many on the sets of what was refused are emptied.
const NEARLY_FULL: usize = ruleset::REFUSED_SIZE as usize / 2;

/// How many destinations of a taskspace are told of at a time: whoever is refused decides how many there
/// are.
const MOST: usize = 20;

impl Inner {
    /// Tells what was refused since this was asked before.
    pub(in super::super) async fn tell_refusals(&self) {
        let look = |(id, guarded): (TaskspaceId, Guarded)| async move {
            let news = news(&id, &guarded).await;
            (id, news)
        };
        let looks = stream::iter(self.networks.all()).map(look);
        let mut looks = std::pin::pin!(looks.buffer_unordered(AT_A_TIME));
        while let Some((id, news)) = looks.next().await {
            self.publish_refusals(&id, news);
        }
    }

    fn publish_refusals(&self, id: &TaskspaceId, news: Vec<Blocked>) {
        self.metrics.refused(news.iter().filter(|it| !it.let_through).map(|it| it.count).sum());
        let more = news.len().saturating_sub(MOST);
        for Blocked { destination, let_through, reason, count, .. } in news.into_iter().skip(more) {
            let body = EventBody::NetworkRefused { destination, let_through, reason, count };
            self.bus.publish(None, Some(id.clone()), body);
        }
        if more > 0 {
            let message = format!(
                "{more} other destinations were refused: `taskspace network {id} blocked` lists them"
            );
            self.bus.publish(None, Some(id.clone()), EventBody::Warning { message });
        }
    }
}

/// Returns what was refused since this was asked before; the latest comes last.
async fn news(id: &TaskspaceId, guarded: &Guarded) -> Vec<Blocked> {
    match blocked::in_table(guarded).await {
        Ok(refused) if refused.len() >= NEARLY_FULL => {
            let news = guarded.refusals.news(refused.clone());
            // A full set forgets what is refused from then on.
            let network = PodNetwork::of(guarded.process);
            match network.load(&ruleset::forget_refused()).await {
                Ok(()) => {
                    guarded.refusals.list_anew();
                    guarded.refusals.carry(refused);
                }
                Err(error) => tracing::debug!(%id, "refusals cannot be forgotten: {error}"),
            }
            news
        }
        Ok(refused) => guarded.refusals.news(refused),
        Err(problem) => {
            tracing::debug!(%id, "what was refused is not known: {problem}");
            Vec::new()
        }
    }
}
