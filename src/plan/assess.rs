//! Compares what is recorded of a taskspace with what Podman has of it, and tells what is to be done.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Code, Desired, Record, Role, Status};

/// What Podman has of a taskspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its pod.
    pub pod: Option<SeenPod>,
    /// The volumes that should be there, are not, and cannot be made anew.
    pub lost: Vec<String>,
}

/// A pod of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenPod {
    /// The container that holds the network.
    pub infra: Life,
    /// The two containers, as far as they are there.
    pub parts: BTreeMap<Role, Life>,
    /// Whether one of them runs since before the network was started: it is on an earlier network,
    /// which is gone, and Podman calls it running all the same.
    pub cut_off: bool,
}

/// How a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It does not run.
    #[default]
    Down,
    /// Podman is about to change that.
    Changing,
    /// It runs.
    Up,
}

impl Life {
    /// Reads Podman's word for a container's state.
    pub fn of(state: &str) -> Self {
        match state {
            "running" | "paused" => Self::Up,
            "stopping" | "removing" => Self::Changing,
            _ => Self::Down,
        }
    }
}

/// What is wrong with a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It was removed.
    Missing,
    /// It does not run.
    Ended,
    /// It runs, and its sshd does not answer.
    Deaf,
}

/// What is to be done about a taskspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Settled,
    /// Look again soon: Podman is about to change it.
    Unsettled,
    /// Finish or undo what broke off.
    Finish,
    /// Record that it runs.
    Whole,
    /// Bring back single containers; the network is up.
    Mend(BTreeMap<Role, Trouble>),
    /// Start it from the network up.
    Revive {
        /// What was found.
        found: &'static str,
        /// Whether something of it still runs, which has to be stopped before.
        stop_first: bool,
    },
    /// Stop it: it runs and is not to.
    Quell,
    /// Record that it has failed: these volumes are gone, and what was in them.
    Lost(Vec<String>),
}

/// Tells what is to be done; `deaf` are the containers whose sshd does not answer.
pub fn assess(record: &Record, seen: &Seen, deaf: &BTreeSet<Role>) -> Verdict {
    let broke_off = record.status.is_transient() && record.underway.is_some();
    if record.desired == Desired::Absent || broke_off {
        return Verdict::Finish;
    }
    if record.status == Status::Failed {
        // Only what passes by itself is tried again without being asked for.
        let passing = record.failure.as_ref().map(|failure| failure.code);
        if passing != Some(Code::PodmanUnavailable) || record.is_half_made() {
            return Verdict::Settled;
        }
    }
    if !seen.lost.is_empty() {
        return Verdict::Lost(seen.lost.clone());
    }
    match (record.desired, &seen.pod) {
        (Desired::Absent, _) => Verdict::Finish,
        (Desired::Stopped, pod) => {
            let runs = pod.as_ref().is_some_and(SeenPod::runs);
            if runs || record.status != Status::Stopped { Verdict::Quell } else { Verdict::Settled }
        }
        (Desired::Running, None) => Verdict::Revive { found: "its pod is gone", stop_first: false },
        (Desired::Running, Some(pod)) => running(record.status, pod, deaf),
    }
}

fn running(status: Status, pod: &SeenPod, deaf: &BTreeSet<Role>) -> Verdict {
    if pod.all().any(|life| life == Life::Changing) {
        return Verdict::Unsettled;
    }
    if pod.infra == Life::Down {
        // Containers that still run share a network that is gone.
        let stop_first = pod.runs();
        let found = if stop_first { "its network is down" } else { "its containers do not run" };
        return Verdict::Revive { found, stop_first };
    }
    if pod.cut_off {
        return Verdict::Revive { found: "its network was started anew", stop_first: true };
    }
    if status == Status::Failed {
        return Verdict::Revive { found: "Podman answers again", stop_first: false };
    }
    let trouble = |role: Role| match pod.parts.get(&role) {
        None => Some(Trouble::Missing),
        Some(Life::Up) if deaf.contains(&role) => Some(Trouble::Deaf),
        Some(Life::Up) => None,
        Some(_) => Some(Trouble::Ended),
    };
    let troubles: BTreeMap<Role, Trouble> =
        Role::ALL.into_iter().filter_map(|role| Some((role, trouble(role)?))).collect();
    match (troubles.is_empty(), status) {
        (true, Status::Running) => Verdict::Settled,
        (true, _) => Verdict::Whole,
        (false, _) => Verdict::Mend(troubles),
    }
}

impl SeenPod {
    fn all(&self) -> impl Iterator<Item = Life> {
        std::iter::once(self.infra).chain(self.parts.values().copied())
    }

    /// Whether anything of it runs.
    pub fn runs(&self) -> bool {
        self.all().any(|life| life != Life::Down)
    }
}
