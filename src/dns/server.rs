//! Answers on sockets that somebody else has opened.

use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RData;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::debug;

use super::filter::{Outcome, Query, Reading, Sifted, Transport, Treatment, read, sift};
use super::granting::{Change, Granted, Granting};
use super::rules::{Reason, RecordType, Refusal, Remembered, Rules, Verdict, Warden};
use super::upstream::{Found, Upstream};
use super::{tcp, udp};

/// How many questions are looked up at a time. A large install asks for dozens, and each may take a
/// socket of the host for each of its servers.
const MAX_LOOKUPS: usize = 64;

/// How many may wait for that or be looked up; those beyond are told that it failed, at once.
const MAX_WAITING: usize = 256;

/// How long a lookup may take with its wait: glibc asks again after 5 seconds.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);

/// The sockets that a filter answers on.
///
/// They may be of another network namespace, which goes on being as long as they are.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For datagrams.
    pub udp: Vec<UdpSocket>,
    /// For connections.
    pub tcp: Vec<TcpListener>,
}

/// A running filter; dropped, it ends.
///
/// All of it is one task, so that a flood of questions takes no more than one thread's time.
pub struct Filter<R: Rules> {
    granting: Arc<Granting<R>>,
    task: JoinHandle<()>,
}

impl<R: Rules> Filter<R> {
    /// Answers on these sockets, from within a runtime; goes on with what an earlier filter has
    /// granted.
    ///
    /// # Errors
    /// When the sockets cannot be used.
    pub fn serve<W: Warden<R::Scope>, U: Upstream>(
        sockets: Sockets,
        rules: R,
        warden: Arc<W>,
        upstream: Arc<U>,
        remembered: Vec<Remembered>,
    ) -> io::Result<Self> {
        let Sockets { udp, tcp } = sockets;
        let udp = udp.into_iter().map(udp::adopt).collect::<io::Result<Vec<_>>>()?;
        let tcp = tcp.into_iter().map(tcp::adopt).collect::<io::Result<Vec<_>>>()?;
        let (granting, wishes) = Granting::new(rules, remembered);
        let granting = Arc::new(granting);
        let clerk = Clerk {
            granting: Arc::clone(&granting),
            warden,
            upstream,
            waiting: Semaphore::new(MAX_WAITING),
            lookups: Semaphore::new(MAX_LOOKUPS),
        };
        let task = tokio::spawn(async move {
            let datagrams =
                futures_util::future::join_all(udp.iter().map(|socket| udp::serve(socket, &clerk)));
            let connections = futures_util::future::join_all(
                tcp.iter().map(|listener| tcp::serve(listener, &clerk)),
            );
            let grants = clerk.granting.fulfil(&*clerk.warden, wishes);
            tokio::join!(datagrams, connections, grants);
        });
        Ok(Self { granting, task })
    }

    /// Begins to replace the rules, as soon as no addresses are being let through.
    pub async fn change(&self) -> Change<R> {
        Change::begin(Arc::clone(&self.granting)).await
    }

    /// Has grants last on that would end soon, or have ended, and by which an address is in use.
    pub async fn hold(&self, is_used: impl Fn(&R::Scope, IpAddr) -> bool) {
        self.granting.hold(is_used).await;
    }
}

impl<R: Rules> Drop for Filter<R> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The time to live of a fixed answer, in seconds.
const FIXED_TTL: u32 = 60;

/// Returns the answer for a name with fixed addresses.
fn fixed(kind: RecordType, addresses: &[IpAddr]) -> Outcome {
    let value = |address: &IpAddr| match (kind, address) {
        (RecordType::A, IpAddr::V4(v4)) => Some(RData::A((*v4).into())),
        (RecordType::AAAA, IpAddr::V6(v6)) => Some(RData::AAAA((*v6).into())),
        _ => None,
    };
    let values: Vec<RData> = addresses.iter().filter_map(value).collect();
    if values.is_empty() { Outcome::Nothing(None) } else { Outcome::Values(values, FIXED_TTL) }
}

