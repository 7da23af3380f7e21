//! What others do to a taskspace behind the service's back.

use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::podman::TestPodman;
use super::{User, processes};

/// An act of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    KillContainer,
    StopContainer,
    RemoveContainer,
    PauseContainer,
    KillInfra,
    StopPod,
    KillPod,
    RestartPod,
    RemovePod,
    RemoveCheckout,
    RemoveBuildCache,
    RemoveChanges,
    KillSshd,
    FreezeSshd,
    KillMonitor,
    KillNetwork,
    FreezeNetwork,
    HideNetwork,
}

/// All of them, with how often each is done.
pub const OTHERS: &[(Other, u32)] = &[
    (Other::KillContainer, 4),
    (Other::StopContainer, 3),
    (Other::RemoveContainer, 3),
    (Other::PauseContainer, 1),
    (Other::KillInfra, 3),
    (Other::StopPod, 3),
    (Other::KillPod, 2),
    (Other::RestartPod, 3),
    (Other::RemovePod, 3),
    (Other::RemoveCheckout, 2),
    (Other::RemoveBuildCache, 2),
    (Other::RemoveChanges, 1),
    (Other::KillSshd, 2),
    (Other::FreezeSshd, 2),
    (Other::KillMonitor, 2),
    (Other::KillNetwork, 2),
    (Other::FreezeNetwork, 1),
    (Other::HideNetwork, 2),
];

impl Other {
    /// Does it to a taskspace, to the container of `role` where it is about one. What takes a while is
    /// a command, begun here.
    pub fn begin(self, user: &User, id: &str, role: &str) -> Option<Command> {
        let pod = format!("taskspace-{id}");
        let container = format!("{pod}-{role}");
        let volume = |part: &str| format!("{pod}-{part}");
        let sshd = |signal: &str| {
            let script = format!("kill -{signal} $(pgrep -o -x sshd || pgrep -o sshd)");
            podman(&["exec", "--user=0", &container, "sh", "-c", &script])
        };
        Some(match self {
            Self::KillContainer => podman(&["kill", &container]),
            Self::StopContainer => podman(&["stop", "--time=1", &container]),
            Self::RemoveContainer => podman(&["rm", "--force", "--time=0", &container]),
            Self::PauseContainer => podman(&["pause", &container]),
            Self::KillInfra => podman(&["kill", &infra(&pod)?]),
            Self::StopPod => podman(&["pod", "stop", "--time=0", &pod]),
            Self::KillPod => podman(&["pod", "kill", &pod]),
            Self::RestartPod => podman(&["pod", "restart", &pod]),
            Self::RemovePod => podman(&["pod", "rm", "--force", "--time=0", &pod]),
            Self::RemoveCheckout => remove_volume(&volume("project")),
            Self::RemoveBuildCache => remove_volume(&volume("build-cache")),
            Self::RemoveChanges => remove_volume(&volume("changes")),
            Self::KillSshd => sshd("KILL"),
            Self::FreezeSshd => sshd("STOP"),
            Self::KillMonitor => {
                send(Signal::SIGKILL, &monitors(&container));
                return None;
            }
            Self::KillNetwork => {
                send(Signal::SIGKILL, &networks(user, id));
                return None;
            }
            Self::FreezeNetwork => {
                send(Signal::SIGSTOP, &networks(user, id));
                return None;
            }
            Self::HideNetwork => {
                hide_network(user, id);
                return None;
            }
        })
    }
}

fn podman(arguments: &[&str]) -> Command {
    let mut command = TestPodman::shared().command();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn remove_volume(name: &str) -> Command {
    let mut command = TestPodman::shared().removal_of_volume(name);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn infra(pod: &str) -> Option<String> {
    let mut inspect = TestPodman::shared().command();
    inspect.args(["pod", "inspect", "--format={{.InfraContainerID}}", pod]);
    let output = inspect.output().unwrap();
    let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!id.is_empty()).then_some(id)
}

fn send(signal: Signal, to: &[i32]) {
    for process in to {
        kill(Pid::from_raw(*process), signal).ok();
    }
}

/// Returns the processes with which Podman monitors a container.
fn monitors(container: &str) -> Vec<i32> {
    let found = processes::with_argument(container).into_iter();
    found.filter(|process| program(*process).ends_with("conmon")).collect()
}

/// Returns the processes that are the network of a taskspace.
fn networks(user: &User, id: &str) -> Vec<i32> {
    let record = &user.registry()["taskspaces"][id];
    record["dev_port"].as_u64().map(|port| forwarders(&[port])).unwrap_or_default()
}

/// Keeps pasta from seeing that its network is removed, if it is: it watches for that name.
pub fn hide_network(user: &User, id: &str) {
    for process in networks(user, id) {
        let arguments = processes::arguments(process);
        let namespace = arguments.iter().skip_while(|argument| *argument != "--netns").nth(1);
        let Some(namespace) = namespace else { continue };
        let hidden = format!("{namespace}-hidden");
        // Gone already, when others are at it as well.
        if std::fs::rename(namespace, &hidden).is_ok() {
            std::fs::remove_file(&hidden).unwrap();
        }
    }
}

/// Returns the processes that forward any of these ports.
pub fn forwarders(ports: &[u64]) -> Vec<i32> {
    let forwards =
        |argument: &String| ports.iter().any(|port| argument.contains(&format!("/{port}-{port}:")));
    let does = |process: &i32| {
        program(*process).contains("pasta") && processes::arguments(*process).iter().any(forwards)
    };
    processes::all().filter(does).collect()
}

fn program(process: i32) -> String {
    processes::arguments(process).into_iter().next().unwrap_or_default()
}
