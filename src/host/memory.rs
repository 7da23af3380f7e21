//! The memory of this machine (proc_meminfo(5)).

use std::fs;
use std::io;

/// Returns how much usable memory there is, in bytes.
///
/// # Errors
/// When the kernel does not tell.
pub fn total() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    parse(&text).ok_or_else(|| io::Error::other("/proc/meminfo does not tell MemTotal"))
}

fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_is_read_in_bytes() {
        let text = "MemTotal:       10063152 kB\nMemFree:           68 kB\n";
        assert_eq!(parse(text), Some(10_063_152 << 10));
        assert_eq!(parse("MemFree: 1 kB\n"), None);
        assert_eq!(parse("MemTotal: some\n"), None);
        assert!(total().unwrap() > 1 << 20);
    }
}