/// Answers questions, whichever way they come.
pub(super) struct Clerk<R, W, U> {
    granting: Arc<Granting<R>>,
    warden: Arc<W>,
    upstream: Arc<U>,
    waiting: Semaphore,
    lookups: Semaphore,
}

impl<R: Rules, W: Warden<R::Scope>, U: Upstream> Clerk<R, W, U> {
    /// Returns the reply to a message, if it is to have one.
    pub(super) async fn answer(&self, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
        match read(message) {
            Reading::Ignore => None,
            Reading::Reply(reply) => Some(reply),
            Reading::Ask(query) => {
                let outcome = self.decide(&query).await;
                Some(query.compose(outcome, query.limit(transport)))
            }
        }
    }

    async fn decide(&self, query: &Query) -> Outcome {
        let Some(name) = query.hostname() else {
            self.refuse(query, Reason::NotAHostname);
            return Outcome::Blocked;
        };
        let name: Arc<str> = name.into();
        let mut known = None;
        let mut told = false;
        // Once more after the lookup, and for each time that the rules change meanwhile.
        loop {
            let rules = self.granting.rules();
            if let Some(addresses) = rules.fixed(&name) {
                return fixed(query.kind(), &addresses);
            }
            let verdict = rules.judge(&name);
            if !told && !matches!(verdict, Verdict::Allowed(_)) && !query.is_reverse() {
                told = true;
                let is_observed = matches!(verdict, Verdict::Observed(_));
                let reason = if is_observed { Reason::Observed } else { Reason::NotAllowed };
                self.refuse(query, reason);
            }
            let (Verdict::Allowed(scope) | Verdict::Observed(scope)) = verdict else {
                return Outcome::Blocked;
            };
            let treatment = query.treatment();
            if treatment == Treatment::Hidden {
                return Outcome::Nothing(None);
            }
            let Some(found) = &known else {
                known = self.look_up(query).await;
                if known.is_none() {
                    return Outcome::Code(ResponseCode::ServFail);
                }
                // What was found is judged by the rules as they are by now.
                continue;
            };
            let sifted = sift(&query.target(), query.kind(), &found.records, |address| {
                rules.may_lead_to(&scope, address)
            });
            if sifted.values.is_empty() {
                return self.lacking(query, sifted, found);
            }
            let addresses = sifted.addresses();
            let granted = match treatment {
                Treatment::Addresses => {
                    self.granting.ask(&rules, Arc::clone(&name), addresses, sifted.ttl).await
                }
                Treatment::Passed | Treatment::Hidden => Granted::Yes,
            };
            match granted {
                Granted::Yes => return Outcome::Values(sifted.values, sifted.ttl),
                Granted::Outdated => {}
                Granted::Failed(why) => {
                    self.refuse(query, Reason::NotGranted(why));
                    return Outcome::Code(ResponseCode::ServFail);
                }
            }
        }
    }

    async fn look_up(&self, query: &Query) -> Option<Found> {
        let name = query.target();
        let Ok(_place) = self.waiting.try_acquire() else {
            debug!(%name, "too many questions at a time");
            return None;
        };
        let found = async {
            let _turn = self.lookups.acquire().await;
            self.upstream.lookup(&name, query.kind()).await
        };
        match timeout(LOOKUP_TIMEOUT, found).await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) => {
                debug!(%name, error = &error as &dyn std::error::Error, "could not look it up");
                None
            }
            Err(_) => {
                debug!(%name, "no answer within {LOOKUP_TIMEOUT:?}");
                None
            }
        }
    }

    /// Tells that a name has nothing that may be told.
    fn lacking(&self, query: &Query, sifted: Sifted, found: &Found) -> Outcome {
        if !sifted.left_out.is_empty() {
            self.refuse(query, Reason::Addresses(sifted.left_out));
            return Outcome::Nothing(None);
        }
        match found.exists {
            true => Outcome::Nothing(found.authority.clone()),
            false => Outcome::NoName(found.authority.clone()),
        }
    }

    fn refuse(&self, query: &Query, reason: Reason) {
        let name = query.hostname().unwrap_or_else(|| query.target().to_ascii());
        self.warden.refused(Refusal { name, kind: query.kind(), reason });
    }
}
