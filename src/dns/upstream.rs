//! Who is asked for what is allowed.

use std::io;
use std::path::PathBuf;

use hickory_proto::rr::{Name, Record, RecordType, rdata::SOA};
use hickory_resolver::net::NetError;
use thiserror::Error;

/// Looks names up.
pub trait Upstream: Send + Sync + 'static {
    /// Looks up a fully qualified name in lower case.
    ///
    /// The same question that is asked again meanwhile should not be sent twice.
    fn lookup(
        &self,
        name: &Name,
        kind: RecordType,
    ) -> impl Future<Output = Result<Found, LookupError>> + Send;
}

/// What a lookup found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Whether there is such a name, with or without records of the kind.
    pub exists: bool,
    /// The records, and the aliases that lead to them, in any order and perhaps with others.
    pub records: Vec<Record>,
    /// For how long it may be remembered that there are none.
    pub authority: Option<Record<SOA>>,
}

/// Why a name could not be looked up.
#[derive(Debug, Error)]
pub enum LookupError {
    /// The resolver's configuration could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The resolver's configuration could not be used.
    #[error("could not use {}", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: NetError,
    },
    /// No server answered, or not in time.
    #[error("no server answered")]
    Unanswered(#[from] NetError),
}
