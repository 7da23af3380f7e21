//! Ports of the host's loopback: whose they are, and what of a taskspace is reached by them.

mod allot;
mod forwards;
mod publish;
mod relay;
mod stock;

pub(super) use allot::{let_rest, pick_ports};
pub(super) use forwards::Forwards;
pub(super) use relay::{Forward, Places, Relay};
pub(super) use stock::Pod;

/// How often new ports are tried when another program was quicker.
pub(super) const ATTEMPTS: usize = 3;
