//! Brings one taskspace to what it should be, when it is not: as its driver, between operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::driver::{self, Context, Job};
use super::perform::last_lines;
use super::restore::Restoration;
use super::{Inner, forwarding, lifecycle, make, observe, problems};
use crate::host::banner::{self, BannerError};
use crate::host::ports;
use crate::model::{
    Code, Desired, Ending, EventBody, GitEnvironment, OperationKind, Ports, Problem, Record, Role,
    Status, TaskspaceId, Underway,
};
use crate::plan::assess::{Trouble, Verdict, assess};
use crate::plan::{lifecycle as plans, names};
use crate::podman::Podman;
use crate::policy::restart::Next;

/// What to do about one that is being recovered.
const BY_ITSELF: &str =
    "nothing is to be done yet: it is brought back; `taskspace events --follow` tells how";

/// How many endings of containers are remembered.
const ENDINGS: usize = 5;

/// Looks after a taskspace, which `is_stuck` when Podman is about to change it and never will; returns
/// whether that took an operation.
pub(super) async fn settle(
    engine: &Arc<Inner>,
    id: &TaskspaceId,
    is_stuck: bool,
) -> Result<bool, Problem> {
    let document = engine.document().await?;
    let Some(record) = document.taskspaces.get(id) else {
        engine.patience.over(id);
        return Ok(false);
    };
    let (podman, _) = engine.link.get().await?;
    let seen =
        observe::one(&podman, &engine.volumes().await?, document.registry, id, record).await?;
    let verdict = assess(record, &seen, &engine.health.deaf(id));
    tracing::debug!(%id, ?verdict, "looked after");
    match verdict {
        Verdict::Settled => {
            if forwarding::is_left(record) {
                engine.free_ports(&podman, id, record.ports()).await?;
            }
            if record.status == Status::Running && !engine.networks.is_guarded(id) {
                engine.guard_again(&podman, id, record).await?;
            }
            engine.align_ports(id).await?;
            engine.drop_unfinished(id, record).await?;
            engine.patience.over(id);
        }
        Verdict::Unsettled if is_stuck => {
            let found = "Podman broke off while it changed it";
            return recover(engine, &podman, id, Cure::Revive { found, stop_first: true }).await;
        }
        Verdict::Unsettled => {}
        Verdict::Finish if is_recovery(record) => {
            // The attempt counts, and the next one comes in its time.
            let broke_off = |record: &mut Record| {
                record.status = record.status.degraded()?;
                Ok(())
            };
            engine.leave_state(id, broke_off).await?;
            engine.look.notify_one();
        }
        Verdict::Finish => {
            finish(engine, id, record).await;
            return Ok(true);
        }
        Verdict::Whole => whole(engine, id, record).await?,
        Verdict::Quell => {
            if record.status == Status::Stopped {
                engine.warn(id, "somebody started it, and it is to be stopped");
            }
            return Ok(perform(engine, id, Job::Stop).await);
        }
        Verdict::Freeze => return Ok(perform(engine, id, Job::Freeze).await),
        Verdict::Lost(volumes) => {
            engine.now_failed(id, problems::lost(&volumes)).await?;
        }
        Verdict::Mend(troubles) => {
            return recover(engine, &podman, id, Cure::Mend(troubles)).await;
        }
        Verdict::Revive { found, stop_first } => {
            return recover(engine, &podman, id, Cure::Revive { found, stop_first }).await;
        }
    }
    Ok(false)
}

/// Whether what broke off is an attempt to recover it, from the network up.
pub(super) fn is_recovery(record: &Record) -> bool {
    let recovers = |underway: &Underway| underway.kind == OperationKind::Recover;
    record.status == Status::Starting
        && record.desired == Desired::Running
        && record.underway.as_ref().is_some_and(recovers)
}

/// Returns what is to be done about a taskspace whose operation broke off.
pub(super) fn unfinished(record: &Record) -> Job {
    let underway = record.underway.as_ref();
    let kind = underway.map(|underway| underway.kind);
    let restoring = record.restoring.as_ref().filter(|_| kind == Some(OperationKind::Restore));
    match (record.desired, kind, restoring) {
        (Desired::Absent, Some(OperationKind::Create), _) => Job::TakeBack,
        (Desired::Absent, _, _) | (_, Some(OperationKind::Delete), _) => {
            Job::Delete { purge: underway.is_some_and(|underway| underway.purge) }
        }
        (_, Some(OperationKind::Create), _) => Job::Resume,
        (_, _, Some(restoring)) => Job::Restore(Restoration::go_on(restoring)),
        (Desired::Running, _, None) => Job::Restart,
        (Desired::Stopped, _, None) => Job::Stop,
    }
}

