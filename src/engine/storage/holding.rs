//! Pauses taskspaces that are full, lets them go on, and changes how much they may write.

use std::sync::Arc;

use jiff::Timestamp;

use super::super::driver::{Context, Job};
use super::super::{Engine, Inner, lifecycle};
use crate::model::{
    Asker, Code, Desired, Operation, OperationKind, Problem, Quantity, Record, ResizeRequest,
    Storage, StorageAction, StorageLevel, TaskspaceId,
};
use crate::plan::lifecycle as plans;
use crate::policy::quota;

impl Engine {
    /// Begins to change how much a taskspace may use.
    ///
    /// # Errors
    /// When the request is wrong, there is none of this id, or another operation is in the way.
    pub async fn resize(
        &self,
        id: &TaskspaceId,
        request: ResizeRequest,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        let record = self.inner.record(id).await?;
        self.inner.resized(id, &record, request)?;
        self.ask(id, Job::Resize(request), asker).await
    }
}

impl Inner {
    /// Lets a taskspace go on that was paused and need not be any more, unless somebody acts on it:
    /// then the next look does.
    pub(super) async fn let_go_if_there_is_room(
        self: &Arc<Self>,
        id: &TaskspaceId,
    ) -> Result<(), Problem> {
        let record = self.record(id).await?;
        if waits_in_vain(&record)
            && !self.is_driven(id)
            && let Some(operation) = self.begin_unless_blocked(OperationKind::Scale, id)
        {
            self.hand_over(id, operation, Job::LetGo);
        }
        Ok(())
    }

    /// Returns how much a taskspace may write that is changed as it is asked for.
    fn resized(
        &self,
        id: &TaskspaceId,
        record: &Record,
        request: ResizeRequest,
    ) -> Result<Storage, Problem> {
        if record.desired == Desired::Absent || record.is_half_made() {
            let detail = format!("'{id}' is {}", record.status);
            return Err(Problem::new(Code::StateConflict, detail));
        }
        check_hard(id, record, request.storage)?;
        let changed = self.changed_storage(record, request.storage, request.on_full)?;
        changed.ok_or_else(|| {
            let detail = format!("it is not limited how much '{id}' may write");
            Problem::new(Code::StateConflict, detail).hint("give a limit as well, such as 20Gi")
        })
    }
}

/// Refuses another limit for a taskspace that the file system holds to its own: only root can give it
/// one, and what root does is noticed.
fn check_hard(id: &TaskspaceId, record: &Record, limit: Option<Quantity>) -> Result<(), Problem> {
    let held = record.storage.as_ref().and_then(|it| Some((it.hard?, it.limit)));
    match (held, limit) {
        (Some((project, own)), Some(limit)) if limit != own => {
            let detail = format!("the file system itself holds '{id}' to {own}");
            Err(Problem::new(Code::PolicyUnenforceable, detail).hint(format!(
                "only root can change that: `sudo taskspace quota resize {project} {limit}`"
            )))
        }
        _ => Ok(()),
    }
}

/// Whether it is still recorded as paused, and need not be any more.
fn waits_in_vain(record: &Record) -> bool {
    let in_vain = |storage: &Storage| {
        storage.is_frozen() && quota::hold(storage) != Some(StorageAction::Frozen)
    };
    record.storage.as_ref().is_some_and(in_vain)
}

/// Pauses a taskspace that is recorded as paused.
pub(in super::super) async fn freeze(context: &Context) -> Result<(), Problem> {
    let engine = &context.engine;
    if engine.record(&context.id).await?.is_frozen() {
        lifecycle::run(context, &plans::freeze()).await?;
        // Whoever is paused does not answer, and need not.
        engine.health.forget(&context.id);
        engine.align_ports(&context.id).await?;
    }
    Ok(())
}

/// Lets a taskspace go on that need not be paused any more.
pub(in super::super) async fn let_go(context: &Context) -> Result<(), Problem> {
    let (engine, id) = (&context.engine, &context.id);
    if !waits_in_vain(&engine.record(id).await?) {
        return Ok(());
    }
    // After a crash in between, it is found paused although it should not be, and brought back.
    let record = engine
        .change(id, |record| {
            if let Some(storage) = &mut record.storage {
                storage.held = None;
            }
            Ok(())
        })
        .await?;
    engine.health.forget(id);
    lifecycle::run(context, &plans::let_go()).await?;
    engine.align_ports(id).await?;
    if let Some((storage, usage)) = record.storage.zip(engine.written.of(id)) {
        engine.tell_storage(id, usage.used, &storage);
    }
    Ok(())
}

/// Changes how much a taskspace may use. Whether that is enough is measured, and what was done to it
/// because it was full is taken back where it is.
pub(in super::super) async fn resize(
    context: &Context,
    request: ResizeRequest,
) -> Result<(), Problem> {
    let (engine, id) = (&context.engine, &context.id);
    let used = engine.measure_now(id, &engine.record(id).await?).await?;
    // Only now: to measure it has shown what root may have changed.
    let record = engine.record(id).await?;
    let resized = engine.resized(id, &record, request)?;
    let resized = Storage { level: level_now(&resized, used), ..resized };
    let before = record.storage;
    let resize = move |record: &mut Record| {
        let held = record.storage.take().and_then(|storage| storage.held);
        record.storage = Some(Storage { held, ..resized });
        if let Some(judgement) = quota::judge(record, used, Timestamp::now()) {
            record.storage = Some(judgement.storage);
            record.desired = judgement.desired;
        }
        Ok(())
    };
    let told = |storage: &Storage| (storage.level, storage.held.clone());
    if let Some(storage) = engine.change(id, resize).await?.storage
        && before.as_ref().map(told) != Some(told(&storage))
    {
        engine.tell_storage(id, used, &storage);
    }
    let_go(context).await?;
    if engine.record(id).await?.is_frozen() {
        return freeze(context).await;
    }
    Ok(())
}

/// Refuses to start a taskspace that has written more than it may and would only be held again. One
/// that was held and has room again is held no longer.
pub(in super::super) async fn may_start(context: &Context, record: &Record) -> Result<(), Problem> {
    let (engine, id) = (&context.engine, &context.id);
    let Some(storage) = &record.storage else { return Ok(()) };
    let was_full = storage.level == StorageLevel::Full || storage.held.is_some();
    // What broke off is brought to its end; it is measured when it runs.
    if !was_full || record.status.is_transient() || record.is_half_made() {
        return Ok(());
    }
    let used = engine.measure_now(id, record).await?;
    let level = level_now(storage, used);
    if quota::hold(&Storage { level, ..storage.clone() }).is_some() {
        return Err(full(id, used, storage));
    }
    let held_no_longer = move |record: &mut Record| {
        if let Some(storage) = &mut record.storage {
            storage.level = level;
            storage.held = storage.held.take().filter(|held| held.action == StorageAction::Frozen);
        }
        Ok(())
    };
    engine.change(id, held_no_longer).await?;
    let_go(context).await
}

/// Returns how full it is, whatever it was before.
fn level_now(storage: &Storage, used: Quantity) -> StorageLevel {
    quota::level(used, storage.limit, StorageLevel::Ample)
}

fn full(id: &TaskspaceId, used: Quantity, storage: &Storage) -> Problem {
    let detail = format!("'{id}' has written {used}, and may write {}", storage.limit);
    Problem::new(Code::QuotaExceeded, detail).hint(format!(
        "let it write more (`taskspace resize {id} --storage …`), or have it run all the same to \
         tidy up (`taskspace resize {id} --on-full warn`)"
    ))
}
