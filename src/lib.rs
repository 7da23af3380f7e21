//! Rootless Podman taskspaces: an AI agent's container and a dev container on one copy-on-write
//! checkout of a project.
//!
//! The rooms, and what stands on what, are described in `ARCHITECTURE.md`.

pub mod model;
