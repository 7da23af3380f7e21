//! The states of a taskspace.
//!
//! ```text
//! creating -> starting | deleting | failed
//! starting -> running | degraded | stopping | deleting | failed
//! running  -> degraded | stopping | stopped | deleting | failed
//! degraded -> running | stopping | stopped | deleting | failed
//! stopping -> stopped | deleting | failed
//! stopped  -> starting | stopping | deleting | failed
//! failed   -> starting | stopping | deleting
//! deleting -> failed
//! ```
//!
//! - `creating`: its base, images, files, volumes, pod and containers are being made.
//! - `starting`: its containers are being started and their sshds waited for.
//! - `running`: ready; both containers run and both sshds have answered.
//! - `degraded`: one of them does not, and recovery is under way; the record says why.
//! - `stopping`, `stopped`: on request, or because its containers were found gone. One that runs
//!   although it should not is stopped again; one that was lost meanwhile has failed.
//! - `failed`: what was asked for could not be brought about; the record says why.
//! - `deleting`: everything of it is being removed; afterwards its record is gone.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The actual state of a taskspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Containers are starting.
    Starting,
    /// Ready: both sshds answered.
    Running,
    /// One of its parts does not answer; recovery is under way.
    Degraded,
    /// Containers are stopping.
    Stopping,
    /// Not running, whole.
    Stopped,
    /// Being removed.
    Deleting,
    /// Could not be brought to what was asked for.
    Failed,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Starting,
        Self::Running,
        Self::Degraded,
        Self::Stopping,
        Self::Stopped,
        Self::Deleting,
        Self::Failed,
    ];
}

/// What the user wants of a taskspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// It runs.
    Running,
    /// It exists and does not run.
    Stopped,
    /// It does not exist.
    Absent,
}

/// A change of state that the machine does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a taskspace that is {from} cannot become {to}")]
pub struct TransitionError {
    /// The state it is in.
    pub from: Status,
    /// The state it was to go to.
    pub to: Status,
}

/// Every transition there is; the drawing above shows the same.
pub const TRANSITIONS: &[(Status, &[Status])] = {
    use Status::*;
    &[
        (Creating, &[Starting, Deleting, Failed]),
        (Starting, &[Running, Degraded, Stopping, Deleting, Failed]),
        (Running, &[Degraded, Stopping, Stopped, Deleting, Failed]),
        (Degraded, &[Running, Stopping, Stopped, Deleting, Failed]),
        (Stopping, &[Stopped, Deleting, Failed]),
        (Stopped, &[Starting, Stopping, Deleting, Failed]),
        (Failed, &[Starting, Stopping, Deleting]),
        (Deleting, &[Failed]),
    ]
};

impl Status {
    /// Returns the state's name as it stands in the registry and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Deleting => "deleting",
            Self::Failed => "failed",
        }
    }

    /// Whether something is being done to it that ends by itself.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Creating | Self::Starting | Self::Stopping | Self::Deleting)
    }

    /// Whether its containers are (or may be) up.
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Degraded)
    }

    fn go(self, to: Self) -> Result<Self, TransitionError> {
        let reachable = TRANSITIONS.iter().any(|(from, tos)| *from == self && tos.contains(&to));
        if reachable { Ok(to) } else { Err(TransitionError { from: self, to }) }
    }

    /// Its containers begin to start.
    pub fn starting(self) -> Result<Self, TransitionError> {
        self.go(Self::Starting)
    }

    /// Both sshds answered.
    pub fn ready(self) -> Result<Self, TransitionError> {
        self.go(Self::Running)
    }

    /// One of its parts stopped answering.
    pub fn degraded(self) -> Result<Self, TransitionError> {
        self.go(Self::Degraded)
    }

    /// Its containers begin to stop.
    pub fn stopping(self) -> Result<Self, TransitionError> {
        self.go(Self::Stopping)
    }

    /// None of its containers runs (any more).
    pub fn stopped(self) -> Result<Self, TransitionError> {
        self.go(Self::Stopped)
    }

    /// Its removal begins.
    pub fn deleting(self) -> Result<Self, TransitionError> {
        self.go(Self::Deleting)
    }

    /// What was asked for could not be brought about.
    pub fn failed(self) -> Result<Self, TransitionError> {
        self.go(Self::Failed)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_and_table_agree() {
        let drawn: Vec<String> = include_str!("status.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! "))
            .filter(|line| line.contains(" -> "))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let table: Vec<String> = TRANSITIONS
            .iter()
            .map(|(from, tos)| {
                let tos: Vec<_> = tos.iter().map(|to| to.name()).collect();
                format!("{from} -> {}", tos.join(" | "))
            })
            .collect();
        assert_eq!(drawn, table);
    }

    #[test]
    fn a_transition_outside_the_table_is_refused_with_both_states() {
        let error = Status::Stopped.ready().unwrap_err();
        assert_eq!(error.to_string(), "a taskspace that is stopped cannot become running");
        assert_eq!(Status::Creating.starting(), Ok(Status::Starting));
        assert!(Status::Deleting.starting().is_err());
    }
}
