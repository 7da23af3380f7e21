//! The host's own resolver.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::system_conf::parse_resolv_conf;
use tracing::warn;

use super::upstream::{Found, LookupError, Upstream};

/// How often it is looked whether the configuration has changed.
const LOOK: Duration = Duration::from_secs(1);

/// How long a server may take before the next one is asked. Below what a client waits, so that one that
/// does not answer does not have every lookup fail.
const SERVER_TIMEOUT: Duration = Duration::from_millis(1500);

/// How many answers are remembered, for all taskspaces; one has 64 KiB at most.
const CACHED: u64 = 1024;

/// How many questions are under way in one connection to a server; most have one of their own.
const MAX_ACTIVE: usize = 256;

/// Asks the servers that the host asks.
///
/// It goes by resolv.conf alone. What `/etc/hosts` says is meant for this host: its names lead to
/// addresses in its networks, and they are nobody else's business. Domains to search in are for who
/// asks to apply. What is asked at the same time is sent once, and answers are remembered.
pub struct HostResolver {
    /// None where it is fixed whom it asks.
    path: Option<PathBuf>,
    current: Mutex<Current>,
}

/// Servers in the order in which they are asked.
///
/// resolv.conf(5): "the resolver library queries them in the order listed", the next one when one does not
/// answer. What one says counts, also that a name does not exist: another one may know other names.
#[derive(Clone)]
struct Servers(Arc<[Server]>);

/// One server.
struct Server {
    resolver: TokioResolver,
    /// For servers that take a question with EDNS for malformed (RFC 6891, 7).
    plain: TokioResolver,
}

#[derive(Default)]
struct Current {
    servers: Option<Servers>,
    looked: Option<Instant>,
    /// What tells that the file is another one.
    seen: Option<(SystemTime, u64, u64)>,
}

impl HostResolver {
    /// Asks these servers, whatever the host does.
    ///
    /// # Errors
    /// When there is none.
    pub fn asking(servers: &[SocketAddr]) -> Result<Self, LookupError> {
        let server = |address: &SocketAddr| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            server
        };
        let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
        let servers = Some(Servers::new(&config, &ResolverOpts::default())?);
        Ok(Self { path: None, current: Mutex::new(Current { servers, ..Current::default() }) })
    }

    /// Goes by a file such as `/etc/resolv.conf`, also when it changes.
    pub fn new(path: PathBuf) -> Self {
        Self { path: Some(path), current: Mutex::default() }
    }

    /// Returns the servers by the file as it is now; by what it was when it can no longer be used.
    fn servers(&self) -> Result<Servers, LookupError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(path) = &self.path
            && current.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK)
        {
            current.looked = Some(now);
            if let Err(error) = refresh(path, &mut current) {
                let Some(servers) = &current.servers else {
                    // The next one looks again.
                    current.looked = None;
                    return Err(error);
                };
                warn!(error = &error as &dyn std::error::Error, "the former servers are asked");
                return Ok(servers.clone());
            }
        }
        current.servers.clone().ok_or_else(|| NetError::NoConnections.into())
    }
}

fn refresh(path: &Path, current: &mut Current) -> Result<(), LookupError> {
    let unreadable = |source| LookupError::Read { path: path.to_owned(), source };
    let attributes = fs::metadata(path).map_err(unreadable)?;
    let modified = attributes.modified().map_err(unreadable)?;
    let seen = Some((modified, attributes.len(), attributes.ino()));
    if current.seen == seen {
        return Ok(());
    }
    let text = fs::read(path).map_err(unreadable)?;
    let unusable = |source| LookupError::Configuration { path: path.to_owned(), source };
    let (config, options) = parse_resolv_conf(text).map_err(unusable)?;
    current.servers = Some(Servers::new(&config, &options).map_err(unusable)?);
    current.seen = seen;
    Ok(())
}

pub(super) fn build(
    config: ResolverConfig,
    mut options: ResolverOpts,
) -> Result<TokioResolver, NetError> {
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = options.timeout.min(SERVER_TIMEOUT);
    options.cache_size = CACHED;
    options.max_active_requests = MAX_ACTIVE;
    // They are followed once more, and all of them count for how long an answer holds.
    options.preserve_intermediates = true;
    let provider = TokioRuntimeProvider::default();
    TokioResolver::builder_with_config(config, provider).with_options(options).build()
}

impl Upstream for HostResolver {
    async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Found, LookupError> {
        self.servers()?.lookup(name, kind).await
    }
}

