//! A filter between a client and a name server of the test's own.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::Name;
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::table::Table;
use crate::dns::*;

/// Names with the port that they are allowed for; `*.x` is whatever ends with `.x`.
#[derive(Clone, Default)]
pub(super) struct Names {
    pub(super) allowed: Vec<(&'static str, u16)>,
    pub(super) observe: bool,
}

/// A name with a fixed answer.
pub(super) const FIXED: &str = "host.example.org";

/// The port that a name is allowed for if it may lead into private ranges.
pub(super) const INTERNAL: u16 = 8443;

impl Rules for Names {
    type Scope = u16;

    fn fixed(&self, name: &str) -> Option<Vec<IpAddr>> {
        (name == FIXED).then(|| vec![IpAddr::from([169, 254, 1, 2])])
    }

    fn judge(&self, name: &str) -> Verdict<u16> {
        let matches = |pattern: &str| match pattern.strip_prefix('*') {
            Some(end) => name.ends_with(end),
            None => name == pattern,
        };
        match self.allowed.iter().find(|(pattern, _)| matches(pattern)) {
            Some((_, port)) => Verdict::Allowed(*port),
            None if self.observe => Verdict::Observed(0),
            None => Verdict::Refused,
        }
    }

    fn may_lead_to(&self, scope: &u16, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => *scope == INTERNAL || !v4.is_private() && !v4.is_loopback(),
            IpAddr::V6(v6) => !v6.is_unique_local() && !v6.is_loopback(),
        }
    }
}

/// What the filter had let through, and told.
pub(super) struct Book {
    pub(super) grants: Mutex<Vec<Grant<u16>>>,
    pub(super) refusals: Mutex<Vec<Refusal>>,
    calls: AtomicUsize,
    pub(super) way: watch::Sender<Way>,
}

/// What becomes of what is to be let through.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Way {
    Open,
    Broken,
    Waiting,
}

impl Warden<u16> for Book {
    async fn grant(&self, grants: Vec<Grant<u16>>) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut way = self.way.subscribe();
        if *way.wait_for(|way| *way != Way::Waiting).await? == Way::Broken {
            return Err("no such set".into());
        }
        self.grants.lock().unwrap().extend(grants);
        Ok(())
    }

    fn refused(&self, refusal: Refusal) {
        self.refusals.lock().unwrap().push(refusal);
    }
}

impl Book {
    /// Returns what was let through since the last time.
    pub(super) fn granted(&self) -> Vec<(String, u16, String)> {
        let grants = std::mem::take(&mut *self.grants.lock().unwrap());
        let plain =
            |grant: Grant<u16>| (grant.name.to_string(), grant.scope, grant.address.to_string());
        grants.into_iter().map(plain).collect()
    }

    /// Returns what was refused since the last time.
    pub(super) fn told(&self) -> Vec<(String, String, Reason)> {
        let refusals = std::mem::take(&mut *self.refusals.lock().unwrap());
        let plain = |refusal: Refusal| (refusal.name, refusal.kind.to_string(), refusal.reason);
        refusals.into_iter().map(plain).collect()
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// A filter before a name server.
pub(super) struct Scene {
    pub(super) filter: Filter<Names>,
    pub(super) book: Arc<Book>,
    pub(super) table: Arc<Table>,
    pub(super) udp: SocketAddr,
    pub(super) tcp: SocketAddr,
}

impl Scene {
    pub(super) async fn new(allowed: &[(&'static str, u16)], lines: &[&str]) -> Self {
        Self::remembering(allowed, lines, Vec::new()).await
    }

    /// Goes on with what an earlier filter has granted.
    pub(super) async fn remembering(
        allowed: &[(&'static str, u16)],
        lines: &[&str],
        remembered: Vec<Remembered>,
    ) -> Self {
        let rules = Names { allowed: allowed.to_vec(), observe: false };
        let table = Arc::new(Table::start(lines).await);
        let book = Arc::new(Book {
            grants: Mutex::default(),
            refusals: Mutex::default(),
            calls: AtomicUsize::new(0),
            way: watch::Sender::new(Way::Open),
        });
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let places = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let sockets = Sockets { udp: vec![udp], tcp: vec![tcp] };
        let filter =
            Filter::serve(sockets, rules, Arc::clone(&book), Arc::clone(&table), remembered)
                .unwrap();
        Self { filter, book, table, udp: places.0, tcp: places.1 }
    }

    /// Asks with a socket of its own.
    pub(super) async fn ask(&self, name: &str, kind: RecordType) -> Message {
        let client = Client::new(self.udp).await;
        client.send(1, name, kind).await;
        client.receive().await
    }

    pub(super) async fn allow(&self, allowed: &[(&'static str, u16)]) {
        let rules = Names { allowed: allowed.to_vec(), observe: false };
        self.filter.change().await.commit(rules);
    }
}

pub(super) struct Client(pub(super) UdpSocket);

impl Client {
    pub(super) async fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server).await.unwrap();
        Self(socket)
    }

    pub(super) async fn send(&self, id: u16, name: &str, kind: RecordType) {
        self.0.send(&query(id, name, kind)).await.unwrap();
    }

    pub(super) async fn receive(&self) -> Message {
        let mut buffer = [0; 4096];
        let size = self.0.recv(&mut buffer).await.unwrap();
        Message::from_vec(&buffer[..size]).unwrap()
    }
}

pub(super) fn query(id: u16, name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns).to_vec().unwrap()
}

/// Returns the code and the values of a reply.
pub(super) fn said(reply: &Message) -> (ResponseCode, Vec<String>) {
    let values = reply.answers.iter().map(|record| record.data.to_string()).collect();
    (reply.metadata.response_code, values)
}

pub(super) fn values(values: &[&str]) -> (ResponseCode, Vec<String>) {
    (ResponseCode::NoError, values.iter().map(ToString::to_string).collect())
}

pub(super) fn none(code: ResponseCode) -> (ResponseCode, Vec<String>) {
    (code, Vec::new())
}

pub(super) fn grant(name: &str, port: u16, address: &str) -> (String, u16, String) {
    (name.into(), port, address.into())
}

pub(super) fn refusal(name: &str, kind: &str, reason: Reason) -> (String, String, Reason) {
    (name.into(), kind.into(), reason)
}

pub(super) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
