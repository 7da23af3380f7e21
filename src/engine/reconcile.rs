//! Watches over all taskspaces: compares what is recorded with what Podman has, at the start, on
//! Podman's events and every now and then, and has the drivers settle what differs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::time::Instant;

use super::observe::World;
use super::settle::{is_recovery, unfinished};
use super::{Inner, forwarding, problems, snapshots};
use crate::model::{Document, EventBody, OperationKind, Problem, Record, Status, TaskspaceId};
use crate::plan::assess::{Verdict, assess};
use crate::plan::names;
use crate::podman::PodmanEvent;
use crate::policy::restart::Next;

/// The events after which a look is worth it.
const TELLING: &[&str] =
    &["died", "kill", "pause", "remove", "restart", "start", "stop", "unpause", "oom"];

/// How long to wait for more of the same before looking: one act of somebody causes many events.
const GATHER: Duration = Duration::from_millis(50);

/// How long something must have been found the same before it is recovered: whoever stops, restarts
/// or removes a pod does so container by container, and is not to be interfered with.
const STEADY: Duration = Duration::from_millis(400);

/// When to look again at what Podman is about to change.
const SOON: Duration = Duration::from_millis(200);

/// After how long of it there is no hurry any more, and when to look then.
const LONG: Duration = Duration::from_secs(15);
const LATER: Duration = Duration::from_secs(5);

/// After how many times the time that containers have to stop Podman is not at it any more: it was
/// ended meanwhile.
const STUCK: u32 = 6;

/// The first pause after Podman did not answer; pauses double up to the regular interval.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

impl Inner {
    /// Enters what an earlier run of the service has left unfinished under the numbers that it had,
    /// so that clients that wait for it find it, and hands it to the drivers.
    pub(super) fn take_up(self: &Arc<Self>, document: &Document) {
        for (id, record) in &document.taskspaces {
            if let Some(underway) = &record.underway
                && record.status.is_transient()
                && !is_recovery(record)
            {
                let job = unfinished(record);
                tracing::info!(%id, kind = %job.kind(), "taking up");
                let operation = self.begin(underway.operation, job.kind(), id);
                self.hand_over(id, operation, job);
            }
        }
        for (former, _) in document.agent_states.iter().filter(|(_, state)| state.going) {
            tokio::spawn(remove_agent_state(self.clone(), former.clone()));
        }
    }

