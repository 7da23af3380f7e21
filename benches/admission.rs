//! How many operations are admitted and ended in a second while 100 run and 100 wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use taskspace::coordinator::{Admission, Answer, Ask, Dependencies};
use taskspace::model::{OperationClass, Priority, Target};
use taskspace::policy::coordination::Coordination;

/// So many run, and so many wait.
const CROWD: usize = 100;

/// How many taskspaces there are, each with two containers of its own.
const TASKSPACES: usize = 24;

/// How many shops there are, each of `SHOP`.
const SHOPS: usize = 6;

/// The containers of a shop, with what each depends on.
const SHOP: [(&str, &[&str]); 8] = [
    ("api", &["postgres"]),
    ("webui", &["api"]),
    ("worker", &["api", "redis", "postgres"]),
    ("postgres", &[]),
    ("redis", &[]),
    ("voice", &["api"]),
    ("chat", &["api"]),
    ("prometheus", &[]),
];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    let mut group = criterion.benchmark_group("admission");
    group.throughput(Throughput::Elements(1));
    group.bench_function("ask and end", |bencher| {
        bencher.iter_custom(|times| {
            let mut scene = Scene::new();
            let started = Instant::now();
            for _ in 0..times {
                scene.turn();
            }
            started.elapsed()
        });
    });
    group.finish();
    criterion.final_summary();
}

/// An admission in which as many run and wait as are to.
struct Scene {
    admission: Admission,
    targets: Vec<Target>,
    random: u64,
    last: u64,
    /// Those that run, in the order in which they began to.
    running: VecDeque<u64>,
}

impl Scene {
    fn new() -> Self {
        let target = |text: String| text.parse::<Target>().expect("a target");
        let mut targets = Vec::new();
        let mut dependencies = Vec::new();
        for shop in 0..SHOPS {
            for (name, on) in SHOP {
                let on = on.iter().map(|on| target(format!("{on}-{shop}"))).collect();
                targets.push(target(format!("{name}-{shop}")));
                dependencies.push((target(format!("{name}-{shop}")), on));
            }
        }
        for number in 0..TASKSPACES {
            let suffixes = ["", "/dev", "/agent"];
            targets.extend(suffixes.map(|suffix| target(format!("taskspace:t{number}{suffix}"))));
        }
        let mut rules: Coordination =
            Coordination::built_in().try_into().expect("the built-in one");
        // One more comes before one goes.
        rules.limits.queue = CROWD + 1;
        let mut admission = Admission::new(Arc::new(rules));
        let dependencies = Dependencies::new(dependencies.into_iter()).expect("no circle");
        admission.set_dependencies(dependencies);
        let mut scene = Self {
            admission,
            targets,
            random: 1,
            last: 0,
            running: VecDeque::with_capacity(CROWD),
        };
        while scene.running.len() < CROWD || scene.waiting() < CROWD {
            scene.ask();
            scene.trim();
        }
        scene
    }

    /// Asks until one is taken, and ends one, so that as many run and wait as before.
    fn turn(&mut self) {
        while !self.ask() {}
        self.trim();
    }

    /// Asks for one, and tells whether it is taken.
    fn ask(&mut self) -> bool {
        self.last += 1;
        let priority = u8::try_from(1 + self.pick(10)).unwrap_or_default();
        let target = self.pick(self.targets.len());
        let ask = Ask {
            id: self.last,
            class: OperationClass::ALL[self.pick(OperationClass::ALL.len())],
            target: self.targets[target].clone(),
            priority: Priority::try_from(priority).expect("a priority"),
            arrived: self.last,
            under: None,
        };
        match self.admission.ask(ask) {
            Answer::Admitted { .. } => self.running.push_back(self.last),
            Answer::Queued(_) => {}
            Answer::Refused(_) => return false,
        }
        true
    }

    fn trim(&mut self) {
        while self.running.len() > CROWD {
            let Some(id) = self.running.pop_front() else { return };
            self.end(id);
        }
        while self.waiting() > CROWD {
            let any = self.pick(CROWD);
            let Some(id) = self.admission.waiting().nth(any).map(|ask| ask.id) else { return };
            self.end(id);
        }
    }

    fn end(&mut self, id: u64) {
        self.running.extend(self.admission.end(id).into_iter().map(|admitted| admitted.id));
    }

    fn waiting(&self) -> usize {
        self.admission.waiting().count()
    }

    /// The same ones in every run: xorshift64.
    fn pick(&mut self, among: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as usize % among
    }
}
