//! Looks after the sshds of the taskspaces that run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Inner;
use crate::config::settings::HealthSettings;
use crate::host::banner;
use crate::model::{EventBody, Ports, Role, SshHealth, Status, TaskspaceId};

/// How many sshds are asked at a time.
const AT_A_TIME: usize = 16;

/// What is known of the sshds.
#[derive(Debug, Default)]
pub(super) struct Health {
    known: Mutex<HashMap<TaskspaceId, BTreeMap<Role, SshHealth>>>,
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskspaceId, BTreeMap<Role, SshHealth>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the containers whose sshd has been silent too often.
    pub(super) fn deaf(&self, id: &TaskspaceId) -> BTreeSet<Role> {
        let known = self.lock();
        let roles = known.get(id).into_iter().flatten();
        roles.filter(|(_, health)| !health.healthy).map(|(role, _)| *role).collect()
    }

    /// Returns what is known of the sshds of a taskspace.
    pub(super) fn of(&self, id: &TaskspaceId) -> BTreeMap<Role, SshHealth> {
        self.lock().get(id).cloned().unwrap_or_default()
    }

    /// Forgets a taskspace: what was known of it is no longer true.
    pub(super) fn forget(&self, id: &TaskspaceId) {
        self.lock().remove(id);
    }

    /// Takes in what one sshd said, which may be silent `retries` times; returns the news, if it changes how
    /// the sshd is seen.
    fn take(
        &self,
        id: &TaskspaceId,
        role: Role,
        answer: Result<(), String>,
        retries: u32,
        now: Timestamp,
    ) -> Option<EventBody> {
        let mut known = self.lock();
        let health = known.entry(id.clone()).or_default().entry(role).or_insert(SshHealth {
            healthy: true,
            checked: now,
            failures: 0,
            reason: None,
        });
        let before = health.healthy;
        health.checked = now;
        match answer {
            Ok(()) => {
                health.failures = 0;
                health.reason = None;
                health.healthy = true;
            }
            Err(reason) => {
                health.failures += 1;
                health.reason = Some(reason);
                health.healthy = health.failures < retries;
            }
        }
        let (healthy, reason) = (health.healthy, health.reason.clone());
        (before != healthy).then_some(EventBody::HealthChanged { role, healthy, reason })
    }
}

impl Inner {
    /// Asks the sshds until the service ends.
    pub(super) async fn watch_health(self: Arc<Self>) {
        loop {
            let next = Instant::now() + self.settings().health.interval;
            self.ask_all().await;
            self.measure_all().await;
            self.confirm_quotas().await;
            self.follow_addresses().await;
            self.hold_used_addresses().await;
            self.tell_refusals().await;
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn ask_all(&self) {
        let Ok(document) = self.document().await else { return };
        let up = |status| matches!(status, Status::Running | Status::Degraded);
        self.health
            .lock()
            .retain(|id, _| document.taskspaces.get(id).is_some_and(|record| up(record.status)));
        let sshds: Vec<(TaskspaceId, Role, Ports)> = document
            .taskspaces
            .iter()
            .filter(|(id, record)| up(record.status) && !record.is_frozen() && !self.is_driven(id))
            .flat_map(|(id, record)| Role::ALL.map(|role| (id.clone(), role, record.ports())))
            .collect();
        let HealthSettings { timeout, retries, .. } = self.settings().health;
        let ask = |(id, role, ports): (TaskspaceId, Role, Ports)| async move {
            let answer = banner::probe(ports.of(role), timeout).await;
            (id, role, answer.map(drop).map_err(|error| error.to_string()))
        };
        let mut answers = stream::iter(sshds).map(ask).buffer_unordered(AT_A_TIME);
        while let Some((id, role, answer)) = answers.next().await {
            // Whatever is being done to it now, its sshds may be silent for it.
            if self.is_driven(&id) {
                continue;
            }
            if let Some(news) = self.health.take(&id, role, answer, retries, Timestamp::now()) {
                self.bus.publish(None, Some(id), news);
                self.look.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sshd_is_deaf_after_so_many_failures_in_a_row() {
        let health = Health::default();
        let id: TaskspaceId = "a".parse().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let fails = || health.take(&id, Role::Dev, Err("no".to_owned()), 3, now);
        let answers = || health.take(&id, Role::Dev, Ok(()), 3, now);
        assert_eq!((fails(), fails(), answers()), (None, None, None));
        assert_eq!((fails(), fails()), (None, None));
        assert!(health.deaf(&id).is_empty());
        let news = fails().unwrap();
        let reason = Some("no".to_owned());
        assert_eq!(news, EventBody::HealthChanged { role: Role::Dev, healthy: false, reason });
        assert_eq!(fails(), None);
        assert_eq!(health.deaf(&id), BTreeSet::from([Role::Dev]));
        assert_eq!(health.of(&id)[&Role::Dev].failures, 4);
        let news = answers().unwrap();
        let healthy = EventBody::HealthChanged { role: Role::Dev, healthy: true, reason: None };
        assert_eq!(news, healthy);
        assert!(health.deaf(&id).is_empty());
    }
}