impl Servers {
    fn new(config: &ResolverConfig, options: &ResolverOpts) -> Result<Self, NetError> {
        let server = |server: &NameServerConfig| {
            let alone = || ResolverConfig::from_name_servers(vec![server.clone()]);
            let with = |edns0| {
                let mut options = options.clone();
                // A question that is lost is sent again within this time.
                (options.edns0, options.attempts) = (edns0, 1);
                build(alone(), options)
            };
            Ok(Server { resolver: with(true)?, plain: with(false)? })
        };
        let servers = config.name_servers().iter().map(server).collect::<Result<_, NetError>>()?;
        Ok(Self(servers))
    }

    async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Found, LookupError> {
        let mut last = LookupError::from(NetError::NoConnections);
        for Server { resolver, plain } in &*self.0 {
            let found = match Upstream::lookup(resolver, name, kind).await {
                Err(LookupError::Unanswered(NetError::Dns(DnsError::ResponseCode(
                    ResponseCode::FormErr | ResponseCode::NotImp,
                )))) => Upstream::lookup(plain, name, kind).await,
                found => found,
            };
            match found {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Upstream for TokioResolver {
    async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Found, LookupError> {
        match TokioResolver::lookup(self, name.clone(), kind).await {
            Ok(lookup) => {
                let records = lookup.answers().to_vec();
                Ok(Found { exists: true, records, authority: None })
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => Ok(Found {
                exists: nothing.response_code != ResponseCode::NXDomain,
                records: Vec::new(),
                authority: nothing.soa.map(|soa| *soa),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers every question with a code and no records, or not at all; returns its address and how often
    /// it was asked.
    fn server(code: Option<u8>, knows_edns: bool) -> (SocketAddr, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::Relaxed);
                let Some(code) = code else { continue };
                let query = &buffer[..length];
                // The count of additional records: one, where the question has EDNS.
                let has_edns = query[11] != 0;
                let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
                let mut reply = query[..end].to_vec();
                (reply[2], reply[11]) = (0x81, 0);
                reply[3] = 0x80 | if has_edns && !knows_edns { 1 } else { code };
                socket.send_to(&reply, peer).unwrap();
            }
        });
        (address, asked)
    }

    async fn exists(servers: &[SocketAddr]) -> Option<bool> {
        let host = HostResolver::asking(servers).unwrap();
        let name = Name::from_ascii("git.example.org.").unwrap();
        host.lookup(&name, RecordType::A).await.ok().map(|found| found.exists)
    }

    #[tokio::test]
    async fn servers_are_asked_in_their_order_and_the_first_answer_counts() {
        const NO_ERROR: u8 = 0;
        const SERVER_FAILURE: u8 = 2;
        const NO_NAME: u8 = 3;
        let (knows, _) = server(Some(NO_ERROR), true);
        let (public, asked) = server(Some(NO_NAME), true);
        assert_eq!(exists(&[knows, public]).await, Some(true));
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        assert_eq!(exists(&[public, knows]).await, Some(false));
        // One that fails, or says nothing, is passed over.
        let (fails, _) = server(Some(SERVER_FAILURE), true);
        let (mute, _) = server(None, true);
        assert_eq!(exists(&[fails, mute, knows]).await, Some(true));
        assert_eq!(exists(&[fails]).await, None);
        // One that does not know EDNS is asked without.
        let (old, _) = server(Some(NO_ERROR), false);
        assert_eq!(exists(&[old, public]).await, Some(true));
    }

    #[test]
    fn the_configuration_is_read_again_when_it_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let host = HostResolver::new(path.clone());
        let ndots = || {
            // As if the time had passed.
            host.current.lock().unwrap().looked = None;
            host.servers().map(|servers| servers.0[0].resolver.options().ndots)
        };
        assert!(matches!(ndots(), Err(LookupError::Read { .. })));
        fs::write(&path, "search example.org\n").unwrap();
        assert!(matches!(ndots(), Err(LookupError::Configuration { .. })));
        fs::write(&path, "nameserver 192.0.2.1\noptions ndots:2\n").unwrap();
        assert_eq!(ndots().unwrap(), 2);
        fs::write(&path, "nameserver 192.0.2.1\noptions ndots:12\n").unwrap();
        assert_eq!(host.servers().unwrap().0[0].resolver.options().ndots, 2, "looked at too often");
        assert_eq!(ndots().unwrap(), 12);
        fs::remove_file(&path).unwrap();
        assert_eq!(ndots().unwrap(), 12);
    }
}