    /// Watches over the taskspaces until the service ends.
    pub(super) async fn watch_over(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        let mut found = Found::default();
        loop {
            let interval = self.settings().reconcile_interval;
            let next = match self.compare(&mut found).await {
                Ok(due) => {
                    pause = FIRST_PAUSE;
                    due.unwrap_or_else(|| Instant::now() + interval)
                }
                Err(problem) => {
                    tracing::debug!("cannot compare: {problem}");
                    let next = Instant::now() + pause;
                    pause = (pause * 2).min(interval);
                    next
                }
            };
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = tokio::time::sleep_until(next.min(Instant::now() + interval)) => {}
                () = self.look.notified() => tokio::time::sleep(GATHER).await,
            }
        }
    }

    /// Has Podman's events wake whoever compares, as long as taskspaces are up or other containers are
    /// of interest. They are a hint: what they say is not relied on.
    pub(super) async fn watch_podman(self: Arc<Self>) {
        let (mut up, mut wanted) = (self.up.subscribe(), self.containers.wanted());
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return,
                // The senders live as long as the engine.
                _ = up.wait_for(|up| *up > 0) => {}
                _ = wanted.wait_for(|wanted| *wanted) => {}
            }
            let is_wanted = *wanted.borrow();
            tokio::select! {
                () = self.closing.cancelled() => return,
                // Other containers are of interest as long as the service runs.
                _ = up.wait_for(|up| *up == 0), if !is_wanted => continue,
                heard = self.hear() => match heard {
                    // Held for a while: Podman went away, and is back soon.
                    Ok(()) => pause = FIRST_PAUSE,
                    Err(problem) => {
                        tracing::debug!("no events: {problem}");
                        pause = (pause * 2).min(self.settings().reconcile_interval);
                    }
                }
            }
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Listens to Podman until it goes away.
    async fn hear(&self) -> Result<(), Problem> {
        let registry = self.document().await?.registry.to_string();
        let (podman, _) = self.link.get().await?;
        let mut events = podman.events(None).await.map_err(problems::podman)?;
        // What happened before is not told.
        self.look.notify_one();
        self.containers.look_soon();
        while let Some(Ok(event)) = events.next().await {
            if self.concerns(&event, &registry) {
                self.look.notify_one();
            }
            if self.containers.concerns(&event) {
                self.containers.look_soon();
            }
        }
        // Whether Podman's end did something to the containers is looked at; it may be another
        // version that comes back.
        self.link.ask_again().await;
        self.look.notify_one();
        self.containers.look_soon();
        Ok(())
    }

    /// Whether an event may change what is seen of a taskspace that nothing is being done to.
    fn concerns(&self, event: &PodmanEvent, registry: &str) -> bool {
        let label = event.labels.get(names::REGISTRY_LABEL);
        if label.is_some_and(|label| label != registry) {
            return false;
        }
        let is_aside = event.labels.get(names::ROLE_LABEL).is_some_and(|it| it == names::ASIDE);
        if is_aside || !TELLING.contains(&event.action.as_str()) {
            return false;
        }
        match event.labels.get(names::TASKSPACE_LABEL).map(|id| id.parse()) {
            Some(Ok(id)) => !self.is_driven(&id),
            Some(Err(_)) => false,
            // Pods and volumes come without labels.
            None => event.name.starts_with(names::PREFIX),
        }
    }

    /// Compares all taskspaces with what Podman has, and returns when one of them is due before
    /// the next regular look.
    async fn compare(self: &Arc<Self>, found: &mut Found) -> Result<Option<Instant>, Problem> {
        let before = self.document().await?;
        if before.taskspaces.is_empty() {
            // Nothing to look at is no reason to start Podman.
            return Ok(None);
        }
        let (podman, _) = self.link.get().await?;
        let volumes = self.volumes().await?;
        if !found.has_adopted {
            volumes.adopt_all(before.registry).await?;
            found.has_adopted = true;
        }
        let world = World::look(&podman, &volumes, before.registry).await?;
        self.sweep_asides(&podman, world.asides());
        // Read again: what was made meanwhile is not gone.
        let document = self.document().await?;
        found.retain(&document);
        let mut due = None;
        for (id, record) in &document.taskspaces {
            if self.closing.is_cancelled() {
                break;
            }
            let verdict = assess(record, &world.of(id, record), &self.health.deaf(id));
            let mut is_stuck = false;
            let needs = needs_room(&verdict);
            let wait = match verdict {
                Verdict::Settled => {
                    found.forget(id);
                    self.patience.over(id);
                    let is_unguarded =
                        record.status == Status::Running && !self.networks.is_guarded(id);
                    let is_left = forwarding::is_left(record) || snapshots::are_left(record);
                    if is_unguarded || is_left || self.ports_differ(id, record) {
                        self.have_settled(id, false);
                    }
                    continue;
                }
                Verdict::Unsettled => {
                    let since = found.since(id, verdict);
                    let stuck = since + self.settings().stop_timeout * STUCK;
                    is_stuck = stuck <= Instant::now();
                    let next = if since.elapsed() < LONG { SOON } else { LATER };
                    Some((Instant::now() + next).min(stuck)).filter(|_| !is_stuck)
                }
                Verdict::Mend(_) | Verdict::Revive { .. } => {
                    // What is recorded already waits for the next attempt; the rest is told first.
                    let told = record.status != Status::Running;
                    found.steady(id, verdict).max(self.next_attempt(record).filter(|_| told))
                }
                Verdict::Finish
                | Verdict::Quell
                | Verdict::Whole
                | Verdict::Freeze
                | Verdict::Lost(_) => None,
            };
            if needs.is_some_and(|kind| self.coordination.is_blocked(kind, id)) {
                // Somebody acts on it; its end is looked at.
                found.forget(id);
                continue;
            }
            let wait = wait.max(self.patience.until(id));
            match wait {
                Some(wait) => due = Some(due.map_or(wait, |due: Instant| due.min(wait))),
                None => self.have_settled(id, is_stuck),
            }
        }
        self.tell_strays(&world, [&before, &document]);
        Ok(due)
    }

    /// Returns when a recovery is tried next, unless that is now or never.
    fn next_attempt(&self, record: &Record) -> Option<Instant> {
        let now = Timestamp::now();
        match self.settings().restart.next(&record.attempts, now) {
            Next::At(due) => Some(Instant::now() + due.duration_since(now).unsigned_abs()),
            Next::Now | Next::Never => None,
        }
    }

    /// Tells, once, what is of this registry and of no taskspace in it: the registry may come from a
    /// backup. It is left alone, for there may be work in it.
    ///
    /// The documents are those from before and from after the look: what was made or deleted in
    /// between is in one of them.
    fn tell_strays(&self, world: &World, documents: [&Document; 2]) {
        let known = |object: &str, id: &str| {
            let kept = |volume: &str| object.strip_prefix("volume ") == Some(volume);
            let id = id.parse::<TaskspaceId>();
            let in_document = |document: &&Document| {
                id.as_ref().is_ok_and(|id| {
                    let record = document.taskspaces.get(id);
                    record.is_some_and(|record| snapshots::knows(id, record, object))
                }) || document.agent_states.values().any(|state| kept(&state.volume))
                    || document.taskspaces.values().any(|record| kept(&record.agent_state_volume))
            };
            documents.iter().any(in_document) || id.is_ok_and(|id| self.is_driven(&id))
        };
        let mut strays: Vec<String> =
            world.strays(known).map(|(object, id)| format!("{object} (of '{id}')")).collect();
        strays.sort();
        self.strays.send_if_modified(|told| {
            if *told == strays {
                return false;
            }
            for stray in strays.iter().filter(|stray| !told.contains(stray)) {
                let message = format!("no taskspace in the registry has the {stray}");
                tracing::warn!("{message}");
                self.bus.publish(None, None, EventBody::Warning { message });
            }
            *told = strays;
            true
        });
    }

    /// Tells something about a taskspace that the user should know.
    pub(super) fn warn(&self, id: &TaskspaceId, message: &str) {
        tracing::warn!(%id, "{message}");
        let body = EventBody::Warning { message: message.to_owned() };
        self.bus.publish(None, Some(id.clone()), body);
    }
}

