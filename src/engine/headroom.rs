//! How many pods are made or started at a time, and whether the kernel lets there be one more.
//!
//! Of a hundred that are asked for at once, all would make progress together, and the first would be ready
//! when the last is. So they take turns, in the order in which they come to it: to have git look at their
//! project, and to make and start their pod.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::perform::Acting;
use super::ssh::blocking;
use super::{Inner, problems};
use crate::host::git::Source;
use crate::host::headroom::{Gauge, Kernel, Limit, has_inotify_instances};
use crate::model::{Code, Problem};

/// Pods at a time for each processor: Podman spends half of the time waiting.
const EACH_PROCESSOR: usize = 2;

/// Kernel keys of a taskspace: one for each container.
const KEYS: u64 = 3;

/// Processes and threads of an idle taskspace, with some room for what is started in it.
const PROCESSES: u64 = 40;

/// Inotify instances of a taskspace: that of pasta, and some for programs that watch files.
const INOTIFY: usize = 4;

const NO_INOTIFY: &str = "this user's inotify instances are used up: programs in it that watch files may fail; \
                          `sudo sysctl fs.inotify.max_user_instances=1024` allows more";

/// The turns of those who make or start pods, and before that of those who look at their project.
#[derive(Debug)]
pub(super) struct Turns {
    free: Arc<Semaphore>,
    looks: Semaphore,
    all: usize,
}

impl Default for Turns {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let all = processors * EACH_PROCESSOR;
        Self { free: Arc::new(Semaphore::new(all)), looks: Semaphore::new(all), all }
    }
}

impl Turns {
    /// Returns how many have their turn.
    fn taken(&self) -> usize {
        self.all.saturating_sub(self.free.available_permits())
    }

    /// Waits until a project may be looked at that is on this host. One elsewhere is waited for, perhaps long,
    /// and that must not keep the others.
    pub(super) async fn look_at(
        &self,
        project: &str,
    ) -> Result<Option<SemaphorePermit<'_>>, Problem> {
        match Source::parse(project) {
            Ok(source) if source.local_path().is_some() => {
                self.looks.acquire().await.map(Some).map_err(problems::internal)
            }
            _ => Ok(None),
        }
    }
}

impl Inner {
    /// Refuses one more taskspace that the kernel would refuse half way.
    ///
    /// # Errors
    /// [`Code::InsufficientResources`] with the numbers, and what to set.
    pub(super) async fn check_headroom(&self) -> Result<(), Problem> {
        let starting = self.turns.taken().max(1) as u64;
        let gauges = blocking(|| Ok(Kernel::default().gauges())).await?;
        gauges.iter().try_for_each(|gauge| check(gauge, starting))
    }
}

impl Acting {
    /// Waits until this operation may make or start a pod; it has its turn until it ends.
    pub(super) async fn take_turn(&self) -> Result<(), Problem> {
        let turn = self.turn.get_or_try_init(|| async {
            // Also while the service ends: it waits for the operations that have begun.
            let free = self.engine.turns.free.clone();
            let permit: OwnedSemaphorePermit =
                free.acquire_owned().await.map_err(problems::internal)?;
            self.engine.check_headroom().await?;
            if !blocking(|| Ok(has_inotify_instances(INOTIFY))).await? {
                self.engine.note_warning(&self.id, NO_INOTIFY.to_owned()).await?;
            }
            Ok(permit)
        });
        turn.await.map(drop)
    }
}

/// Compares a limit with what `starting` taskspaces take of it.
fn check(gauge: &Gauge, starting: u64) -> Result<(), Problem> {
    let Gauge { limit, used, most } = gauge;
    let each = match limit {
        Limit::Keys => KEYS,
        _ => PROCESSES,
    };
    if used.saturating_add(each * starting) <= *most {
        return Ok(());
    }
    let (what, remedy) = match limit {
        Limit::Keys => (
            "kernel keys, of which each container takes one, are in use by this user \
             (kernel.keys.maxkeys)"
                .to_owned(),
            "set `keyring = false` under [containers] in containers.conf and restart Podman's service, or \
             raise the limit: `sudo sysctl kernel.keys.maxkeys=2000`"
                .to_owned(),
        ),
        Limit::UserProcesses => (
            "processes of this user run (`ulimit -u`)".to_owned(),
            "raise `nproc` for this user in /etc/security/limits.conf".to_owned(),
        ),
        Limit::GroupProcesses { group } => {
            let unit = group.rsplit('/').next().unwrap_or(group);
            (
                format!("tasks run in {unit} (TasksMax=)"),
                format!("raise it: `sudo systemctl set-property {unit} TasksMax=infinity`"),
            )
        }
        Limit::HostProcesses => (
            "tasks run on this host (kernel.pid_max, kernel.threads-max)".to_owned(),
            "raise both with `sudo sysctl`".to_owned(),
        ),
    };
    let detail = format!("a taskspace takes up to {each} more, and {used} of {most} {what}");
    Err(Problem::new(Code::InsufficientResources, detail)
        .hint(format!("stop or delete taskspaces; or {remedy}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhausted_limit_is_refused_with_its_number_and_remedy() {
        let keys = |used| Gauge { limit: Limit::Keys, used, most: 200 };
        assert_eq!(check(&keys(197), 1), Ok(()));
        let problem = check(&keys(198), 1).unwrap_err();
        assert_eq!(problem.code, Code::InsufficientResources);
        assert!(problem.detail.contains("198 of 200 kernel keys"), "{problem}");
        assert!(problem.hint.unwrap().contains("keyring = false"));
        // Those that have their turn take theirs, too.
        assert!(check(&keys(190), 4).is_err());
        let group = Limit::GroupProcesses { group: "/user.slice/user-1.slice".to_owned() };
        let problem = check(&Gauge { limit: group, used: 480, most: 500 }, 1).unwrap_err();
        assert!(problem.hint.unwrap().contains("set-property user-1.slice"));
    }
}
