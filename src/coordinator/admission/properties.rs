//! What holds whatever happens, and that the quick way comes to the same as the plain one.

use proptest::prelude::*;

use super::*;

const TARGETS: [&str; 9] = [
    "api",
    "worker",
    "redis",
    "taskspace:a",
    "taskspace:a/dev",
    "taskspace:a/agent",
    "taskspace:b",
    "taskspace:b/dev",
    "taskspace:b/agent",
];

fn target(number: usize) -> Target {
    TARGETS[number % TARGETS.len()].parse().unwrap()
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Act {
    Ask(Wish),
    /// As `ask`, under one of those that run.
    AskUnder(Wish, usize),
    Resume(Wish),
    Requeue(Wish),
    /// One of those that run is done, fails or takes too long.
    End(usize),
    /// One of those that wait is cancelled.
    Cancel(usize),
    /// Nothing at all if it is a circle.
    SetDependencies(Vec<(usize, usize)>),
}

#[derive(Clone, Debug)]
struct Wish {
    class: OperationClass,
    target: usize,
    priority: Priority,
    /// How long before now it was asked for.
    age: u64,
}

fn wish() -> impl Strategy<Value = Wish> {
    let class = prop::sample::select(OperationClass::ALL.to_vec());
    (class, 0..TARGETS.len(), 1..=10_u8, 0..40_u64).prop_map(|(class, target, priority, age)| {
        Wish { class, target, priority: priority.try_into().unwrap(), age }
    })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => wish().prop_map(Act::Ask),
        3 => (wish(), 0..64_usize).prop_map(|(wish, under)| Act::AskUnder(wish, under)),
        1 => wish().prop_map(Act::Resume),
        1 => wish().prop_map(Act::Requeue),
        6 => (0..64_usize).prop_map(Act::End),
        2 => (0..64_usize).prop_map(Act::Cancel),
        1 => prop::collection::vec((0..TARGETS.len(), 0..TARGETS.len()), 0..6)
            .prop_map(Act::SetDependencies),
    ]
}

fn rules() -> impl Strategy<Value = Coordination> {
    let critical = prop::sample::select(vec!["reject", "queue"]);
    let medium = prop::sample::select(vec!["caution", "queue"]);
    (1..8_usize, 1..4_usize, 1..40_u64, critical, medium).prop_map(
        |(queue, per_container, ageing, critical, medium)| {
            let text = format!(
                "limits: {{queue: {queue}, per_container: {per_container}, ageing: {ageing}ms}}\n\
                 severities: {{critical: {critical}, medium: {medium}}}"
            );
            let over = serde_yaml::from_str(&text).unwrap();
            Coordination::built_in().merge(over).try_into().unwrap()
        },
    )
}

/// The plain way: everything is looked at again each time.
#[derive(Debug)]
struct Plain {
    rules: Coordination,
    dependencies: Dependencies,
    all: Vec<One>,
}

#[derive(Clone, Debug)]
struct One {
    ask: Ask,
    above: Vec<u64>,
    running: bool,
    /// Whether it was entered without asking.
    taken_over: bool,
}

impl Plain {
    fn key(&self, one: &One) -> (i128, u64) {
        let worth = self.rules.limits.ageing.as_millis() * u128::from(one.ask.priority.get());
        (i128::from(one.ask.arrived) - i128::try_from(worth).unwrap(), one.ask.id)
    }

    fn one(&self, ask: Ask, running: bool, taken_over: bool) -> One {
        let nearest = self.all.iter().find(|one| Some(one.ask.id) == ask.under);
        let above = ask.under.into_iter();
        let above = above.chain(nearest.into_iter().flat_map(|one| one.above.clone())).collect();
        One { ask, above, running, taken_over }
    }

    fn find(&self, id: u64) -> &One {
        self.all.iter().find(|one| one.ask.id == id).unwrap()
    }

    fn in_order(&self) -> Vec<One> {
        let mut waiting: Vec<One> = self.all.iter().filter(|one| !one.running).cloned().collect();
        waiting.sort_by_key(|one| self.key(one));
        waiting
    }

    /// What two are to each other, leaving aside what is done under what.
    fn meeting(&self, one: &One, other: &One) -> Option<Meeting> {
        let (a, b) = (&one.ask, &other.ask);
        let severity = self.rules.matrix.severity(a.class, b.class);
        if a.target.overlaps(&b.target) {
            return Some(Meeting { with: b.id, severity, chain: Vec::new() });
        }
        let chain = |disruptive: &Ask, dependent: &Ask| {
            let is = self.rules.disruptive.contains(&disruptive.class);
            is.then(|| self.dependencies.chain(&dependent.target, &disruptive.target)).flatten()
        };
        let chain = chain(b, a).or_else(|| chain(a, b))?;
        Some(Meeting { with: b.id, severity: severity.min(self.rules.at_most), chain })
    }