/// Goes on with what broke off, under the number that it had.
async fn finish(engine: &Arc<Inner>, id: &TaskspaceId, record: &Record) {
    let job = unfinished(record);
    let number = match job {
        // Who waits for the making must not take the end of this for its end.
        Job::TakeBack => 0,
        _ => record.underway.as_ref().map_or(0, |underway| underway.operation),
    };
    let operation = engine.begin(number, job.kind(), id);
    perform_as(engine, id, operation, job).await;
}

/// Does a job that nobody asked for, unless somebody acts on the taskspace; returns whether it did.
async fn perform(engine: &Arc<Inner>, id: &TaskspaceId, job: Job) -> bool {
    let Some(operation) = engine.begin_unless_blocked(job.kind(), id) else { return false };
    perform_as(engine, id, operation, job).await;
    true
}

async fn perform_as(engine: &Arc<Inner>, id: &TaskspaceId, operation: u64, job: Job) {
    driver::carry_out(engine, id, operation, async {
        let done = driver::run(engine, id, operation, job).await;
        // Also when it went well: if it is found the same again, it was in vain.
        match engine.record(id).await {
            Ok(_) => engine.patience.failed(id),
            Err(_) => engine.patience.over(id),
        }
        done
    })
    .await;
}

/// Records that a taskspace runs (again), if both sshds say so.
async fn whole(engine: &Arc<Inner>, id: &TaskspaceId, record: &Record) -> Result<(), Problem> {
    let (dev, agent) = probe_both(engine, record.ports()).await;
    let silent = match dev.and(agent) {
        Ok(_) => return engine.now_running(id).await,
        Err(silent) => Problem::new(Code::NotReady, silent.to_string()).hint(BY_ITSELF),
    };
    // From here on its health is looked after.
    let degraded = move |record: &mut Record| {
        if matches!(record.status, Status::Stopped | Status::Failed) {
            record.status = record.status.starting()?;
        }
        if record.status == Status::Starting {
            record.status = record.status.degraded()?;
        }
        record.failure.get_or_insert(silent);
        Ok(())
    };
    engine.change(id, degraded).await.map(drop)
}

