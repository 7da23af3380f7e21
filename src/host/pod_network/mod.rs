//! Work in the network of a pod.
//!
//! The network belongs to the pod's user namespace, in which the user may do everything (nft(8), binding
//! port 53) that its containers, which have no `CAP_NET_ADMIN`, cannot. A process that runs threads cannot
//! enter a user namespace (setns(2)), so a child does: this same program, with a verb that is no part of
//! the command line.

mod inside;
mod loopback;
mod outside;

pub use inside::run;
pub use outside::{ClientSocket, DnsSockets, HostSocket, PodNetwork, PodNetworkError};

/// The verb with which this program starts itself.
pub const VERB: &str = "pod-network";

/// What the child does: become nft.
const NFT: &str = "nft";

/// The child's status when there is no nft, as a shell's.
const NO_NFT: u8 = 127;

/// What the child does: open sockets for questions about names, and hand them to its parent.
const DNS: &str = "dns";

/// What the child does: make sockets that connect to servers in the pod, and hand them to its parent. A
/// socket is of the network in which it was made, wherever it is connected from.
const CLIENTS: &str = "clients";

/// What the child does: open sockets at which the pod reaches services of its host, and hand them to its
/// parent; as many as it is told.
const HOST: &str = "host";

/// How many of these it is asked for at a time.
const HOST_SOCKETS: usize = 32;

/// How many sockets for clients the child makes at a time, of IPv4 and of IPv6 each.
const CLIENTS_EACH: usize = 32;
