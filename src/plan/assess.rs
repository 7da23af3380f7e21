//! Compares what is recorded of a taskspace with what Podman has of it, and tells what is to be done.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Desired, Record, Role, Status};

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
    /// Somebody paused it.
    Paused,
    /// It runs.
    Up,
}

impl Life {
    /// Reads Podman's word for a container's state.
    pub fn of(state: &str) -> Self {
        match state {
            "running" => Self::Up,
            "paused" => Self::Paused,
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
    /// Pause it: it has written too much.
    Freeze,
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
        // Only what passes by itself is tried again without being asked for, and what runs although
        // it is to be stopped: that also when its work is lost, which is told by then.
        let runs = seen.pod.as_ref().is_some_and(SeenPod::runs);
        let to_be_stopped = record.desired == Desired::Stopped && runs && !record.is_half_made();
        match (record.waits_for_podman(), to_be_stopped) {
            (true, _) => {}
            (false, true) => return Verdict::Quell,
            (false, false) => return Verdict::Settled,
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
        // What does not run writes nothing; it comes back when there is room.
        (Desired::Running, None) if record.is_frozen() => Verdict::Settled,
        (Desired::Running, Some(pod)) if record.is_frozen() => frozen(pod),
        (Desired::Running, None) => Verdict::Revive { found: "its pod is gone", stop_first: false },
        (Desired::Running, Some(pod)) => running(record.status, pod, deaf),
    }
}

fn frozen(pod: &SeenPod) -> Verdict {
    if pod.all().any(|life| life == Life::Changing) {
        return Verdict::Unsettled;
    }
    let runs = pod.parts.values().any(|life| *life == Life::Up);
    if runs { Verdict::Freeze } else { Verdict::Settled }
}

fn running(status: Status, pod: &SeenPod, deaf: &BTreeSet<Role>) -> Verdict {
    if pod.all().any(|life| life == Life::Changing) {
        return Verdict::Unsettled;
    }
    if pod.all().any(|life| life == Life::Paused) {
        return Verdict::Revive { found: "it is paused", stop_first: false };
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{
        Code, LimitSource, OnFull, OperationKind, Problem, Quantity, Storage, StorageAction,
        StorageHold, Underway,
    };

    fn record(desired: Desired, status: Status) -> Record {
        Record { desired, status, ..Record::example() }
    }

    fn pod(infra: Life, agent: Life, dev: Life) -> Seen {
        let parts = BTreeMap::from([(Role::Agent, agent), (Role::Dev, dev)]);
        let pod = SeenPod { infra, parts, cut_off: false };
        Seen { pod: Some(pod), lost: Vec::new() }
    }

    fn gone() -> Seen {
        Seen::default()
    }

    #[test]
    fn what_is_found_decides_what_is_done() {
        use Desired::{Absent, Running, Stopped};
        use Life::{Changing, Down, Up};
        let (none, dev) = (BTreeSet::new(), BTreeSet::from([Role::Dev]));
        let mend = |role, trouble| Verdict::Mend(BTreeMap::from([(role, trouble)]));
        let revive = |found, stop_first| Verdict::Revive { found, stop_first };
        let mut without_agent = pod(Up, Up, Up);
        without_agent.pod.as_mut().unwrap().parts.remove(&Role::Agent);
        let mut cut_off = pod(Up, Up, Up);
        cut_off.pod.as_mut().unwrap().cut_off = true;
        let mut lost = pod(Up, Up, Up);
        lost.lost = vec!["v".to_owned()];
        let cases = [
            (Running, Status::Running, pod(Up, Up, Up), &none, Verdict::Settled),
            (Running, Status::Degraded, pod(Up, Up, Up), &none, Verdict::Whole),
            (Running, Status::Stopped, pod(Up, Up, Up), &none, Verdict::Whole),
            (Running, Status::Running, pod(Up, Up, Up), &dev, mend(Role::Dev, Trouble::Deaf)),
            (Running, Status::Running, pod(Up, Up, Down), &none, mend(Role::Dev, Trouble::Ended)),
            (Running, Status::Degraded, without_agent, &none, mend(Role::Agent, Trouble::Missing)),
            (Running, Status::Running, pod(Up, Up, Changing), &none, Verdict::Unsettled),
            (
                Running,
                Status::Running,
                pod(Down, Down, Down),
                &none,
                revive("its containers do not run", false),
            ),
            (
                Running,
                Status::Running,
                pod(Down, Up, Down),
                &none,
                revive("its network is down", true),
            ),
            (
                Running,
                Status::Running,
                cut_off,
                &none,
                revive("its network was started anew", true),
            ),
            (Running, Status::Running, gone(), &none, revive("its pod is gone", false)),
            (
                Running,
                Status::Running,
                pod(Life::Paused, Up, Up),
                &none,
                revive("it is paused", false),
            ),
            (Stopped, Status::Stopped, pod(Up, Life::Paused, Down), &none, Verdict::Quell),
            (Stopped, Status::Failed, pod(Up, Up, Up), &none, Verdict::Quell),
            (Stopped, Status::Failed, pod(Down, Down, Down), &none, Verdict::Settled),
            (Running, Status::Failed, gone(), &none, Verdict::Settled),
            (Running, Status::Running, lost.clone(), &none, Verdict::Lost(lost.lost.clone())),
            (Stopped, Status::Stopped, lost.clone(), &none, Verdict::Lost(lost.lost.clone())),
            (Stopped, Status::Stopped, pod(Down, Down, Down), &none, Verdict::Settled),
            (Stopped, Status::Stopped, gone(), &none, Verdict::Settled),
            (Stopped, Status::Stopped, pod(Up, Up, Up), &none, Verdict::Quell),
            (Absent, Status::Failed, gone(), &none, Verdict::Finish),
        ];
        for (desired, status, seen, deaf, verdict) in cases {
            let found = assess(&record(desired, status), &seen, deaf);
            assert_eq!(found, verdict, "{desired:?} {status} {seen:?} {deaf:?}");
        }
    }

    #[test]
    fn what_is_full_is_paused_and_left_so() {
        use Life::{Changing, Down, Paused, Up};
        let held = StorageHold {
            action: StorageAction::Frozen,
            since: jiff::Timestamp::UNIX_EPOCH,
            used: Quantity(2),
        };
        let storage = Storage {
            held: Some(held),
            ..Storage::new(Quantity(1), LimitSource::Tier, OnFull::Freeze)
        };
        let frozen =
            |desired, status| Record { storage: Some(storage.clone()), ..record(desired, status) };
        let deaf = BTreeSet::from([Role::Dev]);
        let cases = [
            (pod(Up, Up, Up), Verdict::Freeze),
            (pod(Up, Paused, Up), Verdict::Freeze),
            (pod(Up, Paused, Paused), Verdict::Settled),
            (pod(Up, Paused, Down), Verdict::Settled),
            (pod(Up, Changing, Paused), Verdict::Unsettled),
            // What does not run writes nothing.
            (pod(Down, Down, Down), Verdict::Settled),
            (gone(), Verdict::Settled),
        ];
        for (seen, verdict) in cases {
            let found = assess(&frozen(Desired::Running, Status::Running), &seen, &deaf);
            assert_eq!(found, verdict, "{seen:?}");
        }
        let stopped = frozen(Desired::Stopped, Status::Running);
        assert_eq!(assess(&stopped, &pod(Up, Paused, Paused), &deaf), Verdict::Quell);
    }

    #[test]
    fn what_failed_for_want_of_podman_is_tried_again_and_nothing_else() {
        let deaf = BTreeSet::new();
        for (code, again) in [(Code::PodmanUnavailable, true), (Code::NotReady, false)] {
            let mut failed = record(Desired::Running, Status::Failed);
            failed.failure = Some(Problem::new(code, "x"));
            assert_eq!(assess(&failed, &gone(), &deaf) != Verdict::Settled, again);
            // What was made of it is kept for somebody to look at.
            failed.underway =
                Some(Underway::new(OperationKind::Create, 1, jiff::Timestamp::UNIX_EPOCH));
            assert_eq!(assess(&failed, &gone(), &deaf), Verdict::Settled);
        }
    }

    #[test]
    fn what_has_lost_its_work_is_stopped_all_the_same() {
        let deaf = BTreeSet::new();
        let mut failed = record(Desired::Stopped, Status::Failed);
        failed.failure = Some(Problem::new(Code::InsufficientResources, "the volume is gone"));
        let mut seen = pod(Life::Up, Life::Down, Life::Down);
        seen.lost = vec!["v".to_owned()];
        assert_eq!(assess(&failed, &seen, &deaf), Verdict::Quell);
        seen.pod = pod(Life::Down, Life::Down, Life::Down).pod;
        assert_eq!(assess(&failed, &seen, &deaf), Verdict::Settled);
        let stopped = record(Desired::Stopped, Status::Stopped);
        assert_eq!(assess(&stopped, &seen, &deaf), Verdict::Lost(seen.lost.clone()));
    }

    fn life() -> impl Strategy<Value = Life> {
        prop_oneof![Just(Life::Up), Just(Life::Down), Just(Life::Changing), Just(Life::Paused)]
    }

    proptest! {
        /// Nothing is done to what is as it is recorded and wanted, and something to all else but
        /// what has failed.
        #[test]
        fn only_what_agrees_is_left_alone(
            wants_running in any::<bool>(),
            status in prop::sample::select(&[Status::Running, Status::Degraded, Status::Stopped][..]),
            parts in prop::option::of((life(), prop::option::of(life()), prop::option::of(life()))),
            deaf in prop::collection::btree_set(prop::sample::select(&Role::ALL[..]), 0..3),
        ) {
            let desired = if wants_running { Desired::Running } else { Desired::Stopped };
            let seen = Seen {
                pod: parts.map(|(infra, agent, dev)| SeenPod {
                    infra,
                    parts: [(Role::Agent, agent), (Role::Dev, dev)]
                        .into_iter()
                        .filter_map(|(role, life)| Some((role, life?)))
                        .collect(),
                    cut_off: false,
                }),
                lost: Vec::new(),
            };
            let all_up = seen.pod.as_ref().is_some_and(|pod| {
                pod.parts.len() == Role::ALL.len() && pod.all().all(|life| life == Life::Up)
            });
            let all_down = seen.pod.as_ref().is_none_or(|pod| !pod.runs());
            let agrees = match desired {
                Desired::Running => status == Status::Running && all_up && deaf.is_empty(),
                _ => status == Status::Stopped && all_down,
            };
            let verdict = assess(&record(desired, status), &seen, &deaf);
            prop_assert_eq!(verdict == Verdict::Settled, agrees, "{:?}", verdict);
        }
    }
}
