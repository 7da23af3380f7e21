//! Which ids inside of a user namespace are which outside.

use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::UnsharedError;

/// A range of ids inside and outside of a user namespace, as `podman info` tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many there are.
    pub size: u32,
}

/// A kind of ids, and what maps them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Users,
    Groups,
}

impl Kind {
    /// The program that may map what `/etc/subuid` and `/etc/subgid` allow.
    fn helper(self) -> &'static str {
        match self {
            Self::Users => "newuidmap",
            Self::Groups => "newgidmap",
        }
    }

    /// The kernel's file.
    fn map(self) -> &'static str {
        match self {
            Self::Users => "uid_map",
            Self::Groups => "gid_map",
        }
    }
}

/// Tells whether a map has more than the user's own id: without sub-ids Podman has no other.
pub(super) fn has_sub_ids(ranges: &[IdRange]) -> bool {
    ranges.iter().map(|range| u64::from(range.size)).sum::<u64>() > 1
}

/// Maps the ids of the user namespace of a process that waits for it.
pub(super) async fn map(kind: Kind, pid: u32, ranges: &[IdRange]) -> Result<(), UnsharedError> {
    if nix::unistd::geteuid().is_root() {
        // Needs no permission of anyone, nor a helper that may not be there.
        let path = Path::new("/proc").join(pid.to_string()).join(kind.map());
        // The kernel wants it all in one write.
        return std::fs::write(&path, text(ranges))
            .map_err(|source| UnsharedError::NotMapped { path, source });
    }
    let helper = kind.helper();
    let mut command = Command::new(helper);
    command.arg(pid.to_string());
    for IdRange { inside, outside, size } in ranges {
        command.args([inside, outside, size].map(u32::to_string));
    }
    let ran = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let said = if said.is_empty() { output.status.to_string() } else { said };
            Err(UnsharedError::IdsRefused { helper, said })
        }
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            Err(UnsharedError::HelperMissing { helper })
        }
        Err(source) => Err(UnsharedError::HelperFailed { helper, source }),
    }
}

fn text(ranges: &[IdRange]) -> String {
    let line = |IdRange { inside, outside, size }: &IdRange| format!("{inside} {outside} {size}\n");
    ranges.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_written_as_the_kernel_reads_it() {
        let own = IdRange { inside: 0, outside: 1000, size: 1 };
        let others = IdRange { inside: 1, outside: 100_000, size: 65_536 };
        assert_eq!(text(&[own, others]), "0 1000 1\n1 100000 65536\n");
        assert!(has_sub_ids(&[own, others]) && !has_sub_ids(&[own]) && !has_sub_ids(&[]));
    }
}
