//! The socket that systemd listens on for a service (`sd_listen_fds(3)`).

use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixListener;

/// Takes the one socket that systemd passed to this process; `None` when it passed none.
///
/// # Errors
/// When there are several, or what was passed is no Unix socket.
pub fn take_listener() -> io::Result<Option<UnixListener>> {
    let mut descriptors = sd_notify::listen_fds()?;
    let Some(descriptor) = descriptors.next() else { return Ok(None) };
    if descriptors.next().is_some() {
        return Err(io::Error::other("there are several"));
    }
    #[expect(
        unsafe_code,
        reason = "a descriptor that is passed on is but a number; there is no safe way to take it \
                  over"
    )]
    // SAFETY: systemd opened it for this process (LISTEN_PID), and nothing else here owns it.
    let listener = unsafe { UnixListener::from_raw_fd(descriptor) };
    listener.local_addr()?;
    Ok(Some(listener))
}
