//! The processes of this machine, as /proc shows them.

use std::fs;
use std::path::PathBuf;

/// Returns all processes.
pub fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns the arguments of a process; none when it is gone.
pub fn arguments(process: i32) -> Vec<String> {
    words(process, "cmdline")
}

/// Returns the processes that have a word among their arguments.
pub fn with_argument(word: &str) -> Vec<i32> {
    all().filter(|process| arguments(*process).iter().any(|argument| argument == word)).collect()
}

/// Returns the processes that have a variable in their environment: `NAME=value`.
pub fn with_variable(variable: &str) -> Vec<i32> {
    let has = |process: &i32| words(*process, "environ").iter().any(|it| it == variable);
    all().filter(has).collect()
}

/// Returns how much memory a process has resident, in KiB; none when it is gone.
pub fn resident(process: i32) -> Option<u64> {
    let status = fs::read_to_string(place(process, "status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Returns how many files a process has open; none when it is gone.
pub fn open_files(process: i32) -> Option<usize> {
    Some(fs::read_dir(place(process, "fd")).ok()?.count())
}

fn words(process: i32, file: &str) -> Vec<String> {
    let bytes = fs::read(place(process, file)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).split_terminator('\0').map(str::to_owned).collect()
}

fn place(process: i32, file: &str) -> PathBuf {
    ["/proc", &process.to_string(), file].iter().collect()
}
