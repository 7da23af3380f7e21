//! The pod of a taskspace and its two containers, as Podman is asked for them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::capability::Capabilities;
use super::create::Inputs;
use super::isolation;
use super::names::{self, labels};
use super::volumes::{BUILD_CACHE, build_cache_environment};
use crate::host::git::OWNER_INSIDE;
use crate::model::{ImageRef, Role};
use crate::podman::{
    BindMount, ContainerSpec, IdMap, LogConfiguration, NamedVolume, Namespace, PodSpec,
    PortMapping, UserNamespace,
};

/// The uid and gid that the host's user has inside: that of `agent` and `developer` in our images.
pub(crate) const USER: u32 = OWNER_INSIDE;

/// Returns the user namespace of every pod: the host's user is the images' own user, so that a checkout
/// needs no change of owners.
pub fn user_namespace(capabilities: &Capabilities) -> UserNamespace {
    UserNamespace {
        uid_map: with_the_user(&capabilities.uid_map),
        gid_map: with_the_user(&capabilities.gid_map),
    }
}

/// Gives `USER` to the host's user, who is 0 where Podman itself is, and all others in their order to the
/// rest, as many as there are.
fn with_the_user(there: &[IdMap]) -> Vec<IdMap> {
    let user = u64::from(USER);
    let others =
        there.iter().map(|range| range.size).fold(0, u64::saturating_add).saturating_sub(1);
    let range = |container_id, host_id, size| IdMap { container_id, host_id, size };
    let map = [
        range(0, 1, others.min(user)),
        range(user, 0, 1),
        range(user + 1, user + 1, others.saturating_sub(user)),
    ];
    map.into_iter().filter(|range| range.size > 0).collect()
}

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

/// The names that a taskspace knows without asking (hosts(5)), and where it asks for others
/// (resolv.conf(5)), in the directory of its files.
pub(crate) const HOSTS: &str = "hosts";
pub(crate) const RESOLV_CONF: &str = "resolv.conf";

/// An empty directory, so that there are no secrets of the host where mounts.conf has some (on Fedora and
/// its like it does so by default).
pub(crate) const NO_SECRETS: &str = "no-secrets";

/// How the user's files are seen inside: never written, nothing of them run with privileges.
const READ_ONLY: [&str; 4] = ["ro", "nosuid", "nodev", "rbind"];

/// How a data volume is mounted: as Podman mounts its own volumes, relabelled for SELinux where that is on.
const DATA: [&str; 4] = ["nosuid", "nodev", "rbind", "z"];

/// Returns the pod: its own user namespace in which the host's user is uid 1000, and the two sshds
/// published on the host's loopback.
pub(crate) fn pod(inputs: &Inputs<'_>) -> PodSpec {
    let Inputs { registry, id, record, capabilities, .. } = *inputs;
    let ports = record.ports();
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
        userns: Some(user_namespace(capabilities)),
        port_mappings,
        network: Some(isolation::network(capabilities)),
        ipc: Some(Namespace::Private),
        uts: Some(Namespace::Private),
        shm_size: Some(inputs.defaults.shm_size.0),
        sysctls: isolation::sysctls(capabilities),
        image_hosts: true,
        exit_policy: Some("continue".to_owned()),
        labels: labels(registry, id, "pod"),
    }
}

/// Returns one of the containers.
pub(crate) fn container(inputs: &Inputs<'_>, role: Role) -> ContainerSpec {
    let Inputs { registry, id, record, places, capabilities, .. } = *inputs;
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
    let data = |volume: &str, destination: &str| BindMount {
        source: capabilities.volume_directory(volume),
        destination: destination.into(),
        options: DATA.map(str::to_owned).to_vec(),
    };
    let mut volumes = vec![volume(names::project_volume(id), "/workspace")];
    // In the dev container, root writes names into `/etc/hosts`: it is made of this at the first start.
    let hosts = match role {
        Role::Agent => "/etc/hosts",
        Role::Dev => "/etc/symposium/hosts",
    };
    let mut mounts = vec![
        read_only(places.files.join(HOSTS), hosts),
        read_only(places.files.join(RESOLV_CONF), "/etc/resolv.conf"),
        read_only(places.files.join(NO_SECRETS), "/run/secrets"),
        read_only(places.files.join(role.name()).join("ssh"), "/etc/symposium/ssh"),
        read_only(names::permit(&places.permits, id, role), "/etc/symposium/permit"),
    ];
    // Podman mounts an overlay; the rest is a directory.
    let cache = names::build_cache_volume(id);
    match record.cache {
        Some(_) => volumes.push(volume(cache, BUILD_CACHE)),
        None => mounts.push(data(&cache, BUILD_CACHE)),
    }
    let mut env = inputs.defaults.environment.clone();
    env.extend(build_cache_environment());
    env.insert("SYMPOSIUM_TASKSPACE".to_owned(), id.to_string());
    let image = match role {
        Role::Agent => {
            mounts.push(data(&record.agent_state_volume, "/agent/state"));
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
        isolation: Some(isolation::in_pod(capabilities, &inputs.defaults.timezone)),
        env,
        labels: labels(registry, id, role.name()),
        volumes,
        mounts,
        stop_timeout: Some(inputs.stop_seconds),
        init: true,
        log_configuration: Some(LogConfiguration {
            // In the format of `k8s-file`, which does not start with a `log_tag` in containers.conf.
            driver: "json-file".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_user_is_the_images_user_and_nobody_is_left_out() {
        let range = |container_id, host_id, size| IdMap { container_id, host_id, size };
        let ids = |sub| with_the_user(&[range(0, 4711, 1), range(1, 100_000, sub)]);
        assert_eq!(ids(65_536), [range(0, 1, 1000), range(1000, 0, 1), range(1001, 1001, 64_536)]);
        assert_eq!(ids(1000), [range(0, 1, 1000), range(1000, 0, 1)]);
        assert_eq!(ids(500), [range(0, 1, 500), range(1000, 0, 1)]);
        assert_eq!(with_the_user(&[range(0, 4711, 1)]), [range(1000, 0, 1)]);
        assert_eq!(with_the_user(&[range(0, 0, u64::MAX), range(0, 0, 2)])[1], range(1000, 0, 1));
    }
}