    fn response(&self, meeting: &Meeting) -> Response {
        self.rules.responses.to(meeting.severity)
    }

    /// Whether one of them has to wait for the other.
    fn conflict(&self, one: &One, other: &One) -> bool {
        self.meeting(one, other).is_some_and(|meeting| self.response(&meeting) >= Response::Queue)
    }

    fn meetings(&self, one: &One, wanted: impl Fn(&One, Response) -> bool) -> Vec<Meeting> {
        let mut meetings: Vec<Meeting> = (self.all.iter())
            .filter(|other| other.ask.id != one.ask.id && !one.above.contains(&other.ask.id))
            .filter(|other| {
                one.ask.under.is_none() || other.running || other.ask.under == one.ask.under
            })
            .filter_map(|other| {
                let meeting = self.meeting(one, other)?;
                wanted(other, self.response(&meeting)).then_some(meeting)
            })
            .collect();
        meetings.sort_by_key(|meeting| (Reverse(meeting.severity), meeting.with));
        meetings
    }

    fn has_no_room(&self, one: &One, container: &Target) -> bool {
        let there = |other: &&One| {
            other.ask.target.covers(container) && (other.running || self.key(other) < self.key(one))
        };
        let others = self.all.iter().filter(|other| other.ask.id != one.ask.id).filter(there);
        one.ask.under.is_none() && others.count() >= self.rules.limits.per_container
    }

    fn waits(&self, one: &One) -> Waits {
        let behind = self.meetings(one, |other, response| {
            response >= Response::Queue && (other.running || self.key(other) < self.key(one))
        });
        let mut containers = one.ask.target.containers().into_iter();
        Waits { behind, full: containers.find(|container| self.has_no_room(one, container)) }
    }

    fn waits_for(&self, id: u64) -> Vec<u64> {
        let holder = self.find(id);
        let waits = |one: &One| {
            self.waits(one).behind.iter().any(|meeting| meeting.with == id)
                || one.ask.target.containers().iter().any(|container| {
                    holder.ask.target.covers(container) && self.has_no_room(one, container)
                })
        };
        self.in_order().iter().filter(|one| waits(one)).map(|one| one.ask.id).collect()
    }

    fn beside(&self, one: &One) -> Vec<Meeting> {
        self.meetings(one, |other, response| other.running && response == Response::Caution)
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        let one = self.one(ask, false, false);
        let rejecting = self.meetings(&one, |_, response| response == Response::Reject);
        if let Some(meeting) = rejecting.into_iter().next() {
            return Answer::Refused(Refusal::Conflict(meeting));
        }
        let waits = self.waits(&one);
        if waits == Waits::default() {
            let beside = self.beside(&one);
            self.all.push(One { running: true, ..one });
            return Answer::Admitted { beside };
        }
        if let Some(meeting) = self.circle(&one, &waits) {
            return Answer::Refused(Refusal::Conflict(meeting));
        }
        let limit = self.rules.limits.queue;
        if self.in_order().len() >= limit {
            return Answer::Refused(Refusal::QueueFull { limit });
        }
        self.all.push(one);
        Answer::Queued(waits)
    }

    /// Which outermost operation waits, by what is done under it, for which other one: all there are.
    fn circle(&self, one: &One, waits: &Waits) -> Option<Meeting> {
        let outermost = |one: &One| one.above.last().copied().unwrap_or(one.ask.id);
        let own = *one.above.last()?;
        let mut pairs = BTreeSet::new();
        for waiting in self.in_order().iter().filter(|waiting| !waiting.above.is_empty()) {
            for meeting in self.waits(waiting).behind {
                pairs.insert((outermost(waiting), outermost(self.find(meeting.with))));
            }
        }
        loop {
            let further = pairs.iter().flat_map(|(from, by)| {
                let on = pairs.iter().filter(move |(at, _)| at == by);
                on.map(move |(_, to)| (*from, *to))
            });
            let all: BTreeSet<(u64, u64)> = further.chain(pairs.iter().copied()).collect();
            if all == pairs {
                break;
            }
            pairs = all;
        }
        let leads_back = |meeting: &&Meeting| {
            let other = outermost(self.find(meeting.with));
            other != own && pairs.contains(&(other, own))
        };
        waits.behind.iter().find(leads_back).cloned()
    }

