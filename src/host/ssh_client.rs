//! What this host's OpenSSH client understands.

use std::path::Path;
use std::process::{Command, Stdio};

/// Keywords of forwardings, which ssh adds up over the whole configuration.
const FORWARDINGS: [&str; 3] = ["localforward ", "remoteforward ", "dynamicforward "];

/// Returns those of the options (lines of ssh_config(5)) that the installed client takes without a
/// complaint; none where there is no client.
///
/// ssh refuses a whole file, for every host, because of one keyword that it does not know.
/// `IgnoreUnknown` is no remedy: its first value holds, so one of ours would put the user's own out
/// of force.
pub fn understood<'a>(options: &[&'a str]) -> Vec<&'a str> {
    if takes(options) {
        return options.to_vec();
    }
    options.iter().copied().filter(|option| takes(&[option])).collect()
}

/// Returns the forwardings that a file of configuration sets up for a host, as `ssh -G` writes them;
/// none where ssh cannot tell.
pub fn forwardings(config: &Path, host: &str) -> Vec<String> {
    let mut ssh = Command::new("ssh");
    let output = ssh.arg("-F").arg(config).args(["-G", "-T", host]).stdin(Stdio::null()).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let is_forwarding = |line: &&str| FORWARDINGS.iter().any(|word| line.starts_with(word));
    text.lines().filter(is_forwarding).map(str::to_owned).collect()
}

/// Whether ssh takes all of the options. It complains of those that it was built without, and goes on.
fn takes(options: &[&str]) -> bool {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-G", "-T"]);
    for option in options {
        ssh.args(["-o", option]);
    }
    let output = ssh.arg("taskspace").stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success() && output.stderr.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwardings_are_found_where_they_hold() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config");
        let text = "Host other\n  LocalForward 1 a:2\nHost * !x-agent\n  RemoteForward 3 b:4\n";
        std::fs::write(&config, text).unwrap();
        assert_eq!(forwardings(&config, "x-dev"), ["remoteforward 3 [b]:4"]);
        assert!(forwardings(&config, "x-agent").is_empty());
        assert!(forwardings(&directory.path().join("none"), "x-dev").is_empty());
    }

    #[test]
    fn unknown_keywords_and_values_are_left_out() {
        assert_eq!(
            understood(&["Port 22", "NoSuchKeyword yes", "Port none", "Compression no"]),
            ["Port 22", "Compression no"]
        );
        assert_eq!(understood(&["Port 22", "Compression no"]), ["Port 22", "Compression no"]);
    }
}
