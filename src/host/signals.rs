//! The signals that ask this process to end, taken instead of obeyed.

use std::io;

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What asks a process to end: Ctrl-C, a supervisor, and a terminal that goes away.
const TAKEN: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// The signals; from now on they do nothing but come out here.
#[derive(Debug)]
pub struct Signals(AsyncFd<SignalFd>);

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which one.
    pub signal: Signal,
    /// It comes from the kernel, as those of a terminal do: every process in the terminal's
    /// foreground has got it too.
    pub by_kernel: bool,
}

impl Signals {
    /// Takes them. Before threads are started, which would otherwise still obey them; children
    /// that are started with `Command` do.
    ///
    /// # Errors
    /// When the kernel has no more descriptors, or outside of a runtime.
    pub fn take() -> io::Result<Self> {
        let mask: SigSet = TAKEN.into_iter().collect();
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        #[expect(unsafe_code, reason = "the runtime cannot see for itself who owns a descriptor")]
        // SAFETY: the descriptor is open, owned by what is handed over, and always the same.
        let signals = unsafe { AsyncFd::register_with_interest(signals, Interest::READABLE) };
        Ok(Self(signals?))
    }

    /// Returns the next one. Cancel-safe.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub async fn next(&mut self) -> io::Result<Received> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            let Some(told) = ready.get_inner().read_signal()? else {
                ready.clear_ready();
                continue;
            };
            let number = i32::try_from(told.ssi_signo).map_err(io::Error::other)?;
            let signal = Signal::try_from(number)?;
            return Ok(Received { signal, by_kernel: told.ssi_code == libc::SI_KERNEL });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_comes_out_with_its_sender() {
        let mut signals = Signals::take().unwrap();
        // To this thread, which has it blocked; the test's other threads have not.
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        let received = signals.next().await.unwrap();
        assert_eq!(received, Received { signal: Signal::SIGTERM, by_kernel: false });
    }
}
