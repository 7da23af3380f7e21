//! How the program ends.

use std::process::ExitCode;

use crate::model::Code;

/// The status that the program exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed, for any reason that has no status of its own.
    Failed,
    /// 2: the command line, or what it asks for, is wrong.
    Usage,
    /// 3: there is no such taskspace, ref, image or operation.
    NotFound,
    /// 4: the id or port is taken, the state does not allow it, work would be lost, another operation is in
    /// the way, or a lock is lost.
    Conflict,
    /// 5: refused by policy.
    Refused,
    /// 6: Podman is not available.
    PodmanUnavailable,
    /// 130: interrupted while waiting; what was asked for goes on in the service.
    Interrupted,
    /// What a command that was run for the user exited with.
    Command(u8),
}

/// The statuses, as `--help` shows them.
pub const HELP: &str = "\
Exit status:
  0    done
  1    failed
  2    wrong usage
  3    not found
  4    conflict: the id or port is taken, the state does not allow it, work would be lost,
       another operation is in the way, or a lock is lost
  5    refused by policy
  6    Podman is not available
  130  interrupted while waiting; the operation goes on in the service
'ssh', 'exec' and 'run-op' exit with the status of the command that they run.";

impl Exit {
    /// Returns the status itself.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Refused => 5,
            Self::PodmanUnavailable => 6,
            Self::Interrupted => 130,
            Self::Command(status) => status,
        }
    }

    /// Returns this status, or the other one when this one is a success.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == Self::Done { other } else { self }
    }

    /// Returns the status that goes with a kind of error.
    pub const fn of(code: Code) -> Self {
        match code {
            Code::MessageFormatInvalid => Self::Usage,
            Code::TaskspaceNotFound | Code::NotFound | Code::RefNotFound => Self::NotFound,
            Code::TaskspaceExists
            | Code::AgentStateExists
            | Code::AgentStateUnavailable
            | Code::StateConflict
            | Code::NetworkPortUnavailable
            | Code::OperationConflict
            | Code::LeaseLost
            | Code::OperationCancelled
            | Code::QueueFull
            | Code::UnsavedWork => Self::Conflict,
            Code::PolicyUnenforceable
            | Code::PolicyForbids
            | Code::QuotaExceeded
            | Code::DependencyCycle => Self::Refused,
            Code::PodmanUnavailable => Self::PodmanUnavailable,
            Code::RepositoryUnavailable
            | Code::ImageBuildFailed
            | Code::InsufficientResources
            | Code::PodmanFailed
            | Code::RegistryUnusable
            | Code::SettingsInvalid
            | Code::NotReady
            | Code::OperationFailed
            | Code::OperationTimeout
            | Code::ServiceUnavailable
            | Code::Internal => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_status_of_our_own() {
        let own = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::NotFound,
            Exit::Conflict,
            Exit::Refused,
            Exit::PodmanUnavailable,
            Exit::Interrupted,
        ];
        let shown: Vec<u8> = HELP
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next()?.parse().ok())
            .collect();
        assert_eq!(shown, own.map(Exit::code));
        assert_eq!(Exit::Command(77).code(), 77);
    }

    #[test]
    fn errors_exit_as_documented() {
        let cases = [
            (Code::MessageFormatInvalid, 2),
            (Code::TaskspaceNotFound, 3),
            (Code::RefNotFound, 3),
            (Code::TaskspaceExists, 4),
            (Code::UnsavedWork, 4),
            (Code::OperationConflict, 4),
            (Code::QueueFull, 4),
            (Code::LeaseLost, 4),
            (Code::OperationCancelled, 4),
            (Code::PolicyUnenforceable, 5),
            (Code::PodmanUnavailable, 6),
            (Code::ServiceUnavailable, 1),
            (Code::ImageBuildFailed, 1),
        ];
        for (code, status) in cases {
            assert_eq!(Exit::of(code).code(), status, "{code:?}");
        }
    }
}
