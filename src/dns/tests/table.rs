//! A name server that answers from a table.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, MX, SVCB, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::dns::{Found, LookupError, Upstream};

/// The time to live of all records.
pub(super) const TTL: u32 = 120;

/// A server with lines like `www.example.org A 192.0.2.1`, reached by a real resolver.
///
/// Names that begin with `slow` are answered when it is told so, those with `mute` never.
pub(super) struct Table {
    resolver: TokioResolver,
    asked: Asked,
    open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

/// What was asked for, once for each question: a client may send it again.
type Asked = Arc<Mutex<HashSet<(SocketAddr, u16, String)>>>;

impl Table {
    pub(super) async fn start(lines: &[&str]) -> Self {
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().unwrap();
        let asked = Asked::default();
        let (open, gate) = watch::channel(false);
        let zone = Arc::new(Zone(lines.iter().map(|line| parse(line)).collect()));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(Arc::new(udp), Arc::clone(&zone), Arc::clone(&asked), gate));
        tasks.spawn(serve_tcp(tcp, zone));
        Self { resolver: resolver(address), asked, open, _tasks: tasks }
    }

    /// How many times a name was asked for over UDP.
    pub(super) fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(_, _, asked)| asked == name).count()
    }

    /// How many questions there were over UDP.
    pub(super) fn asked_in_all(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Lets slow names be answered.
    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }
}

impl Upstream for Table {
    async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Found, LookupError> {
        Upstream::lookup(&self.resolver, name, kind).await
    }
}

fn resolver(address: SocketAddr) -> TokioResolver {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    let config = ResolverConfig::from_name_servers(vec![server]);
    crate::dns::resolver::build(config, Default::default()).unwrap()
}

/// Opens both kinds of sockets on one port.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        match TcpListener::bind(udp.local_addr().unwrap()).await {
            Ok(tcp) => return (udp, tcp),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse),
        }
    }
}

async fn serve_udp(
    socket: Arc<UdpSocket>,
    zone: Arc<Zone>,
    asked: Asked,
    gate: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    let mut buffer = [0; 2048];
    loop {
        let (size, client) = socket.recv_from(&mut buffer).await.unwrap();
        let query = Message::from_vec(&buffer[..size]).unwrap();
        let name = text(&query.queries[0].name);
        let new = asked.lock().unwrap().insert((client, query.metadata.id, name.clone()));
        if !new || name.starts_with("mute") {
            continue;
        }
        let (socket, zone, mut gate) = (Arc::clone(&socket), Arc::clone(&zone), gate.clone());
        tasks.spawn(async move {
            if name.starts_with("slow") && gate.wait_for(|open| *open).await.is_err() {
                return;
            }
            let mut reply = zone.answer(&query);
            if reply.to_vec().unwrap().len() > usize::from(query.max_payload()) {
                reply = reply.truncate();
            }
            socket.send_to(&reply.to_vec().unwrap(), client).await.unwrap();
        });
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>) {
    let mut tasks = JoinSet::new();
    loop {
        let (mut connection, _) = listener.accept().await.unwrap();
        let zone = Arc::clone(&zone);
        tasks.spawn(async move {
            while let Ok(size) = connection.read_u16().await {
                let mut query = vec![0; size.into()];
                connection.read_exact(&mut query).await.unwrap();
                let reply = zone.answer(&Message::from_vec(&query).unwrap()).to_vec().unwrap();
                connection.write_u16(reply.len().try_into().unwrap()).await.unwrap();
                connection.write_all(&reply).await.unwrap();
            }
        });
    }
}

struct Zone(Vec<Record>);

impl Zone {
    fn answer(&self, query: &Message) -> Message {
        let question = &query.queries[0];
        let mut reply = Message::response(query.metadata.id, OpCode::Query);
        reply.metadata.recursion_available = true;
        reply.add_query(question.clone());
        let mut owner = &question.name;
        loop {
            let of_owner = || self.0.iter().filter(|record| record.name == *owner);
            reply.add_answers(
                of_owner().filter(|record| record.record_type() == question.query_type).cloned(),
            );
            let alias = of_owner().find_map(|record| match &record.data {
                RData::CNAME(target) => Some((record, &target.0)),
                _ => None,
            });
            let Some((record, target)) = alias else { break };
            reply.add_answer(record.clone());
            owner = target;
        }
        if !self.0.iter().any(|record| record.name == *owner) {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        reply
    }
}

fn parse(line: &str) -> Record {
    let [name, kind, value] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let value = match kind {
        "A" => RData::A(A(value.parse().unwrap())),
        "AAAA" => RData::AAAA(AAAA(value.parse().unwrap())),
        "CNAME" => RData::CNAME(CNAME(fully(value))),
        "HTTPS" => RData::HTTPS(HTTPS(SVCB::new(1, fully(value), Vec::new()))),
        "MX" => RData::MX(MX::new(10, fully(value))),
        "TXT" => RData::TXT(TXT::new(vec![value.into()])),
        _ => panic!("{line}"),
    };
    Record::from_rdata(fully(name), TTL, value)
}

fn fully(name: &str) -> Name {
    Name::from_ascii(format!("{name}.")).unwrap()
}

/// Returns a name in lower case without the dot at its end.
fn text(name: &Name) -> String {
    name.to_lowercase().to_ascii().trim_end_matches('.').to_owned()
}
