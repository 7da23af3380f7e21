//! Runs a plan: as many steps at a time as their needs allow; when one fails, those that were begun
//! are taken back, the last one first.

use std::collections::BTreeSet;
use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::fault;
use crate::model::{Code, EventBody, Problem, StepOutcome};
use crate::plan::{Act, Plan, Step};

/// Does single acts, and hears how the plan goes.
pub(crate) trait Performer {
    /// Does one act.
    fn perform(&self, act: &Act) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Hears that a step failed; returns whether what was begun is to be taken back.
    fn give_up(&self) -> impl Future<Output = bool> + Send;

    /// Hears of the beginning or end of a step.
    fn report(&self, body: EventBody);
}

/// A plan that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The first step's problem. What else went wrong, also while taking back, is in its log.
    pub(crate) problem: Problem,
    /// Whether everything that was begun is taken back.
    pub(crate) taken_back: bool,
}

/// What becomes of a plan of which a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// What was begun is taken back.
    TakeBack,
    /// What was begun stays, for whoever wants to look at it.
    Keep,
}

/// Runs a plan.
pub(crate) async fn execute(
    plan: &Plan,
    performer: &impl Performer,
    on_failure: OnFailure,
) -> Result<(), Failure> {
    let mut waiting: BTreeSet<usize> = (0..plan.steps.len()).collect();
    let mut done = BTreeSet::new();
    let mut begun = Vec::new();
    let mut under_way = FuturesUnordered::new();
    let mut failure: Option<Problem> = None;
    loop {
        if failure.is_none() {
            let ready: Vec<usize> = waiting
                .iter()
                .copied()
                .filter(|index| plan.steps[*index].needs.iter().all(|need| done.contains(need)))
                .collect();
            for index in ready {
                waiting.remove(&index);
                begun.push(index);
                let step = &plan.steps[index];
                under_way.push(async move { (index, run(plan.name, step, performer).await) });
            }
        }
        match under_way.next().await {
            None => break,
            Some((index, Ok(()))) => {
                done.insert(index);
            }
            Some((index, Err(problem))) => {
                let problem = name_step(&plan.steps[index], problem);
                match &mut failure {
                    None => failure = Some(problem),
                    Some(first) => first.log.push(format!("also: {}", problem.detail)),
                }
            }
        }
    }
    let Some(mut problem) = failure else { return Ok(()) };
    if on_failure == OnFailure::Keep || !performer.give_up().await {
        return Err(Failure { problem, taken_back: false });
    }
    let mut taken_back = true;
    begun.sort_unstable();
    for index in begun.into_iter().rev() {
        let step = &plan.steps[index];
        let Some(undo) = &step.undo else { continue };
        let point = |when| fault::point(|| format!("{}: undo {}: {when}", plan.name, step.title));
        point("before");
        let undone = performer.perform(undo).await;
        point("after");
        match undone {
            Ok(()) => performer.report(EventBody::StepEnded {
                step: step.title.clone(),
                outcome: StepOutcome::Undone,
                milliseconds: 0,
            }),
            Err(error) => {
                taken_back = false;
                problem.log.push(format!("could not take back '{}': {}", step.title, error.detail));
                if error.code == Code::PodmanUnavailable {
                    problem.log.push("the rest is taken back when Podman answers".to_owned());
                    break;
                }
            }
        }
    }
    Err(Failure { problem, taken_back })
}

fn name_step(step: &Step, mut problem: Problem) -> Problem {
    problem.detail = format!("{}: {}", step.title, problem.detail);
    problem
}

