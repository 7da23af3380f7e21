//! Looks at the registered containers: in Podman, and at their ports.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::super::{Inner, problems};
use super::known::{Look, Rounds};
use super::state::{Place, Seen};
use super::{Containers, labels};
use crate::host::knock;
use crate::model::Problem;
use crate::plan::names;
use crate::podman::{ContainerSummary, EventObject, Podman, PodmanEvent};

/// The events of a container after which a look is worth it.
const TELLING: &[&str] = &[
    "cleanup",
    "create",
    "died",
    "health_status",
    "kill",
    "oom",
    "pause",
    "remove",
    "rename",
    "restart",
    "start",
    "stop",
    "unpause",
];

/// How long to wait for more of the same before looking: one act of somebody causes many events.
const GATHER: Duration = Duration::from_millis(50);

/// The first pause after Podman did not answer; pauses double up to the regular interval.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How many containers are asked at a time how they ended, and how many ports are knocked at.
const AT_A_TIME: usize = 32;

/// How long whoever asks waits for the look that the answer is to come from.
const PATIENCE: Duration = Duration::from_secs(3);

impl Inner {
    /// Watches the registered containers in Podman until the service ends.
    ///
    /// Podman is not started for labels alone: as long as nothing is registered otherwise, there is
    /// no taskspace that needs it and nobody has asked, nobody can miss what labels would tell.
    pub(in crate::engine) async fn watch_containers(self: Arc<Self>) {
        let (mut wanted, mut up) = (self.containers.wanted.subscribe(), self.up.subscribe());
        tokio::select! {
            () = self.closing.cancelled() => return,
            // The senders live as long as the engine.
            _ = wanted.wait_for(|wanted| *wanted) => {}
            _ = up.wait_for(|up| *up > 0) => {}
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let regular = self.settings().reconcile_interval;
            let next = match self.look_at_containers().await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    regular
                }
                Err(problem) => {
                    tracing::debug!("cannot look at containers: {problem}");
                    let next = pause;
                    pause = (pause * 2).min(regular);
                    next
                }
            };
            self.containers.knock.notify_one();
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = sleep(next) => {}
                () = self.containers.look.notified() => sleep(GATHER).await,
            }
        }
    }

    /// Knocks at the ports of the registered containers until the service ends.
    pub(in crate::engine) async fn watch_ports(self: Arc<Self>) {
        let mut ticks = interval(self.containers.health.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return,
                _ = ticks.tick() => self.containers.knock_at(false).await,
                () = self.containers.knock.notified() => self.containers.knock_at(true).await,
            }
        }
    }

    /// Sees to it that what is registered is known: looks, if nobody has yet.
    pub(in crate::engine) async fn know_containers(&self) {
        self.containers.wanted.send_replace(true);
        if !self.containers.lock().has_looked() {
            self.look_now().await;
        }
    }

    /// Looks at all of them, for as long as whoever asks can wait.
    pub(super) async fn look_now(&self) {
        let look = async {
            self.look_at_containers().await?;
            self.containers.knock_at(true).await;
            Ok::<(), Problem>(())
        };
        match timeout(PATIENCE, look).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => tracing::debug!("cannot look at containers: {problem}"),
            Err(_) => self.containers.look.notify_one(),
        }
    }

    /// Takes in what the registry has.
    pub(super) async fn take_registered(&self) -> Result<(), Problem> {
        let _alone = self.containers.merging.lock().await;
        let document = self.document().await?;
        let api = &document.coordination.containers;
        self.containers.take(|known, now| known.take_api(api, now));
        Ok(())
    }

    /// Looks at Podman once.
    async fn look_at_containers(&self) -> Result<(), Problem> {
        let _alone = self.containers.looking.lock().await;
        // Several processes may write the registry.
        self.take_registered().await?;
        let looked = match self.link.get().await {
            Ok((podman, _)) => self.containers.look_at(&podman).await,
            Err(problem) => Err(problem),
        };
        let (look, outcome) = match looked {
            Ok(look) => (look, Ok(())),
            Err(problem) => (Look::Failed { reason: problem.detail.clone() }, Err(problem)),
        };
        self.containers.take(|known, now| known.take_look(look, now));
        outcome
    }
}

