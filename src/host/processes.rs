//! The processes of this machine, as `/proc` tells them (proc_pid_stat(5), proc_pid_cmdline(5)).

use std::fmt;
use std::fs;
use std::io;
use std::num::ParseIntError;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

/// The state of a process that has ended and that nobody has taken note of.
const ENDED: &str = "Z";

/// A process; one that has its number later is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub number: i32,
    /// When it was started, in ticks since the machine was: numbers of processes come again.
    started: u64,
}

/// What is known of a process that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The process.
    pub process: Process,
    /// The number of the process that it is a child of.
    pub parent: i32,
    /// The name of its program, of which the kernel keeps 15 characters.
    pub program: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.number, self.started)
    }
}

impl FromStr for Process {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (number, started) = text.split_once('@').unwrap_or((text, ""));
        Ok(Self { number: number.parse()?, started: started.parse()? })
    }
}

impl Process {
    /// Returns the process that has a number now; none when none has.
    pub fn of(number: i32) -> Option<Self> {
        Running::read(number).map(|running| running.process)
    }

    /// Whether it still runs.
    pub fn runs(self) -> bool {
        Running::read(self.number).is_some_and(|running| running.process == self)
    }

    /// Whether this user has started it; not when it is gone.
    pub fn is_ours(self) -> bool {
        let owner = fs::metadata(place(self.number));
        owner.is_ok_and(|owner| owner.uid() == geteuid().as_raw()) && self.runs()
    }

    /// Says in words what it does, by its state in proc_pid_stat(5); none when it is gone.
    pub fn activity(self) -> Option<&'static str> {
        let stat = fs::read_to_string(place(self.number).join("stat")).ok()?;
        // The name of the program before it may have anything in it.
        let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
        self.runs().then_some(match state {
            'T' => "stopped by a signal",
            't' => "stopped by a debugger",
            'D' => "waiting for a disk",
            'R' => "running",
            _ => "idle",
        })
    }

    /// Asks it to end, as soon as it goes on if it is stopped.
    ///
    /// # Errors
    /// When that is not allowed.
    pub fn terminate(self) -> io::Result<()> {
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            match kill(Pid::from_raw(self.number), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Returns its arguments, the program first; none when it is gone.
    pub fn arguments(self) -> Vec<String> {
        let bytes = fs::read(place(self.number).join("cmdline")).unwrap_or_default();
        // Read before it is looked whether these are this process's.
        if !self.runs() {
            return Vec::new();
        }
        String::from_utf8_lossy(&bytes).split_terminator('\0').map(str::to_owned).collect()
    }

    /// Ends it at once, also when somebody has frozen it.
    ///
    /// # Errors
    /// When that is not allowed.
    pub fn end(self) -> io::Result<()> {
        if !self.runs() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.number), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Running {
    /// Returns all processes that run.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn all() -> io::Result<Vec<Self>> {
        let entries = fs::read_dir("/proc")?.flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(numbers.filter_map(Self::read).collect())
    }

    fn read(number: i32) -> Option<Self> {
        Self::parse(number, &fs::read_to_string(place(number).join("stat")).ok()?)
    }

    /// Reads the kernel's line; none when the process has ended.
    fn parse(number: i32, stat: &str) -> Option<Self> {
        // The name, in brackets, may have brackets and blanks in it.
        let (front, rest) = stat.rsplit_once(") ")?;
        let (_, program) = front.split_once('(')?;
        let mut fields = rest.split(' ');
        fields.next().filter(|state| *state != ENDED)?;
        let parent = fields.next()?.parse().ok()?;
        // The 22nd field of all; the parent is the fourth.
        let started = fields.nth(17)?.parse().ok()?;
        let process = Process { number, started };
        Some(Self { process, parent, program: program.to_owned() })
    }
}

fn place(number: i32) -> PathBuf {
    Path::new("/proc").join(number.to_string())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4194560 9 0 0 0 1 2 0 0 20 0 1 0 48391 5 6";
        let process = Process { number: 7, started: 48_391 };
        assert_eq!(process.to_string().parse(), Ok(process));
        assert!("7".parse::<Process>().is_err());
        let running = Running { process, parent: 3, program: "a) b".to_owned() };
        assert_eq!(Running::parse(7, stat), Some(running));
        assert_eq!(Running::parse(7, &stat.replace(" S ", " Z ")), None);
        assert_eq!(Running::parse(7, "7 (a"), None);
    }

    #[test]
    fn a_process_is_told_from_a_later_one_of_its_number() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let number: i32 = child.id().try_into().unwrap();
        let found = Running::all().unwrap().into_iter().find(|it| it.process.number == number);
        let now = found.unwrap().process;
        let before = Process { started: now.started - 1, ..now };
        assert!(now.is_ours() && now.runs() && !before.runs() && !before.is_ours());
        assert!(before.arguments().is_empty());
        before.end().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        now.end().unwrap();
        assert!(!child.wait().unwrap().success() && !now.runs());
        now.end().unwrap();
    }
}
