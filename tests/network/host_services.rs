//! Services of the host that a taskspace may reach.

use std::io::Read;
use std::net::TcpListener;

use super::*;

/// The host's IPv6 address in every taskspace.
const HOST_V6: &str = "fd7a:5b3c:9e21::2";

/// Repeats on this host what it hears; returns the port.
fn echo(address: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut buffer = [0; 1000];
                while let Ok(length @ 1..) = connection.read(&mut buffer) {
                    if connection.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

/// Returns a port of the loopback without a listener.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn host_services_are_reached_on_the_loopback_and_nothing_else_of_the_host_is() {
    let [v4, v6, all, secret] = ["127.0.0.1", "::1", "0.0.0.0", "127.0.0.1"].map(echo);
    let absent = free_port();
    let user = User::new();
    let services =
        format!("{{v4: {v4}, v6: {v6}, all: {all}, absent: {absent}, denied: {secret}}}");
    user.settings("settings.yaml", &format!("network: {{host_services: {services}}}\n"));
    let mut flags = vec!["--network", "restricted", "--deny", "host:denied"];
    for service in ["host:v4", "host:v6", "host:all", "host:absent"] {
        flags.extend(["--allow", service]);
    }
    let outside = connect(&user, "n-host", &flags);
    let reach = |address: &str, port| probe(&user, "n-host", "tcp", address, port).0;
    for port in [v4, v6, all] {
        for address in ["host.containers.internal", "host.docker.internal", HOST, HOST_V6] {
            assert_eq!(reach(address, port), "allowed", "{address} {port}");
        }
    }
    assert_eq!(reach(HOST, absent), "refused");
    for address in [HOST, HOST_V6, "127.0.0.1"] {
        assert_eq!(reach(address, secret), "refused", "{address}");
    }
    assert_eq!(probe(&user, "n-host", "udp", HOST, v4).0, "refused");
    let blocked = user.json(&["network", "n-host", "blocked"]);
    let why = |destination: &str| {
        let all = blocked.as_array().unwrap();
        let found = all.iter().find(|it| it["destination"] == destination);
        found.unwrap_or_else(|| panic!("{destination}: {blocked}"))["reason"].to_string()
    };
    assert!(
        why(&format!("host.containers.internal:{absent}/tcp")).contains("nothing on this host")
    );
    assert!(why(&format!("{HOST}:{secret}/tcp")).contains("no service of this host"));
    assert!(why(&format!("[{HOST_V6}]:{secret}/tcp")).contains("no service of this host"));
    assert!(why(&format!("{HOST}:{v4}/udp")).contains("over TCP"));
    let shown = user.run(&["network", "n-host"]);
    assert!(shown.contains(&format!("host.containers.internal:{v4}")), "{shown}");
    // The port is free inside, for a server of the taskspace's own.
    let own = format!("import socket; socket.socket().bind((\"0.0.0.0\", {v4}))");
    assert!(user.ssh("n-host-dev", &[&format!("python3 -c '{own}'")]).status().unwrap().success());

    // A change that is not about it leaves a connection alone; one that is cuts it.
    let (mut kept, _lines) = talk(&user, "n-host", HOST, all);
    let (mut cut, mut lines) = talk(&user, "n-host", "host.containers.internal", v4);
    user.run(&["network", "n-host", "allow", "example.org:443"]);
    user.run(&["network", "n-host", "deny", "host:v4"]);
    assert_eq!(next_line(&mut lines), "cut\n");
    cut.wait().unwrap();
    assert_eq!((reach(HOST, v4), reach(HOST, all)), ("refused".into(), "allowed".into()));
    assert!(kept.try_wait().unwrap().is_none());

    // Forwarding stops with the service, and the next one resumes it.
    user.kill_service();
    assert_eq!(reach(HOST, all), "refused");
    user.run(&["list"]);
    wait_until("it is forwarded again", || reach(HOST, all) == "allowed");
    user.run(&["network", "n-host", "isolated"]);
    assert_eq!(reach(HOST, all), "refused");
    user.run(&["network", "n-host", "open"]);
    assert_eq!(reach(HOST, all), "allowed");
    assert_eq!(outside.packets_to(HOST), [""; 0]);
    kept.kill().unwrap();
    kept.wait().unwrap();
}
