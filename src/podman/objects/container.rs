//! Containers.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;

use super::{moment, moment_in_seconds, nullable};
use crate::podman::spec::Labels;

/// A container, with what is to be compared with what was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Reply")]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The name of its image.
    pub image: String,
    /// The id of its image.
    pub image_id: String,
    /// How it is.
    pub state: ContainerState,
    /// Its labels, those of its image among them.
    pub labels: Labels,
    /// The variables that its processes get, each as `NAME=value`.
    pub env: Vec<String>,
    /// What the OCI runtime is given, once it has been prepared to be started.
    pub runtime_spec: PathBuf,
    /// Its volumes and mounts.
    pub mounts: Vec<Mount>,
    /// The capabilities that its first process has; none for one that is not root.
    pub effective_caps: Vec<String>,
    /// The capabilities that any process in it can have.
    pub bounding_caps: Vec<String>,
    /// Whether no process in it can gain privileges.
    pub no_new_privileges: bool,
    /// Whether it is privileged.
    pub privileged: bool,
    /// `pasta`, `bridge`, `none`, `host`, or `container:<id>` within a pod.
    pub network_mode: String,
    /// Where its network namespace is; empty while it has none.
    pub network_namespace: PathBuf,
    /// The user namespace: empty, `private`, `host`, or `container:<id>` within a pod.
    pub userns_mode: String,
    /// How user ids are mapped, each as `inside:intermediate:count`; empty without a mapping.
    pub uid_map: Vec<String>,
    /// How group ids are mapped.
    pub gid_map: Vec<String>,
    /// The id of its pod.
    pub pod_id: Option<String>,
    /// Whether it holds the namespaces of its pod.
    pub is_infra: bool,
    /// How often Podman started it again.
    pub restart_count: u64,
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerState {
    /// `created`, `initialized`, `running`, `paused`, `stopping`, `stopped`, `exited`, `removing`.
    ///
    /// One that is asked to stop is `stopping` while it still runs. One that has ended is `stopped`
    /// until Podman has cleaned up after it, then `exited`.
    #[serde(deserialize_with = "nullable")]
    pub status: String,
    /// Whether it runs; no longer said of one that is `stopping`.
    #[serde(deserialize_with = "nullable")]
    pub running: bool,
    /// How it ended, 128 and the signal's number if by a signal; 0 before it has.
    #[serde(deserialize_with = "nullable")]
    pub exit_code: i64,
    /// Whether the kernel killed it for want of memory.
    #[serde(rename = "OOMKilled", deserialize_with = "nullable")]
    pub oom_killed: bool,
    /// Why it could not be started; empty when it could.
    #[serde(deserialize_with = "nullable")]
    pub error: String,
    /// Its first process, as the host sees it; 0 while it does not run.
    #[serde(deserialize_with = "nullable")]
    pub pid: i32,
    /// The process that monitors it; 0 while it does not run.
    #[serde(deserialize_with = "nullable")]
    pub conmon_pid: i32,
    /// When it was last started.
    #[serde(deserialize_with = "moment")]
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    #[serde(deserialize_with = "moment")]
    pub finished_at: Option<Timestamp>,
    /// Whether it ended because Podman was asked to stop or kill it.
    #[serde(deserialize_with = "nullable")]
    pub stopped_by_user: bool,
    /// The cgroup that it runs in.
    #[serde(deserialize_with = "nullable")]
    pub cgroup_path: String,
}

/// A volume or mount in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Mount {
    /// `volume`, `bind` or `tmpfs`.
    #[serde(rename = "Type", deserialize_with = "nullable")]
    pub kind: String,
    /// The volume's name; empty for others.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Where it is on the host.
    #[serde(deserialize_with = "nullable")]
    pub source: PathBuf,
    /// Where it is in the container.
    #[serde(deserialize_with = "nullable")]
    pub destination: PathBuf,
    /// Whether it can be written to; Podman says it here, and not among the options.
    #[serde(rename = "RW", deserialize_with = "nullable")]
    pub rw: bool,
    /// `nosuid`, `nodev`, `rbind` and so on.
    #[serde(deserialize_with = "nullable")]
    pub options: Vec<String>,
}

