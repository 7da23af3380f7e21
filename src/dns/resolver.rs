//! The host's own resolver.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
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

/// How long a server may take before it is asked again, and others are. Below what a client waits,
/// so that one that does not answer does not have every lookup fail.
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

#[derive(Default)]
struct Current {
    resolver: Option<TokioResolver>,
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
        let resolver = Some(build(config, ResolverOpts::default())?);
        Ok(Self { path: None, current: Mutex::new(Current { resolver, ..Current::default() }) })
    }

    /// Goes by a file such as `/etc/resolv.conf`, also when it changes.
    pub fn new(path: PathBuf) -> Self {
        Self { path: Some(path), current: Mutex::default() }
    }

    /// Returns a resolver by the file as it is now; by what it was when it can no longer be used.
    fn resolver(&self) -> Result<TokioResolver, LookupError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(path) = &self.path
            && current.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK)
        {
            current.looked = Some(now);
            if let Err(error) = refresh(path, &mut current) {
                let Some(resolver) = &current.resolver else {
                    // The next one looks again.
                    current.looked = None;
                    return Err(error);
                };
                warn!(error = &error as &dyn std::error::Error, "the former servers are asked");
                return Ok(resolver.clone());
            }
        }
        current.resolver.clone().ok_or_else(|| NetError::NoConnections.into())
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
    current.resolver = Some(build(config, options).map_err(unusable)?);
    current.seen = seen;
    Ok(())
}

pub(super) fn build(
    config: ResolverConfig,
    mut options: ResolverOpts,
) -> Result<TokioResolver, NetError> {
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = options.timeout.min(SERVER_TIMEOUT);
    options.edns0 = true;
    options.cache_size = CACHED;
    options.max_active_requests = MAX_ACTIVE;
    // They are followed once more, and all of them count for how long an answer holds.
    options.preserve_intermediates = true;
    let provider = TokioRuntimeProvider::default();
    TokioResolver::builder_with_config(config, provider).with_options(options).build()
}

impl Upstream for HostResolver {
    async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Found, LookupError> {
        Upstream::lookup(&self.resolver()?, name, kind).await
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
    use super::*;

    #[test]
    fn the_configuration_is_read_again_when_it_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let host = HostResolver::new(path.clone());
        let ndots = || {
            // As if the time had passed.
            host.current.lock().unwrap().looked = None;
            host.resolver().map(|resolver| resolver.options().ndots)
        };
        assert!(matches!(ndots(), Err(LookupError::Read { .. })));
        fs::write(&path, "search example.org\n").unwrap();
        assert!(matches!(ndots(), Err(LookupError::Configuration { .. })));
        fs::write(&path, "nameserver 192.0.2.1\noptions ndots:2\n").unwrap();
        assert_eq!(ndots().unwrap(), 2);
        fs::write(&path, "nameserver 192.0.2.1\noptions ndots:12\n").unwrap();
        assert_eq!(host.resolver().unwrap().options().ndots, 2, "looked at too often");
        assert_eq!(ndots().unwrap(), 12);
        fs::remove_file(&path).unwrap();
        assert_eq!(ndots().unwrap(), 12);
    }
}
