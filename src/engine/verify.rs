//! Compares a container with what was asked for. Podman ignores fields that it does not know, so a
//! protection that was asked for may simply not be there.

use crate::model::{Code, Problem};
use crate::podman::{Container, ContainerSpec};

/// Capabilities with which a container could undo or evade its network policy.
const FORBIDDEN: &[&str] = &["NET_ADMIN", "NET_RAW", "SYS_ADMIN"];

/// Compares a container with its specification.
///
/// # Errors
/// [`Code::PolicyUnenforceable`] with everything that differs.
pub(super) fn container(spec: &ContainerSpec, made: &Container) -> Result<(), Problem> {
    let mut differences = Vec::new();
    if spec.no_new_privileges && !made.no_new_privileges {
        differences.push("no-new-privileges is not set".to_owned());
    }
    let bare = |cap: &str| cap.trim_start_matches("CAP_").to_owned();
    for cap in made.effective_caps.iter().chain(&made.bounding_caps).map(|cap| bare(cap)) {
        if FORBIDDEN.contains(&cap.as_str()) || !spec.cap_add.contains(&cap) {
            let difference = format!("it has the capability {cap}");
            if !differences.contains(&difference) {
                differences.push(difference);
            }
        }
    }
    for volume in &spec.volumes {
        let there = made
            .mounts
            .iter()
            .any(|mount| mount.name == volume.name && mount.destination == volume.dest && mount.rw);
        if !there {
            let (name, at) = (&volume.name, volume.dest.display());
            differences.push(format!("the volume {name} is not mounted at {at}"));
        }
    }
    for bind in &spec.mounts {
        let there = made.mounts.iter().find(|mount| mount.destination == bind.destination);
        match there {
            None => {
                differences.push(format!("nothing is mounted at {}", bind.destination.display()))
            }
            Some(mount) if mount.rw => {
                differences.push(format!("{} is writable", bind.destination.display()));
            }
            Some(_) => {}
        }
    }
    if made.privileged {
        differences.push("it is privileged".to_owned());
    }
    let expected = spec.volumes.len() + spec.mounts.len();
    if made.mounts.len() > expected {
        differences.push(format!("it has {} mounts instead of {expected}", made.mounts.len()));
    }
    if made.pod_id.is_none() || !made.network_mode.starts_with("container:") {
        differences.push(format!(
            "it is not in the pod's network (its network mode is '{}')",
            made.network_mode
        ));
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Problem::new(
        Code::PolicyUnenforceable,
        format!("Podman made the container otherwise than asked: {}", differences.join("; ")),
    )
    .hint("look for defaults in containers.conf that add capabilities or mounts"))
}