/// A container in a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerSummary {
    /// Its id.
    pub id: String,
    /// Its names; one, as far as is known.
    #[serde(default, deserialize_with = "nullable")]
    pub names: Vec<String>,
    /// The name of its image.
    #[serde(default, deserialize_with = "nullable")]
    pub image: String,
    /// As in [`ContainerState::status`].
    #[serde(default, deserialize_with = "nullable")]
    pub state: String,
    /// When it was last started, in whole seconds.
    #[serde(default, deserialize_with = "moment_in_seconds")]
    pub started_at: Option<Timestamp>,
    /// When it last ended, in whole seconds.
    #[serde(default, rename = "ExitedAt", deserialize_with = "moment_in_seconds")]
    pub finished_at: Option<Timestamp>,
    /// How it ended; 0 before it has.
    #[serde(default, deserialize_with = "nullable")]
    pub exit_code: i64,
    /// Its first process; 0 while it does not run.
    #[serde(default, deserialize_with = "nullable")]
    pub pid: i32,
    /// Its labels, those of its image among them, and the pod's on an infra container only.
    #[serde(default, deserialize_with = "nullable")]
    pub labels: Labels,
    /// The id of its pod; empty without one.
    #[serde(default, rename = "Pod", deserialize_with = "nullable")]
    pub pod_id: String,
    /// The name of its pod; empty without one.
    #[serde(default, deserialize_with = "nullable")]
    pub pod_name: String,
    /// Whether it holds the namespaces of its pod.
    #[serde(default, deserialize_with = "nullable")]
    pub is_infra: bool,
    /// What its health check says: `starting`, `healthy` or `unhealthy`; empty without one.
    #[serde(default, rename = "Status", deserialize_with = "nullable")]
    pub health: String,
    /// What it publishes on the host.
    #[serde(default, deserialize_with = "nullable")]
    pub ports: Vec<PublishedPorts>,
}

/// A range of ports that a container publishes on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PublishedPorts {
    /// The host's address; empty for all of them.
    #[serde(deserialize_with = "nullable")]
    pub host_ip: String,
    /// The first one on the host.
    #[serde(deserialize_with = "nullable")]
    pub host_port: u16,
    /// How many there are.
    #[serde(deserialize_with = "nullable")]
    pub range: u16,
    /// `tcp`, `udp` or `sctp`, or several with commas.
    #[serde(deserialize_with = "nullable")]
    pub protocol: String,
}