/// Returns what is to be done about a taskspace, if it must not be done beside what others do to it.
fn needs_room(verdict: &Verdict) -> Option<OperationKind> {
    match verdict {
        Verdict::Mend(_) | Verdict::Revive { .. } | Verdict::Unsettled => {
            Some(OperationKind::Recover)
        }
        Verdict::Quell => Some(OperationKind::Stop),
        Verdict::Freeze => Some(OperationKind::Scale),
        Verdict::Settled | Verdict::Finish | Verdict::Whole | Verdict::Lost(_) => None,
    }
}

/// What was found of taskspaces that are not as they should be, and since when.
#[derive(Debug, Default)]
struct Found {
    verdicts: HashMap<TaskspaceId, (Verdict, Instant)>,
    /// Whether this run of the service has taken over what an earlier release left in Podman.
    has_adopted: bool,
}

impl Found {
    /// Returns when what is found will have been found for long enough, if it has not been yet.
    fn steady(&mut self, id: &TaskspaceId, verdict: Verdict) -> Option<Instant> {
        Some(self.since(id, verdict) + STEADY).filter(|steady| *steady > Instant::now())
    }

    /// Returns since when the same is found.
    fn since(&mut self, id: &TaskspaceId, verdict: Verdict) -> Instant {
        match self.verdicts.get(id) {
            Some((before, since)) if *before == verdict => *since,
            _ => {
                let now = Instant::now();
                self.verdicts.insert(id.clone(), (verdict, now));
                now
            }
        }
    }

    fn forget(&mut self, id: &TaskspaceId) {
        self.verdicts.remove(id);
    }

    fn retain(&mut self, document: &Document) {
        self.verdicts.retain(|id, _| document.taskspaces.contains_key(id));
    }
}

/// Goes on with the removal of an agent state.
async fn remove_agent_state(engine: Arc<Inner>, former: TaskspaceId) {
    if let Err(problem) = engine.remove_agent_state(&former, |_| true).await {
        tracing::warn!(%former, "its agent state stays for now: {problem}");
    }
}