/// How a taskspace is recovered.
enum Cure {
    Mend(BTreeMap<Role, Trouble>),
    Revive { found: &'static str, stop_first: bool },
}

impl Cure {
    fn reason(&self, id: &TaskspaceId) -> String {
        match self {
            Self::Revive { found, .. } => (*found).to_owned(),
            Self::Mend(troubles) => {
                let told: Vec<String> = troubles
                    .iter()
                    .map(|(role, trouble)| match trouble {
                        Trouble::Missing => format!("the {role} container is gone"),
                        Trouble::Ended => format!("the {role} container does not run"),
                        Trouble::Deaf => {
                            format!("the sshd of {} does not answer", names::ssh_host(id, *role))
                        }
                    })
                    .collect();
                told.join(", ")
            }
        }
    }
}

/// Recovers a taskspace, unless it is not the time or was tried too often; returns whether it was
/// tried.
async fn recover(
    engine: &Arc<Inner>,
    podman: &Podman,
    id: &TaskspaceId,
    cure: Cure,
) -> Result<bool, Problem> {
    note_endings(engine, podman, id).await?;
    let found = Problem::new(Code::NotReady, cure.reason(id)).hint(BY_ITSELF);
    let pod_is_there = matches!(cure, Cure::Mend(_));
    let record = engine
        .change(id, move |record| {
            match record.status {
                Status::Running if pod_is_there => record.status = record.status.degraded()?,
                Status::Running | Status::Degraded if !pod_is_there => {
                    record.status = record.status.stopped()?;
                }
                _ => {}
            }
            // What went wrong with the last attempt says more.
            record.failure.get_or_insert(found);
            Ok(())
        })
        .await?;
    match engine.settings().restart.next(&record.attempts, Timestamp::now()) {
        Next::At(_) => {
            // What is recorded now waits for its time.
            engine.look.notify_one();
            Ok(false)
        }
        Next::Never => give_up(engine, podman, id, &record).await.map(|()| false),
        Next::Now => {
            // Whoever acts on it may have stopped it; its end is looked at.
            let begun = engine.begin_unless_blocked(OperationKind::Recover, id);
            let Some(operation) = begun else { return Ok(false) };
            let git = GitEnvironment::default();
            let context =
                Context { engine: engine.clone(), id: id.clone(), operation, lock: None, git };
            driver::carry_out(engine, id, operation, attempt(&context, cure)).await;
            Ok(true)
        }
    }
}

/// Tries once to recover a taskspace.
async fn attempt(context: &Context, cure: Cure) -> Result<(), Problem> {
    let engine = &context.engine;
    let policy = engine.settings().restart;
    let from_the_network_up = matches!(cure, Cure::Revive { .. });
    let begun = engine
        .enter_state(context, OperationKind::Recover, move |record| {
            let now = Timestamp::now();
            record.attempts = policy.recent(&record.attempts, now);
            record.attempts.push(now);
            if from_the_network_up || record.status == Status::Stopped {
                record.status = record.status.starting()?;
            }
            Ok(())
        })
        .await;
    if let Err(problem) = begun {
        // An attempt that is not recorded does not count; it must not be made without end either.
        engine.patience.failed(&context.id);
        return Err(problem);
    }
    engine.patience.over(&context.id);
    let recovered = match cure {
        Cure::Revive { stop_first, .. } => revive(context, stop_first).await,
        Cure::Mend(troubles) => mend(context, &troubles).await,
    };
    engine.health.forget(&context.id);
    let Err(problem) = recovered else {
        return engine
            .leave_state(&context.id, |record| {
                record.status = record.status.ready()?;
                record.failure = None;
                record.restarts += 1;
                Ok(())
            })
            .await;
    };
    let reason = problem.clone();
    engine
        .leave_state(&context.id, move |record| {
            // The pause begins with the end of the attempt.
            if let Some(last) = record.attempts.last_mut() {
                *last = Timestamp::now();
            }
            record.status = match (reason.code, record.status) {
                // It is not the taskspace that is to blame: tried again when Podman answers.
                (Code::PodmanUnavailable, Status::Starting) => {
                    record.attempts.pop();
                    record.status.failed()?
                }
                // No further attempt could help.
                (
                    Code::StateConflict | Code::PolicyUnenforceable | Code::TaskspaceExists,
                    status,
                ) => status.failed()?,
                (_, Status::Starting) => record.status.degraded()?,
                (_, status) => status,
            };
            record.failure = Some(reason);
            Ok(())
        })
        .await?;
    Err(problem)
}

/// Brings back single containers, and the whole pod where that is in vain: then it is the process that
/// forwards the ports, of which Podman does not notice that it has ended or hangs.
async fn mend(context: &Context, troubles: &BTreeMap<Role, Trouble>) -> Result<(), Problem> {
    let ports = context.engine.record(&context.id).await?.ports();
    if ports::is_free(ports.dev) && ports::is_free(ports.agent) {
        return revive(context, true).await;
    }
    let plan = make::with_inputs(context, |inputs| plans::mend(inputs, troubles)).await?;
    let mended = lifecycle::run(context, &plan).await;
    let in_vain = mended.as_ref().is_err_and(|problem| problem.code == Code::NotReady);
    if in_vain && both_are_silent(&context.engine, ports).await {
        return revive(context, true).await;
    }
    mended
}

async fn both_are_silent(engine: &Inner, ports: Ports) -> bool {
    let (dev, agent) = probe_both(engine, ports).await;
    dev.is_err() && agent.is_err()
}

/// Asks both sshds once: that of dev, and that of the agent.
async fn probe_both(
    engine: &Inner,
    ports: Ports,
) -> (Result<String, BannerError>, Result<String, BannerError>) {
    let patience = engine.settings().health.timeout;
    tokio::join!(banner::probe(ports.dev, patience), banner::probe(ports.agent, patience))
}

async fn revive(context: &Context, stop_first: bool) -> Result<(), Problem> {
    if stop_first {
        lifecycle::run(context, &plans::stop()).await?;
    }
    lifecycle::bring_up(context).await
}

/// Records that recovery was tried too often.
async fn give_up(
    engine: &Inner,
    podman: &Podman,
    id: &TaskspaceId,
    record: &Record,
) -> Result<(), Problem> {
    let reason = record.failure.as_ref().map_or("", |failure| failure.detail.as_str());
    let policy = engine.settings().restart;
    let minutes = policy.window.as_secs().div_ceil(60);
    let detail = match policy.limit {
        0 => format!("{reason}, and nothing is to be recovered by itself"),
        limit => {
            format!("it was recovered {limit} times within {minutes} minutes, and again: {reason}")
        }
    };
    let mut problem = Problem::new(Code::NotReady, detail)
        .hint(format!("see what its containers wrote; `taskspace start {id}` tries again"));
    for role in Role::ALL {
        let lines = last_lines(podman, &names::container(id, role)).await;
        problem.log.extend(lines.into_iter().map(|line| format!("{role}: {line}")));
    }
    engine
        .leave_state(id, |record| {
            if record.status == Status::Stopped {
                record.status = record.status.starting()?;
            }
            record.status = record.status.failed()?;
            record.failure = Some(problem);
            Ok(())
        })
        .await
}

/// Records how the containers ended that do not run, and tells it, once for each ending.
async fn note_endings(engine: &Inner, podman: &Podman, id: &TaskspaceId) -> Result<(), Problem> {
    let mut endings = Vec::new();
    for role in Role::ALL {
        let container = match podman.inspect_container(&names::container(id, role)).await {
            Ok(container) => container,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(problems::podman(error)),
        };
        let state = container.state;
        if let (false, Some(at)) = (state.running, state.finished_at) {
            let (exit_code, oom_killed) = (state.exit_code, state.oom_killed);
            endings.push(Ending { role, at, exit_code, oom_killed });
        }
    }
    let known = engine.record(id).await?.endings;
    endings.retain(|ending| !known.contains(ending));
    if endings.is_empty() {
        return Ok(());
    }
    for ending in &endings {
        engine.bus.publish(None, Some(id.clone()), EventBody::ContainerEnded(ending.clone()));
    }
    let changed = engine.change(id, move |record| {
        record.endings.extend(endings);
        let old = record.endings.len().saturating_sub(ENDINGS);
        record.endings.drain(..old);
        Ok(())
    });
    changed.await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Restoring;

    #[test]
    fn what_was_under_way_decides_what_is_taken_up() {
        use Desired::{Absent, Running, Stopped};
        use OperationKind::{Create, Delete, Recover, Restart, Restore, Start, Stop};
        let taken_up = |desired, kind| {
            let underway =
                Underway { purge: true, ..Underway::new(kind, 7, Timestamp::UNIX_EPOCH) };
            unfinished(&Record { desired, underway: Some(underway), ..Record::example() })
        };
        assert!(matches!(taken_up(Running, Create), Job::Resume));
        assert!(matches!(taken_up(Absent, Create), Job::TakeBack));
        assert!(matches!(taken_up(Absent, Delete), Job::Delete { purge: true }));
        assert!(matches!(taken_up(Running, Start), Job::Restart));
        assert!(matches!(taken_up(Running, Restart), Job::Restart));
        assert!(matches!(taken_up(Running, Recover), Job::Restart));
        assert!(matches!(taken_up(Stopped, Stop), Job::Stop));
        // What is restored is so in any case; what was, is only started again.
        let restoring =
            Some(Restoring { snapshot: "s".parse().unwrap(), agent_state: true, begun: true });
        for (desired, restoring) in [(Running, &restoring), (Stopped, &restoring), (Running, &None)]
        {
            let underway = Some(Underway::new(Restore, 7, Timestamp::UNIX_EPOCH));
            let restoring = restoring.clone();
            let job = unfinished(&Record { desired, restoring, underway, ..Record::example() });
            match job {
                Job::Restore(restoration) => assert!(restoration.agent_state),
                job => assert!(matches!(job, Job::Restart), "{job:?}"),
            }
        }
        let forgotten = Record { desired: Absent, ..Record::example() };
        assert!(matches!(unfinished(&forgotten), Job::Delete { purge: false }));
    }
}
