//! Lists what a taskspace was refused.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::super::{Engine, problems};
use super::Guarded;
use super::refusals::OBSERVED;
use crate::host::pod_network::PodNetwork;
use crate::model::{Blocked, HOST_ADDRESSES, Problem, TaskspaceId};
use crate::plan::ruleset::{OBSERVED_SETS, REFUSED_SECONDS, REFUSED_SETS, TABLE};

impl Engine {
    /// Lists what a taskspace was refused, and what was let through to be observed; the latest first.
    ///
    /// # Errors
    /// When there is none of this id, or its network cannot be asked.
    pub async fn blocked(&self, id: &TaskspaceId) -> Result<Vec<Blocked>, Problem> {
        self.inner.record(id).await?;
        let Some(guarded) = self.inner.networks.get(id) else { return Ok(Vec::new()) };
        let mut blocked = guarded.refusals.with(in_table(&guarded).await?);
        blocked.reverse();
        Ok(blocked)
    }
}

/// Returns what the rules in force have refused. As long as no packet has gone anywhere, that is what it was,
/// and no program need be started to see it.
pub(super) async fn in_table(guarded: &Guarded) -> Result<Vec<Blocked>, Problem> {
    let network = PodNetwork::of(guarded.process);
    let packets = network.packets().await.map_err(problems::internal)?;
    if let Some(listed) = guarded.refusals.listed(packets) {
        return Ok(listed);
    }
    let text = network.table(TABLE).await.map_err(|error| problems::network(&error))?;
    let listed = read(&text, Timestamp::now()).map_err(problems::internal)?;
    guarded.refusals.note_listed(packets, listed.clone());
    Ok(listed)
}

/// What nft says of a table (libnftables-json(5)), as far as it matters.
#[derive(Debug, Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

#[derive(Debug, Deserialize)]
struct Object {
    set: Option<Set>,
}

#[derive(Debug, Deserialize)]
struct Set {
    name: String,
    /// Of other sets they are other ones.
    #[serde(default)]
    elem: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Wrapped {
    elem: Element,
}

#[derive(Debug, Deserialize)]
struct Element {
    val: Concatenation,
    expires: u64,
    counter: Counter,
}

#[derive(Debug, Deserialize)]
struct Concatenation {
    concat: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Counter {
    packets: u64,
}

/// An address, the name of a protocol or its number, or a port.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Part {
    Text(String),
    Number(u16),
}

fn read(text: &str, now: Timestamp) -> serde_json::Result<Vec<Blocked>> {
    let listing: Listing = serde_json::from_str(text)?;
    let sets = listing.nftables.into_iter().filter_map(|object| object.set);
    let mut found = Vec::new();
    for set in sets {
        let is_observed = set.name.starts_with(OBSERVED_SETS);
        if !is_observed && !set.name.starts_with(REFUSED_SETS) {
            continue;
        }
        for element in set.elem {
            let Wrapped { elem } = serde_json::from_value(element)?;
            found.extend(blocked(elem, is_observed, now));
        }
    }
    Ok(found)
}

/// Reads an element; none when it is of a kind that nobody has put there.
fn blocked(element: Element, let_through: bool, now: Timestamp) -> Option<Blocked> {
    let mut parts = element.val.concat.into_iter();
    let Some(Part::Text(address)) = parts.next() else { return None };
    let address: IpAddr = address.parse().ok()?;
    let protocol = match parts.next()? {
        Part::Text(name) => name,
        Part::Number(number) => format!("protocol {number}"),
    };
    let destination = match parts.next() {
        // As it is written where it is to be allowed.
        Some(Part::Number(port)) if address.is_ipv6() => format!("[{address}]:{port}/{protocol}"),
        Some(Part::Number(port)) => format!("{address}:{port}/{protocol}"),
        _ => format!("{address} ({protocol})"),
    };
    let reason = if let_through {
        OBSERVED
    } else if HOST_ADDRESSES.contains(&address) {
        "the policy allows no service of this host at this port; services are reached over TCP"
    } else {
        "the policy does not allow this address"
    };
    let age = Duration::from_secs(u64::from(REFUSED_SECONDS).saturating_sub(element.expires));
    Some(Blocked {
        destination,
        name: None,
        let_through,
        reason: reason.to_owned(),
        count: element.counter.packets,
        last: now.checked_sub(age).unwrap_or(now),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nft_says_is_read() {
        let text = r#"{"nftables": [{"metainfo": {"version": "1.1.3"}}, {"set": {"family": "inet",
            "name": "refused4", "elem": [
                {"elem": {"val": {"concat": ["198.51.100.1", "tcp", 80]}, "timeout": 86400,
                    "expires": 86390, "counter": {"packets": 3, "bytes": 60}}},
                {"elem": {"val": {"concat": ["2001:db8::1", "udp", 53]}, "timeout": 86400,
                    "expires": 86400, "counter": {"packets": 1, "bytes": 60}}},
                {"elem": {"val": {"concat": ["198.51.100.1", "icmp"]}, "timeout": 86400,
                    "expires": 86400, "counter": {"packets": 1, "bytes": 84}}},
                {"elem": {"val": {"concat": ["198.51.100.1", 132]}, "timeout": 86400,
                    "expires": 86400, "counter": {"packets": 1, "bytes": 84}}}
            ]}}, {"set": {"name": "refused6"}}, {"set": {"name": "observed4", "elem": [
                {"elem": {"val": {"concat": ["198.51.100.1", "tcp", 443]}, "timeout": 86400,
                    "expires": 86400, "counter": {"packets": 2, "bytes": 60}}}]}},
            {"set": {"name": "host4", "elem": ["192.0.2.1"]}}, {"chain": {"name": "input"}}]}"#;
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let found = read(text, now).unwrap();
        let names: Vec<&str> = found.iter().map(|it| it.destination.as_str()).collect();
        let expected = [
            "198.51.100.1:80/tcp",
            "[2001:db8::1]:53/udp",
            "198.51.100.1 (icmp)",
            "198.51.100.1 (protocol 132)",
            "198.51.100.1:443/tcp",
        ];
        assert_eq!(names, expected);
        assert_eq!((found[0].count, found[0].last), (3, "2026-01-01T00:00:50Z".parse().unwrap()));
        let let_through: Vec<bool> = found.iter().map(|it| it.let_through).collect();
        assert_eq!(let_through, [false, false, false, false, true]);
        assert!(read("{}", now).is_err());
    }
}
