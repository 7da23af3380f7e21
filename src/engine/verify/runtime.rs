//! Compares what the OCI runtime was given to make a container of with what was asked for: some of what
//! Podman adds by itself is seen nowhere else.

use std::path::Path;

use super::no_difference;
use crate::model::Problem;
use crate::podman::{Container, RuntimeMount, RuntimeSpec};

/// Where Podman mounts file systems of the kernel, or files that it makes for the container.
const PODMANS_OWN: [&str; 17] = [
    "/proc",
    "/dev",
    "/dev/pts",
    "/dev/mqueue",
    "/dev/shm",
    "/dev/init",
    "/sys",
    "/sys/fs/cgroup",
    "/etc/group",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/localtime",
    "/etc/mtab",
    "/etc/passwd",
    "/etc/resolv.conf",
    "/run/.containerenv",
    "/run/podman-init",
];

/// The directory of a container's files in Podman's storage.
const USERDATA: &str = "userdata";

/// Bind mounts that are expected: the init that is asked for, and `/sys` where the kernel refuses a new
/// mount of it.
const BOUND: [&str; 4] = ["/dev/init", "/run/podman-init", "/sys", "/sys/fs/cgroup"];

/// The namespaces that each container has apart from Podman's, its own or those of its pod.
const NAMESPACES: [&str; 7] = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup"];

/// What annotations of these names tell the OCI runtime: to keep groups of the user, to run hooks, to use
/// other handlers and so on.
const RUNTIMES_OWN: [&str; 3] = ["run.oci.", "io.crun.", "krun."];

/// The filter of system calls that lets everything through.
const ALLOW_ALL: &str = "SCMP_ACT_ALLOW";

/// Compares what the OCI runtime was given with the container as Podman shows it, whose mounts are those
/// that were asked for.
///
/// # Errors
/// [`Code::PolicyUnenforceable`](crate::model::Code::PolicyUnenforceable) with everything that differs.
pub(in super::super) fn runtime(made: &Container, given: &RuntimeSpec) -> Result<(), Problem> {
    let mut differences = Vec::new();
    for mount in given.mounts.iter().filter(|mount| !is_expected(made, mount)) {
        let (at, source) = (mount.destination.display(), mount.source.display());
        let option = match mount.destination.starts_with("/dev") {
            true => "`devices`",
            false => "`volumes`, `mounts`, or mounts.conf",
        };
        differences.push(format!("{source} is mounted at {at} ({option})"));
    }
    for namespace in NAMESPACES {
        if !given.linux.namespaces.iter().any(|it| it.kind == namespace) {
            differences.push(format!("its {namespace} namespace is Podman's own"));
        }
    }
    match &given.linux.seccomp {
        None => differences.push("no system call is refused (`seccomp_profile`)".to_owned()),
        Some(filter) if filter.default_action == ALLOW_ALL => {
            differences.push("system calls are allowed by default (`seccomp_profile`)".to_owned());
        }
        Some(_) => {}
    }
    for name in given.annotations.keys() {
        if RUNTIMES_OWN.iter().any(|prefix| name.starts_with(prefix)) {
            differences.push(format!("it has the annotation {name} (`annotations`)"));
        }
    }
    for (moment, hook) in given
        .hooks
        .iter()
        .flat_map(|(moment, hooks)| hooks.iter().map(move |hook| (moment, hook.path.display())))
    {
        differences.push(format!("{hook} is run at {moment} (a hook in `hooks_dir`)"));
    }
    no_difference(&differences)
}

fn is_expected(made: &Container, mount: &RuntimeMount) -> bool {
    let at = mount.destination.as_path();
    let is_asked_for = made.mounts.iter().any(|asked| asked.destination == at);
    is_asked_for
        || PODMANS_OWN.iter().any(|own| at == Path::new(own))
            && (mount.kind != "bind"
                || BOUND.iter().any(|bound| at == Path::new(bound))
                || is_in_userdata(&mount.source))
}

/// Whether Podman made a file for the container, or a directory for its shared memory.
fn is_in_userdata(source: &Path) -> bool {
    let directory = source.parent().and_then(Path::file_name);
    directory.is_some_and(|directory| directory == USERDATA)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::podman::Mount;

    fn made() -> Container {
        let mount = |at: &str| Mount { destination: at.into(), ..Mount::default() };
        let mounts = ["/workspace", "/etc/resolv.conf"].map(mount).to_vec();
        Container { mounts, ..Container::default() }
    }

    /// What Podman 5.4 gives crun, as far as it is read.
    fn given() -> Value {
        let userdata = "/run/user/1000/containers/overlay-containers/c64/userdata";
        json!({
            "ociVersion": "1.2.0",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev/shm", "type": "bind", "source": format!("{userdata}/shm")},
                {"destination": "/etc/hostname", "type": "bind", "source": format!("{userdata}/hostname")},
                {"destination": "/etc/resolv.conf", "type": "bind", "source": "/s/resolv.conf"},
                {"destination": "/run/podman-init", "type": "bind", "source": "/usr/libexec/catatonit"},
                {"destination": "/sys", "type": "bind", "source": "/sys"},
                {"destination": "/workspace", "type": "bind", "source": "/v/_data"},
            ],
            "annotations": {"io.container.manager": "libpod", "team": "x"},
            "linux": {
                "namespaces": NAMESPACES.map(|kind| json!({"type": kind})),
                "seccomp": {"defaultAction": "SCMP_ACT_ERRNO"},
            },
        })
    }

    fn compared(given: Value) -> Result<(), String> {
        let given: RuntimeSpec = serde_json::from_value(given).unwrap();
        runtime(&made(), &given).map_err(|problem| problem.detail)
    }

    #[test]
    fn podmans_own_mounts_are_expected() {
        assert_eq!(compared(given()), Ok(()));
    }

    #[test]
    fn each_setting_that_reaches_inside_is_named() {
        type Change = fn(&mut Value);
        let bind = |destination: &str, source: &str| json!({"destination": destination, "type": "bind", "source": source});
        let add = |mount: Value| {
            let mut given = given();
            given["mounts"].as_array_mut().unwrap().push(mount);
            compared(given).unwrap_err()
        };
        let error = add(bind("/secrets", "/x/userdata/secrets"));
        assert!(error.contains("is mounted at /secrets (`volumes`, `mounts`, or mounts.conf)"));
        assert!(add(bind("/dev/fuse", "/dev/fuse")).contains("(`devices`)"));
        assert!(add(bind("/etc/passwd", "/etc/passwd")).contains("/etc/passwd is mounted"));
        assert!(add(bind("/run/secrets", "/usr/share/secrets")).contains("mounts.conf"));
        let cases: [(Change, &str); 6] = [
            (|it| it["linux"]["seccomp"] = Value::Null, "no system call is refused"),
            (|it| it["linux"]["seccomp"]["defaultAction"] = ALLOW_ALL.into(), "allowed by default"),
            (|it| it["linux"]["namespaces"] = json!([]), "its uts namespace is Podman's own"),
            (|it| it["linux"] = Value::Null, "its pid namespace"),
            (
                |it| it["annotations"]["run.oci.keep_original_groups"] = "1".into(),
                "annotation run.oci.keep_original_groups",
            ),
            (|it| it["hooks"] = json!({"prestart": [{"path": "/h"}]}), "/h is run at prestart"),
        ];
        for (change, reason) in cases {
            let mut changed = given();
            change(&mut changed);
            let error = compared(changed).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
