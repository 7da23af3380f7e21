//! A phase of a soak: actions of some kinds, and the rest that follows them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::IndexedRandom;

use super::Soak;
use super::actions::Action;
use super::client::CLIENTS;
use super::rest::TICK;
use super::services::Sample;

/// How many files a service that has nothing to do may have open.
const FILES_AT_REST: usize = 64;

/// What people do, and how often.
const ASKED: &[(Action, u32)] = &[
    (Action::Create, 10),
    (Action::CreateAndKeep, 2),
    (Action::Start, 6),
    (Action::Stop, 6),
    (Action::Restart, 4),
    (Action::Delete, 4),
    (Action::DeleteAndKeepState, 2),
    (Action::Commit, 1),
    (Action::KillClient, 4),
];

/// What each kind of phase has beside that.
const PHASES: &[(&str, &[(Action, u32)])] = &[
    (
        "everything",
        &[
            (Action::KillService, 3),
            (Action::EndService, 2),
            (Action::KillAtPoint, 4),
            (Action::FailAtPoint, 3),
            (Action::KillPodman, 2),
            (Action::Interfere, 16),
        ],
    ),
    ("calm", &[]),
    ("others", &[(Action::Interfere, 40)]),
    ("kills", &[(Action::KillService, 8), (Action::EndService, 5), (Action::KillAtPoint, 10)]),
    ("failures", &[(Action::FailAtPoint, 8), (Action::KillPodman, 6)]),
];

impl Soak {
    /// Does so many actions, rests, and tells how it was.
    pub(super) fn phase(&mut self, number: usize, actions: usize) {
        let (name, own) = PHASES[number % PHASES.len()];
        let weights = [ASKED, own].concat();
        let (tally, begun) = (self.report.tally, Instant::now());
        self.report.note(format!("phase {number}: {name}"));
        let before = Sample::take(&self.user);
        for _ in 0..actions {
            while self.clients.len() >= CLIENTS {
                self.pause(TICK);
            }
            let (action, _) =
                *weights.choose_weighted(&mut self.rng, |(_, weight)| *weight).unwrap();
            self.act(action);
            let long = self.rng.random_range(0..400);
            self.pause(Duration::from_millis(long));
        }
        self.rest();
        let after = Sample::take(&self.user);
        if let Some(after) = after.filter(|after| after.files > FILES_AT_REST) {
            self.report.tell(format!("the service has too many files open: {after}"));
        }
        let mut states: BTreeMap<String, usize> = BTreeMap::new();
        for record in self.user.registry()["taskspaces"].as_object().unwrap().values() {
            *states.entry(record["status"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let show = |sample: Option<Sample>| sample.map_or("none".to_owned(), |it| it.to_string());
        let now = self.report.tally;
        println!(
            "phase {number:3} {name:10} {:3} operations {:3} kills {:3} acts | {states:?} | {} -> {} | {:.0} s",
            now.operations - tally.operations,
            now.kills - tally.kills,
            now.acts - tally.acts,
            show(before),
            show(after),
            begun.elapsed().as_secs_f64(),
        );
        self.report.check();
    }
}
