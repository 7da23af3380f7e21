//! The log of the addresses that names have led to in the network of a pod.
//!
//! The kernel has the addresses, but not the names that they are let through for. A service that
//! starts while a pod runs has to know these: they say what of it another policy lets through. The
//! log is in the user's runtime directory, which goes as pods do, and is good for one process only,
//! the one that keeps the pod's network.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tempfile::NamedTempFile;

use super::files::{self, FileError};
use super::processes::Process;

/// How many lines are added before the log is written anew without those that later ones replace.
const LINES: usize = 20_000;

/// A name that has led to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedGrant {
    /// The name.
    pub name: String,
    /// The address.
    pub address: IpAddr,
    /// For how long from now on it is let through; zero when that is over.
    pub lasting: Duration,
}

/// The log of one network.
#[derive(Debug)]
pub struct GrantLog {
    path: PathBuf,
    process: Process,
    file: Option<File>,
    lines: usize,
}

impl GrantLog {
    /// Returns what is in a log that is about the network of this process; nothing where there is no
    /// such log. Lines that make no sense are passed over.
    pub fn read(path: &Path, process: Process) -> Vec<LoggedGrant> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines();
        if lines.next() != Some(&process.to_string()) {
            return Vec::new();
        }
        let now = since_boot();
        let mut latest = HashMap::new();
        for (name, address, end) in lines.filter_map(parse) {
            let known = latest.entry((name, address)).or_insert(end);
            *known = end.max(*known);
        }
        let grant = |((name, address), end): ((&str, IpAddr), Duration)| LoggedGrant {
            name: name.to_owned(),
            address,
            lasting: end.saturating_sub(now),
        };
        latest.into_iter().map(grant).collect()
    }

    /// Begins a log anew, with what is known.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(
        path: PathBuf,
        process: Process,
        known: &[LoggedGrant],
    ) -> Result<Self, FileError> {
        if let Some(directory) = path.parent() {
            files::private_dir(directory)?;
        }
        let mut log = Self { path, process, file: None, lines: 0 };
        log.replace(known)?;
        Ok(log)
    }

    /// Adds grants.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, grants: &[LoggedGrant]) -> Result<(), FileError> {
        self.lines += grants.len();
        if self.lines > LINES {
            let mut known = Self::read(&self.path, self.process);
            known.extend_from_slice(grants);
            return self.replace(&known);
        }
        let (text, path) = (lines(grants), &self.path);
        let written = self.file.as_mut().map(|file| file.write_all(text.as_bytes()));
        written
            .unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
            .map_err(FileError::io("add to", path))
    }

    /// Has nothing but these grants in it.
    ///
    /// # Errors
    /// When it cannot be written; then it is as before.
    pub fn replace(&mut self, known: &[LoggedGrant]) -> Result<(), FileError> {
        let text = format!("{}\n{}", self.process, lines(known));
        let replace = || {
            // Not synced: a machine that loses its power loses the network, too.
            let mut file = NamedTempFile::new_in(self.path.parent().unwrap_or(Path::new("/")))?;
            file.write_all(text.as_bytes())?;
            file.persist(&self.path)?;
            OpenOptions::new().append(true).open(&self.path)
        };
        self.file = Some(replace().map_err(FileError::io("write", &self.path))?);
        self.lines = 0;
        Ok(())
    }
}

fn lines(grants: &[LoggedGrant]) -> String {
    let now = since_boot();
    let line =
        |it: &LoggedGrant| format!("{} {} {}\n", it.name, it.address, (now + it.lasting).as_secs());
    grants.iter().map(line).collect()
}

fn parse(line: &str) -> Option<(&str, IpAddr, Duration)> {
    let mut fields = line.split(' ');
    let (name, address, end) = (fields.next()?, fields.next()?, fields.next()?);
    let end = Duration::from_secs(end.parse().ok()?);
    fields.next().is_none().then_some((name, address.parse().ok()?, end))
}

/// Returns the time of the monotonic clock, which cannot be set (clock_gettime(2), `CLOCK_MONOTONIC`).
fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(name: &str, last: u8, seconds: u64) -> LoggedGrant {
        let (address, lasting) = (IpAddr::from([192, 0, 2, last]), Duration::from_secs(seconds));
        LoggedGrant { name: name.to_owned(), address, lasting }
    }

    fn read(path: &Path, process: Process) -> Vec<(String, String, bool)> {
        let mut read: Vec<_> = GrantLog::read(path, process)
            .into_iter()
            .map(|it| (it.name, it.address.to_string(), it.lasting.is_zero()))
            .collect();
        read.sort_unstable();
        read
    }

    fn entry(name: &str, address: &str, is_over: bool) -> (String, String, bool) {
        (name.to_owned(), address.to_owned(), is_over)
    }

    #[test]
    fn grants_are_read_by_the_same_process_only() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("granted/example");
        let process: Process = "7@100".parse().unwrap();
        let mut log = GrantLog::begin(path.clone(), process, &[grant("a", 1, 0)]).unwrap();
        log.add(&[grant("b", 2, 900), grant("a", 3, 900)]).unwrap();
        log.add(&[grant("a", 1, 300)]).unwrap();
        let all = [("a", "192.0.2.1", false), ("a", "192.0.2.3", false), ("b", "192.0.2.2", false)];
        let all = all.map(|(name, address, is_over)| entry(name, address, is_over));
        assert_eq!(read(&path, process), all);
        assert_eq!(read(&path, "7@101".parse().unwrap()), []);
        log.replace(&[grant("b", 2, 0)]).unwrap();
        log.add(&[grant("c", 4, 10)]).unwrap();
        let left = [entry("b", "192.0.2.2", true), entry("c", "192.0.2.4", false)];
        assert_eq!(read(&path, process), left);
    }

    #[test]
    fn a_damaged_log_is_read_as_far_as_it_goes() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("example");
        let process: Process = "7@100".parse().unwrap();
        std::fs::write(&path, "7@100\na 192.0.2.1 1\nb 192.0.2 1\nc 192.0.2.1\nd").unwrap();
        assert_eq!(read(&path, process), [entry("a", "192.0.2.1", true)]);
        assert_eq!(read(&root.path().join("none"), process), []);
    }

    #[test]
    fn a_log_does_not_grow_without_end() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("example");
        let process: Process = "7@100".parse().unwrap();
        let mut log = GrantLog::begin(path.clone(), process, &[]).unwrap();
        let grants: Vec<_> = (0..1000).map(|n| grant(&format!("n{n}"), 1, 300)).collect();
        for _ in 0..25 {
            log.add(&grants).unwrap();
        }
        assert_eq!(GrantLog::read(&path, process).len(), 1000);
        assert!(std::fs::read_to_string(&path).unwrap().lines().count() <= 1 + LINES);
    }
}
