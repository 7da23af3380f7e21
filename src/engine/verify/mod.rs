//! Compares a container with what was asked for. Podman ignores fields that it does not know, so a
//! protection that was asked for may simply not be there. And it has settings for all containers
//! (containers.conf(5)): what these bring in that cannot be taken back is refused.

mod environment;
mod network;
mod runtime;

pub(super) use environment::environment;
pub(super) use network::pasta;
pub(super) use runtime::runtime;

use std::path::Path;

use crate::model::{Code, Problem};
use crate::plan::pod::USER;
use crate::podman::{Container, ContainerSpec, Mount, Namespace};

/// Capabilities with which a container could undo or evade its network policy.
const FORBIDDEN: &[&str] = &["NET_ADMIN", "NET_RAW", "SYS_ADMIN"];

/// What to do about settings of Podman that reach into taskspaces.
const HINT: &str = "take these settings out of containers.conf or mounts.conf (in ~/.config/containers, \
     /etc/containers, /usr/share/containers, and containers.conf.d in these) and restart Podman's service; \
     docs/isolation.md goes through them";

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
        let (name, at) = (&volume.name, volume.dest.display());
        let is_it = |mount: &&Mount| mount.name == *name && mount.destination == volume.dest;
        let read_only = volume.options.iter().any(|option| option == "ro");
        match made.mounts.iter().find(is_it) {
            None => differences.push(format!("the volume {name} is not mounted at {at}")),
            Some(mount) if mount.rw == read_only => {
                let how = if read_only { "is writable" } else { "cannot be written" };
                differences.push(format!("the volume {name} at {at} {how}"));
            }
            Some(_) => {}
        }
    }
    for bind in &spec.mounts {
        let there = made.mounts.iter().find(|mount| mount.destination == bind.destination);
        match there {
            None => differences.push(format!(
                "nothing is mounted at {} (if an earlier version made it, `taskspace fork` carries the \
                 work over)",
                bind.destination.display()
            )),
            Some(mount) if mount.rw == bind.options.iter().any(|option| option == "ro") => {
                let how = if mount.rw { "is writable" } else { "cannot be written" };
                differences.push(format!("{} {how}", bind.destination.display()));
            }
            Some(mount) if mount.source != bind.source => {
                let (at, source) = (bind.destination.display(), mount.source.display());
                differences.push(format!("{at} shows {source}"));
            }
            Some(_) => {}
        }
    }
    // The host's user, who is 0 in the user namespace that Podman itself runs in, is USER inside.
    let keep_id = format!("{USER}:0:1");
    for (map, name) in [(&made.uid_map, "uid"), (&made.gid_map, "gid")] {
        if !map.contains(&keep_id) {
            differences.push(format!("its {name} {USER} is not the host's user"));
        }
    }
    if made.privileged {
        differences.push("it is privileged (`privileged`)".to_owned());
    }
    let own: Vec<&Path> = (spec.volumes.iter().map(|volume| volume.dest.as_path()))
        .chain(spec.mounts.iter().map(|bind| bind.destination.as_path()))
        .collect();
    for foreign in made.mounts.iter().filter(|it| !own.contains(&it.destination.as_path())) {
        let (at, source) = (foreign.destination.display(), foreign.source.display());
        differences.push(format!("{source} is mounted at {at} (`volumes` or `mounts`)"));
    }
    let expected = own.len();
    if made.mounts.len() > expected {
        differences.push(format!("it has {} mounts instead of {expected}", made.mounts.len()));
    }
    let mode = &made.network_mode;
    match spec.network {
        Some(Namespace::None) if mode != "none" => {
            differences.push(format!("it has a network (its network mode is '{mode}')"));
        }
        None if made.pod_id.is_none() || !mode.starts_with("container:") => differences
            .push(format!("it is not in the pod's network (its network mode is '{mode}')")),
        Some(_) | None => {}
    }
    no_difference(&differences)
}

