//! Starts, stops and removes taskspaces that are there.

use std::time::{Duration, Instant};

use super::driver::Context;
use super::execute::OnFailure;
use super::ports::ATTEMPTS;
use super::{caches, make, restore, storage, verify};
use crate::host::ports;
use crate::model::{Code, Desired, OperationKind, Ports, Problem, Record, Status};
use crate::plan::assess::Life;
use crate::plan::{Act, Plan, create, delete as delete_plan, lifecycle};

/// The infra container and the two of ours.
const PARTS: usize = 3;
/// How long the network of a pod that has stopped may hold its ports.
const LET_GO: Duration = Duration::from_secs(2);
/// How often to look meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Starts a taskspace; one that runs is left alone. `kind` is what was asked for.
pub(super) async fn start(context: &Context, kind: OperationKind) -> Result<(), Problem> {
    let engine = &context.engine;
    let record = engine.record(&context.id).await?;
    refuse_what_goes(context, &record)?;
    if record.is_half_made() {
        return make::resume(context).await;
    }
    storage::may_start(context, &record).await?;
    if matches!(record.status, Status::Running | Status::Degraded) {
        // The record may be behind: someone may have stopped or removed what is in Podman.
        if count(context, |life| life == Life::Up).await? == PARTS {
            return Ok(());
        }
        let gone = |record: &mut Record| {
            record.status = record.status.stopped()?;
            Ok(())
        };
        engine.leave_state(&context.id, gone).await?;
    }
    let begin = |record: &mut Record| {
        record.desired = Desired::Running;
        record.status = record.status.starting()?;
        Ok(())
    };
    engine.enter_state(context, kind, begin).await?;
    match bring_up(context).await {
        Ok(()) => engine.now_running(&context.id).await,
        Err(problem) => {
            engine.now_failed(&context.id, problem.clone()).await?;
            Err(problem)
        }
    }
}

/// Starts the pod, or makes it anew on the volumes that are there; what is half restored is restored
/// before.
pub(super) async fn bring_up(context: &Context) -> Result<(), Problem> {
    restore::finish(context).await?;
    let ports = context.engine.record(&context.id).await?.ports();
    let mut result = match pod_is_there(context).await? {
        true => start_pod(context).await,
        false => rebuild(context).await,
    };
    if port_was_taken(&result) && await_free(ports).await {
        result = start_pod(context).await;
    }
    if result.is_err() && containers_differ(context).await? {
        // An earlier release made them, or the settings of Podman were other ones.
        result = rebuild(context).await;
    }
    for _ in 0..ATTEMPTS {
        if !port_was_taken(&result) {
            break;
        }
        // Only a new pod can have other ports.
        context.engine.give_new_ports(&context.id).await?;
        result = rebuild(context).await;
    }
    result
}

async fn start_pod(context: &Context) -> Result<(), Problem> {
    let plan = make::with_inputs(context, lifecycle::start).await?;
    run(context, &plan).await
}

/// Stops a taskspace; one that does not run is left alone. `kind` is what was asked for.
pub(super) async fn stop(context: &Context, kind: OperationKind) -> Result<(), Problem> {
    let engine = &context.engine;
    let record = engine.record(&context.id).await?;
    refuse_what_goes(context, &record)?;
    if record.is_half_made() {
        let id = &context.id;
        return Err(Problem::new(
            Code::StateConflict,
            format!("the creation of '{id}' has not been finished"),
        )
        .hint(format!(
            "`taskspace start {id}` goes on with it, `taskspace delete {id}` removes it"
        )));
    }
    let desired = match kind {
        OperationKind::Restart => Desired::Running,
        _ => Desired::Stopped,
    };
    if record.status == Status::Stopped && count(context, |life| life != Life::Down).await? == 0 {
        let wanted = move |record: &mut Record| {
            record.desired = desired;
            record.attempts.clear();
            Ok(())
        };
        return engine.change(&context.id, wanted).await.map(drop);
    }
    let begin = move |record: &mut Record| {
        record.desired = desired;
        if let Some(storage) = record.storage.as_mut().filter(|storage| storage.is_frozen()) {
            storage.held = None;
        }
        if record.status != Status::Stopping {
            record.status = record.status.stopping()?;
        }
        Ok(())
    };
    engine.enter_state(context, kind, begin).await?;
    match run(context, &lifecycle::stop()).await {
        Ok(()) => {
            engine
                .leave_state(&context.id, |record| {
                    record.status = record.status.stopped()?;
                    record.failure = None;
                    Ok(())
                })
                .await
        }
        Err(problem) => {
            engine.now_failed(&context.id, problem.clone()).await?;
            Err(problem)
        }
    }
}

