//! What is said of pods and containers so that the settings which the user's Podman has for all of them
//! (containers.conf(5)) do not say it.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::spec::Namespace;

/// As much as Podman itself may have: a limit of which only Podman knows the highest value.
pub const UNLIMITED: u64 = u64::MAX;

/// What is said of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Isolation {
    /// Whether it gets no variables but those that are given: else there are those of containers.conf,
    /// and Podman's own proxies (or all of Podman's, with `env_host`).
    #[serde(rename = "unsetenvall")]
    pub only_given_env: bool,
    /// Whether it may do what its user namespace's root may.
    pub privileged: bool,
    /// Whether nothing but its volumes can be written to.
    pub read_only_filesystem: bool,
    /// The mask of its first process, in octal.
    pub umask: String,
    /// A name of the time zone database (tzdata), or `local` for that of the host.
    pub timezone: String,
    /// What becomes of the volumes that its image names: `ignore`, `anonymous`, `tmpfs`.
    pub image_volume_mode: String,
    /// Whether it has a cgroup of its own: `enabled`, `disabled`, `split`, `no-conmon`.
    pub cgroups_mode: String,
    /// Its processes' namespace.
    #[serde(rename = "pidns")]
    pub pid: Namespace,
    /// Its cgroups' namespace.
    #[serde(rename = "cgroupns")]
    pub cgroup: Namespace,
    /// Its IPC, unless it has that of its pod.
    #[serde(rename = "ipcns", skip_serializing_if = "Option::is_none")]
    pub ipc: Option<Namespace>,
    /// Its host name's namespace, unless it has that of its pod.
    #[serde(rename = "utsns", skip_serializing_if = "Option::is_none")]
    pub uts: Option<Namespace>,
    /// Whether it has `/etc/hosts` from its image; within a pod it is the pod that says it.
    #[serde(rename = "use_image_hosts")]
    pub image_hosts: bool,
    /// Whether it has `/etc/resolv.conf` from its image.
    #[serde(rename = "use_image_resolve_conf", skip_serializing_if = "std::ops::Not::not")]
    pub image_resolv_conf: bool,
    /// Limits of its processes (getrlimit(2)).
    #[serde(rename = "r_limits", skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<ResourceLimit>,
}

/// A limit of processes (getrlimit(2)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceLimit {
    /// `nofile`, `core` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is in force.
    pub soft: u64,
    /// How far a process may raise that, or [`UNLIMITED`].
    pub hard: u64,
}

/// What connects a pod with the world, and its options. Those that containers.conf has for it come
/// before these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodNetwork {
    /// pasta(1).
    Pasta(Vec<String>),
    /// slirp4netns(1), with Podman's names of options.
    Slirp4netns(Vec<String>),
}

impl Serialize for PodNetwork {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mode, options) = match self {
            Self::Pasta(options) => ("pasta", options),
            Self::Slirp4netns(options) => ("slirp4netns", options),
        };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("netns", &BTreeMap::from([("nsmode", mode)]))?;
        map.serialize_entry("network_options", &BTreeMap::from([(mode, options)]))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn isolation_has_the_fields_of_podman() {
        let isolation = Isolation {
            only_given_env: true,
            privileged: false,
            read_only_filesystem: false,
            umask: "0022".to_owned(),
            timezone: "UTC".to_owned(),
            image_volume_mode: "ignore".to_owned(),
            cgroups_mode: "enabled".to_owned(),
            pid: Namespace::Private,
            cgroup: Namespace::Private,
            ipc: Some(Namespace::Private),
            uts: None,
            image_hosts: true,
            image_resolv_conf: true,
            limits: vec![ResourceLimit { kind: "nofile".to_owned(), soft: 1, hard: UNLIMITED }],
        };
        assert_eq!(
            serde_json::to_value(isolation).unwrap(),
            json!({
                "unsetenvall": true, "privileged": false, "read_only_filesystem": false,
                "umask": "0022", "timezone": "UTC", "image_volume_mode": "ignore",
                "cgroups_mode": "enabled", "pidns": {"nsmode": "private"},
                "cgroupns": {"nsmode": "private"}, "ipcns": {"nsmode": "private"},
                "use_image_hosts": true, "use_image_resolve_conf": true,
                "r_limits": [{"type": "nofile", "soft": 1, "hard": 18_446_744_073_709_551_615_u64}],
            })
        );
    }
}
