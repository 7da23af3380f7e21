//! How many questions the DNS filter answers in a second on one thread, and how long one takes.

use std::error::Error;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use taskspace::dns::{Filter, Grant, Refusal, Rules, Sockets, Verdict, Warden};

/// How many questions are under way at a time where as many as possible are to be answered.
const WINDOW: u16 = 64;

/// How many names are asked for.
const NAMES: u16 = 100;

/// How long an answer may take: long enough to be lost.
const LOST: Duration = Duration::from_secs(5);

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    let server = start_filter(start_upstream());
    let mut group = criterion.benchmark_group("dns");
    group.throughput(Throughput::Elements(1));
    for (title, zone, window) in [
        ("allowed, one at a time", "example.org", 1),
        ("allowed, many at a time", "example.org", WINDOW),
        ("refused, many at a time", "example.net", WINDOW),
    ] {
        let client = Client::new(server, zone);
        group.bench_function(title, |bencher| {
            bencher.iter_custom(|times| {
                let started = Instant::now();
                client.ask(times, window);
                started.elapsed()
            });
        });
    }
    group.finish();
    criterion.final_summary();
}

/// Answers every question with one address, and returns where.
fn start_upstream() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("its address");
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((size, client)) = socket.recv_from(&mut buffer) {
            let query = Message::from_vec(&buffer[..size]).expect("a query");
            let mut reply = Message::response(query.metadata.id, OpCode::Query);
            let name = query.queries[0].name.clone();
            reply.add_query(query.queries[0].clone());
            reply.add_answer(Record::from_rdata(name, 3600, RData::A(A::new(192, 0, 2, 1))));
            socket.send_to(&reply.to_vec().expect("a reply"), client).expect("a client");
        }
    });
    address
}

/// Starts a filter on a thread of its own, and returns where it answers.
fn start_filter(upstream: SocketAddr) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("its address");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut server = NameServerConfig::udp(upstream.ip());
            server.connections[0].port = upstream.port();
            let config = ResolverConfig::from_name_servers(vec![server]);
            let provider = TokioRuntimeProvider::default();
            let resolver = TokioResolver::builder_with_config(config, provider).build();
            let resolver = Arc::new(resolver.expect("a resolver"));
            let sockets = Sockets { udp: vec![socket], tcp: Vec::new() };
            let _filter = Filter::serve(sockets, Example, Arc::new(Example), resolver, Vec::new())
                .expect("a filter");
            std::future::pending::<()>().await;
        });
    });
    address
}

/// Allows what ends with `example.org`, and lets everything through.
struct Example;

impl Rules for Example {
    type Scope = ();

    fn judge(&self, name: &str) -> Verdict<()> {
        match name.ends_with(".example.org") {
            true => Verdict::Allowed(()),
            false => Verdict::Refused,
        }
    }

    fn may_lead_to(&self, (): &(), _: IpAddr) -> bool {
        true
    }
}

impl Warden<()> for Example {
    async fn grant(&self, _: Vec<Grant<()>>) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    fn refused(&self, _: Refusal) {}
}

/// Who asks for names of a zone, one after the other.
struct Client {
    socket: UdpSocket,
    queries: Vec<Vec<u8>>,
}

impl Client {
    fn new(server: SocketAddr, zone: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(server).expect("a server");
        socket.set_read_timeout(Some(LOST)).expect("a timeout");
        let queries = (0..NAMES).map(|number| query(number, zone)).collect();
        Self { socket, queries }
    }

    /// Asks so many questions, so many of them at a time, and waits for all answers.
    fn ask(&self, times: u64, window: u16) {
        let mut queries = self.queries.iter().cycle();
        let mut send = || {
            let query = queries.next().expect("a query");
            self.socket.send(query).expect("a server");
        };
        let ahead = times.min(window.into());
        (0..ahead).for_each(|_| send());
        let mut buffer = [0; 2048];
        for answered in 0..times {
            self.socket.recv(&mut buffer).expect("an answer");
            if answered + ahead < times {
                send();
            }
        }
    }
}

fn query(number: u16, zone: &str) -> Vec<u8> {
    let name = Name::from_ascii(format!("n{number}.{zone}.")).expect("a name");
    let mut message = Message::new(number, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, RecordType::A)).set_edns(Edns::new());
    message.to_vec().expect("a query")
}
