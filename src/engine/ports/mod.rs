//! Ports of the host's loopback, and whose they are.

mod allot;

pub(super) use allot::{let_rest, pick_ports};

/// How often new ports are tried when another program was quicker.
pub(super) const ATTEMPTS: usize = 3;
