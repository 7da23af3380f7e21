//! What Podman is asked to make.
//!
//! Podman ignores unknown fields in silence: the tests pin every name, and what matters is to be
//! inspected after it was made.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::isolation::{Isolation, PodNetwork};
use super::objects::IdMap;

/// Names and values that are attached to an object.
pub type Labels = BTreeMap<String, String>;

/// A volume to be made; always by the `local` driver, which the tag adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "Driver", rename = "local")]
pub struct VolumeSpec {
    /// Its name.
    #[serde(rename = "Name")]
    pub name: String,
    /// The driver's options: `type`, `device` and `o`.
    #[serde(rename = "Options", skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Its labels.
    #[serde(rename = "Labels", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
}

/// A pod to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PodSpec {
    /// Its name.
    pub name: String,
    /// The host name that its containers see; its name if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// How user ids inside are mapped; the user's default if not given.
    #[serde(flatten)]
    pub userns: Option<UserNamespace>,
    /// What connects it with the world; the user's default if not given.
    #[serde(flatten)]
    pub network: Option<PodNetwork>,
    /// Its System V IPC and POSIX message queues; the user's default if not given.
    #[serde(rename = "ipcns", skip_serializing_if = "Option::is_none")]
    pub ipc: Option<Namespace>,
    /// Its host name's namespace; the user's default if not given.
    #[serde(rename = "utsns", skip_serializing_if = "Option::is_none")]
    pub uts: Option<Namespace>,
    /// How many bytes `/dev/shm` can hold; Podman's default if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<u64>,
    /// Parameters of its network and its IPC (sysctl(8)).
    #[serde(rename = "sysctl", skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Whether its containers have `/etc/hosts` from their images, and Podman makes none.
    #[serde(rename = "no_manage_hosts", skip_serializing_if = "std::ops::Not::not")]
    pub image_hosts: bool,
    /// What Podman does when its last container ends: `continue` or `stop`; the user's default if not
    /// given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_policy: Option<String>,
    /// The ports that are published on the host.
    #[serde(rename = "portmappings", skip_serializing_if = "Vec::is_empty")]
    pub port_mappings: Vec<PortMapping>,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
}

/// A user namespace of its own, with these ids: `host_id` is an id of the namespace that Podman is in.
///
/// `keep-id` would say the same in fewer words. But for that a Podman service reads the user's
/// subordinate ids by a library (libsubid) that cannot be used side by side: asked for two pods at the
/// same time, it now and then gives one of them a single id, or crashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserNamespace {
    /// The users.
    pub uid_map: Vec<IdMap>,
    /// The groups.
    pub gid_map: Vec<IdMap>,
}

impl Serialize for UserNamespace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("userns", &BTreeMap::from([("nsmode", "private")]))?;
        let mappings = BTreeMap::from([("UIDMap", &self.uid_map), ("GIDMap", &self.gid_map)]);
        map.serialize_entry("idmappings", &mappings)?;
        map.end()
    }
}

/// A namespace of a container or pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "nsmode", rename_all = "lowercase")]
pub enum Namespace {
    /// Of networks: one of its own, with nothing but a loopback.
    None,
    /// One of its own.
    Private,
}

/// A port of a pod that is published on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PortMapping {
    /// The port inside.
    pub container_port: u16,
    /// The address on the host.
    pub host_ip: IpAddr,
    /// The port on the host.
    pub host_port: u16,
}

/// A container to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// Its image, which must be there.
    pub image: String,
    /// The pod that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// How user ids inside are mapped; within a pod it is the pod that says it.
    #[serde(flatten)]
    pub userns: Option<UserNamespace>,
    /// Its network; the user's default, or that of its pod, if not given.
    #[serde(rename = "netns", skip_serializing_if = "Option::is_none")]
    pub network: Option<Namespace>,
    /// Whether Podman removes it when it has ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub remove: bool,
    /// The user, and group, that its command runs as; the image's if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The command, after the entry point; the image's if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The entry point; the image's if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// What is said instead of the settings that Podman has for all containers.
    #[serde(flatten)]
    pub isolation: Option<Isolation>,
    /// Variables, beside the image's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// Its host name; Podman refuses it within a pod, which has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The volumes in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<NamedVolume>,
    /// The files and directories of the host in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<BindMount>,
    /// How many seconds it has to stop before it is killed; Podman's default is 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<u32>,
    /// The number of the signal that asks it to stop; the image's, or SIGTERM, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<i32>,
    /// Whether its first process is an init that reaps the dead.
    pub init: bool,
    /// Whether no process in it can gain privileges that its parent has not.
    pub no_new_privileges: bool,
    /// The capabilities that are taken away; `ALL` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// The capabilities that are given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// The working directory; the image's if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work_dir: Option<String>,
    /// When Podman starts it again by itself: `no`, `on-failure`, `always`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<String>,
    /// Where its output is kept; where the user's Podman keeps it, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_configuration: Option<LogConfiguration>,
}

/// Where a container's output is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogConfiguration {
    /// `json-file` or `k8s-file` for a file (the format is the same), `journald`, `none`.
    pub driver: String,
    /// How many bytes are kept; `journald` does not heed it, and neither does Podman heed `max-size`
    /// among the options here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// A volume in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NamedVolume {
    /// The volume's name; one that does not exist is made.
    pub name: String,
    /// Where it is mounted.
    pub dest: PathBuf,
    /// `ro`, `nosuid` and so on.
    pub options: Vec<String>,
}

