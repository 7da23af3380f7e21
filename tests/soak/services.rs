//! The services of a soak's user: started with faults, signalled, and measured.

use std::fmt::{self, Display};
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{TASKSPACE, User, processes, terminate};

/// What is known of the services of a user.
#[derive(Default)]
pub(super) struct Services {
    /// Those that were started with a fault; clients start the others.
    faulty: Vec<Child>,
    /// One was ended since the last rest: not every client gets its answer.
    pub(super) ended: bool,
    /// One was ended, ever: Podman may not have done all that was asked of it.
    pub(super) interrupted: bool,
}

impl Services {
    /// Starts a service with a fault in the place of the one that runs.
    pub(super) fn serve(&mut self, user: &User, fault: &str, value: &str) {
        self.faulty.push(user.serve(&[(fault, value.to_owned())]));
    }

    /// Signals every service of the user.
    pub(super) fn signal(&mut self, user: &User, signal: Signal) {
        (self.ended, self.interrupted) = (true, true);
        for process in running(user) {
            kill(Pid::from_raw(process), signal).ok();
        }
    }

    /// Forgets those that have ended.
    pub(super) fn reap(&mut self) {
        self.faulty.retain_mut(|service| service.try_wait().unwrap().is_none());
    }

    /// Ends those that have a fault.
    pub(super) fn end_faulty(&mut self) {
        for mut service in std::mem::take(&mut self.faulty) {
            terminate(&mut service);
        }
    }

    /// Waits until those that have a fault have ended.
    pub(super) fn wait(&mut self) {
        for service in &mut self.faulty {
            service.wait().ok();
        }
    }
}

/// Returns the processes of a user's services: one, or two while they take turns.
fn running(user: &User) -> Vec<i32> {
    let own = format!("XDG_RUNTIME_DIR={}", user.path("run").display());
    let serves = |process: &i32| {
        let arguments = processes::arguments(*process);
        arguments.first().is_some_and(|it| it == TASKSPACE)
            && arguments.get(1).is_some_and(|it| it == "serve")
    };
    processes::with_variable(&own).into_iter().filter(serves).collect()
}

/// What a service takes up of the machine.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Sample {
    process: i32,
    resident: u64,
    pub(super) files: usize,
}

impl Sample {
    /// Measures the service of a user; none when there is none.
    pub(super) fn take(user: &User) -> Option<Self> {
        let process = *running(user).first()?;
        let (resident, files) = (processes::resident(process)?, processes::open_files(process)?);
        Some(Self { process, resident, files })
    }
}

impl Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, resident, files } = self;
        write!(f, "{process}: {} MiB, {files} files", resident / 1024)
    }
}