async fn run(plan: &str, step: &Step, performer: &impl Performer) -> Result<(), Problem> {
    performer.report(EventBody::StepStarted { step: step.title.clone() });
    let start = Instant::now();
    let point = |when| fault::point(|| format!("{plan}: {}: {when}", step.title));
    point("before");
    let mut result = performer.perform(&step.act).await;
    if fault::fails(|| format!("{plan}: {}: fail", step.title)) {
        result = Err(Problem::new(Code::Internal, "a test wants it to fail"));
    }
    point("after");
    let outcome = if result.is_ok() { StepOutcome::Done } else { StepOutcome::Failed };
    performer.report(EventBody::StepEnded {
        step: step.title.clone(),
        outcome,
        milliseconds: start.elapsed().as_millis().try_into().unwrap_or(u64::MAX),
    });
    result
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;
    use crate::model::Code;

    /// Notes the acts; those named in `failing` fail.
    #[derive(Default)]
    struct Recorder {
        failing: Vec<String>,
        acts: Mutex<Vec<String>>,
    }

    impl Performer for Recorder {
        async fn perform(&self, act: &Act) -> Result<(), Problem> {
            tokio::task::yield_now().await;
            let Act::RemoveVolume(name) = act else { panic!("unexpected {act:?}") };
            self.acts.lock().unwrap().push(name.clone());
            if self.failing.contains(name) {
                return Err(Problem::new(Code::Internal, format!("{name} broke")));
            }
            Ok(())
        }

        async fn give_up(&self) -> bool {
            true
        }

        fn report(&self, _: EventBody) {}
    }

    fn act(name: &str) -> Act {
        Act::RemoveVolume(name.to_owned())
    }

    async fn outcome(plan: &Plan, failing: &[&str]) -> (Result<(), Failure>, Vec<String>) {
        outcome_of(plan, failing, OnFailure::TakeBack).await
    }

    async fn outcome_of(
        plan: &Plan,
        failing: &[&str],
        on_failure: OnFailure,
    ) -> (Result<(), Failure>, Vec<String>) {
        let failing = failing.iter().map(|name| (*name).to_owned()).collect();
        let recorder = Recorder { failing, ..Recorder::default() };
        let result = execute(plan, &recorder, on_failure).await;
        (result, recorder.acts.into_inner().unwrap())
    }

    #[tokio::test]
    async fn what_is_to_be_kept_is_not_taken_back() {
        let mut plan = Plan::new("test");
        let a = plan.push("a", act("a"), Some(act("undo a")), &[]);
        plan.push("b", act("b"), Some(act("undo b")), &[a]);
        let (result, acts) = outcome_of(&plan, &["b"], OnFailure::Keep).await;
        assert!(!result.unwrap_err().taken_back);
        assert_eq!(acts, ["a", "b"]);
    }

    #[tokio::test]
    async fn a_failure_takes_back_the_failed_step_too_and_collects_what_else_goes_wrong() {
        let mut plan = Plan::new("test");
        let a = plan.push("a", act("a"), Some(act("undo a")), &[]);
        let b = plan.push("b", act("b"), Some(act("undo b")), &[a]);
        plan.push("c", act("c"), Some(act("undo c")), &[b]);
        let (result, acts) = outcome(&plan, &["b", "undo b"]).await;
        let Failure { problem, taken_back } = result.unwrap_err();
        assert!(!taken_back);
        assert_eq!(problem.detail, "b: b broke");
        assert_eq!(problem.log, ["could not take back 'b': undo b broke"]);
        assert_eq!(acts, ["a", "b", "undo b", "undo a"]);
    }

    proptest! {
        #[test]
        fn steps_come_after_their_needs_and_are_taken_back_before_them(
            needs in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..3), 1..12),
            failing in any::<prop::sample::Index>(),
            fails in any::<bool>(),
        ) {
            let mut plan = Plan::new("test");
            for (index, needs) in needs.iter().enumerate() {
                let needs: Vec<usize> = if index == 0 { Vec::new() } else {
                    needs.iter().map(|need| need.index(index)).collect()
                };
                let undo = Some(act(&format!("undo {index}")));
                plan.push(index.to_string(), act(&index.to_string()), undo, &needs);
            }
            let failing = failing.index(plan.steps.len()).to_string();
            let failing: Vec<&str> = if fails { vec![failing.as_str()] } else { Vec::new() };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (result, acts) = runtime.block_on(outcome(&plan, &failing));
            prop_assert_eq!(result.is_err(), fails);
            let place = |name: String| acts.iter().position(|act| *act == name);
            for (index, step) in plan.steps.iter().enumerate() {
                let Some(own) = place(index.to_string()) else { continue };
                let undone = place(format!("undo {index}"));
                prop_assert_eq!(undone.is_some(), fails);
                for need in &step.needs {
                    prop_assert!(place(need.to_string()).unwrap() < own);
                    if fails {
                        let before = place(format!("undo {need}"));
                        prop_assert!(before > undone);
                    }
                }
            }
            if !fails {
                prop_assert_eq!(acts.len(), plan.steps.len());
            }
        }
    }
}
