//! Starts, stops and removes taskspaces that are there.

use std::time::{Duration, Instant};

use super::driver::Context;
use super::make::{pick_ports, places};
use super::problems;
use crate::host::ports;
use crate::model::{Code, Desired, OperationKind, Ports, Problem, Record, Status};
use crate::plan::create::{self, Inputs};
use crate::plan::{Plan, delete as delete_plan, lifecycle};

/// The infra container and the two of ours.
const PARTS: usize = 3;
/// How long the network of a pod that has stopped may hold its ports.
const LET_GO: Duration = Duration::from_secs(2);
/// How often to look meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Starts a taskspace; one that runs is left alone.
pub(super) async fn start(context: &Context) -> Result<(), Problem> {
    let engine = &context.engine;
    let record = engine.record(&context.id).await?;
    if matches!(record.status, Status::Running | Status::Degraded) {
        // The record may be behind: someone may have stopped or removed what is in Podman.
        if count_running(context).await? == PARTS {
            return Ok(());
        }
        let gone = |record: &mut Record| {
            record.status = record.status.stopped()?;
            record.restarts += 1;
            Ok(())
        };
        engine.leave_state(&context.id, gone).await?;
    }
    let begin = |record: &mut Record| {
        record.desired = Desired::Running;
        record.status = record.status.starting()?;
        Ok(())
    };
    engine.enter_state(&context.id, OperationKind::Start, begin).await?;
    let mut result = match pod_is_there(context).await {
        Ok(true) => run(context, &lifecycle::start()).await,
        Ok(false) => rebuild(context).await,
        Err(problem) => Err(problem),
    };
    if port_was_taken(&result) && await_free(record.ports()).await {
        result = run(context, &lifecycle::start()).await;
    }
    if port_was_taken(&result) {
        result = rebuild_with_new_ports(context).await;
    }
    match result {
        Ok(()) => engine.now_running(&context.id).await,
        Err(problem) => {
            engine.now_failed(&context.id, problem.clone()).await?;
            Err(problem)
        }
    }
}

/// Stops a taskspace; one that does not run is left alone.
pub(super) async fn stop(context: &Context) -> Result<(), Problem> {
    let engine = &context.engine;
    let record = engine.record(&context.id).await?;
    if record.status == Status::Stopped {
        return Ok(());
    }
    let begin = |record: &mut Record| {
        record.desired = Desired::Stopped;
        record.status = record.status.stopping()?;
        Ok(())
    };
    engine.enter_state(&context.id, OperationKind::Stop, begin).await?;
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
    let record = engine.enter_state(&context.id, OperationKind::Delete, begin).await?;
    let keep_state_as = (!purge).then(|| context.id.clone());
    let plan = delete_plan::plan(&context.id, &record, keep_state_as);
    if let Err(problem) = run(context, &plan).await {
        engine.now_failed(&context.id, problem.clone()).await?;
        return Err(problem.hint("what could be removed is gone; `taskspace delete` tries again"));
    }
    Ok(())
}

fn port_was_taken(result: &Result<(), Problem>) -> bool {
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

async fn run(context: &Context, plan: &Plan) -> Result<(), Problem> {
    context.execute(plan).await.map_err(|failure| failure.problem)
}

async fn pod_is_there(context: &Context) -> Result<bool, Problem> {
    let (podman, _) = context.engine.link.get().await?;
    let pod = context.engine.own_pod(&podman, &context.id).await?;
    Ok(pod.is_some_and(|pod| pod.containers.len() == PARTS))
}

/// Returns how many containers of the pod run.
async fn count_running(context: &Context) -> Result<usize, Problem> {
    let (podman, _) = context.engine.link.get().await?;
    let pod = context.engine.own_pod(&podman, &context.id).await?;
    let containers = pod.map(|pod| pod.containers).unwrap_or_default();
    Ok(containers.iter().filter(|container| container.state == "running").count())
}

/// Makes the pod anew on the volumes that are there.
async fn rebuild(context: &Context) -> Result<(), Problem> {
    let plan = rebuild_plan(context).await?;
    run(context, &plan).await
}

async fn rebuild_plan(context: &Context) -> Result<Plan, Problem> {
    let engine = &context.engine;
    let (_, capabilities) = engine.link.get().await?;
    let record = engine.record(&context.id).await?;
    let mirror = engine.projects.mirror_of(&record.spec.project.source)?;
    Ok(create::rebuild(&Inputs {
        registry: engine.document().await?.registry,
        id: &context.id,
        record: &record,
        capabilities: &capabilities,
        mirror: &mirror,
        places: &places(context),
        stop_seconds: engine.stop_seconds(),
    }))
}

/// Another program took a port while the taskspace did not run: it gets new ones, which only a new
/// pod can have.
async fn rebuild_with_new_ports(context: &Context) -> Result<(), Problem> {
    let (id, ranges) = (context.id.clone(), context.engine.settings.ports.clone());
    let updated = context.engine.registry.update(move |document| {
        let picked = pick_ports(document, &ranges)?;
        let record = document.taskspaces.get_mut(&id).ok_or_else(|| problems::not_found(&id))?;
        (record.dev_port, record.agent_port) = (picked.dev, picked.agent);
        Ok::<(), Problem>(())
    });
    updated.await.map_err(problems::registry)??;
    rebuild(context).await
}
