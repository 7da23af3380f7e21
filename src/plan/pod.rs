//! The pod of a taskspace and its two containers, as Podman is asked for them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use uuid::Uuid;

use super::create::Inputs;
use super::names::{self, labels};
use super::volumes::{BUILD_CACHE, build_cache_environment};
use crate::model::{ImageRef, Ports, Role, TaskspaceId};
use crate::podman::{
    BindMount, ContainerSpec, LogConfiguration, NamedVolume, PodSpec, PortMapping, UserNamespace,
};

/// The uid and gid that the host's user has inside: that of `agent` and `developer` in our images.
pub(crate) const USER: u32 = 1000;

/// The user namespace of every pod: the host's user is the images' own user, so that a checkout
/// needs no change of owners.
pub const USER_NAMESPACE: UserNamespace = UserNamespace::KeepId { uid: USER, gid: USER };

/// What sshd's login of another user, sudo and package managers need, and no more: no `NET_ADMIN`
/// and no `NET_RAW`, with which a container could undo its network policy.
const DEV_CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "AUDIT_WRITE",
];

/// How many bytes of each container's output are kept. In the journal, Podman's default, one container
/// that writes much drives out what everybody else wrote.
const KEPT_OUTPUT: u64 = 10 << 20;

/// How the user's files are seen inside: never written, nothing of them run with privileges.
const READ_ONLY: [&str; 4] = ["ro", "nosuid", "nodev", "rbind"];

/// Returns the pod: its own user namespace in which the host's user is uid 1000, and the two sshds
/// published on the host's loopback.
pub(crate) fn pod(registry: Uuid, id: &TaskspaceId, ports: Ports) -> PodSpec {
    let port_mappings = Role::ALL
        .into_iter()
        .map(|role| PortMapping {
            container_port: role.port(),
            host_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            host_port: ports.of(role),
        })
        .collect();
    PodSpec {
        name: names::pod(id),
        hostname: Some(id.to_string()),
        userns: Some(USER_NAMESPACE),
        port_mappings,
        labels: labels(registry, id, "pod"),
        ..PodSpec::default()
    }
}

/// Returns one of the containers.
pub(crate) fn container(inputs: &Inputs<'_>, role: Role) -> ContainerSpec {
    let Inputs { registry, id, record, places, .. } = *inputs;
    let volume = |name: String, destination: &str| NamedVolume {
        name,
        dest: destination.into(),
        options: Vec::new(),
    };
    let read_only = |source: PathBuf, destination: &str| BindMount {
        source,
        destination: destination.into(),
        options: READ_ONLY.map(str::to_owned).to_vec(),
    };
    let mut volumes = vec![
        volume(names::project_volume(id), "/workspace"),
        volume(names::build_cache_volume(id), BUILD_CACHE),
    ];
    let mut mounts =
        vec![read_only(places.files.join(role.name()).join("ssh"), "/etc/symposium/ssh")];
    let mut env: BTreeMap<String, String> = build_cache_environment().collect();
    env.insert("SYMPOSIUM_TASKSPACE".to_owned(), id.to_string());
    let image = match role {
        Role::Agent => {
            volumes.push(volume(record.agent_state_volume.clone(), "/agent/state"));
            mounts.push(read_only(places.files.join("agent/config.yaml"), "/agent/config.yaml"));
            mounts.push(read_only(places.auth.clone(), "/agent/auth"));
            mounts.push(read_only(places.context.clone(), "/agent/context"));
            let agent = &record.spec.agent;
            env.insert("SYMPOSIUM_AGENT_COMMAND".to_owned(), agent.command.clone());
            if let Some(prompt) = &agent.prompt {
                env.insert("SYMPOSIUM_AGENT_PROMPT".to_owned(), prompt.clone());
            }
            ImageRef::Agent
        }
        Role::Dev => ImageRef::Dev(record.spec.project_type),
    };
    ContainerSpec {
        name: names::container(id, role),
        image: image.full_name(),
        pod: Some(names::pod(id)),
        user: Some(match role {
            Role::Agent => format!("{USER}:{USER}"),
            Role::Dev => "0:0".to_owned(),
        }),
        env,
        labels: labels(registry, id, role.name()),
        volumes,
        mounts,
        stop_timeout: Some(inputs.stop_seconds),
        init: true,
        log_configuration: Some(LogConfiguration {
            driver: "k8s-file".to_owned(),
            size: Some(KEPT_OUTPUT),
        }),
        // sudo is wanted in dev alone.
        no_new_privileges: role == Role::Agent,
        cap_drop: vec!["ALL".to_owned()],
        cap_add: match role {
            Role::Agent => Vec::new(),
            Role::Dev => DEV_CAPABILITIES.iter().map(|cap| (*cap).to_owned()).collect(),
        },
        ..ContainerSpec::default()
    }
}
