//! The processes by which Podman monitors containers: conmon, one for each that runs (conmon(8)).

use std::io;
use std::path::{Path, PathBuf};

use super::processes::{Process, Running};

/// The program's name.
const PROGRAM: &str = "conmon";

/// A process that monitors a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// The process.
    pub process: Process,
    /// The container's id.
    pub container: String,
    /// The container's name.
    pub name: String,
    /// Where Podman keeps what the container is started from: in its own storage.
    pub bundle: PathBuf,
    /// What it has started, and what that has.
    below: Vec<Process>,
    /// Whether the container has ended, and Podman cleans up after it.
    pub is_ending: bool,
}

impl Monitor {
    /// Returns this user's monitors.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub fn all() -> io::Result<Vec<Self>> {
        let running = Running::all()?;
        let conmons = running.iter().filter(|it| it.program == PROGRAM);
        Ok(conmons.filter_map(|it| Self::of(it.process, &running)).collect())
    }

    fn of(process: Process, running: &[Running]) -> Option<Self> {
        let arguments = Arguments::parse(&process.arguments())?;
        let below = below(process, running);
        let cleans_up = |it: &Process| it.arguments().first() == Some(&arguments.exit_command);
        let is_ending = below.iter().any(cleans_up);
        let Arguments { container, name, bundle, .. } = arguments;
        process.is_ours().then_some(Self { process, container, name, bundle, below, is_ending })
    }

    /// Whether the container is, or was, in the storage at `graph_root`.
    pub fn is_in(&self, graph_root: &Path) -> bool {
        self.bundle.starts_with(graph_root)
    }

    /// Ends it at once, with all that it has started.
    ///
    /// # Errors
    /// When that is not allowed; then what could be ended is.
    pub fn end(&self) -> io::Result<()> {
        // First, so that it does not take the end of the others for that of the container.
        let first = self.process.end();
        self.below.iter().map(|process| process.end()).fold(first, Result::and)
    }
}

/// Returns what a process has started, and what that has.
fn below(process: Process, running: &[Running]) -> Vec<Process> {
    let mut found = Vec::new();
    let mut parents = vec![process.number];
    while let Some(parent) = parents.pop() {
        let children = running.iter().filter(|it| it.parent == parent).map(|it| it.process);
        parents.extend(children.clone().map(|child| child.number));
        found.extend(children);
    }
    found
}

/// What a monitor was started with.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    container: String,
    name: String,
    bundle: PathBuf,
    exit_command: String,
}

impl Arguments {
    /// Reads them; none of one that monitors a command that somebody runs in a container that runs
    /// (`podman exec`), which is called by the container's name, too.
    fn parse(words: &[String]) -> Option<Self> {
        let value = |option: &str| {
            words.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1].clone())
        };
        let container = value("-c")?;
        if value("-u")? != container {
            return None;
        }
        Some(Self {
            container,
            name: value("-n")?,
            bundle: value("-b")?.into(),
            exit_command: value("--exit-command").unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_arguments_say_whose_monitor_it_is() {
        let line = "/usr/bin/conmon --api-version 1 -c 17cd -u 17cd -r /usr/bin/crun \
                    -b /s/overlay-containers/17cd/userdata -p /run/pidfile -n taskspace-a-dev \
                    --exit-dir /run/exits --exit-command /usr/bin/podman --exit-command-arg -q";
        let parse = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Arguments::parse(&words)
        };
        let found = Arguments {
            container: "17cd".to_owned(),
            name: "taskspace-a-dev".to_owned(),
            bundle: "/s/overlay-containers/17cd/userdata".into(),
            exit_command: "/usr/bin/podman".to_owned(),
        };
        assert_eq!(parse(line), Some(found));
        assert_eq!(parse(&line.replace("-u 17cd", "-u a2f7 -e")), None);
        for option in ["-c", "-u", "-n", "-b"] {
            assert_eq!(parse(&line.replace(option, "-x")), None, "{option}");
        }
        assert_eq!(parse(""), None);
    }

    #[test]
    fn it_is_ended_with_all_that_it_has_started() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 60 & echo; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let all = Running::all().unwrap();
        let number: i32 = shell.id().try_into().unwrap();
        let process = all.iter().find(|it| it.process.number == number).unwrap().process;
        let below = below(process, &all);
        let [sleep] = below[..] else { panic!("{below:?}") };
        let (container, name) = (String::new(), String::new());
        let bundle = PathBuf::from("/s/c/userdata");
        let monitor = Monitor { process, container, name, bundle, below, is_ending: false };
        assert!(monitor.is_in(Path::new("/s")) && !monitor.is_in(Path::new("/t")));
        monitor.end().unwrap();
        assert!(!shell.wait().unwrap().success());
        // Nobody writes to the pipe any more when both have ended.
        assert_eq!(output.read_line(&mut line).unwrap(), 0);
        // The kernel closes what a process has open before it takes it for ended.
        while sleep.runs() {
            std::thread::yield_now();
        }
    }
}
