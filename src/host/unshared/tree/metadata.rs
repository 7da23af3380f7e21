//! Owners, modes, times and extended attributes.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, XattrFlags, chmodat, chownat, fchmod, fchown, fgetxattr, flistxattr,
    fsetxattr, futimens, utimensat,
};
use rustix::io::Errno;

use super::find::Found;

/// Says of a directory in an upper one that what is below it does not show.
const OPAQUE: &CStr = c"user.overlay.opaque";

/// What an overlay that may be mounted without root (`userxattr`) keeps for itself, and escapes what
/// is called so within it by another `overlay.` (overlayfs.rst, "nesting overlayfs mounts").
const OVERLAY: &[u8] = b"user.overlay.";

/// Which extended attributes a copy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attributes {
    All,
    /// Not those of an overlay, nor those that an overlay escaped: what is made can be the lower
    /// directory of another one, which would heed them.
    NotOfOverlay,
}

impl Attributes {
    /// Those of users, capabilities of programs, and access lists. Others belong to the system
    /// (labels of a security module) or to root.
    fn have(self, name: &[u8]) -> bool {
        let wanted = name.starts_with(b"user.")
            || name == CAPABILITY.to_bytes()
            || name.starts_with(b"system.posix_acl_");
        wanted && !(self == Self::NotOfOverlay && name.starts_with(OVERLAY))
    }
}

const CAPABILITY: &CStr = c"security.capability";

/// Tells whether a directory of an upper one hides what is below it.
pub(super) fn is_opaque(directory: &OwnedFd) -> Result<bool, Errno> {
    let mut value = [0; 8];
    match fgetxattr(directory, OPAQUE, &mut value) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Makes an open file or directory like another one.
pub(super) fn apply(
    found: &Found,
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    attributes: Attributes,
    buffer: &mut [u8],
) -> Result<(), Errno> {
    // In this order: a new owner takes special bits and capabilities away, and the mode may take
    // away the permission to set attributes. The times are last, since all of it changes them.
    fchown(to, Some(found.user), Some(found.group))?;
    copy_attributes(from, to, attributes, buffer)?;
    fchmod(to, found.mode)?;
    futimens(to, &found.times)
}

/// Makes what cannot be opened, and was just made, like what was found.
pub(super) fn apply_by_name(found: &Found, parent: impl AsFd, name: &CStr) -> Result<(), Errno> {
    let (user, group) = (Some(found.user), Some(found.group));
    chownat(&parent, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
    // A symbolic link has no mode, and the mode of anything else may be changed by its name.
    if found.kind != FileType::Symlink {
        chmodat(&parent, name, found.mode, AtFlags::empty())?;
    }
    utimensat(&parent, name, &found.times, AtFlags::SYMLINK_NOFOLLOW)
}

fn copy_attributes(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    attributes: Attributes,
    buffer: &mut [u8],
) -> Result<(), Errno> {
    let length = match flistxattr(from, &mut *buffer) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    if length == 0 {
        return Ok(());
    }
    let names = buffer[..length].to_vec();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if !attributes.have(name.to_bytes()) {
            continue;
        }
        let length = match fgetxattr(from, name, &mut *buffer) {
            Ok(length) => length,
            // Taken away meanwhile.
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(errno),
        };
        match fsetxattr(to, name, &buffer[..length], XattrFlags::empty()) {
            // Only root may give them, of the namespace that gave them first.
            Err(Errno::PERM) if name == CAPABILITY => {}
            set => set?,
        }
    }
    Ok(())
}
