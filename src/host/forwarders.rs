//! The processes that forward ports of the host into the network of a pod: pasta, one for each pod.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::processes::{Process, Running};
use crate::model::{Ports, Role};

/// The program's name, or what it begins with: there is one for each kind of processor.
const PROGRAM: &str = "pasta";

/// The option with the network that it forwards to.
const NAMESPACE: &str = "--netns";

/// A process that forwards the ports of a taskspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarder {
    /// The process.
    pub process: Process,
    /// The network that it forwards to.
    pub namespace: PathBuf,
}

impl Forwarder {
    /// Returns this user's processes that forward exactly these two ports.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub fn of(ports: Ports) -> io::Result<Vec<Self>> {
        let running = Running::all()?.into_iter().map(|running| running.process);
        let forwarder = |process: Process| {
            let namespace = namespace(&process.arguments(), ports)?;
            process.is_ours().then_some(Self { process, namespace })
        };
        Ok(running.filter_map(forwarder).collect())
    }

    /// Returns the arguments of this user's processes that forward to a network, the program first.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub fn arguments_into(namespace: &Path) -> io::Result<Vec<Vec<String>>> {
        let running = Running::all()?.into_iter().filter(|it| it.program.starts_with(PROGRAM));
        let arguments = |running: Running| {
            let arguments = running.process.arguments();
            let is_its = values(&arguments, NAMESPACE).any(|value| Path::new(value) == namespace);
            (is_its && running.process.is_ours()).then_some(arguments)
        };
        Ok(running.filter_map(arguments).collect())
    }
}

/// A port of the host's loopback address, and the port inside to which it leads.
type Forwarding = (u16, u16);

/// Whether a value of pasta's option `-t` forwards ports of a taskspace, and no others.
pub fn is_of(value: &str, ports: Ports) -> bool {
    forwardings(value).is_some_and(|found| found.iter().all(|it| wanted(ports).contains(it)))
}

fn wanted(ports: Ports) -> [Forwarding; 2] {
    Role::ALL.map(|role| (ports.of(role), role.port()))
}

/// Reads a value of pasta's option `-t` (pasta(1)) as Podman writes it, which joins ports that follow one
/// another: `127.0.0.1/30110-30111:2222-2223`. None when it is anything else.
fn forwardings(value: &str) -> Option<Vec<Forwarding>> {
    let (address, ports) = value.split_once('/')?;
    let (outside, inside) = ports.split_once(':')?;
    let range = |text: &str| {
        let (first, last) = text.split_once('-')?;
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    let (outside, inside) = (range(outside)?, range(inside)?);
    let is_ours = address == Ipv4Addr::LOCALHOST.to_string() && outside.len() == inside.len();
    is_ours.then(|| outside.zip(inside).collect())
}

/// Returns the values that an option has.
fn values<'a>(arguments: &'a [String], option: &str) -> impl Iterator<Item = &'a str> {
    let pairs = arguments.windows(2).filter(move |pair| pair[0] == option);
    pairs.map(|pair| pair[1].as_str())
}

/// Returns the network that a process forwards to; none when it does not forward exactly these ports.
fn namespace(arguments: &[String], ports: Ports) -> Option<PathBuf> {
    let program = Path::new(arguments.first()?).file_name()?.to_str()?;
    let found: Option<Vec<_>> = values(arguments, "-t").map(forwardings).collect();
    let mut found: Vec<Forwarding> = found?.into_iter().flatten().collect();
    let mut wanted = wanted(ports);
    found.sort_unstable();
    wanted.sort_unstable();
    let namespace = values(arguments, NAMESPACE).next().map(PathBuf::from);
    namespace.filter(|_| program.starts_with(PROGRAM) && found == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports { dev: 30_103, agent: 30_111 };

    /// What Podman 5.4 starts.
    fn arguments() -> String {
        let (dev, agent) = (Role::Dev.port(), Role::Agent.port());
        format!(
            "/usr/bin/pasta --config-net -t 127.0.0.1/30111-30111:{agent}-{agent} \
             -t 127.0.0.1/30103-30103:{dev}-{dev} --dns-forward 169.254.1.1 -u none -T none -U none \
             --no-map-gw --quiet --netns /run/user/1000/netns/netns-1 --map-guest-addr 169.254.1.2"
        )
    }

    #[test]
    fn only_what_forwards_both_ports_and_no_other_is_found() {
        let found = |arguments: &str| {
            let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
            namespace(&words, PORTS)
        };
        let network = Some(PathBuf::from("/run/user/1000/netns/netns-1"));
        assert_eq!(found(&arguments()), network);
        assert_eq!(found(&arguments().replace("bin/pasta", "bin/pasta.avx2")), network);
        let others = [
            arguments().replace("bin/pasta", "bin/ssh"),
            arguments().replace("30111-30111", "30111-30112"),
            arguments().replace("30111-30111", "30111"),
            arguments().replace("30111-30111", "30112-30112"),
            arguments().replace("127.0.0.1/30103", "0.0.0.0/30103"),
            arguments().replace("--netns ", "--pid "),
            arguments().replace("-u none", "-t 127.0.0.1/30104-30104:1-1"),
            arguments().replace("-t 127.0.0.1/30111", "-u 127.0.0.1/30111"),
            String::new(),
        ];
        for other in others {
            assert_eq!(found(&other), None, "{other}");
        }
        let joined = "pasta -t 127.0.0.1/30110-30111:2222-2223 --netns /netns";
        let words: Vec<String> = joined.split(' ').map(str::to_owned).collect();
        let of = |dev, agent| namespace(&words, Ports { dev, agent });
        assert_eq!(of(30_110, 30_111), Some("/netns".into()));
        assert_eq!(of(30_111, 30_110), None);
    }
}
