//! The terminal behind standard input and output.

use std::io::{self, IsTerminal};
use std::os::fd::AsRawFd;

use nix::unistd::{getpgrp, tcgetpgrp};

mod ioctl {
    nix::ioctl_read_bad!(tiocgwinsz, nix::libc::TIOCGWINSZ, nix::libc::winsize);
}

/// Whether standard input is a terminal that this process may read: one that reads it in the background
/// is stopped (`termios(3)`, job control).
pub fn can_be_read() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal() && tcgetpgrp(&stdin).is_ok_and(|foreground| foreground == getpgrp())
}

/// Returns its columns and rows, if standard output is a terminal (`ioctl_tty(2)`).
pub fn size() -> Option<(u16, u16)> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    #[expect(
        unsafe_code,
        reason = "the kernel fills the structure that it is given; nothing else tells the \
                  terminal's size"
    )]
    // SAFETY: the descriptor is open, and `size` is the structure that this request fills.
    let got = unsafe { ioctl::tiocgwinsz(stdout.as_raw_fd(), &raw mut size) };
    (got.is_ok() && size.ws_col > 0).then_some((size.ws_col, size.ws_row))
}
