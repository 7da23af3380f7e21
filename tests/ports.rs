//! Ports of the host: who gets them when others want them, and what of a taskspace is reached by them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::podman::TestPodman;
use crate::common::podman_proxy::PodmanProxy;
use crate::common::repository::Repository;
use crate::common::{User, succeed, text_of, wait_until};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A port of the host that a taskspace has.
fn host_port(user: &User, id: &str, name: &str) -> u16 {
    user.registry()["taskspaces"][id][name].as_u64().unwrap().try_into().unwrap()
}

/// Asks for something, and takes ports of a taskspace as soon as Podman is to start its network.
fn race(user: &User, proxy: &PodmanProxy, asked: &[&str], id: &str, lost: &[&str]) -> Vec<u16> {
    proxy.set(None);
    proxy.hold(Some("/start"));
    let mut command = user.taskspace(asked);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let is_held = |request: &String| request.contains("/start");
    wait_until("the network is to start", || proxy.requests().iter().any(is_held));
    let ports: Vec<u16> = lost.iter().map(|name| host_port(user, id, name)).collect();
    let thieves: Vec<_> =
        ports.iter().map(|port| TcpListener::bind(("127.0.0.1", *port)).unwrap()).collect();
    proxy.hold(None);
    let output = command.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    drop(thieves);
    ports
}

#[test]
fn a_port_that_another_program_takes_at_the_last_moment_is_replaced() {
    let proxy = PodmanProxy::new();
    let mut user = User::with_podman(&proxy.container_host());
    user.take_own_ports();
    let repository = Repository::new(&user, "app");
    let create = ["create", "--project", repository.as_str(), "p-race"];
    for lost in [&["dev_port"][..], &["agent_port"], &["dev_port", "agent_port"]] {
        let ports = race(&user, &proxy, &create, "p-race", lost);
        for (name, port) in lost.iter().zip(ports) {
            assert_ne!(host_port(&user, "p-race", name), port);
        }
        succeed(&mut user.ssh("p-race-dev", &["true"]));
        succeed(&mut user.ssh("p-race-agent", &["true"]));
        user.run(&["delete", "--force", "--purge", "p-race"]);
    }
    user.run(&create);
    user.run(&["stop", "p-race"]);
    let ports = race(&user, &proxy, &["start", "p-race"], "p-race", &["dev_port"]);
    assert_ne!(host_port(&user, "p-race", "dev_port"), ports[0]);
    succeed(&mut user.ssh("p-race-dev", &["true"]));
    assert_eq!(user.disagreement(&["p-race"]), Vec::<String>::new());
}

/// Podman forwards such ports as one range.
#[test]
fn ports_that_follow_one_another_are_forwarded() {
    let user = User::with_own_ports(&TestPodman::shared().container_host);
    let repository = Repository::new(&user, "app");
    let dev = *user.own_ports().unwrap().start();
    let agent = dev + 1;
    user.settings(
        "settings.yaml",
        &format!("ports: {{dev: {dev}-{dev}, agent: {agent}-{agent}}}\n"),
    );
    user.run(&["create", "--project", repository.as_str(), "p-joined"]);
    for host in ["p-joined-dev", "p-joined-agent"] {
        succeed(&mut user.ssh(host, &["true"]));
    }
    assert_eq!(user.disagreement(&["p-joined"]), Vec::<String>::new());
}

#[test]
fn the_ports_of_a_deleted_taskspace_rest() {
    let user = User::with_own_ports(&TestPodman::shared().container_host);
    let repository = Repository::new(&user, "app");
    let create = |id: &str| {
        user.run(&["create", "--project", repository.as_str(), id]);
        host_port(&user, id, "dev_port")
    };
    // Three ports that no other test takes.
    let own = user.own_ports().unwrap();
    let ports = *own.start()..=own.start() + 2;
    let settings = |rest: &str| {
        let (first, last) = (ports.start(), ports.end());
        user.settings("settings.yaml", &format!("ports: {{dev: {first}-{last}, rest: {rest}}}\n"));
    };
    settings("1h");
    let rested = create("p-first");
    user.run(&["delete", "--force", "--purge", "p-first"]);
    assert!(user.registry()["resting_ports"][rested.to_string()].is_string());
    // Also for another run of the service.
    user.kill_service();
    let (second, third) = (create("p-second"), create("p-third"));
    assert!(![second, third].contains(&rested), "{rested}: {second}, {third}");
    // There is no other one.
    assert_eq!(create("p-fourth"), rested);
    assert!(user.registry()["resting_ports"][rested.to_string()].is_null());
    user.run(&["delete", "--force", "--purge", "p-second"]);
    user.run(&["delete", "--force", "--purge", "p-third"]);
    // The one that has rested longest.
    assert_eq!(create("p-fifth"), second);
    user.kill_service();
    settings("1ms");
    // What has rested is not remembered.
    user.run(&["delete", "--force", "--purge", "p-fifth"]);
    assert!(user.registry()["resting_ports"][third.to_string()].is_null());
}

