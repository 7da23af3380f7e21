//! What gets out of a taskspace, by its policy.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Instant;

use serde_json::json;

use crate::common::http::{http, metric};
use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, succeed, terminate, wait_until};

mod host_services;
mod load;
mod names;
mod observe;
mod outside;

use outside::{ELSEWHERE, HOST, INTERNET, INTERNET_V6, METADATA, Outside, PRIVATE, PRIVATE_V6};

/// Tries to reach a port, and says what came of it and how long that took, in milliseconds.
const PROBE: &str = r#"
import socket, sys, time
kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
begun = time.monotonic()
try:
    if kind == "icmp":
        probe = socket.socket(family, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        probe.settimeout(5)
        probe.sendto(b"\x08\0\0\0\0\0\0\1hello", (address, 0))
        probe.recv(100)
    else:
        probe = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        probe.settimeout(5)
        probe.connect((address, port))
        probe.send(b"hello")
        probe.recv(100)
    result = "allowed"
except socket.timeout:
    result = "silent"
except OSError as error:
    print(repr(error), file=sys.stderr)
    result = "refused"
print(result, int((time.monotonic() - begun) * 1000))
"#;

/// Begins to run a program of Python in the dev container, as root.
fn python(user: &User, id: &str, program: &str, arguments: &str) -> Child {
    let script = format!("sudo python3 -u - {arguments}");
    let mut ssh = user.ssh(&format!("{id}-dev"), &[&script]);
    let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    ssh.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    ssh
}

/// Tries to reach something from the dev container.
fn probe(user: &User, id: &str, kind: &str, address: &str, port: u16) -> (String, u64) {
    let ssh = python(user, id, PROBE, &format!("{kind} {address} {port}"));
    let output = ssh.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (result, milliseconds) = text.trim().split_once(' ').unwrap_or_else(|| panic!("{text:?}"));
    (result.to_owned(), milliseconds.parse().unwrap())
}

/// Begins a conversation that goes on until it is cut, which is the next line that is read then.
fn talk(user: &User, id: &str, address: &str, port: u16) -> (Child, BufReader<ChildStdout>) {
    let script = format!(
        "exec 3<>/dev/tcp/{address}/{port}; echo a >&3; read -r line <&3; echo connected; \
         while echo b >&3 && read -r -t 5 line <&3; do sleep 0.05; done; echo cut"
    );
    let mut ssh = user.ssh(&format!("{id}-dev"), &[&format!("bash -c '{script}'")]);
    let mut ssh = ssh.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(ssh.stdout.take().unwrap());
    assert_eq!(next_line(&mut lines), "connected\n");
    (ssh, lines)
}

fn next_line(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line
}

/// A user with a taskspace that is connected to a world of the test's own.
fn connected(id: &str, flags: &[&str]) -> (User, Outside) {
    let user = User::new();
    let outside = connect(&user, id, flags);
    (user, outside)
}

/// Makes a taskspace, and connects it to a world of the test's own.
fn connect(user: &User, id: &str, flags: &[&str]) -> Outside {
    let repository = Repository::new(user, "app");
    let mut arguments = vec!["create", "--type", "python", "--project", repository.as_str(), id];
    arguments.extend(flags);
    user.run(&arguments);
    Outside::connect(id)
}

/// All that is tried: kind, address, port.
const TARGETS: [(&str, &str, u16); 13] = [
    ("tcp", INTERNET, 443),
    ("tcp", INTERNET, 80),
    ("udp", INTERNET, 5000),
    ("udp", INTERNET, 53),
    ("tcp", INTERNET_V6, 443),
    ("udp", INTERNET_V6, 5000),
    ("tcp", ELSEWHERE, 443),
    ("tcp", PRIVATE, 443),
    ("tcp", PRIVATE_V6, 443),
    ("tcp", METADATA, 80),
    ("tcp", HOST, 5432),
    ("tcp", HOST, 443),
    ("icmp", INTERNET, 0),
];

/// Tries all, prints a table, and compares with what is to get through.
fn check(user: &User, id: &str, outside: &Outside, allowed: &[(&str, &str, u16)]) {
    let policy = user.json(&["network", id, "show"])["name"].as_str().unwrap().to_owned();
    let mut wrong = Vec::new();
    for target in TARGETS {
        let (kind, address, port) = target;
        // Those of a connection that has ended may come late.
        let sent = || {
            let is_it = |line: &&String| **line == format!("{kind} {address} {port}");
            outside.packets_to(address).iter().filter(is_it).count()
        };
        let before = sent();
        let (result, milliseconds) = probe(user, id, kind, address, port);
        println!("{policy:<12} {kind:<4} {address:<16} {port:<5} {result:<8} {milliseconds} ms");
        let expected = if allowed.contains(&target) { "allowed" } else { "refused" };
        let escaped = expected == "refused" && sent() > before;
        if result != expected || escaped {
            wrong.push(format!("{policy}: {target:?} is {result}, packets escaped: {escaped}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn policies_let_out_what_they_say_and_nothing_else() {
    let (user, outside) = connected("n-table", &["--network", "open"]);
    let open = [
        ("tcp", INTERNET, 443),
        ("tcp", INTERNET, 80),
        ("udp", INTERNET, 5000),
        ("udp", INTERNET, 53),
        ("tcp", INTERNET_V6, 443),
        ("udp", INTERNET_V6, 5000),
        ("tcp", ELSEWHERE, 443),
        ("icmp", INTERNET, 0),
    ];
    check(&user, "n-table", &outside, &open);
    user.run(&["network", "n-table", "restricted"]);
    check(&user, "n-table", &outside, &[]);
    std::fs::create_dir(user.path("config/symposium/network")).unwrap();
    user.settings(
        "network/ours.yaml",
        "like: restricted\nallow: ['host:absent']\nhost_services: {absent: 1}\n",
    );
    user.kill_service();
    let v6 = format!("[{INTERNET_V6}]:443");
    user.run(&["network", "n-table", "ours"]);
    user.run(&["network", "n-table", "allow", &format!("{INTERNET}:443"), &v6]);
    let ours = [("tcp", INTERNET, 443), ("tcp", INTERNET_V6, 443)];
    check(&user, "n-table", &outside, &ours);
    user.run(&["network", "n-table", "deny", &format!("{INTERNET}:443")]);
    check(&user, "n-table", &outside, &ours[1..]);
    user.run(&["network", "n-table", "isolated"]);
    check(&user, "n-table", &outside, &[]);
    // The containers of a pod reach each other all the same.
    let (result, _) = probe(&user, "n-table", "tcp", "127.0.0.1", 2222);
    assert_ne!(result, "silent");
    // Once more as at first, but for what was denied meanwhile.
    user.run(&["network", "n-table", "open"]);
    check(&user, "n-table", &outside, &open[1..]);
    // Also after it was stopped.
    user.run(&["network", "n-table", "restricted"]);
    drop(outside);
    user.run(&["restart", "n-table"]);
    let outside = Outside::connect("n-table");
    // What this taskspace was allowed beside its policy still is.
    check(&user, "n-table", &outside, &[("tcp", INTERNET_V6, 443)]);
}

#[test]
fn what_a_stricter_policy_does_not_let_through_is_cut() {
    let allow = format!("{ELSEWHERE}:443");
    let (user, outside) = connected("n-cut", &["--network", "open", "--allow", &allow]);
    let (mut cut, mut lines) = talk(&user, "n-cut", INTERNET, 443);
    let (mut kept, _lines) = talk(&user, "n-cut", ELSEWHERE, 443);
    let begun = Instant::now();
    user.run(&["network", "n-cut", "restricted"]);
    println!("changed in {:?}", begun.elapsed());
    let after = outside.count_to(INTERNET);
    assert_eq!(next_line(&mut lines), "cut\n");
    cut.wait().unwrap();
    // What was allowed before and is so now goes on.
    let before = outside.count_to(ELSEWHERE);
    wait_until("the other one goes on", || outside.count_to(ELSEWHERE) > before + 5);
    // A reset that answers what had come in before is all.
    assert!(outside.count_to(INTERNET) <= after + 1);
    kept.kill().unwrap();
    kept.wait().unwrap();
}

#[test]
fn nobody_inside_changes_the_rules_or_gets_around_them() {
    let (user, outside) = connected("n-escape", &["--network", "isolated"]);
    let attempts = [
        ("change the rules as root", "sudo nft flush ruleset || sudo /usr/sbin/nft flush ruleset"),
        (
            "become root of the network in a user namespace",
            "unshare --user --map-root-user --net true && false; unshare --user --map-root-user nsenter --net=/proc/1/ns/net true",
        ),
        (
            "open a raw socket",
            "sudo python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)'",
        ),
        (
            "open a packet socket",
            "sudo python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
        ),
        ("add an interface", "sudo ip link add x0 type dummy"),
        ("change a route", "sudo ip route add 198.51.100.0/24 dev lo"),
        (
            "set a mark",
            "sudo python3 -c 'import socket; socket.socket().setsockopt(socket.SOL_SOCKET, 36, 1)'",
        ),
        ("set a sysctl", "sudo sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'"),
    ];
    for (what, script) in attempts {
        let status = user
            .ssh("n-escape-dev", &[script])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        println!("{what}: {}", if status.success() { "DONE" } else { "refused" });
        assert!(!status.success(), "{what}");
    }
    check(&user, "n-escape", &outside, &[]);
    // IPv6 lets everybody send in anybody's name: what is then sent there would be an answer.
    for kind in ["SOCK_DGRAM", "SOCK_STREAM"] {
        let ssh = python(&user, "n-escape", FORGE, &format!("{kind} {INTERNET_V6}"));
        let output = ssh.wait_with_output().unwrap();
        println!("forge {kind}: {}", String::from_utf8_lossy(&output.stdout).trim());
        assert!(output.status.success());
    }
    assert_eq!(outside.packets_to(INTERNET_V6), [""; 0]);
}

/// Sends to the pod's own address in the name of another host, and then to that host as if it answered.
const FORGE: &str = r#"
import socket, sys
kind, victim = getattr(socket, sys.argv[1]), sys.argv[2]
IPV6_FREEBIND = 78
own = [line.split() for line in open("/proc/net/if_inet6")]
own = next(it[0] for it in own if it[3] == "00" and it[5] != "lo")
own = ":".join(own[i:i + 4] for i in range(0, 32, 4))
forged, answering = (socket.socket(socket.AF_INET6, kind) for _ in range(2))
forged.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
forged.bind((victim, 5000))
answering.bind((own, 5001))
forged.settimeout(2)
for it, address in ((forged, (own, 5001)), (answering, (victim, 5000))):
    try:
        it.settimeout(2)
        it.connect(address)
        it.send(b"x")
        print("sent", address)
    except OSError as error:
        print(error)
"#;

#[test]
fn who_has_the_port_for_names_has_no_other_policy_for_it() {
    let (user, outside) = connected("n-deaf", &["--network", "open"]);
    let thief = "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                 while True:\n try:\n  s.bind(('127.0.0.1', 53)); break\n except OSError: time.sleep(0.001)\n\
                 print('taken', flush=True)\ntime.sleep(1000)\n";
    let mut ssh = python(&user, "n-deaf", thief, "");
    let mut lines = std::io::BufReader::new(ssh.stdout.take().unwrap());
    user.kill_service();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
    assert_eq!(line, "taken\n");
    user.run(&["network", "n-deaf", "isolated"]);
    assert_eq!(probe(&user, "n-deaf", "tcp", INTERNET, 443).0, "refused");
    let warnings = user.json(&["show", "n-deaf"])["warnings"].to_string();
    assert!(warnings.contains("no name is answered in it"), "{warnings}");
    assert_eq!(outside.packets_to(INTERNET), [""; 0]);
    ssh.kill().unwrap();
    ssh.wait().unwrap();
    drop(outside);
    user.run(&["restart", "n-deaf"]);
    user.run(&["network", "n-deaf", "restricted"]);
}

#[test]
fn what_is_no_longer_allowed_or_no_longer_there_is_closed() {
    let (user, outside) = connected("n-bound", &["--network", "open"]);
    assert_eq!(probe(&user, "n-bound", "tcp", INTERNET, 443).0, "allowed");
    let serve_with = |settings: &str| {
        user.kill_service();
        user.settings("settings.yaml", settings);
        user.run(&["list"]);
    };
    serve_with("projects: {app: {network: {at_most: restricted, default: restricted}}}\n");
    wait_until("it is closed", || probe(&user, "n-bound", "tcp", INTERNET, 443).0 == "refused");
    assert_eq!(user.json(&["network", "n-bound", "show"])["name"], "restricted");
    let warnings = user.json(&["show", "n-bound"])["warnings"].to_string();
    assert!(warnings.contains("its network policy is 'restricted' now"), "{warnings}");
    user.fail(5, &["network", "n-bound", "open"]);
    // A policy whose file is lost lets nothing through until it is there again.
    std::fs::create_dir(user.path("config/symposium/network")).unwrap();
    let allow = format!("like: restricted\nallow: ['{INTERNET}:443']\n");
    user.settings("network/mine.yaml", &allow);
    serve_with("");
    user.run(&["network", "n-bound", "mine"]);
    assert_eq!(probe(&user, "n-bound", "tcp", INTERNET, 443).0, "allowed");
    std::fs::remove_file(user.path("config/symposium/network/mine.yaml")).unwrap();
    serve_with("");
    wait_until("it is closed", || probe(&user, "n-bound", "tcp", INTERNET, 443).0 == "refused");
    user.settings("network/mine.yaml", &allow);
    serve_with("");
    wait_until("it is as before", || probe(&user, "n-bound", "tcp", INTERNET, 443).0 == "allowed");
    drop(outside);
}

#[test]
fn what_was_refused_is_listed_and_can_be_allowed() {
    let user = User::new();
    user.settings("settings.yaml", "health: {interval: 100ms}\n");
    let outside = connect(&user, "n-seen", &["--network", "restricted"]);
    assert_eq!(probe(&user, "n-seen", "tcp", INTERNET, 443).0, "refused");
    let blocked = user.json(&["network", "n-seen", "blocked"]);
    let destination = format!("{INTERNET}:443/tcp");
    let seen = blocked.as_array().unwrap().iter().find(|it| it["destination"] == destination);
    assert_eq!(seen.unwrap_or_else(|| panic!("{blocked}"))["count"], 1);
    assert!(user.json(&["network", "blocked", "n-seen"]).to_string().contains(&destination));
    user.fail(3, &["network", "blocked", "n-nobody"]);
    wait_until("those who watch are told", || {
        user.run(&["events", "--taskspace", "n-seen"]).contains(&format!("refused {destination}:"))
    });
    assert!(metric(&user, "taskspace_network_refusals_total") >= 1);
    user.run(&["network", "n-seen", "allow", &destination]);
    assert_eq!(probe(&user, "n-seen", "tcp", INTERNET, 443).0, "allowed");
    drop(outside);
}

#[test]
fn a_policy_that_is_put_is_as_of_a_new_one() {
    let user = User::new();
    let policy = ["--network", "restricted", "--allow", INTERNET, "--observe"];
    let outside = connect(&user, "n-put", &policy);
    assert_eq!(probe(&user, "n-put", "tcp", INTERNET, 443).0, "allowed");
    let put = |id: &str, body: &str| {
        http(&user, "PUT", &format!("/v1/taskspaces/{id}/network?wait=true"), body).0
    };
    let body = format!("{{\"policy\": \"restricted\", \"allow\": [\"{ELSEWHERE}\"]}}");
    // Whoever is not sure that it was heard says it again.
    for _ in 0..2 {
        assert_eq!(put("n-put", &body), 200);
        let shown = user.json(&["network", "n-put"]);
        assert_eq!(shown, json!({ "name": "restricted", "allow": [ELSEWHERE] }));
    }
    assert_eq!(probe(&user, "n-put", "tcp", INTERNET, 443).0, "refused");
    assert_eq!(probe(&user, "n-put", "tcp", ELSEWHERE, 80).0, "allowed");
    for (id, body, status) in [
        ("n-put", "{\"policy\": \"nobody's\"}", 400),
        ("n-put", "{\"reset\": []}", 400),
        ("n-put", "{\"policy\": \"unknown\"}", 404),
        ("n-put", "{\"allow\": []}", 400),
        ("n-put", "[\"open\"]", 400),
        ("n-gone", "{\"policy\": \"open\"}", 404),
    ] {
        assert_eq!(put(id, body), status, "{body}");
    }
    assert_eq!(user.json(&["network", "n-put"])["allow"], json!([ELSEWHERE]));
    drop(outside);
}

#[test]
fn without_rules_nothing_is_started() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let create = |id| ["create", "--type", "python", "--project", repository.as_str(), id];
    user.run(&create("n-before"));
    user.run(&["stop", "n-before"]);
    user.kill_service();
    let programs = user.path("programs");
    std::fs::create_dir(&programs).unwrap();
    let nft = programs.join("nft");
    std::fs::write(&nft, "#!/bin/sh\necho 'nft: out of order' >&2; exit 1\n").unwrap();
    std::fs::set_permissions(&nft, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut service = user.taskspace(&["serve"]).env("PATH", path).spawn().unwrap();
    wait_until("the service listens", || user.service().is_some());
    let text = user.fail(5, &["start", "n-before"]);
    assert!(text.contains("nft: out of order"), "{text}");
    let mut ps = TestPodman::shared().command();
    ps.args(["ps", "--format={{.Names}}", "--filter=name=n-before"]);
    // The pod's own container runs nothing of the taskspace.
    let running = succeed(&mut ps);
    assert!(!running.contains("-dev") && !running.contains("-agent"), "{running}");
    let text = user.fail(5, &create("n-new"));
    assert!(text.contains("nft: out of order"), "{text}");
    assert_eq!(user.json(&["list"]).as_array().unwrap().len(), 1);
    terminate(&mut service);
    // With nft as it should be, it starts.
    user.run(&["start", "n-before"]);
    assert_eq!(user.json(&["show", "n-before"])["status"], "running");
}
