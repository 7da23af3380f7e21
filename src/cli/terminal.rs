//! The terminal: its size, and letting every key through to the other side.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use nix::sys::termios::{self, SetArg, Termios};

/// Returns the columns and rows of the terminal behind standard output, if there is one.
pub(super) fn size() -> Option<(u16, u16)> {
    use std::os::fd::AsRawFd;
    mod ioctl {
        nix::ioctl_read_bad!(tiocgwinsz, nix::libc::TIOCGWINSZ, nix::libc::winsize);
    }
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    #[expect(
        unsafe_code,
        reason = "the kernel fills the structure that it is given; nothing else \
        tells the terminal's size"
    )]
    // SAFETY: the descriptor is open, and `size` is the structure that this request fills.
    let got = unsafe { ioctl::tiocgwinsz(stdout.as_raw_fd(), &raw mut size) };
    (got.is_ok() && size.ws_col > 0).then_some((size.ws_col, size.ws_row))
}

/// Standard input in raw mode, until this is dropped.
pub(super) struct RawMode(Termios);

impl RawMode {
    /// Lets every key through.
    pub(super) fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = termios::tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(stdin.as_fd(), SetArg::TCSADRAIN, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Err(error) = termios::tcsetattr(io::stdin().as_fd(), SetArg::TCSADRAIN, &self.0) {
            tracing::debug!("could not restore the terminal: {error}");
        }
    }
}
