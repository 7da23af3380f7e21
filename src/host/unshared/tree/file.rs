//! The data of files.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{SeekFrom, copy_file_range, ftruncate, ioctl_ficlone, seek};
use rustix::io::{Errno, pread, pwrite};

use super::find::Found;

/// From which size on the kernel copies: for less, the calls that prepare it cost more.
const KERNEL_COPIES: u64 = 128 * 1024;

/// Which side of a copy failed.
#[derive(Debug)]
pub(super) enum Failed {
    Read(Errno),
    Write(Errno),
}

/// Copies data, and remembers what the file system cannot do.
#[derive(Default)]
pub(super) struct Copier {
    cannot_clone: AtomicBool,
}

impl Copier {
    /// Copies the data of a file, up to the size that was found, to a new one; returns whether both
    /// now share it.
    pub(super) fn copy(
        &self,
        found: &Found,
        from: &OwnedFd,
        to: &OwnedFd,
        buffer: &mut [u8],
    ) -> Result<bool, Failed> {
        if found.size == 0 {
            return Ok(false);
        }
        if self.share(from, to) {
            return Ok(true);
        }
        if found.allocated < found.size {
            copy_with_holes(found.size, from, to, buffer)?;
        } else {
            copy_range(0, found.size, from, to, buffer)?;
        }
        Ok(false)
    }

    fn share(&self, from: &OwnedFd, to: &OwnedFd) -> bool {
        if self.cannot_clone.load(Ordering::Relaxed) {
            return false;
        }
        match ioctl_ficlone(to, from) {
            Ok(()) => true,
            Err(errno) => {
                // Other errors may be about these two files only (ioctl_ficlone(2)).
                if matches!(errno, Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) {
                    self.cannot_clone.store(true, Ordering::Relaxed);
                }
                false
            }
        }
    }
}

fn copy_with_holes(
    size: u64,
    from: &OwnedFd,
    to: &OwnedFd,
    buffer: &mut [u8],
) -> Result<(), Failed> {
    let mut position = 0;
    while position < size {
        let start = match seek(from, SeekFrom::Data(position)) {
            Ok(start) if start < size => start,
            // Nothing but a hole, up to the end.
            Ok(_) | Err(Errno::NXIO) => break,
            Err(errno) => return Err(Failed::Read(errno)),
        };
        let end = match seek(from, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            // Cut off meanwhile.
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(Failed::Read(errno)),
        };
        copy_range(start, end, from, to, buffer)?;
        position = end;
    }
    ftruncate(to, size).map_err(Failed::Write)
}

/// Copies what is between two positions, or less where the file has become shorter.
fn copy_range(
    start: u64,
    end: u64,
    from: &OwnedFd,
    to: &OwnedFd,
    buffer: &mut [u8],
) -> Result<(), Failed> {
    let mut position = start;
    if end - start >= KERNEL_COPIES {
        position = copy_by_kernel(start, end, from, to);
    }
    while position < end {
        let part = usize::try_from(end - position).unwrap_or(usize::MAX).min(buffer.len());
        let read = pread(from, &mut buffer[..part], position).map_err(Failed::Read)?;
        if read == 0 {
            break;
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let written = pwrite(to, rest, position).map_err(Failed::Write)?;
            rest = &rest[written..];
            position += written as u64;
        }
    }
    Ok(())
}

/// Returns how far the kernel got. Why not further shows when the rest is read and written: it does
/// not say which side failed, or whether it cannot do it at all.
fn copy_by_kernel(start: u64, end: u64, from: &OwnedFd, to: &OwnedFd) -> u64 {
    let (mut source, mut target) = (start, start);
    while source < end {
        let part = usize::try_from(end - source).unwrap_or(usize::MAX);
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), part) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    source
}
