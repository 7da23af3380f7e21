//! Looks at the pasta of a pod: what containers.conf says of its options stands before what is said for
//! the pod, and some of that cannot be taken back.

use super::no_difference;
use crate::host::forwarders::is_of;
use crate::model::{HOST_ADDRESSES, Ports, Problem};

/// Options without a value that change nothing about what is reached.
const FLAGS: [&str; 22] = [
    "--config-net",
    "--quiet",
    "-q",
    "--debug",
    "-d",
    "--trace",
    "--stderr",
    "-e",
    "--no-map-gw",
    "--ipv4-only",
    "-4",
    "--ipv6-only",
    "-6",
    "--no-tcp",
    "--no-udp",
    "--no-icmp",
    "--no-dhcp",
    "--no-ndp",
    "--no-dhcpv6",
    "--no-ra",
    "--no-copy-routes",
    "--no-copy-addrs",
];

/// Options with a value that change nothing about what is reached: addresses and names of the pod's own
/// network, the host's interface, name servers (which pods cannot ask), and logs.
const VALUES: [&str; 28] = [
    "--netns",
    "--dns-forward",
    "--dns",
    "-D",
    "--search",
    "-S",
    "--mtu",
    "-m",
    "--address",
    "-a",
    "--netmask",
    "-n",
    "--mac-addr",
    "-M",
    "--gateway",
    "-g",
    "--interface",
    "-i",
    "--outbound",
    "-o",
    "--outbound-if4",
    "--outbound-if6",
    "--ns-ifname",
    "-I",
    "--ns-mac-addr",
    "--log-file",
    "-l",
    "--log-size",
];

/// Ports of the host that are forwarded into the pod: those of the sshds, which are compared elsewhere.
const FORWARDED: [&str; 2] = ["-t", "--tcp-ports"];

/// What forwards nothing, or maps no address.
const NONE: &str = "none";

/// Compares the arguments of a pod's pasta, the program first, with what a pod with these ports may have.
///
/// # Errors
/// [`Code::PolicyUnenforceable`](crate::model::Code::PolicyUnenforceable) with the options that connect
/// the pod with what its policy cannot refuse.
pub(in super::super) fn pasta(arguments: &[String], ports: Ports) -> Result<(), Problem> {
    let mut refused = Vec::new();
    let (mut loopback, mut host) = (Vec::new(), Vec::new());
    let mut words = arguments.iter().skip(1);
    while let Some(word) = words.next() {
        let (option, attached) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        if FLAGS.contains(&option) && attached.is_none() {
            continue;
        }
        let mut value = || attached.clone().or_else(|| words.next().cloned()).unwrap_or_default();
        match option {
            _ if VALUES.contains(&option) => drop(value()),
            "--map-host-loopback" => loopback.push(value()),
            "--map-guest-addr" => host.push(value()),
            "-u" | "--udp-ports" | "-T" | "--tcp-ns" | "-U" | "--udp-ns" => {
                let value = value();
                if value != NONE {
                    refused.push(format!("{option} {value}"));
                }
            }
            _ if FORWARDED.contains(&option) => {
                let value = value();
                if !is_of(&value, ports) {
                    refused.push(format!("{option} {value}"));
                }
            }
            _ => refused.push(word.clone()),
        }
    }
    if let Some(last) = in_force(&loopback).last() {
        refused.push(format!("--map-host-loopback {last}"));
    }
    // Podman's own option where pasta does not know `none`.
    let own = HOST_ADDRESSES.map(|address| address.to_string());
    if let Some(other) = in_force(&host).iter().find(|it| !own.contains(it)) {
        refused.push(format!("--map-guest-addr {other}"));
    }
    let differences: Vec<String> = refused
        .iter()
        .map(|option| format!("pasta has the option `{option}` (`pasta_options` in [network])"))
        .collect();
    no_difference(&differences)
}

/// Returns the addresses that are mapped: `none` takes back all before it.
fn in_force(values: &[String]) -> &[String] {
    let after = values.iter().rposition(|value| value == NONE).map_or(0, |place| place + 1);
    &values[after..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Podman 5.4 starts for a pod of ours.
    const USUAL: &str = "/usr/bin/pasta --config-net --no-map-gw --map-host-loopback none \
        --map-guest-addr none -t 127.0.0.1/30111-30111:2223-2223 \
        --dns-forward 169.254.1.1 -u none -T none -U none --no-map-gw --quiet \
        --netns /run/user/1000/netns/netns-1";

    fn compared(arguments: &str) -> Result<(), String> {
        let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        pasta(&words, Ports { dev: 30_110, agent: 30_111 }).map_err(|problem| problem.detail)
    }

    #[test]
    fn options_that_reach_the_host_are_refused() {
        assert_eq!(compared(USUAL), Ok(()));
        let joined = USUAL.replacen("30111-30111:2223-2223", "30110-30111:2222-2223", 1);
        assert_eq!(compared(&joined), Ok(()));
        let before = |options: &str| USUAL.replacen("--config-net", options, 1);
        for harmless in [
            "--ipv4-only --mtu 1400 -i eth0",
            "--mtu=1400",
            "--map-guest-addr 192.0.2.1",
            "--map-host-loopback 192.0.2.1",
        ] {
            assert_eq!(compared(&before(harmless)), Ok(()), "{harmless}");
        }
        for (hostile, named) in [
            ("-T auto", "`-T auto`"),
            ("--tcp-ns=5432", "`--tcp-ns 5432`"),
            ("-U 53", "`-U 53`"),
            ("-t 8080:80", "`-t 8080:80`"),
            ("-Tauto", "`-Tauto`"),
            ("--unheard-of", "`--unheard-of`"),
        ] {
            let error = compared(&before(hostile)).unwrap_err();
            assert!(error.contains(named), "{hostile}: {error}");
        }
        for (hostile, named) in [
            ("--map-host-loopback 192.0.2.1", "`--map-host-loopback 192.0.2.1`"),
            ("--map-guest-addr 192.0.2.1", "`--map-guest-addr 192.0.2.1`"),
        ] {
            let error = compared(&format!("{USUAL} {hostile}")).unwrap_err();
            assert!(error.contains(named), "{hostile}: {error}");
        }
    }
}
