//! What is said of pods and containers instead of the settings that the user's Podman has for all of them
//! (containers.conf(5)). `docs/isolation.md` goes through these settings one by one.

use std::collections::BTreeMap;

use super::capability::{Capabilities, Pasta};
use super::pod::user_namespace;
use crate::podman::{IdMap, Isolation, Namespace, PodNetwork, ResourceLimit, UNLIMITED};

/// The variables that Podman gives containers by itself, and does not when it is told to give none.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("container", "podman"),
];

/// How many files a process may have open unless it asks for more, as systemd has it: programs that use
/// select(2) cannot deal with more, and some close all that there might be.
const OPEN_FILES: u64 = 1024;

/// The port at which names are asked for stays with root, so that nothing else answers them. All others
/// can be bound by anybody in the pod.
const FIRST_UNPRIVILEGED_PORT: u16 = 54;

/// Returns what is said of a container in a pod.
pub fn in_pod(capabilities: &Capabilities, timezone: &str) -> Isolation {
    let limit = |kind: &str, soft| ResourceLimit { kind: kind.to_owned(), soft, hard: UNLIMITED };
    Isolation {
        only_given_env: true,
        privileged: false,
        read_only_filesystem: false,
        umask: "0022".to_owned(),
        timezone: timezone.to_owned(),
        image_volume_mode: "ignore".to_owned(),
        cgroups_mode: "enabled".to_owned(),
        pid: Namespace::Private,
        cgroup: Namespace::Private,
        ipc: None,
        uts: None,
        image_hosts: true,
        image_resolv_conf: false,
        limits: match capabilities.replaces_unlimited {
            // No core dumps: the host's handler of these would get them.
            true => vec![limit("nofile", OPEN_FILES), limit("core", 0)],
            false => Vec::new(),
        },
    }
}

/// Returns what is said of a container by itself, which has no network.
pub fn by_itself(capabilities: &Capabilities, timezone: &str) -> Isolation {
    Isolation {
        ipc: Some(Namespace::Private),
        uts: Some(Namespace::Private),
        image_resolv_conf: true,
        ..in_pod(capabilities, timezone)
    }
}

/// Returns the variables of a container: those of its image, each as `NAME=value`, and over them its own.
pub fn environment(image: &[String], own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let podman = ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let image = image.iter().filter_map(|entry| entry.split_once('='));
    let image = image.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let own = own.iter().map(|(name, value)| (name.clone(), value.clone()));
    podman.into_iter().chain(image).chain(own).collect()
}

/// Returns what connects a pod with the world. The host's loopback must not be reached, whatever
/// containers.conf says; what cannot be said here is found by looking at the process
/// (`host/forwarders.rs`).
pub fn network(capabilities: &Capabilities) -> PodNetwork {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match capabilities.pasta {
        Pasta::Absent => PodNetwork::Slirp4netns(words(&["allow_host_loopback=false"])),
        Pasta::Old => PodNetwork::Pasta(words(&["--no-map-gw"])),
        // `none` takes back what was said before.
        Pasta::Current => PodNetwork::Pasta(words(&[
            "--no-map-gw",
            "--map-host-loopback",
            "none",
            "--map-guest-addr",
            "none",
        ])),
    }
}

/// Returns the parameters of a pod's network.
pub fn sysctls(capabilities: &Capabilities) -> BTreeMap<String, String> {
    let first_port = FIRST_UNPRIVILEGED_PORT.to_string();
    let mut sysctls =
        BTreeMap::from([("net.ipv4.ip_unprivileged_port_start".to_owned(), first_port)]);
    let inside = user_namespace(capabilities).gid_map;
    if let Some((first, last)) = extremes(&inside, &capabilities.gid_map) {
        // icmp(7): groups that may open a socket for echo requests, so that `ping` needs no capability.
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), format!("{first} {last}"));
    }
    sysctls
}

/// Returns the ids inside that are the lowest and the highest on the host: the kernel compares those.
fn extremes(inside: &[IdMap], podman: &[IdMap]) -> Option<(u64, u64)> {
    let mut ids: Vec<(u64, u64)> = Vec::new();
    for range in inside {
        for piece in podman {
            // The part of the range that this piece maps to the host.
            let first = range.host_id.max(piece.container_id);
            let end = range.host_id.saturating_add(range.size);
            let end = end.min(piece.container_id.saturating_add(piece.size));
            for id in [Some(first), end.checked_sub(1)].into_iter().flatten() {
                if (first..end).contains(&id) {
                    let host = id - piece.container_id + piece.host_id;
                    ids.push((host, id - range.host_id + range.container_id));
                }
            }
        }
    }
    Some((ids.iter().min()?.1, ids.iter().max()?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(container_id: u64, host_id: u64, size: u64) -> IdMap {
        IdMap { container_id, host_id, size }
    }

    #[test]
    fn ping_is_for_all_groups_in_the_order_of_the_host() {
        let groups = |gid_map: &[IdMap]| {
            let capabilities =
                Capabilities { gid_map: gid_map.to_vec(), ..Capabilities::example() };
            sysctls(&capabilities).get("net.ipv4.ping_group_range").cloned()
        };
        // The user, then the subordinate groups: 1000 inside is the lowest on the host.
        let usual = [range(0, 1000, 1), range(1, 100_000, 65_536)];
        assert_eq!(groups(&usual).as_deref(), Some("1000 65536"));
        // A user of a directory service is behind the subordinate groups.
        let high = [range(0, 2_000_000, 1), range(1, 100_000, 65_536)];
        assert_eq!(groups(&high).as_deref(), Some("0 1000"));
        assert_eq!(groups(&[range(0, 1000, 1)]).as_deref(), Some("1000 1000"));
        let pieces = [range(0, 1000, 1), range(1, 500_000, 1000), range(1001, 100_000, 64_536)];
        assert_eq!(groups(&pieces).as_deref(), Some("1000 999"));
        assert_eq!(groups(&[]), None);
    }

    #[test]
    fn image_and_own_variables_are_the_whole_environment() {
        let image = ["PATH=/opt/bin:/bin", "LANG=C.UTF-8", "A=b=c", "broken"].map(str::to_owned);
        let own = BTreeMap::from([("LANG".to_owned(), "fr".to_owned())]);
        let expected =
            [("A", "b=c"), ("LANG", "fr"), ("PATH", "/opt/bin:/bin"), ("container", "podman")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(environment(&image, &own), expected.into());
    }

    #[test]
    fn options_of_the_network_come_after_and_take_back_those_of_containers_conf() {
        let of = |pasta| network(&Capabilities { pasta, ..Capabilities::example() });
        let PodNetwork::Pasta(options) = of(Pasta::Current) else { panic!() };
        assert_eq!(options[3..], ["--map-guest-addr", "none"]);
        assert!(options.contains(&"--no-map-gw".to_owned()));
        assert_eq!(of(Pasta::Old), PodNetwork::Pasta(vec!["--no-map-gw".to_owned()]));
        assert!(matches!(of(Pasta::Absent), PodNetwork::Slirp4netns(_)));
    }
}
