//! The processes that forward ports of the host into the network of a pod: pasta, one for each pod.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::model::{Ports, Role};

/// The program's name, or what it begins with: there is one for each kind of processor.
const PROGRAM: &str = "pasta";

/// The state of a process that has ended and that nobody has taken note of.
const ENDED: &str = "Z";

/// A process that forwards the ports of a taskspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarder {
    process: i32,
    /// When it was started: numbers of processes come again.
    started: u64,
    /// The network that it forwards to.
    pub namespace: PathBuf,
}

impl Forwarder {
    /// Returns this user's processes that forward exactly these two ports.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub fn of(ports: Ports) -> io::Result<Vec<Self>> {
        let entries = fs::read_dir("/proc")?.flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(numbers.filter_map(|process| Self::read(process, ports)).collect())
    }

    /// Reads a process; none when it is gone, or does something else.
    fn read(process: i32, ports: Ports) -> Option<Self> {
        let directory = place(process);
        let is_ours = fs::metadata(&directory).ok()?.uid() == geteuid().as_raw();
        // Before its arguments, so that both are of the same process when this still holds later.
        let started = started(&fs::read_to_string(directory.join("stat")).ok()?)?;
        let arguments = fs::read(directory.join("cmdline")).ok()?;
        let namespace = namespace(&String::from_utf8_lossy(&arguments), ports)?;
        is_ours.then_some(Self { process, started, namespace })
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        let stat = fs::read_to_string(place(self.process).join("stat"));
        stat.is_ok_and(|stat| started(&stat) == Some(self.started))
    }

    /// Ends it at once, also when somebody has frozen it.
    ///
    /// # Errors
    /// When that is not allowed.
    pub fn end(&self) -> io::Result<()> {
        if !self.runs() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.process), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn place(process: i32) -> PathBuf {
    Path::new("/proc").join(process.to_string())
}

/// Reads when a process was started, in ticks since the machine was; none when it has ended.
fn started(stat: &str) -> Option<u64> {
    // The name, in brackets, may have brackets and blanks in it.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next().filter(|state| *state != ENDED);
    // The 22nd field of all; the state is the third.
    state.and_then(|_| fields.nth(18)?.parse().ok())
}

/// Returns the network that a process forwards to; none when it does not forward exactly these ports.
fn namespace(arguments: &str, ports: Ports) -> Option<PathBuf> {
    let words: Vec<&str> = arguments.split_terminator('\0').collect();
    let program = Path::new(words.first()?).file_name()?.to_str()?;
    let values = |option: &str| -> Vec<&str> {
        let pairs = words.windows(2).filter(|pair| pair[0] == option);
        pairs.map(|pair| pair[1]).collect()
    };
    let mut forwarded = values("-t");
    let mut wanted = Role::ALL.map(|role| {
        let (outside, inside) = (ports.of(role), role.port());
        format!("{}/{outside}-{outside}:{inside}-{inside}", Ipv4Addr::LOCALHOST)
    });
    forwarded.sort_unstable();
    wanted.sort_unstable();
    let namespace = values("--netns").first().map(PathBuf::from);
    namespace.filter(|_| program.starts_with(PROGRAM) && forwarded == wanted)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const PORTS: Ports = Ports { dev: 30_103, agent: 30_111 };

    /// What Podman 5.4 starts.
    fn arguments() -> String {
        let (dev, agent) = (Role::Dev.port(), Role::Agent.port());
        format!(
            "/usr/bin/pasta --config-net -t 127.0.0.1/30111-30111:{agent}-{agent} \
             -t 127.0.0.1/30103-30103:{dev}-{dev} --dns-forward 169.254.1.1 -u none -T none -U none \
             --no-map-gw --quiet --netns /run/user/1000/netns/netns-1 --map-guest-addr 169.254.1.2 "
        )
        .replace(' ', "\0")
    }

    #[test]
    fn only_what_forwards_both_ports_and_no_other_is_found() {
        let found = |arguments: &str| namespace(arguments, PORTS);
        let network = Some(PathBuf::from("/run/user/1000/netns/netns-1"));
        assert_eq!(found(&arguments()), network);
        assert_eq!(found(&arguments().replace("bin/pasta", "bin/pasta.avx2")), network);
        let others = [
            arguments().replace("bin/pasta", "bin/ssh"),
            arguments().replace("30111-30111", "30112-30112"),
            arguments().replace("127.0.0.1/30103", "0.0.0.0/30103"),
            arguments().replace("--netns\0", "--pid\0"),
            arguments().replace("-u\0none", "-t\x00127.0.0.1/30104-30104:1-1"),
            arguments().replace("-t\x00127.0.0.1/30111", "-u\x00127.0.0.1/30111"),
            String::new(),
        ];
        for other in others {
            assert_eq!(found(&other), None, "{other}");
        }
    }

    #[test]
    fn a_process_is_told_from_a_later_one_of_its_number() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 1 2 0 0 20 0 1 0 48391 5 6";
        assert_eq!(started(stat), Some(48_391));
        assert_eq!(started(&stat.replace(" S ", " Z ")), None);
        assert_eq!(started("7 (a"), None);
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = child.id().try_into().unwrap();
        let stat = fs::read_to_string(place(process).join("stat")).unwrap();
        let started = started(&stat).unwrap();
        let now = Forwarder { process, started, namespace: PathBuf::new() };
        let before = Forwarder { started: started - 1, ..now.clone() };
        assert!(now.runs() && !before.runs());
        before.end().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        now.end().unwrap();
        assert!(!child.wait().unwrap().success() && !now.runs());
        now.end().unwrap();
    }
}
