//! A world outside of a taskspace: servers in a network namespace of the test's own, to which the pod is
//! connected in the place of the real one. All that comes out of the pod is recorded there.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::common::podman::TestPodman;
use crate::common::wait_until;

/// A host in the internet.
pub const INTERNET: &str = "198.51.100.7";
/// Another one.
pub const ELSEWHERE: &str = "198.51.100.8";
/// One with IPv6.
pub const INTERNET_V6: &str = "2001:db8:1::7";
/// A host in a private network.
pub const PRIVATE: &str = "10.99.0.1";
/// Another one, with IPv6.
pub const PRIVATE_V6: &str = "fd00:99::1";
/// The metadata service of a cloud.
pub const METADATA: &str = "169.254.169.254";
/// The host of the taskspaces.
pub const HOST: &str = "169.254.1.2";

const V4: [&str; 5] = [INTERNET, ELSEWHERE, PRIVATE, METADATA, HOST];
const V6: [&str; 2] = [INTERNET_V6, PRIVATE_V6];

/// Makes the world, connects the pod's network, and becomes the servers. `$1` is this program, the rest
/// are the addresses: those of IPv4, those of IPv6.
const CONNECT: &str = r#"
set -e
export PATH=/usr/sbin:/sbin:$PATH
unshare --net -- sh -c 'echo; exec sleep infinity' > /dev/null & world=$!
while [ "$(readlink /proc/$world/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
ip link add out0 type veth peer name in0 netns $world
ip addr add 203.0.113.2/24 dev out0
ip addr add 2001:db8:ffff::2/64 dev out0 nodad
ip link set out0 up
inside() { nsenter --target $world --net -- "$@"; }
inside ip addr add 203.0.113.1/24 dev in0
inside ip addr add 2001:db8:ffff::1/64 dev in0 nodad
inside ip link set in0 up
inside ip link set lo up
for address in $(echo "$2" | tr , ' '); do inside ip addr add $address/32 dev lo; done
for address in $(echo "$3" | tr , ' '); do inside ip addr add $address/128 dev lo nodad; done
ip route del default 2> /dev/null || true
ip -6 route del default 2> /dev/null || true
ip route add default via 203.0.113.1 dev out0
ip -6 route add default via 2001:db8:ffff::1 dev out0
for address in 169.254.1.2 169.254.169.254; do ip route add $address via 203.0.113.1 dev out0; done
exec nsenter --target $world --net -- python3 -u "$1" in0 "$2" "$3"
"#;

/// The world.
pub struct Outside {
    servers: Child,
    record: Arc<Mutex<Record>>,
}

/// What has come out of the pod so far.
#[derive(Default)]
struct Record {
    is_ready: bool,
    /// Some packets are not in it.
    is_incomplete: bool,
    /// The packets to each address.
    packets: HashMap<String, Vec<String>>,
}

impl Record {
    /// Takes up a line of the servers.
    fn add(&mut self, line: String) {
        match line.split(' ').nth(1).map(str::to_owned) {
            Some(address) => self.packets.entry(address).or_default().push(line),
            None if line == "ready" => self.is_ready = true,
            None => self.is_incomplete = true,
        }
    }
}

impl Outside {
    /// Connects a taskspace that runs.
    pub fn connect(id: &str) -> Self {
        let process = TestPodman::shared().process_in_network(id);
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/network/servers.py");
        let mut servers = Command::new("nsenter")
            .args(["--target", &process, "--user", "--net", "--setuid=0", "--setgid=0", "--"])
            .args(["sh", "-c", CONNECT, "connect", program, &V4.join(","), &V6.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let record = Arc::new(Mutex::new(Record::default()));
        let (lines, seen) = (servers.stdout.take().unwrap(), record.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                seen.lock().unwrap().add(line);
            }
        });
        let outside = Self { servers, record };
        wait_until("the servers are ready", || outside.record.lock().unwrap().is_ready);
        outside
    }

    /// Looks at the packets that came to an address, each as `tcp 192.0.2.9 443`.
    fn look<T>(&self, address: &str, look: impl FnOnce(&[String]) -> T) -> T {
        let record = self.record.lock().unwrap();
        let is_complete = !record.is_incomplete;
        let seen = look(record.packets.get(address).map_or(&[], Vec::as_slice));
        drop(record);
        assert!(is_complete, "the record is not complete");
        seen
    }

    /// Returns the packets that came to an address.
    pub fn packets_to(&self, address: &str) -> Vec<String> {
        self.look(address, <[String]>::to_vec)
    }

    /// Returns how many packets came to an address.
    pub fn count_to(&self, address: &str) -> usize {
        self.look(address, <[String]>::len)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.servers.kill().ok();
        self.servers.wait().ok();
    }
}
