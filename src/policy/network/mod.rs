//! What a taskspace may reach (`network/*.yaml` and `network-groups.yaml`).
//!
//! `files.rs` takes the files and finds what is wrong with them, `expand.rs` puts what is in a group
//! in the place of its name, `resolve.rs` says what a taskspace's policy comes to on this host, and
//! `bounds.rs` which policy it has.

mod bounds;
mod expand;
mod files;
mod fragment;
mod reserved;
mod resolve;
mod rules;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{Destination, GroupName, PolicyName, ServiceName};

pub use bounds::{Authority, Bound, Bounds, BoundsError, BoundsFragment, Wanted};
pub use expand::ExpandError;
pub use files::{FileKind, NetworkError, NetworkFile};
pub use resolve::{HostFacts, HostService, NameAnswer, NameRule, ResolveError, Resolved};
pub use rules::{AddressRule, PortsByProtocol};

/// The group that has no destinations in any file: those that this host's own clients fetch packages
/// from.
pub const REGISTRIES: &str = "registries";

/// How open a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Openness {
    /// Nothing goes out, not even questions for names.
    Isolated,
    /// What is allowed goes out.
    Restricted,
    /// What is not denied goes out, but not to the host and to private ranges.
    Open,
}

impl Openness {
    /// All of them, the strictest first.
    pub const ALL: [Self; 3] = [Self::Isolated, Self::Restricted, Self::Open];

    /// Returns the name, which is also that of the built-in policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Restricted => "restricted",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for Openness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Openness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|openness| openness.name() == text)
            .ok_or_else(|| format!("{text:?} is none of isolated, restricted and open"))
    }
}

/// Whether private ranges count as a part of everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrivateRanges {
    /// They do.
    Allow,
    /// They are reached only where they are allowed by themselves.
    #[default]
    Refuse,
}

/// One policy, validated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// What it is for.
    pub description: String,
    /// How open it is at most.
    pub like: Openness,
    /// Whether private ranges count as a part of everywhere.
    pub private_ranges: PrivateRanges,
    /// What it allows, as written.
    pub allow: Vec<Destination>,
    /// What it denies, as written; goes before what is allowed.
    pub deny: Vec<Destination>,
    /// The services of the host that it can name, with their ports.
    pub host_services: BTreeMap<ServiceName, NonZero<u16>>,
}

/// All policies and groups, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks {
    policies: BTreeMap<PolicyName, Policy>,
    groups: BTreeMap<GroupName, Vec<Destination>>,
}

/// There is no policy of a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no network policy {asked:?}; there are {}", known.join(", "))]
pub struct NoPolicy {
    /// The name.
    pub asked: String,
    /// The names that there are.
    pub known: Vec<String>,
}

impl Networks {
    /// Returns all policies.
    pub fn policies(&self) -> impl Iterator<Item = (&PolicyName, &Policy)> {
        self.policies.iter()
    }

    /// Returns all groups of the files, as written.
    pub fn groups(&self) -> impl Iterator<Item = (&GroupName, &[Destination])> {
        self.groups.iter().map(|(name, members)| (name, members.as_slice()))
    }

    /// Returns a policy.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn policy(&self, name: &PolicyName) -> Result<&Policy, NoPolicy> {
        self.policies.get(name).ok_or_else(|| self.no_policy(name.to_string()))
    }

    fn no_policy(&self, asked: String) -> NoPolicy {
        NoPolicy { asked, known: self.policies.keys().map(PolicyName::to_string).collect() }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
