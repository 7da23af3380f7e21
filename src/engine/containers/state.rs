//! Says how a registered container is, from what was seen of it: pure.
//!
//! ```text
//!                       in Podman                                       not in Podman
//! running ───────────── running     health check starting  → starting   all ports answer → running
//!                                   health check unhealthy → error      none does        → stopped
//!                                   silent ports, so often → error      some do not      → error
//! stopping, removing ── stopping                                        without ports    → unknown
//! created, paused ───── stopped
//! stopped, exited ───── stopped     by itself, badly       → error
//!                                   out of memory          → error
//! ```
//!
//! While an operation acts on it, it is what that makes of it, whatever is seen. What Podman has when
//! it does not answer is unknown.

use jiff::Timestamp;

use crate::model::{ContainerState, OperationClass};

/// Where a container was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody has looked yet.
    #[default]
    Unseen,
    /// It may be in Podman, which does not answer.
    Hidden {
        /// Why not.
        reason: String,
    },
    /// In Podman.
    Podman(Box<Seen>),
    /// It is in Podman, as a part of a taskspace.
    OfTaskspace(String),
    /// Not in Podman.
    Outside,
}

/// What Podman says of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: String,
    /// Podman's word for its state.
    pub(super) state: String,
    /// What its health check says; empty without one.
    pub(super) health: String,
    pub(super) exit_code: i64,
    pub(super) oom_killed: bool,
    /// Whether Podman was asked to stop it.
    pub(super) stopped_by_user: bool,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
}

impl Seen {
    pub(super) fn is_running(&self) -> bool {
        self.state == "running"
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "stopped" | "exited")
    }
}

/// What came of knocking at the ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Knocked {
    /// Those that did not answer, in their order.
    pub(super) silent: Vec<u16>,
    /// In how many rounds in a row some did not.
    pub(super) failures: u32,
}

/// How a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) state: ContainerState,
    pub(super) reason: Option<String>,
    /// Since when, where Podman knows.
    pub(super) since: Option<Timestamp>,
}

impl Verdict {
    const fn plain(state: ContainerState) -> Self {
        Self { state, reason: None, since: None }
    }

    fn because(state: ContainerState, reason: impl Into<String>) -> Self {
        Self { state, reason: Some(reason.into()), since: None }
    }

    fn since(mut self, since: Option<Timestamp>) -> Self {
        self.since = since;
        self
    }
}

/// Says what an operation makes of the container that it acts on, if it makes it anything.
pub(super) const fn acted_on(class: OperationClass) -> Option<ContainerState> {
    match class {
        OperationClass::Restart | OperationClass::Deploy => Some(ContainerState::Restarting),
        OperationClass::Stop => Some(ContainerState::Stopping),
        OperationClass::Start => Some(ContainerState::Starting),
        OperationClass::Read
        | OperationClass::Config
        | OperationClass::Scale
        | OperationClass::Health => None,
    }
}

/// Says how a container with these ports is, unless it has to be looked at for that first: until then
/// it keeps being what it was. One that runs in Podman is in order until some of its ports have been
/// silent for `retries` rounds.
pub(super) fn judge(
    place: &Place,
    ports: &[u16],
    knocked: Option<&Knocked>,
    retries: u32,
) -> Option<Verdict> {
    let unknown = |reason: String| Verdict::because(ContainerState::Unknown, reason);
    Some(match place {
        Place::Unseen => return None,
        Place::Hidden { reason } => unknown(format!("Podman cannot be asked: {reason}")),
        Place::OfTaskspace(id) => {
            unknown(format!("its container is a part of the taskspace '{id}'"))
        }
        Place::Podman(seen) => in_podman(seen, knocked, retries),
        Place::Outside if ports.is_empty() => {
            unknown("it is not in Podman, and there is no port to ask it at".to_owned())
        }
        Place::Outside => match knocked?.silent.as_slice() {
            [] => Verdict::plain(ContainerState::Running),
            silent if silent.len() == ports.len() => Verdict::plain(ContainerState::Stopped),
            silent => Verdict::because(ContainerState::Error, silence(silent)),
        },
    })
}

fn in_podman(seen: &Seen, knocked: Option<&Knocked>, retries: u32) -> Verdict {
    match seen.state.as_str() {
        "running" => running(seen, knocked, retries),
        "stopping" | "removing" => Verdict::plain(ContainerState::Stopping),
        // Its processes are there and do nothing: nothing of it can be used.
        "paused" => Verdict::because(ContainerState::Stopped, "it is paused"),
        "created" | "configured" | "initialized" => Verdict::plain(ContainerState::Stopped),
        "stopped" | "exited" => ended(seen).since(seen.finished_at),
        other => Verdict::because(ContainerState::Unknown, format!("Podman calls it {other:?}")),
    }
}

