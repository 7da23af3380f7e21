//! The terminal: letting every key through to the other side.

use std::io;
use std::os::fd::AsFd;

use nix::sys::termios::{self, SetArg, Termios};

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