    /// Looks at all from the beginning, until nobody can be let in.
    fn let_in(&mut self) -> Vec<Admitted> {
        let mut admitted = Vec::new();
        while let Some(one) =
            self.in_order().into_iter().find(|one| self.waits(one) == Waits::default())
        {
            admitted.push(Admitted { id: one.ask.id, beside: self.beside(&one) });
            self.all.iter_mut().find(|it| it.ask.id == one.ask.id).unwrap().running = true;
        }
        admitted
    }

    fn end(&mut self, id: u64) -> Vec<Admitted> {
        self.all.retain(|one| one.ask.id != id);
        self.let_in()
    }
}

/// Both ways side by side.
struct Both {
    quick: Admission,
    plain: Plain,
    next: u64,
    /// Those that meet although they run, because what depends on what has changed.
    excused: BTreeSet<(u64, u64)>,
}

impl Both {
    fn new(rules: Coordination) -> Self {
        Self {
            quick: Admission::new(Arc::new(rules.clone())),
            plain: Plain { rules, dependencies: Dependencies::default(), all: Vec::new() },
            next: 0,
            excused: BTreeSet::new(),
        }
    }

    fn running(&self) -> Vec<u64> {
        self.quick.running().map(|ask| ask.id).collect()
    }

    fn ask(&mut self, wish: Wish, under: Option<u64>) -> Ask {
        self.next += 1;
        let mut target = target(wish.target);
        if let Some(under) = under.map(|under| self.plain.find(under))
            && !under.ask.target.covers(&target)
        {
            target = under.ask.target.clone();
        }
        let arrived = (100 + 5 * self.next).saturating_sub(wish.age);
        Ask { id: self.next, class: wish.class, target, priority: wish.priority, arrived, under }
    }

    /// Does it both ways, and compares what comes of it.
    fn act(&mut self, act: Act) -> Result<(), TestCaseError> {
        let under = match (&act, self.running()) {
            (Act::AskUnder(_, pick), running) if !running.is_empty() => {
                Some(running[pick % running.len()])
            }
            _ => None,
        };
        match act {
            Act::Ask(wish) | Act::AskUnder(wish, _) => {
                let ask = self.ask(wish, under);
                let id = ask.id;
                let answer = self.quick.ask(ask.clone());
                prop_assert_eq!(&answer, &self.plain.ask(ask));
                match answer {
                    Answer::Admitted { beside } => {
                        self.check_admitted(&[Admitted { id, beside }])?
                    }
                    Answer::Queued(_) => {
                        let limit = self.plain.rules.limits.queue;
                        prop_assert!(self.quick.waiting().count() <= limit);
                    }
                    Answer::Refused(_) => {}
                }
            }
            Act::Resume(wish) => {
                let ask = self.ask(wish, None);
                self.quick.resume(ask.clone());
                let one = self.plain.one(ask, true, true);
                self.plain.all.push(one);
                self.excuse();
            }
            Act::Requeue(wish) => {
                let ask = self.ask(wish, None);
                self.quick.requeue(ask.clone());
                let one = self.plain.one(ask, false, true);
                self.plain.all.push(one);
                // Half of the time it is the next end that lets it in.
                if self.next.is_multiple_of(2) {
                    let admitted = self.quick.let_in();
                    prop_assert_eq!(&admitted, &self.plain.let_in());
                    self.check_admitted(&admitted)?;
                } else {
                    return Ok(());
                }
            }
            Act::End(pick) => {
                let running = self.running();
                if !running.is_empty() {
                    self.end(running[pick % running.len()])?;
                }
            }
            Act::Cancel(pick) => {
                let waiting: Vec<u64> = self.quick.waiting().map(|ask| ask.id).collect();
                if !waiting.is_empty() {
                    self.end(waiting[pick % waiting.len()])?;
                }
            }
            Act::SetDependencies(edges) => {
                let edges = edges.into_iter().map(|(of, on)| (target(of), vec![target(on)]));
                let Ok(dependencies) = Dependencies::new(edges) else { return Ok(()) };
                self.plain.dependencies = dependencies.clone();
                self.excuse();
                let admitted = self.quick.set_dependencies(dependencies);
                prop_assert_eq!(&admitted, &self.plain.let_in());
                self.check_admitted(&admitted)?;
            }
        }
        self.check()
    }