impl ContainerSummary {
    /// Returns its name.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reply {
    id: String,
    name: String,
    #[serde(default, rename = "Image", deserialize_with = "nullable")]
    image_id: String,
    #[serde(default, rename = "ImageName", deserialize_with = "nullable")]
    image: String,
    #[serde(default, deserialize_with = "nullable")]
    state: ContainerState,
    #[serde(default, deserialize_with = "nullable")]
    config: Config,
    #[serde(default, deserialize_with = "nullable")]
    host_config: HostConfig,
    #[serde(default, deserialize_with = "nullable")]
    network_settings: NetworkSettings,
    #[serde(default, deserialize_with = "nullable")]
    mounts: Vec<Mount>,
    #[serde(default, deserialize_with = "nullable")]
    effective_caps: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    bounding_caps: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pod: String,
    #[serde(default, deserialize_with = "nullable")]
    is_infra: bool,
    #[serde(default, deserialize_with = "nullable")]
    restart_count: u64,
    #[serde(default, rename = "OCIConfigPath", deserialize_with = "nullable")]
    runtime_spec: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    #[serde(deserialize_with = "nullable")]
    labels: Labels,
    #[serde(deserialize_with = "nullable")]
    env: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct HostConfig {
    #[serde(deserialize_with = "nullable")]
    security_opt: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    privileged: bool,
    #[serde(deserialize_with = "nullable")]
    network_mode: String,
    #[serde(deserialize_with = "nullable")]
    userns_mode: String,
    #[serde(rename = "IDMappings", deserialize_with = "nullable")]
    id_mappings: IdMappings,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(deserialize_with = "nullable")]
    sandbox_key: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct IdMappings {
    #[serde(deserialize_with = "nullable")]
    uid_map: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    gid_map: Vec<String>,
}

impl From<Reply> for Container {
    fn from(reply: Reply) -> Self {
        let host = reply.host_config;
        Self {
            id: reply.id,
            name: reply.name,
            image: reply.image,
            image_id: reply.image_id,
            state: reply.state,
            labels: reply.config.labels,
            env: reply.config.env,
            runtime_spec: reply.runtime_spec,
            mounts: reply.mounts,
            effective_caps: reply.effective_caps,
            bounding_caps: reply.bounding_caps,
            no_new_privileges: host.security_opt.iter().any(|option| denies_privileges(option)),
            privileged: host.privileged,
            network_mode: host.network_mode,
            network_namespace: reply.network_settings.sandbox_key,
            userns_mode: host.userns_mode,
            uid_map: host.id_mappings.uid_map,
            gid_map: host.id_mappings.gid_map,
            pod_id: Some(reply.pod).filter(|id| !id.is_empty()),
            is_infra: reply.is_infra,
            restart_count: reply.restart_count,
        }
    }
}

fn denies_privileges(option: &str) -> bool {
    matches!(option, "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_real_reply_is_read() {
        let container: Container = serde_json::from_value(json!({
            "Id": "e08", "Name": "c", "Image": "1ea", "ImageName": "localhost/debian:trixie",
            "State": {
                "Status": "running", "Running": true, "OOMKilled": false, "Pid": 16688,
                "ExitCode": 0, "Error": "", "StartedAt": "2026-11-21T04:53:14.893092389Z",
                "FinishedAt": "0001-01-01T00:00:00Z",
            },
            "Pod": "0c7", "IsInfra": false, "ConmonPidFile": "/run/pid",
            "EffectiveCaps": null, "BoundingCaps": ["CAP_CHOWN"],
            "Mounts": [{
                "Type": "volume", "Name": "v", "Source": "/s/_data", "Destination": "/v",
                "Driver": "local", "Mode": "", "Options": ["nosuid", "nodev", "rbind"], "RW": false,
            }],
            "Config": {"Labels": {"a": "b"}, "Volumes": null},
            "NetworkSettings": {"Ports": null, "SandboxKey": "/run/user/1000/netns/netns-1"},
            "HostConfig": {
                "NetworkMode": "container:51b", "SecurityOpt": ["no-new-privileges"],
                "UsernsMode": "container:51b", "Privileged": false,
                "IDMappings": {"UidMap": ["0:1:1000", "1000:0:1"], "GidMap": ["0:1:1000"]},
            },
        }))
        .unwrap();
        assert!(container.no_new_privileges && container.state.running && !container.is_infra);
        assert_eq!(container.pod_id.as_deref(), Some("0c7"));
        assert_eq!(container.image, "localhost/debian:trixie");
        assert_eq!(container.network_namespace, PathBuf::from("/run/user/1000/netns/netns-1"));
        assert_eq!(container.uid_map, ["0:1:1000", "1000:0:1"]);
        assert_eq!((container.effective_caps.len(), container.bounding_caps.len()), (0, 1));
        assert_eq!(container.labels["a"], "b");
        assert_eq!((container.mounts[0].kind.as_str(), container.mounts[0].rw), ("volume", false));
        assert!(container.state.started_at.is_some() && container.state.finished_at.is_none());
    }

    #[test]
    fn one_that_could_not_be_started_says_why() {
        let error = "crun: executable file `/nosuch` not found: No such file or directory: OCI \
                     runtime attempted to invoke a command that was not found";
        let state: ContainerState = serde_json::from_value(json!({
            "Status": "created", "Running": false, "OOMKilled": false, "Pid": 0, "ExitCode": 0,
            "Error": error, "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z",
        }))
        .unwrap();
        assert_eq!((state.status.as_str(), state.error.as_str()), ("created", error));
        assert_eq!((state.started_at, state.finished_at), (None, None));
    }

    #[test]
    fn an_infra_container_is_listed_with_the_labels_of_its_pod() {
        let listed: ContainerSummary = serde_json::from_value(json!({
            "Exited": false, "ExitedAt": -62_135_596_800_i64, "ExitCode": 0, "Id": "d18",
            "Image": "localhost/podman-pause:5.4.2-1766335321", "IsInfra": true,
            "Labels": {"a": "b", "io.buildah.version": "1.39.3"}, "Names": ["6ec-infra"],
            "Pid": 845, "Pod": "6ec", "PodName": "p", "Restarts": 0, "StartedAt": 1_795_244_648,
            "State": "running", "Status": "",
        }))
        .unwrap();
        assert!(listed.is_infra && listed.labels["a"] == "b");
        assert_eq!((listed.pod_name.as_str(), listed.pid), ("p", 845));
        assert_eq!(listed.started_at.unwrap().to_string(), "2026-11-21T07:04:08Z");
        assert_eq!(listed.finished_at, None);
    }

    #[test]
    fn published_ports_and_health_are_listed() {
        let listed: ContainerSummary = serde_json::from_value(json!({
            "Id": "43d", "Names": ["c"], "State": "running", "Status": "starting",
            "Ports": [
                {"host_ip": "127.0.0.1", "container_port": 80, "host_port": 32755, "range": 2,
                 "protocol": "tcp"},
                {"host_ip": "", "container_port": 90, "host_port": 32757, "range": 1,
                 "protocol": "udp"},
            ],
        }))
        .unwrap();
        let [first, second] = &listed.ports[..] else { panic!("{listed:?}") };
        assert_eq!((first.host_ip.as_str(), first.host_port, first.range), ("127.0.0.1", 32755, 2));
        assert_eq!((second.protocol.as_str(), listed.health.as_str()), ("udp", "starting"));
        let bare: ContainerSummary =
            serde_json::from_value(json!({"Id": "1", "Ports": null, "Status": null})).unwrap();
        assert!(bare.ports.is_empty() && bare.health.is_empty());
    }

    #[test]
    fn who_ended_it_is_read() {
        let state: ContainerState = serde_json::from_value(json!({
            "Status": "exited", "Running": false, "ExitCode": 137, "StoppedByUser": true,
        }))
        .unwrap();
        assert!(state.stopped_by_user);
    }

    #[test]
    fn hardening_that_is_not_there_is_not_seen() {
        for options in [json!(null), json!([]), json!(["label=disable", "no-new-privileges:false"])]
        {
            let reply = json!({"Id": "1", "Name": "c", "HostConfig": {"SecurityOpt": options}});
            let container: Container = serde_json::from_value(reply).unwrap();
            assert!(!container.no_new_privileges);
        }
    }
}
