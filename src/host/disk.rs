//! How much room a file system has.

use std::io;
use std::path::Path;

use rustix::fs::{FsWord, statfs};

/// `statfs` names these file systems so (`linux/magic.h`). Both can share the blocks of a copy with the
/// original.
const SHARING: [FsWord; 2] = [0x9123_683e, 0x5846_5342];

/// How much room a file system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free blocks and inodes. As long as both are the same, nothing was written or removed.
    pub free: (u64, u64),
    /// So many bytes may an ordinary user still write.
    pub available: u64,
    /// So many bytes there are in all.
    pub total: u64,
    /// Whether a copy takes next to no room.
    pub shares_copies: bool,
}

/// Looks at the file system that a directory is on.
///
/// # Errors
/// When there is no such directory, or it cannot be reached.
pub fn room(directory: &Path) -> io::Result<Room> {
    let found = statfs(directory)?;
    let block = u64::try_from(found.f_bsize).unwrap_or_default();
    Ok(Room {
        free: (found.f_bfree, found.f_ffree),
        available: found.f_bavail.saturating_mul(block),
        total: found.f_blocks.saturating_mul(block),
        shares_copies: SHARING.contains(&found.f_type),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_less_room_than_disk() {
        let room = room(Path::new("/")).unwrap();
        assert!(room.available <= room.total && room.total > 0, "{room:?}");
        assert!(super::room(Path::new("/nowhere")).is_err());
    }
}