    fn end(&mut self, id: u64) -> Result<(), TestCaseError> {
        let admitted = self.quick.end(id);
        prop_assert_eq!(&admitted, &self.plain.end(id));
        self.check_admitted(&admitted)
    }

    /// Excuses whatever meets just now.
    fn excuse(&mut self) {
        let running: Vec<&One> = self.plain.all.iter().filter(|one| one.running).collect();
        for (one, other) in pairs(&running) {
            self.excused.insert((one.ask.id, other.ask.id));
        }
    }

    /// Nobody was let in ahead of one whose turn was before and with whom it conflicts.
    fn check_admitted(&self, admitted: &[Admitted]) -> Result<(), TestCaseError> {
        for Admitted { id, .. } in admitted {
            let one = self.plain.find(*id);
            for waiting in self.plain.in_order() {
                let exempt = one.ask.under.is_some() && one.ask.under != waiting.ask.under;
                prop_assert!(
                    exempt
                        || self.plain.key(one) < self.plain.key(&waiting)
                        || !self.plain.conflict(one, &waiting),
                    "{:?} overtook {:?}",
                    one,
                    waiting
                );
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let ids = |all: &[One]| all.iter().map(|one| one.ask.id).collect::<Vec<_>>();
        let running: Vec<&One> = self.plain.all.iter().filter(|one| one.running).collect();
        let running_ids: Vec<u64> = running.iter().map(|one| one.ask.id).collect();
        let waiting = self.plain.in_order();
        prop_assert_eq!(
            self.running(),
            running_ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        );
        prop_assert_eq!(self.quick.waiting().map(|ask| ask.id).collect::<Vec<_>>(), ids(&waiting));
        prop_assert!(!running.is_empty() || waiting.is_empty() || self.quick.unsettled);
        for (one, other) in pairs(&running) {
            let nested = one.above.contains(&other.ask.id) || other.above.contains(&one.ask.id);
            let excused = self.excused.contains(&(one.ask.id, other.ask.id));
            prop_assert!(
                nested || excused || !self.plain.conflict(one, other),
                "{:?} and {:?} run side by side",
                one,
                other
            );
        }
        for container in
            TARGETS.iter().flat_map(|text| text.parse::<Target>().unwrap().containers())
        {
            let there = running.iter().filter(|one| {
                one.ask.target.covers(&container) && one.ask.under.is_none() && !one.taken_over
            });
            prop_assert!(there.count() <= self.plain.rules.limits.per_container);
        }
        for one in &waiting {
            let waits = self.quick.waits(one.ask.id);
            prop_assert_eq!(&waits, &Some(self.plain.waits(one)));
            prop_assert!(waits != Some(Waits::default()) || self.quick.unsettled);
        }
        for one in &running {
            prop_assert_eq!(self.quick.waits(one.ask.id), None);
            prop_assert_eq!(self.quick.waits_for(one.ask.id), self.plain.waits_for(one.ask.id));
        }
        Ok(())
    }

    /// Ends all that runs, again and again: then everything has had its turn, and nothing is left.
    fn wind_up(&mut self) -> Result<(), TestCaseError> {
        let left = self.plain.all.len();
        for _ in 0..left {
            let running = self.running();
            prop_assert!(!running.is_empty() || self.quick.unsettled);
            match running.last() {
                Some(id) => self.end(*id)?,
                None => {
                    prop_assert_eq!(self.quick.let_in(), self.plain.let_in());
                    continue;
                }
            }
            self.check()?;
        }
        for id in self.running() {
            self.end(id)?;
        }
        let Admission { entries, waiting, places, crowds, .. } = &self.quick;
        prop_assert!(entries.is_empty() && waiting.is_empty(), "{:?}", entries);
        prop_assert!(places.is_empty() && crowds.is_empty(), "{:?} {:?}", places, crowds);
        Ok(())
    }
}

/// Each two, the one with the smaller number first.
fn pairs<'a>(all: &[&'a One]) -> Vec<(&'a One, &'a One)> {
    let with_others = |one: &&'a One| {
        let one = *one;
        let others = all.iter().filter(move |other| other.ask.id > one.ask.id);
        others.map(move |other| (one, *other)).collect::<Vec<_>>()
    };
    all.iter().flat_map(with_others).collect()
}

proptest! {
    #[test]
    fn the_promises_hold_and_both_ways_come_to_the_same(
        rules in rules(),
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let mut both = Both::new(rules);
        for act in acts {
            both.act(act)?;
        }
        both.wind_up()?;
    }
}
