//! A command that is run for the user, with our own input and output, and does not outlive us.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid, getppid};
use tokio::process::Command;

use super::signals::Received;

/// A command that runs.
#[derive(Debug)]
pub struct Child {
    child: tokio::process::Child,
    pid: Pid,
    /// It has a process group of its own, which those that it starts are in too.
    has_group: bool,
}

impl Child {
    /// Starts a command, with variables added to our own environment.
    ///
    /// The kernel kills it when the thread ends that calls this: it has to be the process's first
    /// one. That does not reach what the command starts itself, nor one that gets more rights by
    /// its file (prctl(2), `PR_SET_PDEATHSIG`).
    ///
    /// It gets a process group of its own, so that a signal reaches also what it starts; except
    /// where there is a terminal, which gives keys only to the group that it knows.
    ///
    /// # Errors
    /// When there is no such command, or it cannot be run.
    pub fn start(
        program: &OsStr,
        arguments: &[impl AsRef<OsStr>],
        variables: &[(&str, String)],
    ) -> io::Result<Self> {
        let has_group = File::open("/dev/tty").is_err();
        let mut command = Command::new(program);
        command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
        if has_group {
            command.process_group(0);
        }
        die_with_us(&mut command);
        let child = command.spawn()?;
        let pid = child.id().and_then(|pid| pid.try_into().ok()).map(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the command has no number"))?;
        Ok(Self { child, pid, has_group })
    }

    /// Waits for its end. Cancel-safe.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Passes on a signal that we got, unless it got it too.
    pub fn pass_on(&self, received: Received) {
        if self.has_group || !received.by_kernel {
            self.signal(received.signal);
        }
    }

    /// Asks it to end, also when it is stopped.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
        self.signal(Signal::SIGCONT);
    }

    /// Ends it.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Whether nothing is left that a signal could reach, once it has ended itself.
    pub fn is_gone(&self) -> bool {
        !self.has_group || killpg(self.pid, None) == Err(Errno::ESRCH)
    }

    fn signal(&self, signal: Signal) {
        let sent =
            if self.has_group { killpg(self.pid, signal) } else { self.signal_alone(signal) };
        if let Err(error) = sent {
            tracing::debug!("could not send {signal} to the command: {error}");
        }
    }

    /// Once it is waited for, its number may be another's.
    fn signal_alone(&self, signal: Signal) -> nix::Result<()> {
        match self.child.id() {
            Some(_) => kill(self.pid, signal),
            None => Err(Errno::ESRCH),
        }
    }
}

/// Has the kernel kill the command when we end, however that comes about.
#[expect(
    unsafe_code,
    reason = "a child can ask for the signal only itself, before it is the command"
)]
fn die_with_us(command: &mut Command) {
    let us = getpid();
    // SAFETY: between fork and exec only functions that are safe in signal handlers may be called;
    // prctl and getppid are plain system calls, which neither allocate nor lock.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // We may have ended before the kernel was asked.
            if getppid() == us { Ok(()) } else { Err(Errno::ESRCH.into()) }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn shell(script: &str) -> io::Result<Child> {
        Child::start(OsStr::new("sh"), &["-c", script], &[("WORD", "hello".to_owned())])
    }

    #[tokio::test]
    async fn a_command_has_its_variables_and_its_status() {
        let mut child = shell("test \"$WORD\" = hello && exit 7").unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(7));
        // A signal to what is gone is for nobody.
        child.kill();
    }

    #[tokio::test]
    async fn a_command_that_is_asked_to_end_ends() {
        let mut child = shell("kill -STOP $$; exit 7").unwrap();
        child.terminate();
        assert_eq!(child.wait().await.unwrap().signal(), Some(15));
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_from_what_cannot_be_run() {
        let start = |program: &str| {
            let arguments: [&str; 0] = [];
            Child::start(OsStr::new(program), &arguments, &[]).unwrap_err().kind()
        };
        assert_eq!(start("/none/here"), io::ErrorKind::NotFound);
        assert_eq!(start("/"), io::ErrorKind::PermissionDenied);
    }
}
