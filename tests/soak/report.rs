//! What a soak tells: its numbers, its last actions, and what was wrong.

use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::time::Instant;

/// How many of the last actions are told when something is wrong.
const JOURNAL: usize = 150;

/// What has been done so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) operations: usize,
    pub(super) kills: usize,
    pub(super) acts: usize,
    /// What Podman refused for reasons of its own.
    pub(super) refusals: usize,
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, kills, acts, refusals } = self;
        write!(f, "{operations} operations, {kills} kills, {acts} acts of others")?;
        if *refusals > 0 {
            write!(f, " (Podman refused {refusals} for reasons of its own)")?;
        }
        Ok(())
    }
}

/// What there is to tell of one soak.
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) tally: Tally,
    begun: Instant,
    journal: VecDeque<String>,
    wrong: Vec<String>,
}

impl Report {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            tally: Tally::default(),
            begun: Instant::now(),
            journal: VecDeque::new(),
            wrong: Vec::new(),
        }
    }

    /// Notes an action.
    pub(super) fn note(&mut self, what: impl Display) {
        let at = self.begun.elapsed().as_secs_f64();
        self.journal.push_back(format!("{at:8.2} {what}"));
        if self.journal.len() > JOURNAL {
            self.journal.pop_front();
        }
    }

    /// Notes what must not be; the soak goes on until the next check.
    pub(super) fn tell(&mut self, wrong: impl Display) {
        self.note(format!("WRONG: {wrong}"));
        self.wrong.push(wrong.to_string());
    }

    /// Ends the soak if anything was wrong.
    pub(super) fn check(&self) {
        if self.wrong.is_empty() {
            return;
        }
        for line in &self.journal {
            eprintln!("{line}");
        }
        let (seed, tally) = (self.seed, self.tally);
        panic!("seed {seed}, after {tally}:\n{}", self.wrong.join("\n"));
    }
}