fn running(seen: &Seen, knocked: Option<&Knocked>, retries: u32) -> Verdict {
    let silent = knocked.filter(|knocked| knocked.failures >= retries.max(1));
    match (seen.health.as_str(), silent) {
        ("unhealthy", _) => Verdict::because(ContainerState::Error, "its health check fails"),
        (_, Some(knocked)) => Verdict::because(ContainerState::Error, silence(&knocked.silent)),
        ("starting", None) => Verdict::plain(ContainerState::Starting).since(seen.started_at),
        (_, None) => Verdict::plain(ContainerState::Running).since(seen.started_at),
    }
}

fn ended(seen: &Seen) -> Verdict {
    if seen.oom_killed {
        return Verdict::because(ContainerState::Error, "it ran out of memory");
    }
    // Most programs that are asked to stop end with another status than 0, or are killed for taking
    // too long: they do what was wanted of them.
    if seen.exit_code == 0 || seen.stopped_by_user {
        return Verdict::plain(ContainerState::Stopped);
    }
    Verdict::because(ContainerState::Error, format!("it ended with status {}", seen.exit_code))
}

fn silence(ports: &[u16]) -> String {
    let named: Vec<String> = ports.iter().map(u16::to_string).collect();
    let noun = if ports.len() == 1 { "port" } else { "ports" };
    format!("nothing answers on {noun} {}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: &str) -> Seen {
        Seen { state: state.to_owned(), ..Seen::default() }
    }

    fn podman(seen: Seen) -> Place {
        Place::Podman(Box::new(seen))
    }

    fn knocked(silent: &[u16], failures: u32) -> Knocked {
        Knocked { silent: silent.to_vec(), failures }
    }

    fn told(place: &Place, ports: &[u16], knocked: Option<&Knocked>) -> String {
        let Some(Verdict { state, reason, .. }) = judge(place, ports, knocked, 3) else {
            return "as it was".to_owned();
        };
        reason.map_or_else(|| state.to_string(), |reason| format!("{state}: {reason}"))
    }

    #[test]
    fn what_podman_says_counts_for_what_is_in_it() {
        let ended = |exit_code, stopped_by_user, oom_killed| Seen {
            exit_code,
            stopped_by_user,
            oom_killed,
            ..seen("exited")
        };
        let health = |health: &str| Seen { health: health.to_owned(), ..seen("running") };
        let cases = [
            (seen("running"), "running"),
            (seen("created"), "stopped"),
            (seen("initialized"), "stopped"),
            (seen("stopped"), "stopped"),
            (seen("stopping"), "stopping"),
            (seen("removing"), "stopping"),
            (seen("paused"), "stopped: it is paused"),
            (seen("frozen"), "unknown: Podman calls it \"frozen\""),
            (ended(0, false, false), "stopped"),
            (ended(1, false, false), "error: it ended with status 1"),
            (ended(137, false, false), "error: it ended with status 137"),
            (ended(137, true, false), "stopped"),
            (ended(137, false, true), "error: it ran out of memory"),
            (health("healthy"), "running"),
            (health("starting"), "starting"),
            (health("unhealthy"), "error: its health check fails"),
        ];
        for (seen, expected) in cases {
            assert_eq!(told(&podman(seen.clone()), &[], None), expected, "{seen:?}");
        }
    }

    #[test]
    fn one_that_runs_may_be_silent_for_a_while() {
        let cases = [
            (knocked(&[], 0), "running"),
            (knocked(&[80], 2), "running"),
            (knocked(&[80], 3), "error: nothing answers on port 80"),
            (knocked(&[80, 81], 4), "error: nothing answers on ports 80, 81"),
        ];
        for (knocked, expected) in cases {
            assert_eq!(told(&podman(seen("running")), &[80, 81], Some(&knocked)), expected);
            // One that has ended needs no ports.
            assert_eq!(told(&podman(seen("exited")), &[80, 81], Some(&knocked)), "stopped");
        }
    }

    #[test]
    fn ports_count_for_what_is_not_in_podman() {
        let cases: [(&[u16], Option<Knocked>, &str); 5] = [
            (&[], None, "unknown: it is not in Podman, and there is no port to ask it at"),
            (&[80], None, "as it was"),
            (&[80, 81], Some(knocked(&[], 0)), "running"),
            (&[80, 81], Some(knocked(&[80, 81], 1)), "stopped"),
            (&[80, 81], Some(knocked(&[81], 1)), "error: nothing answers on port 81"),
        ];
        for (ports, knocked, expected) in cases {
            assert_eq!(told(&Place::Outside, ports, knocked.as_ref()), expected);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_unknown() {
        let hidden = Place::Hidden { reason: "gone".to_owned() };
        assert_eq!(told(&hidden, &[80], None), "unknown: Podman cannot be asked: gone");
        assert_eq!(told(&Place::Unseen, &[80], None), "as it was");
        let part = Place::OfTaskspace("x".to_owned());
        assert_eq!(told(&part, &[], None), "unknown: its container is a part of the taskspace 'x'");
    }
}