/// Returns an error that names the differences, if there are any.
fn no_difference(differences: &[String]) -> Result<(), Problem> {
    if differences.is_empty() {
        return Ok(());
    }
    let detail =
        format!("Podman makes containers otherwise than asked: {}", differences.join("; "));
    Err(Problem::new(Code::PolicyUnenforceable, detail).hint(HINT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::podman::{BindMount, NamedVolume};

    fn spec() -> ContainerSpec {
        ContainerSpec {
            no_new_privileges: true,
            cap_add: vec!["CHOWN".to_owned()],
            volumes: vec![NamedVolume {
                name: "v".to_owned(),
                dest: "/v".into(),
                options: Vec::new(),
            }],
            mounts: vec![BindMount {
                source: "/s".into(),
                destination: "/d".into(),
                options: vec!["ro".to_owned()],
            }],
            ..ContainerSpec::default()
        }
    }

    fn as_asked() -> Container {
        let map = ["0:1:1000", "1000:0:1", "1001:1001:64536"].map(str::to_owned).to_vec();
        let mount = |name: &str, source: &str, destination: &str, rw| Mount {
            name: name.to_owned(),
            source: source.into(),
            destination: destination.into(),
            rw,
            ..Mount::default()
        };
        Container {
            no_new_privileges: true,
            effective_caps: vec!["CAP_CHOWN".to_owned()],
            bounding_caps: vec!["CAP_CHOWN".to_owned()],
            mounts: vec![mount("v", "/x", "/v", true), mount("", "/s", "/d", false)],
            network_mode: "container:1".to_owned(),
            pod_id: Some("2".to_owned()),
            uid_map: map.clone(),
            gid_map: map,
            ..Container::default()
        }
    }

    #[test]
    fn what_is_only_to_look_can_neither_write_nor_reach_anything() {
        let mut spec = ContainerSpec { network: Some(Namespace::None), ..spec() };
        spec.volumes[0].options.push("ro".to_owned());
        let mut made = Container { network_mode: "none".to_owned(), pod_id: None, ..as_asked() };
        assert!(container(&spec, &made).unwrap_err().detail.contains("volume v at /v is writable"));
        made.mounts[0].rw = false;
        assert_eq!(container(&spec, &made), Ok(()));
        made.network_mode = "pasta".to_owned();
        assert!(container(&spec, &made).unwrap_err().detail.contains("'pasta'"));
    }

    #[test]
    fn everything_that_protects_is_compared() {
        assert_eq!(container(&spec(), &as_asked()), Ok(()));
        type Change = fn(&mut Container);
        let cases: &[(Change, &str)] = &[
            (|made| made.no_new_privileges = false, "no-new-privileges"),
            (|made| made.bounding_caps.push("CAP_NET_ADMIN".to_owned()), "NET_ADMIN"),
            (|made| made.effective_caps.push("CAP_KILL".to_owned()), "KILL"),
            (|made| made.privileged = true, "privileged"),
            (|made| made.mounts[0].name = "other".to_owned(), "volume v"),
            (|made| made.mounts[1].rw = true, "/d is writable"),
            (|made| made.mounts[1].source = "/etc".into(), "/d shows /etc"),
            (|made| made.mounts.push(Mount::default()), "3 mounts"),
            (|made| made.mounts[1].destination = "/x".into(), "/s is mounted at /x"),
            (|made| made.mounts[0].rw = false, "cannot be written"),
            (|made| made.network_mode = "host".to_owned(), "'host'"),
            (|made| made.pod_id = None, "pod's network"),
            (|made| made.uid_map.clear(), "uid 1000"),
            (|made| made.gid_map = vec!["0:0:1".to_owned()], "gid 1000"),
        ];
        for (change, word) in cases {
            let mut made = as_asked();
            change(&mut made);
            let problem = container(&spec(), &made).unwrap_err();
            assert_eq!(problem.code, Code::PolicyUnenforceable);
            assert!(problem.detail.contains(word), "{word}: {}", problem.detail);
        }
    }
}