/// Removes a taskspace.
pub(super) async fn delete(context: &Context, purge: bool) -> Result<(), Problem> {
    let engine = &context.engine;
    let record = engine.record(&context.id).await?;
    if record.is_half_made() {
        return make::take_back(context).await;
    }
    caches::promote_before_removal(context, &record).await;
    let begin = move |record: &mut Record| {
        record.desired = Desired::Absent;
        if record.status != Status::Deleting {
            record.status = record.status.deleting()?;
        }
        if let Some(underway) = &mut record.underway {
            underway.purge = purge;
        }
        Ok(())
    };
    let record = engine.enter_state(context, OperationKind::Delete, begin).await?;
    let plan = delete_plan::plan(&context.id, &record, purge);
    if let Err(problem) = run(context, &plan).await {
        if is_gone(context, &problem).await? {
            return Ok(());
        }
        engine.now_unfinished(&context.id, Desired::Absent, problem.clone()).await?;
        return Err(problem.hint("what could be removed is gone; the rest is tried again"));
    }
    Ok(())
}

/// Whether a removal has got as far as the registry: then only what no other taskspace uses is left,
/// and the next removal of the project or start of the service tries again.
pub(super) async fn is_gone(context: &Context, problem: &Problem) -> Result<bool, Problem> {
    let is_gone = !context.engine.document().await?.taskspaces.contains_key(&context.id);
    if is_gone {
        context.engine.warn(&context.id, &format!("it is removed, but: {problem}"));
    }
    Ok(is_gone)
}

pub(super) fn port_was_taken(result: &Result<(), Problem>) -> bool {
    result.as_ref().is_err_and(|problem| problem.code == Code::NetworkPortUnavailable)
}

/// Waits for ports to be let go of, and tells whether they were: a pod that has just stopped may
/// hold its own for some milliseconds.
async fn await_free(wanted: Ports) -> bool {
    let deadline = Instant::now() + LET_GO;
    loop {
        if ports::is_free(wanted.dev) && ports::is_free(wanted.agent) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

pub(super) async fn run(context: &Context, plan: &Plan) -> Result<(), Problem> {
    context.execute(plan, OnFailure::TakeBack).await.map_err(|failure| failure.problem)
}

async fn pod_is_there(context: &Context) -> Result<bool, Problem> {
    let (podman, _) = context.engine.link.get().await?;
    let pod = context.engine.own_pod(&podman, &context.id).await?;
    Ok(pod.is_some_and(|pod| pod.containers.len() == PARTS))
}

/// Refuses to start or stop what is being removed: nothing of it may be left.
fn refuse_what_goes(context: &Context, record: &Record) -> Result<(), Problem> {
    if record.desired != Desired::Absent {
        return Ok(());
    }
    let id = &context.id;
    Err(Problem::new(Code::StateConflict, format!("'{id}' is being removed"))
        .hint("what is left of it is removed as soon as that is possible"))
}

/// Returns how many containers of the pod are in a certain way.
async fn count(context: &Context, is: impl Fn(Life) -> bool) -> Result<usize, Problem> {
    let (podman, _) = context.engine.link.get().await?;
    let pod = context.engine.own_pod(&podman, &context.id).await?;
    let containers = pod.map(|pod| pod.containers).unwrap_or_default();
    Ok(containers.iter().filter(|container| is(Life::of(&container.state))).count())
}

/// Whether there are containers that differ from what would be asked for now.
async fn containers_differ(context: &Context) -> Result<bool, Problem> {
    let (podman, _) = context.engine.link.get().await?;
    let own = context.engine.own_pod(&podman, &context.id).await?;
    if own.is_none() {
        return Ok(false);
    }
    let plan = make::with_inputs(context, lifecycle::start).await?;
    for step in plan.steps {
        if let Act::VerifyContainer(_, spec) = step.act
            && let Ok(made) = podman.inspect_container(&spec.name).await
            && verify::container(&spec, &made).is_err()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the pod anew on the volumes that are there.
async fn rebuild(context: &Context) -> Result<(), Problem> {
    let plan = make::with_inputs(context, create::rebuild).await?;
    run(context, &plan).await
}
