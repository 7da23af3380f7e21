//! Ports that nobody has any more, and that are given to nobody else for a while: who knew them would
//! reach a stranger.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Ports of the host's loopback that rest, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RestingPorts(BTreeMap<u16, Timestamp>);

impl RestingPorts {
    /// Whether none rests.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Has ports rest from now on.
    pub fn add(&mut self, ports: impl IntoIterator<Item = u16>, now: Timestamp) {
        self.0.extend(ports.into_iter().map(|port| (port, now)));
    }

    /// Drops the ports that have rested for so long. Where the clock was set back, those of the time to
    /// come begin anew.
    pub fn wake(&mut self, now: Timestamp, rest: Duration) {
        self.0.retain(|_, since| {
            *since = now.min(*since);
            now.duration_since(*since).unsigned_abs() < rest
        });
    }

    /// Whether a port rests.
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains_key(&port)
    }

    /// Ends the rest of a port: somebody has it.
    pub fn take(&mut self, port: u16) {
        self.0.remove(&port);
    }

    /// Returns the ports, those that have rested longest first.
    pub fn longest_first(&self) -> Vec<u16> {
        let mut ports: Vec<(Timestamp, u16)> =
            self.0.iter().map(|(port, since)| (*since, *port)).collect();
        ports.sort_unstable();
        ports.into_iter().map(|(_, port)| port).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_port_rests_for_its_time() {
        let mut ports = RestingPorts::default();
        ports.add([7, 3], at(1000));
        ports.add([5], at(1030));
        ports.wake(at(1059), REST);
        assert_eq!(ports.longest_first(), [3, 7, 5]);
        ports.wake(at(1060), REST);
        assert!(!ports.contains(7) && ports.contains(5));
        // Who has it again lets go of it later.
        ports.take(5);
        assert!(ports.is_empty());
        ports.add([5], at(1100));
        ports.wake(at(1110), REST);
        assert!(ports.contains(5));
    }

    #[test]
    fn with_a_clock_that_was_set_back_none_rests_for_ever() {
        let mut ports = RestingPorts::default();
        ports.add([3], at(9000));
        ports.wake(at(1000), REST);
        ports.wake(at(1059), REST);
        assert!(ports.contains(3));
        ports.wake(at(1060), REST);
        assert!(ports.is_empty());
    }

    #[test]
    fn they_are_written_by_their_numbers() {
        let mut ports = RestingPorts::default();
        ports.add([10_007], at(0));
        let text = serde_json::to_string(&ports).unwrap();
        assert_eq!(text, r#"{"10007":"1970-01-01T00:00:00Z"}"#);
        assert_eq!(serde_json::from_str::<RestingPorts>(&text).unwrap(), ports);
    }
}
