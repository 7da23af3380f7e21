//! The soak: random operations, kills and acts of others, against a model of what was asked for. After
//! each phase everything is left alone for a while, and the model, the registry, Podman and the host
//! have to agree; in the end nothing may be left.
//!
//! `make soak` goes on for `SOAK_MINUTES`. A seed (`SOAK_SEED`) repeats the choices, not the timing.

mod actions;
mod client;
mod compare;
mod interference;
mod leaks;
mod phases;
mod points;
mod report;
mod rest;
mod services;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::User;
use crate::common::expectation::Expectation;
use crate::common::own_podman::OwnPodman;
use crate::common::repository::Repository;
use client::Client;
use interference::Interference;
use points::Points;
use report::Report;
use services::Services;

/// Quick enough, and with a limit of recoveries that so many acts of others do not reach; the pauses
/// between them stay short since the window is.
const SETTINGS: &str = "\
reconcile_interval: 2s
stop_timeout: 1s
ready_timeout: 20s
health: {interval: 500ms, timeout: 1s, retries: 2}
restart: {limit: 50, window: 5s, delay: 100ms}
";

/// A user to whom everything happens.
struct Soak {
    user: User,
    podman: OwnPodman,
    repositories: Vec<Repository>,
    commits: usize,
    rng: StdRng,
    /// The first part of the taskspaces' ids: no other test's, and no other run's.
    prefix: String,
    ids: Vec<String>,
    expected: BTreeMap<String, Expectation>,
    /// Those that have a file in their checkout that must not go.
    marked: Vec<String>,
    last: Option<String>,
    clients: Vec<Client>,
    /// How many files clients have had for what they write.
    outputs: usize,
    others: Vec<Interference>,
    services: Services,
    podman_back: Option<Instant>,
    /// Everything may have failed since the last rest.
    disturbed: bool,
    points: Points,
    report: Report,
}

impl Soak {
    fn new(seed: u64) -> Self {
        let podman = OwnPodman::start();
        let mut user = User::with_podman(&podman.container_host());
        user.settings("settings.yaml", SETTINGS);
        user.take_own_ports();
        let repositories = vec![Repository::new(&user, "one"), Repository::new(&user, "two")];
        let mut soak = Self {
            user,
            podman,
            repositories,
            commits: 0,
            rng: StdRng::seed_from_u64(seed),
            prefix: format!("s{:05x}", rand::rng().random_range(0..0x10_0000)),
            ids: Vec::new(),
            expected: BTreeMap::new(),
            marked: Vec::new(),
            last: None,
            clients: Vec::new(),
            outputs: 0,
            others: Vec::new(),
            services: Services::default(),
            podman_back: None,
            disturbed: false,
            points: Points::default(),
            report: Report::new(seed),
        };
        soak.learn_points();
        soak
    }

    fn new_id(&mut self) -> String {
        let id = format!("{}-{}", self.prefix, self.ids.len());
        self.ids.push(id.clone());
        id
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        // What is removed last needs Podman.
        self.podman.revive();
        for client in &mut self.clients {
            client.child.kill().ok();
            client.child.wait().ok();
        }
        for other in &mut self.others {
            other.child.kill().ok();
            other.child.wait().ok();
        }
        self.services.signal(&self.user, Signal::SIGTERM);
        self.services.wait();
    }
}

/// Reads a number that the environment may give.
fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is to be a number, not '{text}'")))
}

#[test]
fn whatever_happens_all_agree_in_the_end_and_nothing_is_left() {
    let seed = given("TASKSPACE_SOAK_SEED").unwrap_or_else(|| rand::rng().random_range(0..1 << 32));
    let minutes = given("TASKSPACE_SOAK_MINUTES");
    println!("seed {seed}");
    let mut soak = Soak::new(seed);
    match minutes {
        Some(minutes) => {
            let until = Instant::now() + Duration::from_secs(minutes * 60);
            let mut number = 0;
            while Instant::now() < until {
                let actions = soak.rng.random_range(20..60);
                soak.phase(number, actions);
                number += 1;
            }
        }
        None => soak.phase(0, 60),
    }
    soak.end();
}
