//! What names lead to.

use std::net::UdpSocket;

use super::outside::{ELSEWHERE, HOST, INTERNET, Outside};
use super::*;

/// Answers every question for an address of IPv4 by a table; other names do not exist.
fn nameserver(table: &'static [(&'static str, &'static str)]) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..length];
            socket.send_to(&answer(query, table), peer).unwrap();
        }
    });
    address
}

fn answer(query: &[u8], table: &[(&str, &str)]) -> Vec<u8> {
    // The question: labels, each after its length, a zero, two bytes of type and two of class.
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    let (name, question) = (labels.join("."), &query[12..at + 5]);
    let found = table.iter().find(|(known, _)| *known == name);
    let wants_v4 = query[at + 1..at + 3] == [0, 1];
    let address = found.filter(|_| wants_v4).map(|(_, address)| address);
    let status = if found.is_some() { 0x80 } else { 0x83 };
    let mut reply = query[..2].to_vec();
    reply.extend([0x85, status, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    reply.extend(question);
    if let Some(address) = address {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address.parse::<std::net::Ipv4Addr>().unwrap().octets());
    }
    reply
}

#[test]
fn only_allowed_names_are_answered_and_only_what_they_lead_to_is_reached() {
    let server = nameserver(&[
        ("git.example.org", INTERNET),
        ("deep.sub.example.com", ELSEWHERE),
        ("evil.example.com", HOST),
        ("other.example.net", ELSEWHERE),
    ]);
    let user = User::new();
    user.settings("settings.yaml", &format!("network: {{nameservers: ['{server}']}}\n"));
    let repository = Repository::new(&user, "app");
    user.run(&[
        "create",
        "--type",
        "python",
        "--project",
        repository.as_str(),
        "n-names",
        "--network",
        "restricted",
        "--allow",
        "git.example.org:443",
        "--allow",
        "*.example.com:80",
    ]);
    let outside = Outside::connect("n-names");
    let reach = |address: &str, port| probe(&user, "n-names", "tcp", address, port).0;
    // Nobody has asked for its name yet.
    assert_eq!(reach(INTERNET, 443), "refused");
    assert_eq!(reach("git.example.org", 443), "allowed");
    assert_eq!(reach(INTERNET, 443), "allowed");
    assert_eq!(reach("git.example.org", 80), "refused");
    assert_eq!(reach("deep.sub.example.com", 80), "allowed");
    assert_eq!(reach("other.example.net", 80), "refused");
    assert_eq!(reach("example.com", 80), "refused");
    // A name must not lead to the host.
    assert_eq!(reach("evil.example.com", 80), "refused");
    assert_eq!(outside.packets_to(HOST), [""; 0]);
    let blocked = user.json(&["network", "n-names", "blocked"]).to_string();
    assert!(
        blocked.contains("other.example.net") && blocked.contains("evil.example.com"),
        "{blocked}"
    );
    // What was refused is for somebody to look at first.
    assert!(user.fail(2, &["network", "n-names", "allow-blocked"]).contains("other.example.net"));
    user.run(&["network", "n-names", "allow-blocked", "--force"]);
    assert_eq!(reach("other.example.net", 80), "allowed");
    // What is under way goes on, and names are answered again, with the next run of the service.
    user.kill_service();
    user.run(&["list"]);
    wait_until("names are answered again", || reach("git.example.org", 443) == "allowed");
    user.run(&["network", "n-names", "isolated"]);
    assert_eq!(reach("git.example.org", 443), "refused");
    assert_eq!(reach(INTERNET, 443), "refused");
}

#[test]
fn connections_and_addresses_outlast_answers_and_restarts_of_the_service() {
    let server = nameserver(&[("git.example.org", INTERNET), ("other.example.org", ELSEWHERE)]);
    let user = User::new();
    user.settings("settings.yaml", &format!("network: {{nameservers: ['{server}']}}\n"));
    let allow = ["git.example.org:443", "other.example.org:443"];
    let flags = ["--network", "restricted", "--allow", allow[0], "--allow", allow[1]];
    let outside = connect(&user, "n-last", &flags);
    let reach = |address: &str| probe(&user, "n-last", "tcp", address, 443).0;
    assert_eq!(reach("other.example.org"), "allowed");
    let (mut talking, mut lines) = talk(&user, "n-last", "git.example.org", 443);
    let goes_on = |after: &str| {
        let before = outside.count_to(INTERNET);
        wait_until(after, || outside.count_to(INTERNET) > before + 10);
    };
    // What names have just led to is reached with the next run of the service, without being asked for.
    user.kill_service();
    user.run(&["list"]);
    assert_eq!((reach(INTERNET), reach(ELSEWHERE)), ("allowed".into(), "allowed".into()));
    goes_on("it goes on after a restart");

    // As if the answers were old by now.
    user.kill_service();
    let log = user.path("run/symposium/granted/n-last");
    let text = std::fs::read_to_string(&log).unwrap();
    let (head, grants) = text.split_once('\n').unwrap();
    let over: Vec<String> =
        grants.lines().map(|line| format!("{} 1\n", line.rsplit_once(' ').unwrap().0)).collect();
    std::fs::write(&log, format!("{head}\n{}", over.concat())).unwrap();
    user.run(&["network", "n-last", "allow", "new.example.org:443"]);
    goes_on("it goes on after a change that is not about it");
    // An address stays reachable as long as a connection to it is open, and no longer.
    assert_eq!((reach(INTERNET), reach(ELSEWHERE)), ("allowed".into(), "refused".into()));

    user.run(&["network", "n-last", "deny", "git.example.org:443"]);
    assert_eq!(next_line(&mut lines), "cut\n");
    talking.wait().unwrap();
    assert_eq!(reach(INTERNET), "refused");
    user.run(&["delete", "n-last", "--force"]);
    assert!(!log.exists());
}
