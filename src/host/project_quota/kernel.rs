//! The kernel's calls for project quotas: `ioctl_xfs_fsgetxattr(2)` and `quotactl(2)`.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long, c_void};

/// `PRJQUOTA` of `linux/quota.h`.
const PROJECTS: c_int = 2;

/// `FS_XFLAG_PROJINHERIT` of `linux/fs.h`.
const INHERIT: u32 = 0x200;

/// `QIF_BLIMITS` of `linux/quota.h`: the limits of blocks are meant, and nothing else.
const BLOCK_LIMITS: u32 = 1;

/// `QIF_DQBLKSIZE`: what limits are counted in.
const LIMIT_UNIT: u64 = 1024;

/// `Q_XGETQSTAT` of `linux/dqblk_xfs.h`, which ext4 answers as well.
const GET_STATE: c_int = (b'X' as c_int) << 8 | 5;

/// `FS_QUOTA_PDQ_ACCT` and `FS_QUOTA_PDQ_ENFD` of the same.
const COUNTED: u16 = 1 << 4;
const ENFORCED: u16 = 1 << 5;

/// `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct FsXattr {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `struct fs_quota_stat` of `linux/dqblk_xfs.h`. The kernel fills it whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct State {
    version: i8,
    flags: u16,
    padding: i8,
    files: [Files; 2],
    incore: u32,
    times: [i32; 3],
    warnings: [u16; 2],
}

/// `struct fs_qfilestat` of the same.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Files {
    inode: u64,
    blocks: u64,
    extents: u32,
}

mod ioctl {
    use super::FsXattr;

    nix::ioctl_read!(fs_get_xattr, b'X', 31, FsXattr);
    nix::ioctl_write_ptr!(fs_set_xattr, b'X', 32, FsXattr);
}

/// What a file system does about projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// Nothing.
    Off,
    /// It counts, and does not limit.
    Counted,
    /// It limits.
    On,
}

/// Gives a directory an id that what is made in it inherits; with 0 neither.
pub(super) fn assign(directory: &File, id: u32) -> Result<(), Errno> {
    let mut xattr = get(directory)?;
    let flags = if id == 0 { xattr.flags & !INHERIT } else { xattr.flags | INHERIT };
    if (xattr.project, xattr.flags) == (id, flags) {
        return Ok(());
    }
    (xattr.project, xattr.flags) = (id, flags);
    #[expect(unsafe_code, reason = "neither nix nor rustix knows this request")]
    // SAFETY: the descriptor is open, and `xattr` is the structure that this request reads.
    unsafe { ioctl::fs_set_xattr(directory.as_raw_fd(), &raw const xattr) }.map(drop)
}

/// Returns the id of a directory; 0 for none.
pub(super) fn id(directory: &File) -> Result<u32, Errno> {
    get(directory).map(|xattr| xattr.project)
}

fn get(directory: &File) -> Result<FsXattr, Errno> {
    let mut xattr = FsXattr::default();
    #[expect(unsafe_code, reason = "neither nix nor rustix knows this request")]
    // SAFETY: the descriptor is open, and `xattr` is the structure that this request fills.
    unsafe { ioctl::fs_get_xattr(directory.as_raw_fd(), &raw mut xattr) }.map(|_| xattr)
}

/// Tells what a file system does about projects.
pub(super) fn enforcement(on: &File) -> Result<Enforcement, Errno> {
    let mut state = State::default();
    match call(on, GET_STATE, 0, &mut state) {
        Ok(()) if state.flags & ENFORCED != 0 => Ok(Enforcement::On),
        Ok(()) if state.flags & COUNTED != 0 => Ok(Enforcement::Counted),
        // The kernel or this file system has no quotas, or they are off.
        Ok(()) | Err(Errno::ENOSYS | Errno::ESRCH | Errno::EOPNOTSUPP) => Ok(Enforcement::Off),
        Err(error) => Err(error),
    }
}

/// Limits an id.
pub(super) fn set_limit(on: &File, id: u32, bytes: u64) -> Result<(), Errno> {
    let mut limits = none();
    limits.dqb_bhardlimit = bytes / LIMIT_UNIT;
    limits.dqb_valid = BLOCK_LIMITS;
    call(on, libc::Q_SETQUOTA, id, &mut limits)
}

/// Tells the limit of an id and what is in use of it.
pub(super) fn project(on: &File, id: u32) -> Result<super::Project, Errno> {
    let mut found = none();
    call(on, libc::Q_GETQUOTA, id, &mut found)?;
    let limit = found.dqb_bhardlimit.saturating_mul(LIMIT_UNIT);
    Ok(super::Project { limit, used: found.dqb_curspace })
}

const fn none() -> libc::dqblk {
    libc::dqblk {
        dqb_bhardlimit: 0,
        dqb_bsoftlimit: 0,
        dqb_curspace: 0,
        dqb_ihardlimit: 0,
        dqb_isoftlimit: 0,
        dqb_curinodes: 0,
        dqb_btime: 0,
        dqb_itime: 0,
        dqb_valid: 0,
    }
}

/// Calls `quotactl_fd(2)`, which needs no name of a block device, for the file system that `on` is on.
/// `data` is the structure that the command fills or reads.
fn call<T>(on: &File, command: c_int, id: u32, data: &mut T) -> Result<(), Errno> {
    // As system calls take them: a number of which the kernel reads the low half.
    let (descriptor, command) =
        (c_long::from(on.as_raw_fd()), c_long::from(libc::QCMD(command, PROJECTS)));
    let data: *mut c_void = std::ptr::from_mut(data).cast();
    #[expect(unsafe_code, reason = "nix has the older call, which wants a block device")]
    // SAFETY: the descriptor is open, and each command here comes with the structure that it fills or
    // reads, whole.
    let done = unsafe { libc::syscall(libc::SYS_quotactl_fd, descriptor, command, id, data) };
    Errno::result(done).map(drop)
}
