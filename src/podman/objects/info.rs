//! Podman itself.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::nullable;

/// What Podman says of itself and its host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Reply")]
pub struct Info {
    /// Its version.
    pub version: Version,
    /// Whether it runs without root.
    pub rootless: bool,
    /// Where images and containers are stored.
    pub graph_root: PathBuf,
    /// Where volumes are stored.
    pub volume_path: PathBuf,
    /// The storage driver, `overlay` or `vfs` and so on.
    pub graph_driver: String,
    /// `v2`, or `v1` on old hosts.
    pub cgroup_version: String,
    /// The controllers that it may use.
    pub cgroup_controllers: Vec<String>,
    /// `systemd` or `cgroupfs`.
    pub cgroup_manager: String,
    /// The OCI runtime, `crun` or `runc`.
    pub runtime: String,
    /// `netavark`, or `cni` on old hosts.
    pub network_backend: String,
    /// `pasta` or `slirp4netns`; empty before Podman 5.
    pub rootless_network: String,
    /// The package and the version of pasta, as far as Podman tells them; none where there is no pasta.
    pub pasta: Option<String>,
    /// The user ids of its user namespace; without sub-uids there is one entry, of size 1.
    pub uid_map: Vec<IdMap>,
    /// The group ids of its user namespace.
    pub gid_map: Vec<IdMap>,
}

/// A version of Podman; compares by its numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 5 in 5.4.2.
    pub major: u32,
    /// 4 in 5.4.2.
    pub minor: u32,
    /// 2 in 5.4.2.
    pub patch: u32,
    /// As Podman writes it, such as `5.5.0-dev`.
    pub text: String,
}

/// A range of ids inside and outside of a user namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IdMap {
    /// The first id inside.
    pub container_id: u64,
    /// The first id outside.
    pub host_id: u64,
    /// How many there are.
    pub size: u64,
}

impl From<String> for Version {
    fn from(text: String) -> Self {
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        let (major, minor, patch) = (next(), next(), next());
        Self { major, minor, patch, text }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[derive(Deserialize)]
struct Reply {
    version: VersionReply,
    #[serde(default, deserialize_with = "nullable")]
    host: Host,
    #[serde(default, deserialize_with = "nullable")]
    store: Store,
}

#[derive(Deserialize)]
struct VersionReply {
    #[serde(rename = "Version")]
    text: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Host {
    #[serde(deserialize_with = "nullable")]
    cgroup_version: String,
    #[serde(deserialize_with = "nullable")]
    cgroup_controllers: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    cgroup_manager: String,
    #[serde(deserialize_with = "nullable")]
    oci_runtime: Runtime,
    #[serde(deserialize_with = "nullable")]
    network_backend: String,
    #[serde(deserialize_with = "nullable")]
    rootless_network_cmd: String,
    #[serde(deserialize_with = "nullable")]
    pasta: Program,
    #[serde(deserialize_with = "nullable")]
    security: Security,
    #[serde(deserialize_with = "nullable")]
    id_mappings: IdMappings,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Runtime {
    #[serde(deserialize_with = "nullable")]
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Program {
    #[serde(deserialize_with = "nullable")]
    executable: String,
    #[serde(deserialize_with = "nullable")]
    package: String,
    #[serde(deserialize_with = "nullable")]
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Security {
    #[serde(deserialize_with = "nullable")]
    rootless: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IdMappings {
    #[serde(deserialize_with = "nullable")]
    uidmap: Vec<IdMap>,
    #[serde(deserialize_with = "nullable")]
    gidmap: Vec<IdMap>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Store {
    #[serde(deserialize_with = "nullable")]
    graph_root: PathBuf,
    #[serde(deserialize_with = "nullable")]
    volume_path: PathBuf,
    #[serde(deserialize_with = "nullable")]
    graph_driver_name: String,
}

impl From<Reply> for Info {
    fn from(reply: Reply) -> Self {
        let Reply { version, host, store } = reply;
        Self {
            version: version.text.into(),
            rootless: host.security.rootless,
            graph_root: store.graph_root,
            volume_path: store.volume_path,
            graph_driver: store.graph_driver_name,
            cgroup_version: host.cgroup_version,
            cgroup_controllers: host.cgroup_controllers,
            cgroup_manager: host.cgroup_manager,
            runtime: host.oci_runtime.name,
            network_backend: host.network_backend,
            rootless_network: host.rootless_network_cmd,
            pasta: (!host.pasta.executable.is_empty())
                .then(|| format!("{} {}", host.pasta.package, host.pasta.version)),
            uid_map: host.id_mappings.uidmap,
            gid_map: host.id_mappings.gidmap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let read = |text: &str| Version::from(text.to_owned());
        let version = read("5.5.0-dev+g12ab");
        assert_eq!((version.major, version.minor, version.patch), (5, 5, 0));
        assert_eq!(version.to_string(), "5.5.0-dev+g12ab");
        assert!(read("4.9.3") < read("5.0.0") && read("5.10.0") > read("5.4.2"));
        assert_eq!(read("").major, 0);
    }
}
