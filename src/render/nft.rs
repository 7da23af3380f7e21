//! The rules that nft(8) loads into the network of a pod.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use minijinja::context;
use minijinja::value::Serde;
use serde::Serialize;

use super::{RenderError, TEXTS, render};

/// What the rules of a pod's network say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NftRuleset {
    /// The table.
    pub table: &'static str,
    /// The mark of connections that these rules have let through.
    pub mark: u32,
    /// The mark of connections that it would not have let through, and only observes.
    pub observed_mark: u32,
    /// For how many seconds it only observes.
    pub observing: u64,
    /// The mark of connections that came in from outside.
    pub caller_mark: u32,
    /// How many addresses of names can be let through.
    pub named_size: u32,
    /// The chain that judges what no rule is about: `pass` or `refuse`.
    pub verdict: &'static str,
    /// Whether names are asked for in the pod only.
    pub own_dns_only: bool,
    /// The ports on which sshds listen.
    pub ssh_ports: Vec<u16>,
    /// The TCP ports of this host that may be reached.
    pub services: Vec<u16>,
    /// The ports of the host that are reached on the pod's loopback, each with the port there.
    pub forwarded: Vec<String>,
    /// What is about addresses, for IPv4 and for IPv6.
    pub families: Vec<NftFamily>,
    /// What is about the addresses of names; what denies goes first.
    pub scopes: Vec<NftScope>,
    /// How many places are remembered that were refused.
    pub refused_size: u32,
    /// For how long.
    pub refused_seconds: u32,
}

/// Rules about addresses of one kind, each as an element of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NftFamily {
    /// `4` or `6`.
    pub version: &'static str,
    /// `ip` or `ip6`.
    pub keyword: &'static str,
    /// The type of such an address.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The address at which a pod reaches services of this host.
    pub gateway: IpAddr,
    /// The addresses of this host.
    pub host: Vec<String>,
    /// Ranges that are no part of everywhere.
    pub closed: Vec<String>,
    /// Ranges that are denied whatever the protocol.
    pub barred: Vec<String>,
    /// Addresses, protocols and ports that are denied.
    pub denied: Vec<String>,
    /// Addresses, protocols and ports that are allowed.
    pub allowed: Vec<String>,
}

/// Rules about the addresses of names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NftScope {
    /// The number in the sets' names.
    pub number: usize,
    /// Whether they deny.
    pub denies: bool,
    /// Their ports.
    pub protocols: Vec<NftPorts>,
    /// The addresses that are known already, by their version.
    pub elements: BTreeMap<&'static str, Vec<String>>,
    /// The addresses, by their version, connections to which go on that an earlier policy has let
    /// through.
    pub kept: BTreeMap<&'static str, BTreeSet<IpAddr>>,
}

/// Ports of a protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NftPorts {
    /// The protocol.
    pub name: &'static str,
    /// The ports, and ranges of them.
    pub ports: Vec<String>,
}

/// Renders the rules: one transaction that replaces those that are there.
///
/// # Errors
/// When the template is wrong.
pub fn nft_ruleset(ruleset: &NftRuleset) -> Result<String, RenderError> {
    let NftRuleset { table, mark, observed_mark, observing, verdict, own_dns_only, .. } = *ruleset;
    let NftRuleset { caller_mark, named_size, refused_size, refused_seconds, .. } = *ruleset;
    let variables = context! {
        table, mark, observed_mark, observing, caller_mark, named_size, verdict, own_dns_only, refused_size, refused_seconds,
        ssh_ports => Serde(&ruleset.ssh_ports),
        services => Serde(&ruleset.services),
        forwarded => Serde(&ruleset.forwarded),
        families => Serde(&ruleset.families),
        scopes => Serde(&ruleset.scopes),
    };
    render(TEXTS, "network/ruleset.nft", variables)
}
