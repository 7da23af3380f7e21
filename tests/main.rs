//! End-to-end tests: the program as its users meet it, on real Podman, git, ssh and systemd.
//!
//! They need a machine with rootless Podman and a user manager; `make test` provides one where there
//! is none. Each test is a user of its own (see `common::User`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod caches;
mod common;

mod agreement;
mod at_once;
mod bad_input;
mod bases;
mod changes;
mod containers;
mod coordination;
mod create;
mod dry_run;
mod events;
mod failure;
mod fault_walk;
mod fork;
mod hang;
mod housekeeping;
mod interference;
mod isolation;
mod leftovers;
mod monitors;
mod network;
mod overlay;
mod podman_faults;
mod policy;
mod ports;
mod project_quotas;
mod quota;
mod readme;
mod reconcile;
mod refresh;
mod repositories;
mod retention;
mod rooms;
mod run_op;
mod service;
mod settings;
mod snapshot;
mod soak;
mod ssh;
mod systemd;
mod unshared;
mod work;

#[test]
fn every_test_file_is_in() {
    let known = include_str!("main.rs");
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            assert!(known.contains(&format!("mod {module};")), "{name} is not in main.rs");
        }
    }
}
