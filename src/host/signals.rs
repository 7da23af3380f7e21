//! The signals that ask this process to end, taken instead of obeyed.
//!
//! By handlers and not by a mask: a mask would be passed on to every command that is started, and
//! the service among them would no longer hear that it is to end. Handlers go with `exec`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::pipe2;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// What asks a process to end: Ctrl-C, a supervisor, and a terminal that goes away.
const TAKEN: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Where the handler writes what came, since it may do hardly anything else.
static HANDED_OVER: AtomicI32 = AtomicI32::new(-1);

/// The signals; from now on they do nothing but come out here.
#[derive(Debug)]
pub struct Signals(pipe::Receiver);

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
    /// Takes them, once in the life of a process. One that whoever started us wants to be ignored
    /// (nohup(1)) still is, also by what we start.
    ///
    /// # Errors
    /// When the kernel has no more descriptors, or outside of a runtime.
    pub fn take() -> io::Result<Self> {
        let (came, hand_over) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let came = pipe::Receiver::from_owned_fd(came)?;
        // Never closed: the handler stays.
        HANDED_OVER.store(hand_over.into_raw_fd(), Ordering::Relaxed);
        for signal in TAKEN {
            if !is_ignored(signal)? {
                handle(signal)?;
            }
        }
        Ok(Self(came))
    }

    /// Returns the next one. Cancel-safe.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub async fn next(&mut self) -> io::Result<Received> {
        let byte = self.0.read_u8().await?;
        let signal = Signal::try_from(i32::from(byte & !BY_KERNEL))?;
        Ok(Received { signal, by_kernel: byte & BY_KERNEL != 0 })
    }
}

/// Marks one that comes from the kernel; the numbers of the signals are smaller.
const BY_KERNEL: u8 = 0x80;

extern "C" fn hand_over(number: libc::c_int, told: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let before = Errno::last_raw();
    #[expect(
        unsafe_code,
        reason = "a handler can neither own the pipe nor be told who sent the signal"
    )]
    // SAFETY: the kernel hands over what it has filled (SA_SIGINFO); the descriptor stays open for
    // ever, and write(2) may be called in a handler.
    unsafe {
        let mark = if (*told).si_code == libc::SI_KERNEL { BY_KERNEL } else { 0 };
        let byte = number.to_le_bytes()[0] | mark;
        // A pipe that is full has a signal in it that asks for the same.
        let _full = libc::write(HANDED_OVER.load(Ordering::Relaxed), (&raw const byte).cast(), 1);
    }
    Errno::set_raw(before);
}

fn handle(signal: Signal) -> io::Result<()> {
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_RESTART;
    let action = SigAction::new(SigHandler::SigAction(hand_over), flags, SigSet::empty());
    #[expect(unsafe_code, reason = "a handler interrupts whatever is being done")]
    // SAFETY: the handler does nothing but write(2), and leaves `errno` as it was.
    unsafe {
        sigaction(signal, &action)?;
    }
    Ok(())
}

fn is_ignored(signal: Signal) -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    #[expect(unsafe_code, reason = "nothing else tells what is done about a signal")]
    // SAFETY: nothing is set, and the kernel fills the structure when it succeeds.
    let handler = unsafe {
        let asked = libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr());
        Errno::result(asked)?;
        action.assume_init().sa_sigaction
    };
    Ok(handler == libc::SIG_IGN)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use nix::sys::signal::raise;

    use super::*;

    #[tokio::test]
    async fn a_signal_comes_out_with_its_sender() {
        // Whoever runs the tests may want to have some ignored.
        let taken = TAKEN.into_iter().filter(|signal| !is_ignored(*signal).unwrap());
        let taken: Vec<Signal> = taken.collect();
        assert!(!taken.is_empty());
        let mut signals = Signals::take().unwrap();
        for signal in taken {
            raise(signal).unwrap();
            let received = signals.next().await.unwrap();
            assert_eq!(received, Received { signal, by_kernel: false });
            // What we start obeys it.
            let mut command = Command::new("sh");
            let ended = command.args(["-c", "kill -$0 $$; exit 0", &signal.as_str()[3..]]).status();
            assert_eq!(ended.unwrap().signal(), Some(signal as i32));
        }
    }
}
