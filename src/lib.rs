//! Rootless Podman taskspaces: an AI agent's container and a dev container on one copy-on-write
//! checkout of a project.
//!
//! The rooms, and what stands on what, are described in `ARCHITECTURE.md`.

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod coordinator;
pub mod dns;
pub mod engine;
pub mod fault;
pub mod frames;
pub mod host;
pub mod model;
pub mod plan;
pub mod podman;
pub mod policy;
pub mod registry;
pub mod render;
pub mod uds;
