//! The host: files, git, ports, keys, systemd and Podman's socket.
//!
//! This is the only room that calls the kernel, git, systemd or ssh's files (the registry writes its
//! own file). Everything here is a plain deed with a plain error; what is to be done, and when, is
//! decided elsewhere. Functions that are not `async` may block.

pub mod activation;
pub mod addresses;
pub mod banner;
pub mod child;
pub mod confined;
pub mod data_volume;
pub mod disk;
pub mod files;
pub mod forwarders;
pub mod git;
pub mod grant_log;
pub mod headroom;
pub mod knock;
pub mod memory;
pub mod monitors;
pub mod open_files;
pub mod permits;
pub mod pod_network;
pub mod podman_service;
pub mod ports;
pub mod processes;
pub mod project_quota;
pub mod registries;
pub mod signals;
pub mod ssh_client;
pub mod ssh_include;
pub mod sshkeys;
pub mod systemd;
pub mod terminal;
pub mod unshared;
pub mod watch;
