//! Changes of policies while the taskspace does all that it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::outside::{ELSEWHERE, INTERNET, INTERNET_V6};
use super::*;

/// Tries without an end, in every way, to get to addresses, and writes a line for each hundred tries;
/// what has got through once and is cut is begun anew.
const LOAD: &str = r#"
import itertools, socket, sys, threading, time
tries = itertools.count(1)
lock = threading.Lock()
def tried():
    # Not so fast that the record of packets cannot keep up.
    time.sleep(0.001)
    with lock:
        number = next(tries)
        if number % 100 == 0:
            print(number, flush=True)
def connect(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as it:
            it.settimeout(1)
            try:
                it.connect((address, 443))
                while True:
                    it.send(b"x"); it.recv(10); tried()
            except OSError:
                tried()
def send(address, kind, protocol, port, data):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    it = socket.socket(family, kind, protocol)
    while True:
        try:
            it.sendto(data, (address, port))
        except OSError:
            pass
        tried()
for address in sys.argv[1:]:
    threading.Thread(target=connect, args=(address,)).start()
    threading.Thread(target=send, args=(address, socket.SOCK_DGRAM, 0, 5000, b"x")).start()
    if ":" not in address:
        ping = b"\x08\0\0\0\0\0\0\1x"
        threading.Thread(target=send, args=(address, socket.SOCK_DGRAM, socket.IPPROTO_ICMP, 0, ping)).start()
"#;

/// A load in the dev container.
struct Load {
    ssh: Child,
    tries: Arc<AtomicU64>,
}

impl Load {
    fn begin(user: &User, id: &str, addresses: &[&str]) -> Self {
        let mut ssh = python(user, id, LOAD, &addresses.join(" "));
        let tries = Arc::new(AtomicU64::new(0));
        let (lines, count) = (ssh.stdout.take().unwrap(), tries.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                count.store(line.parse().unwrap(), Ordering::Relaxed);
            }
        });
        let load = Self { ssh, tries };
        load.go_on();
        load
    }

    /// Waits until a thousand more tries have been made.
    fn go_on(&self) {
        let before = self.tries.load(Ordering::Relaxed);
        wait_until("the load goes on", || self.tries.load(Ordering::Relaxed) >= before + 1000);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ssh.kill().ok();
        self.ssh.wait().ok();
    }
}

/// Waits until all that has come out so far is recorded: something that is sent now comes after it.
fn settle(user: &User, outside: &Outside) {
    let mark = format!("tcp {ELSEWHERE} 80");
    let marks = || outside.packets_to(ELSEWHERE).iter().filter(|it| **it == mark).count();
    let before = marks();
    assert_eq!(probe(user, "n-load", "tcp", ELSEWHERE, 80).0, "allowed");
    wait_until("it is recorded", || marks() > before);
}

#[test]
fn no_packet_escapes_while_policies_change_under_load() {
    let allowed = [443, 80].map(|port| format!("{ELSEWHERE}:{port}"));
    let flags = ["--network", "restricted", "--allow", &allowed[0], "--allow", &allowed[1]];
    let (user, outside) = connected("n-load", &flags);
    let load = Load::begin(&user, "n-load", &[INTERNET, INTERNET_V6, ELSEWHERE]);
    let seen = |address: &str| outside.count_to(address);
    wait_until("what is allowed gets through", || seen(ELSEWHERE) > 100);
    // None of these lets anything else out: neither does any moment between two of them.
    for change in [
        ["allow", "example.org:443"],
        ["isolated", ""],
        ["reset", "example.org:443"],
        ["restricted", ""],
        ["deny", INTERNET],
        ["open", ""],
        ["restricted", ""],
        ["reset", INTERNET],
    ] {
        if change[0] == "open" {
            // From here on, IPv6 gets out.
            assert_eq!((seen(INTERNET), seen(INTERNET_V6)), (0, 0));
        }
        let arguments = [&["network", "n-load"], &change[..]].concat();
        let arguments: Vec<&str> = arguments.into_iter().filter(|it| !it.is_empty()).collect();
        let begun = Instant::now();
        user.run(&arguments);
        println!("{}: {:?}", change.join(" "), begun.elapsed());
        load.go_on();
        assert_eq!(outside.packets_to(INTERNET), [""; 0], "{change:?}");
    }
    let is_allowed =
        |packet: &String| [443, 80].iter().any(|port| *packet == format!("tcp {ELSEWHERE} {port}"));
    user.run(&["network", "n-load", "open"]);
    wait_until("all gets through", || seen(INTERNET) > 100 && seen(INTERNET_V6) > 100);
    for _ in 0..5 {
        user.run(&["network", "n-load", "restricted"]);
        settle(&user, &outside);
        let before = [INTERNET, INTERNET_V6].map(seen);
        let elsewhere = seen(ELSEWHERE);
        load.go_on();
        assert_eq!([INTERNET, INTERNET_V6].map(seen), before);
        let since = outside.packets_to(ELSEWHERE).split_off(elsewhere);
        assert!(!since.is_empty() && since.iter().all(is_allowed), "{since:?}");
        user.run(&["network", "n-load", "open"]);
        wait_until("it gets through again", || seen(INTERNET) > before[0] + 100);
    }
}

/// Sends to an address as fast as it goes.
const FLOOD: &str = r#"
import socket, sys
it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("begins", flush=True)
while True:
    try:
        it.sendto(b"x", (sys.argv[1], 5000))
    except OSError:
        pass
"#;

#[test]
fn what_is_denied_is_so_from_the_first_moment_of_a_policy() {
    let (user, outside) = connected("n-flood", &["--network", "restricted"]);
    user.run(&["network", "n-flood", "deny", INTERNET]);
    let mut flood = python(&user, "n-flood", FLOOD, INTERNET);
    let mut begins = String::new();
    BufReader::new(flood.stdout.take().unwrap()).read_line(&mut begins).unwrap();
    assert_eq!(begins, "begins\n");
    for policy in ["open", "restricted"].repeat(10) {
        user.run(&["network", "n-flood", policy]);
    }
    user.run(&["network", "n-flood", "open"]);
    assert_eq!(probe(&user, "n-flood", "tcp", ELSEWHERE, 80).0, "allowed");
    wait_until("that is recorded", || outside.count_to(ELSEWHERE) > 0);
    assert_eq!(outside.packets_to(INTERNET), [""; 0]);
    flood.kill().ok();
    flood.wait().unwrap();
}