/// A file or directory of the host in a container; the tag adds the type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "bind")]
pub struct BindMount {
    /// Where it is on the host; it must exist.
    pub source: PathBuf,
    /// Where it is mounted.
    pub destination: PathBuf,
    /// `ro`, `rslave` and so on.
    pub options: Vec<String>,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::json;

    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_volume_names_its_driver() {
        let spec = VolumeSpec {
            name: "v".into(),
            options: map(&[("type", "overlay")]),
            labels: map(&[("a", "b")]),
        };
        assert_eq!(
            serde_json::to_value(spec).unwrap(),
            json!({"Driver": "local", "Name": "v", "Options": {"type": "overlay"}, "Labels": {"a": "b"}})
        );
    }

    fn namespace() -> UserNamespace {
        UserNamespace {
            uid_map: vec![IdMap { container_id: 0, host_id: 1, size: 9 }],
            gid_map: vec![IdMap { container_id: 9, host_id: 0, size: 1 }],
        }
    }

    #[test]
    fn a_pod_has_the_shape_that_podman_reads() {
        let spec = PodSpec {
            name: "p".into(),
            hostname: Some("h".into()),
            userns: Some(namespace()),
            network: Some(PodNetwork::Pasta(list(&["--no-map-gw"]))),
            ipc: Some(Namespace::Private),
            uts: Some(Namespace::Private),
            shm_size: Some(7),
            sysctls: map(&[("net.a", "0 1")]),
            image_hosts: true,
            exit_policy: Some("continue".into()),
            port_mappings: vec![PortMapping {
                container_port: 22,
                host_ip: Ipv4Addr::LOCALHOST.into(),
                host_port: 2222,
            }],
            labels: map(&[("a", "b")]),
        };
        assert_eq!(
            serde_json::to_value(spec).unwrap(),
            json!({
                "name": "p",
                "hostname": "h",
                "userns": {"nsmode": "private"},
                "idmappings": {
                    "UIDMap": [{"container_id": 0, "host_id": 1, "size": 9}],
                    "GIDMap": [{"container_id": 9, "host_id": 0, "size": 1}],
                },
                "portmappings": [{"container_port": 22, "host_ip": "127.0.0.1", "host_port": 2222}],
                "netns": {"nsmode": "pasta"},
                "network_options": {"pasta": ["--no-map-gw"]},
                "ipcns": {"nsmode": "private"},
                "utsns": {"nsmode": "private"},
                "shm_size": 7,
                "sysctl": {"net.a": "0 1"},
                "no_manage_hosts": true,
                "exit_policy": "continue",
                "labels": {"a": "b"},
            })
        );
    }

    #[test]
    fn a_container_has_the_shape_that_podman_reads() {
        let spec = ContainerSpec {
            name: "c".into(),
            image: "i".into(),
            pod: Some("p".into()),
            userns: Some(namespace()),
            network: Some(Namespace::None),
            remove: true,
            user: Some("0:0".into()),
            command: list(&["run"]),
            entrypoint: Some(list(&["/e"])),
            isolation: None,
            env: map(&[("K", "v")]),
            labels: map(&[("a", "b")]),
            hostname: Some("h".into()),
            volumes: vec![NamedVolume {
                name: "v".into(),
                dest: "/v".into(),
                options: list(&["ro"]),
            }],
            mounts: vec![BindMount {
                source: "/s".into(),
                destination: "/d".into(),
                options: list(&["ro"]),
            }],
            stop_timeout: Some(3),
            stop_signal: Some(2),
            init: true,
            no_new_privileges: true,
            cap_drop: list(&["ALL"]),
            cap_add: list(&["CHOWN"]),
            work_dir: Some("/w".into()),
            restart_policy: Some("no".into()),
            log_configuration: Some(LogConfiguration { driver: "k8s-file".into(), size: Some(7) }),
        };
        assert_eq!(
            serde_json::to_value(spec).unwrap(),
            json!({
                "name": "c", "image": "i", "pod": "p", "remove": true, "netns": {"nsmode": "none"},
                "userns": {"nsmode": "private"}, "user": "0:0", "hostname": "h",
                "idmappings": {
                    "UIDMap": [{"container_id": 0, "host_id": 1, "size": 9}],
                    "GIDMap": [{"container_id": 9, "host_id": 0, "size": 1}],
                },
                "command": ["run"], "entrypoint": ["/e"], "env": {"K": "v"}, "labels": {"a": "b"},
                "volumes": [{"Name": "v", "Dest": "/v", "Options": ["ro"]}],
                "mounts": [{"type": "bind", "source": "/s", "destination": "/d", "options": ["ro"]}],
                "stop_timeout": 3, "stop_signal": 2, "init": true, "no_new_privileges": true,
                "cap_drop": ["ALL"], "cap_add": ["CHOWN"], "work_dir": "/w", "restart_policy": "no",
                "log_configuration": {"driver": "k8s-file", "size": 7},
            })
        );
    }

    #[test]
    fn what_is_not_said_is_left_to_podman() {
        let spec =
            ContainerSpec { name: "c".into(), image: "i".into(), ..ContainerSpec::default() };
        assert_eq!(
            serde_json::to_value(spec).unwrap(),
            json!({"name": "c", "image": "i", "init": false, "no_new_privileges": false})
        );
    }
}
