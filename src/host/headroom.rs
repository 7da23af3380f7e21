//! How far this user is from limits of the kernel that each container takes something of.
//!
//! See keyrings(7) and `/proc/key-users` in proc(5), inotify(7), getrlimit(2) (`RLIMIT_NPROC`), and
//! `pids.max` in the kernel's document on control groups, version 2.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::getuid;
use rustix::fs::inotify::{self, CreateFlags};

/// How near a limit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// What is limited.
    pub limit: Limit,
    /// How much of it is in use.
    pub used: u64,
    /// How much there may be.
    pub most: u64,
}

/// A limit that many taskspaces meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Kernel keys of the user: each container has a session keyring, unless Podman makes none.
    Keys,
    /// Processes and threads of the user.
    UserProcesses,
    /// Processes and threads of a control group above the user's containers.
    GroupProcesses {
        /// The control group, as in `/proc/self/cgroup`.
        group: String,
    },
    /// Processes and threads of the whole host.
    HostProcesses,
}

/// Whether this user can have so many inotify instances more. The kernel does not show how many there are.
pub fn has_inotify_instances(count: usize) -> bool {
    let instances = (0..count).map(|_| inotify::init(CreateFlags::CLOEXEC));
    instances.collect::<Result<Vec<_>, _>>().is_ok()
}

/// Where the kernel shows its limits.
#[derive(Clone, Debug)]
pub struct Kernel {
    proc: PathBuf,
    cgroups: PathBuf,
    uid: u32,
}

impl Default for Kernel {
    fn default() -> Self {
        let [proc, cgroups] = ["/proc", "/sys/fs/cgroup"].map(PathBuf::from);
        Self { proc, cgroups, uid: getuid().as_raw() }
    }
}

impl Kernel {
    /// Reads all limits that can be read; one that the kernel does not show does not bind.
    pub fn gauges(&self) -> Vec<Gauge> {
        let groups = self.group_processes();
        let single = [self.keys(), self.user_processes(), self.host_processes()];
        single.into_iter().flatten().chain(groups).collect()
    }

    fn keys(&self) -> Option<Gauge> {
        let text = self.read("key-users")?;
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let (_, counts) = lines.find(|(uid, _)| uid.trim().parse() == Ok(self.uid))?;
        // `<usage> <keys>/<instantiated> <keys>/<most keys> <bytes>/<most bytes>`
        let (used, most) = counts.split_whitespace().nth(2)?.split_once('/')?;
        Some(Gauge { limit: Limit::Keys, used: used.parse().ok()?, most: most.parse().ok()? })
    }

    /// Every process with a number counts as one: an estimate from below, for threads count, too.
    fn user_processes(&self) -> Option<Gauge> {
        use std::os::unix::fs::MetadataExt;

        let (most, _) = getrlimit(Resource::RLIMIT_NPROC).ok()?;
        if most == RLIM_INFINITY {
            return None;
        }
        let entries = fs::read_dir(&self.proc).ok()?.flatten();
        let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        let own = entries.filter(|entry| {
            entry.file_name().to_str().is_some_and(is_process)
                && entry.metadata().is_ok_and(|metadata| metadata.uid() == self.uid)
        });
        Some(Gauge { limit: Limit::UserProcesses, used: own.count() as u64, most })
    }

    fn host_processes(&self) -> Option<Gauge> {
        // `0.20 0.18 0.12 1/80 11206`: what runs, and all there are.
        let text = self.read("loadavg")?;
        let (_, used) = text.split_whitespace().nth(3)?.split_once('/')?;
        let number = |path: &str| self.read(path)?.trim().parse::<u64>().ok();
        let most = [number("sys/kernel/pid_max"), number("sys/kernel/threads-max")];
        let most = most.into_iter().flatten().min()?;
        Some(Gauge { limit: Limit::HostProcesses, used: used.parse().ok()?, most })
    }

    /// Podman's containers are in slices of the user's manager, so the groups above that bind.
    fn group_processes(&self) -> Vec<Gauge> {
        let uid = self.uid;
        let slice = format!("/user.slice/user-{uid}.slice");
        let groups = [slice.clone(), format!("{slice}/user@{uid}.service")];
        let gauge = |group: String| {
            let directory = self.cgroups.join(group.trim_start_matches('/'));
            let read = |file: &str| number_in(&directory.join(file));
            let (used, most) = (read("pids.current")?, read("pids.max")?);
            Some(Gauge { limit: Limit::GroupProcesses { group }, used, most })
        };
        groups.into_iter().filter_map(gauge).collect()
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.proc.join(path)).ok()
    }
}

/// Returns the number in a file; `max` is none.
fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_shows_them() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "proc/key-users",
            "    0:    21 20/20 15/1000000 274/25000000\n 4711:     7 7/7 199/200 2/3\n",
        );
        write("proc/loadavg", "0.20 0.18 0.12 1/80 11206\n");
        write("proc/sys/kernel/pid_max", "4194304\n");
        write("proc/sys/kernel/threads-max", "1000\n");
        let slice = "/user.slice/user-4711.slice";
        write(&format!("cgroup{slice}/pids.max"), "500\n");
        write(&format!("cgroup{slice}/pids.current"), "499\n");
        write(&format!("cgroup{slice}/user@4711.service/pids.max"), "max\n");
        write(&format!("cgroup{slice}/user@4711.service/pids.current"), "499\n");
        let [proc, cgroups] = ["proc", "cgroup"].map(|name| root.path().join(name));
        let kernel = Kernel { proc, cgroups, uid: 4711 };
        let mut gauges = kernel.gauges();
        gauges.retain(|gauge| gauge.limit != Limit::UserProcesses);
        let group = Limit::GroupProcesses { group: slice.to_owned() };
        let gauge = |limit, used, most| Gauge { limit, used, most };
        assert_eq!(
            gauges,
            [
                gauge(Limit::Keys, 199, 200),
                gauge(Limit::HostProcesses, 80, 1000),
                gauge(group, 499, 500)
            ]
        );
        // A kernel that shows nothing binds nothing.
        let nowhere = Kernel { proc: "/nowhere".into(), cgroups: "/nowhere".into(), uid: 4711 };
        assert!(nowhere.gauges().is_empty());
    }
}