impl Containers {
    /// Whether something registered may be another way after an event, or something may have to be
    /// registered.
    pub(in crate::engine) fn concerns(&self, event: &PodmanEvent) -> bool {
        let is_telling = event.object == EventObject::Container
            && TELLING.contains(&event.action.as_str())
            && !event.labels.contains_key(names::TASKSPACE_LABEL);
        is_telling
            && (event.labels.contains_key(names::COORDINATE_LABEL)
                || self
                    .lock()
                    .containers()
                    .any(|(name, id)| name == event.name || id == Some(event.id.as_str())))
    }

    /// Has them looked at soon.
    pub(in crate::engine) fn look_soon(&self) {
        self.look.notify_one();
    }

    /// Returns what tells whether Podman is to be looked at for them.
    pub(in crate::engine) fn wanted(&self) -> watch::Receiver<bool> {
        self.wanted.subscribe()
    }

    /// Looks at all containers there are: one call, and one more for each that ended badly since.
    async fn look_at(&self, podman: &Podman) -> Result<Look, Problem> {
        let listed = podman.containers(&[], true).await.map_err(problems::podman)?;
        let labels = labels::read(&listed);
        let is_meant: Vec<&ContainerSummary> = {
            let known = self.lock();
            let names: HashSet<&str> = known.containers().map(|(name, _)| name).collect();
            let by_label: HashSet<&str> = labels
                .containers
                .iter()
                .map(|(name, it)| it.container.as_ref().unwrap_or(name).as_str())
                .collect();
            let meant = |container: &&ContainerSummary| {
                names.contains(container.name()) || by_label.contains(container.name())
            };
            listed.iter().filter(meant).collect()
        };
        let find = |container: ContainerSummary| async move {
            let name = container.name().to_owned();
            Some((name, self.find(podman, &container).await?))
        };
        let found = stream::iter(is_meant.into_iter().cloned()).map(find);
        let found: HashMap<String, Place> =
            found.buffer_unordered(AT_A_TIME).filter_map(std::future::ready).collect().await;
        Ok(Look::Podman { found, labels })
    }

    /// Says what Podman has under a name; none when it is gone meanwhile.
    async fn find(&self, podman: &Podman, container: &ContainerSummary) -> Option<Place> {
        if let Some(id) = container.labels.get(names::TASKSPACE_LABEL) {
            return Some(Place::OfTaskspace(id.clone()));
        }
        let mut seen = Seen {
            id: container.id.clone(),
            state: container.state.clone(),
            health: container.health.clone(),
            exit_code: container.exit_code,
            oom_killed: false,
            stopped_by_user: false,
            started_at: container.started_at,
            finished_at: container.finished_at,
        };
        // A list does not say who ended it.
        if seen.has_ended() && seen.exit_code != 0 {
            let known = {
                let known = self.lock();
                let before = known.ending(container.name(), &seen);
                before.map(|seen| (seen.oom_killed, seen.stopped_by_user))
            };
            (seen.oom_killed, seen.stopped_by_user) = match known {
                Some(known) => known,
                None => match podman.inspect_container(&container.id).await {
                    Ok(container) => (container.state.oom_killed, container.state.stopped_by_user),
                    Err(error) if error.is_not_found() => return None,
                    Err(error) => {
                        tracing::debug!("cannot ask how '{}' ended: {error}", container.name());
                        (false, false)
                    }
                },
            };
        }
        Some(Place::Podman(Box::new(seen)))
    }

    /// Knocks at ports once: at all, or, `now`, at those of which nothing is known otherwise.
    async fn knock_at(&self, now: bool) {
        let _alone = self.knocking.lock().await;
        let rounds: Rounds = self.lock().rounds(now);
        let ports = rounds.iter().enumerate();
        let ports = ports.flat_map(|(index, (_, ports))| ports.iter().map(move |p| (index, *p)));
        let ports: Vec<(usize, u16)> = ports.collect();
        let knock = |(index, port): (usize, u16)| async move {
            let answers = knock::answers(port, self.health.timeout).await;
            (index, port, answers)
        };
        let mut answers = stream::iter(ports).map(knock).buffered(AT_A_TIME);
        let mut silent: Vec<Vec<u16>> = vec![Vec::new(); rounds.len()];
        while let Some((index, port, answers)) = answers.next().await {
            if !answers {
                silent[index].push(port);
            }
        }
        for ((name, ports), silent) in rounds.iter().zip(silent) {
            self.take(|known, now| known.take_silence(name, ports, silent, now));
        }
    }
}