/// Asks for a document, over and over, until there is a server; with the words of what is waited for.
fn await_answer(what: &str, address: SocketAddr, text: &str) {
    wait_until(what, || get(address).is_ok_and(|answer| answer.contains(text)));
}

/// Says something to a port of the host, and returns what comes back until the end.
fn ask(address: impl ToSocketAddrs, words: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(words.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn get(address: impl ToSocketAddrs) -> std::io::Result<String> {
    ask(address, "GET / HTTP/1.0\r\n\r\n")
}

/// A server of the directory that it is started in. That of `python3 -m http.server` lets 5 connections
/// wait, and the kernel makes those beyond try again ever later.
const SERVER: &str = "import http.server, sys; \
    server = http.server.ThreadingHTTPServer; server.request_queue_size = 128; \
    http.server.test(http.server.SimpleHTTPRequestHandler, server, \
    bind=sys.argv[1], port=int(sys.argv[2]))";

/// Starts a server in a taskspace, and waits until it answers inside.
fn serve(user: &User, id: &str, role: &str, address: &str, port: u16, text: &str) {
    let script = format!(
        "mkdir -p /tmp/{port} && cd /tmp/{port} && echo {text} > index.html && \
         (setsid python3 -c '{SERVER}' {address} {port} > /dev/null 2>&1 &) && \
         until python3 -c 'import socket; socket.create_connection((\"{address}\", {port}))' \
         2> /dev/null; do sleep 0.05; done"
    );
    succeed(&mut user.ssh(&format!("{id}-{role}"), &[&script]));
}

/// A user with ports of their own and a taskspace in which Python is.
fn with_taskspace(id: &str, flags: &[&str]) -> (User, Repository) {
    let user = User::with_own_ports(&TestPodman::shared().container_host);
    user.more_settings("settings.yaml", "reconcile_interval: 1s\n");
    let repository = Repository::new(&user, "app");
    let create = ["create", "--type", "python", "--project", repository.as_str(), id];
    user.run(&[&create, flags].concat());
    (user, repository)
}

fn publish(user: &User, id: &str, port: u16) -> SocketAddr {
    user.run(&["port", id, &port.to_string()]).trim().parse().unwrap()
}

/// The same port on the loopback of IPv6, where this host has that.
fn on_ipv6(address: SocketAddr) -> Option<SocketAddr> {
    TcpListener::bind("[::1]:0").ok()?;
    Some((Ipv6Addr::LOCALHOST, address.port()).into())
}

#[test]
fn a_published_port_leads_to_the_server_behind_every_policy() {
    let (user, _repository) = with_taskspace("p-serve", &["--network", "isolated"]);
    serve(&user, "p-serve", "dev", "127.0.0.1", 3000, "of-dev");
    serve(&user, "p-serve", "dev", "::1", 3001, "of-ipv6");
    serve(&user, "p-serve", "dev", "0.0.0.0", 3002, "of-all");
    for (port, text) in [(3000, "of-dev"), (3001, "of-ipv6"), (3002, "of-all")] {
        let address = publish(&user, "p-serve", port);
        // The same again.
        assert_eq!(publish(&user, "p-serve", port), address);
        for address in [Some(address), on_ipv6(address)].into_iter().flatten() {
            assert!(get(address).unwrap().contains(text), "{address}");
        }
    }
    let address = publish(&user, "p-serve", 3000);
    let listed = user.json(&["port", "p-serve"]);
    assert_eq!(listed.as_array().unwrap().len(), 3);
    let first = json!({
        "port": 3000, "host_port": address.port(), "address": address.to_string(), "open": true
    });
    assert_eq!(listed[0], first);
    assert!(user.run(&["port", "p-serve"]).contains("open"));
    assert!(user.run(&["show", "p-serve"]).contains(&format!("{address}  (port 3000 in it)")));
    for policy in ["open", "restricted", "isolated"] {
        user.run(&["network", "p-serve", policy]);
        assert!(get(address).unwrap().contains("of-dev"), "{policy}");
    }
    // Many at a time.
    let asked: Vec<_> = (0..100).map(|_| std::thread::spawn(move || get(address))).collect();
    for answer in asked {
        assert!(answer.join().unwrap().unwrap().contains("of-dev"));
    }
    // Nobody is there: as if nobody listened.
    let nobody = publish(&user, "p-serve", 3999);
    assert!(get(nobody).is_err());
    assert_eq!(user.disagreement(&["p-serve"]), Vec::<String>::new());
    for port in ["3000", "3001", "3002", "3999"] {
        user.run(&["port", "p-serve", port, "--close"]);
    }
    assert_eq!(user.json(&["port", "p-serve"]), json!([]));
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(user.registry()["resting_ports"][address.port().to_string()].is_string());
    user.fail(3, &["port", "p-serve", "3000", "--close"]);
}

#[test]
fn what_is_published_comes_back_with_taskspace_and_service_and_goes_with_it() {
    let (user, _repository) = with_taskspace("p-back", &[]);
    let start = || serve(&user, "p-back", "dev", "127.0.0.1", 8000, "here");
    start();
    let address = publish(&user, "p-back", 8000);
    assert!(get(address).unwrap().contains("here"));
    // The service is killed: the connections end, and all is as it was when it is back.
    user.kill_service();
    assert!(get(address).is_err());
    user.run(&["list"]);
    await_answer("the service forwards again", address, "here");
    // While it is stopped nobody listens.
    let mut connected = TcpStream::connect(address).unwrap();
    user.run(&["stop", "p-back"]);
    assert_eq!(connected.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let listed = user.json(&["port", "p-back"]);
    assert_eq!((&listed[0]["open"], &listed[0]["problem"]), (&json!(false), &json!(null)));
    assert_eq!(user.disagreement(&["p-back"]), Vec::<String>::new());
    // What is published meanwhile is, later.
    let later = publish(&user, "p-back", 8001);
    user.run(&["start", "p-back"]);
    start();
    serve(&user, "p-back", "dev", "127.0.0.1", 8001, "later");
    assert!(get(address).unwrap().contains("here"));
    assert!(get(later).unwrap().contains("later"));
    user.run(&["restart", "p-back"]);
    start();
    assert!(get(address).unwrap().contains("here"));
    // Its network is gone, and it is brought back.
    let podman = |arguments: &[&str]| succeed(TestPodman::shared().command().args(arguments));
    podman(&["pod", "rm", "--force", "--time=0", "taskspace-p-back"]);
    wait_until("it is recovered", || user.json(&["show", "p-back"])["restarts"] == 1);
    start();
    assert!(get(address).unwrap().contains("here"));
    let service = user.service().unwrap();
    user.run(&["delete", "--force", "--purge", "p-back"]);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(user.disagreement(&["p-back"]), Vec::<String>::new());
    // No socket of a pod's network is left, which would keep that.
    let networks = || {
        let files = std::fs::read_dir(format!("/proc/{service}/fd")).unwrap().flatten();
        let links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        let inodes: Vec<String> = links
            .filter_map(|link| {
                let name = link.to_str()?.to_owned();
                Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
            })
            .collect();
        // Those that are connected to nothing, and listen to nothing, are in no table of this network.
        let tables = ["tcp", "tcp6", "udp", "udp6", "unix"];
        let tables = tables.map(|name| std::fs::read_to_string(format!("/proc/net/{name}")));
        let tables: String = tables.into_iter().flatten().collect();
        inodes.into_iter().filter(|inode| !tables.contains(inode.as_str())).count()
    };
    wait_until("all sockets of the pod are let go of", || networks() == 0);
}

#[test]
fn a_port_that_somebody_has_is_refused_and_one_that_was_taken_is_told_and_had_again() {
    let (user, repository) = with_taskspace("p-taken", &[]);
    user.run(&["create", "--project", repository.as_str(), "p-other"]);
    serve(&user, "p-taken", "dev", "127.0.0.1", 3000, "here");
    let free = |range: std::ops::RangeInclusive<u16>| {
        range.into_iter().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
    };
    // Below those that tests have of their own, and above the usual ones.
    let to = free(18_000..=18_999);
    let text = to.to_string();
    assert_eq!(user.run(&["port", "p-taken", "3000", "--to", &text]), format!("127.0.0.1:{to}\n"));
    user.run(&["port", "p-taken", "3000", "--to", &text]);
    // Two want the same.
    let refused = user.fail(4, &["port", "p-other", "3000", "--to", &text]);
    assert!(refused.contains("is the taskspace 'p-taken''s"), "{refused}");
    let ssh = host_port(&user, "p-other", "dev_port").to_string();
    user.fail(4, &["port", "p-taken", "80", "--to", &ssh]);
    let program = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = program.local_addr().unwrap().port().to_string();
    let refused = user.fail(4, &["port", "p-other", "80", "--to", &taken]);
    assert!(refused.contains("another program has it"), "{refused}");
    let refused = user.fail(4, &["port", "p-other", "80", "--to", "80"]);
    assert!(refused.contains("not to be had"), "{refused}");
    // Published otherwise, and published anyway.
    user.fail(4, &["port", "p-taken", "3000", "--to", &taken]);
    let refused = user.fail(4, &["port", "p-taken", "2222"]);
    assert!(refused.contains("sshd"), "{refused}");
    user.fail(2, &["port", "p-taken", "0"]);
    user.fail(3, &["port", "p-nobody", "3000"]);
    assert_eq!(user.json(&["port", "p-other"]), json!([]));

    // Another program is quicker when the service comes back.
    user.kill_service();
    let thief = TcpListener::bind(("127.0.0.1", to)).unwrap();
    user.run(&["list"]);
    let listed = || user.json(&["port", "p-taken"])[0].clone();
    wait_until("it is told", || listed()["problem"] == "another program has it");
    assert_eq!(listed()["open"], false);
    let warned = || user.json(&["show", "p-taken"])["warnings"].to_string().contains(&text);
    wait_until("it is a warning of the taskspace", warned);
    assert_eq!(user.json(&["show", "p-taken"])["status"], "running");
    drop(thief);
    wait_until("it is published again", || listed()["open"] == true);
    wait_until("there is nothing to warn of", || !warned());
    assert!(get(("127.0.0.1", to)).unwrap().contains("here"));
    // One that is closed can be had by others.
    user.run(&["port", "p-taken", "3000", "--close"]);
    user.run(&["port", "p-other", "3000", "--to", &text]);
}

#[test]
fn nobody_listens_for_a_taskspace_that_is_paused() {
    let limited = ["--storage", "20Mi", "--on-full", "freeze"];
    let (user, _repository) = with_taskspace("p-paused", &limited);
    user.more_settings("settings.yaml", "storage: {interval: 100ms, reserve: 0}\n");
    user.kill_service();
    serve(&user, "p-paused", "dev", "127.0.0.1", 3000, "here");
    let address = publish(&user, "p-paused", 3000);
    await_answer("it is published", address, "here");
    let mut connected = TcpStream::connect(address).unwrap();
    let write = "dd if=/dev/urandom of=big bs=1M count=24 conv=fsync";
    let mut exec = TestPodman::shared().command();
    exec.args(["exec", "--detach", "--user=developer", "--workdir=/workspace"]);
    succeed(exec.args(["taskspace-p-paused-dev", "sh", "-c", write]));
    // Who is connected learns it, and nobody else waits for an answer that does not come.
    assert_eq!(connected.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(user.run(&["port", "p-paused"]).contains("stopped or paused"));
    // Also for another run of the service.
    user.kill_service();
    user.run(&["list"]);
    let looked = || user.registry()["taskspaces"]["p-paused"]["storage"]["held"].is_object();
    assert!(looked());
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    user.run(&["resize", "p-paused", "--storage", "100Mi"]);
    await_answer("it goes on", address, "here");
}

/// Calls the API, and returns the status and the document.
fn call(user: &User, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut curl = user.command("curl");
    curl.args(["--silent", "--show-error", "--request", method, "--data", body]);
    curl.args(["--write-out", "\n%{http_code}", "--unix-socket"]);
    curl.arg(user.path("run/symposium/taskspace.sock"));
    let text = succeed(curl.arg(format!("http://d/v1/taskspaces/{path}")));
    let (document, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(document).unwrap())
}

#[test]
fn programs_publish_list_and_close_by_the_api() {
    let (user, _repository) = with_taskspace("p-api", &[]);
    let status = |method: &str, path: &str, body: &str| call(&user, method, path, body).0;
    let (created, view) = call(&user, "PUT", "p-api/ports/3000", "{}");
    assert_eq!((created, &view["open"]), (200, &json!(true)), "{view}");
    assert_eq!(call(&user, "PUT", "p-api/ports/3000", "{}"), (200, view.clone()));
    assert_eq!(call(&user, "GET", "p-api/ports", ""), (200, json!([view])));
    for port in ["0", "65536", "-1", "http", "3000%2f"] {
        assert_eq!(status("PUT", &format!("p-api/ports/{port}"), "{}"), 400, "{port}");
    }
    for body in ["", "{\"to\": 0}", "{\"to\": 70000}", "{\"form\": 1}"] {
        assert_eq!(status("PUT", "p-api/ports/3001", body), 400, "{body}");
    }
    let (refused, problem) = call(&user, "PUT", "p-api/ports/3001", "{\"to\": 1}");
    assert_eq!((refused, &problem["code"]), (409, &json!("NETWORK_PORT_UNAVAILABLE")));
    assert_eq!(status("PUT", "p-api/ports/2222", "{}"), 409);
    assert_eq!(status("PUT", "p-gone/ports/3000", "{}"), 404);
    assert_eq!(status("DELETE", "p-api/ports/3001", ""), 404);
    assert_eq!(call(&user, "DELETE", "p-api/ports/3000", ""), (200, view));
    assert_eq!(call(&user, "GET", "p-api/ports", ""), (200, json!([])));
}
