//! Snapshots: what a taskspace had at one moment, kept beside it and gone with it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::driver::{Context, Job};
use super::perform::Acting;
use super::request::random_suffix;
use super::ssh::blocking;
use super::{Engine, Inner, fork, lifecycle, make, problems};
use crate::fault;
use crate::host::files;
use crate::model::{
    Asker, BaseState, Code, MAX_NOTE, Operation, Problem, Record, SnapshotName, SnapshotRecord,
    SnapshotRequest, SnapshotView, TaskspaceId,
};
use crate::plan::names;
use crate::plan::snapshot::{self as plan, Taking};

impl Engine {
    /// Returns the snapshots of a taskspace, the oldest first.
    ///
    /// # Errors
    /// When there is no such taskspace.
    pub async fn snapshots(&self, id: &TaskspaceId) -> Result<Vec<SnapshotView>, Problem> {
        let record = self.inner.record(id).await?;
        let view = |(name, record)| SnapshotView { name, record };
        let mut views: Vec<SnapshotView> = record.snapshots.into_iter().map(view).collect();
        views.sort_by_key(|view| view.record.created);
        Ok(views)
    }

    /// Begins to make a snapshot of a taskspace. The operation's description is its name.
    ///
    /// # Errors
    /// When there is no such taskspace, the request is wrong, or the name is taken.
    pub async fn snapshot(
        &self,
        id: &TaskspaceId,
        request: SnapshotRequest,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        let record = self.inner.record(id).await?;
        let SnapshotRequest { name, note, agent_state } = request;
        check_note(note.as_deref())?;
        let name = match name {
            Some(name) => name,
            None => {
                let day = Timestamp::now().to_zoned(TimeZone::system()).date();
                SnapshotName::derive(day, &random_suffix())
            }
        };
        check_free(id, &record, &name)?;
        self.ask(id, Job::Snapshot(Taking { name, note, agent_state }), asker).await
    }

    /// Begins to remove a snapshot of a taskspace.
    ///
    /// # Errors
    /// When there is no such taskspace or snapshot.
    pub async fn delete_snapshot(
        &self,
        id: &TaskspaceId,
        name: SnapshotName,
        asker: &Asker,
    ) -> Result<Operation, Problem> {
        find(id, &self.inner.record(id).await?, &name)?;
        self.ask(id, Job::DeleteSnapshot(name), asker).await
    }
}

/// Makes a snapshot of a taskspace.
pub(super) async fn take(context: &Context, taking: &Taking) -> Result<(), Problem> {
    let engine = &context.engine;
    engine.link.get().await?;
    let record = engine.record(&context.id).await?;
    fork::check(&context.id, &record)?;
    engine.check_reserve(Some(&context.id)).await?;
    // What is taken back, if this fails, must not be somebody else's.
    check_free(&context.id, &record, &taking.name)?;
    engine.drop_unfinished(&context.id, &record).await?;
    let plan = make::with_inputs(context, |inputs| plan::make(inputs, taking)).await?;
    lifecycle::run(context, &plan).await
}

/// Removes a snapshot of a taskspace.
pub(super) async fn delete(context: &Context, name: &SnapshotName) -> Result<(), Problem> {
    let record = context.engine.record(&context.id).await?;
    find(&context.id, &record, name)?;
    if record.restoring.is_some_and(|restoring| restoring.snapshot == *name) {
        let id = &context.id;
        let detail = format!("'{id}' is not whole until it is restored from '{name}'");
        return Err(Problem::new(Code::StateConflict, detail)
            .hint(format!("`taskspace start {id}` goes on with that")));
    }
    lifecycle::run(context, &plan::remove(name)).await
}

/// Whether there are snapshots whose making or removal broke off.
pub(super) fn are_left(record: &Record) -> bool {
    unfinished(record).next().is_some()
}

fn unfinished(record: &Record) -> impl Iterator<Item = &SnapshotName> {
    let broke_off =
        |(_, entry): &(&SnapshotName, &SnapshotRecord)| entry.state == BaseState::Making;
    record.snapshots.iter().filter(broke_off).map(|(name, _)| name)
}

/// Whether an object of a taskspace in Podman is no snapshot, or one that is recorded.
pub(super) fn knows(id: &TaskspaceId, record: &Record, object: &str) -> bool {
    let volume = object.strip_prefix("volume ").unwrap_or_default();
    let is = |name: &SnapshotName| names::snapshot_volume(id, name) == volume;
    !names::is_snapshot_volume(volume) || record.snapshots.keys().any(is)
}

/// Returns a snapshot that is whole.
pub(super) fn find<'a>(
    id: &TaskspaceId,
    record: &'a Record,
    name: &SnapshotName,
) -> Result<&'a SnapshotRecord, Problem> {
    let found = record.snapshots.get(name).filter(|entry| entry.state == BaseState::Ready);
    found.ok_or_else(|| {
        Problem::new(Code::NotFound, format!("'{id}' has no snapshot '{name}'"))
            .hint(format!("`taskspace snapshots {id}` shows what there is"))
    })
}

/// Returns a snapshot that is whole, and has the agent's state if that is wanted.
pub(super) fn find_with<'a>(
    id: &TaskspaceId,
    record: &'a Record,
    name: &SnapshotName,
    agent_state: bool,
) -> Result<&'a SnapshotRecord, Problem> {
    let found = find(id, record, name)?;
    if agent_state && !found.agent_state {
        let detail = format!("the snapshot '{name}' of '{id}' has no agent state");
        return Err(Problem::new(Code::StateConflict, detail).hint("leave out --agent-state"));
    }
    Ok(found)
}

/// Checks that a taskspace has no whole snapshot of a name; what broke off is removed before the next
/// one is made.
pub(super) fn check_free(
    id: &TaskspaceId,
    record: &Record,
    name: &SnapshotName,
) -> Result<(), Problem> {
    if find(id, record, name).is_err() {
        return Ok(());
    }
    let detail = format!("'{id}' has a snapshot '{name}' already");
    let hint =
        format!("choose another name, or remove it: taskspace snapshot --delete {id} {name}");
    Err(Problem::new(Code::StateConflict, detail).hint(hint))
}

fn check_note(note: Option<&str>) -> Result<(), Problem> {
    let refused = |detail: String| Err(Problem::new(Code::MessageFormatInvalid, detail));
    match note {
        Some(note) if note.chars().count() > MAX_NOTE => {
            refused(format!("the note is longer than {MAX_NOTE} characters"))
        }
        Some(note) if note.chars().any(char::is_control) => {
            refused("the note is not one line of text".to_owned())
        }
        _ => Ok(()),
    }
}

impl Inner {
    /// Removes the snapshots of a taskspace whose making or removal broke off. Only its driver may, or
    /// one could be just being made.
    pub(super) async fn drop_unfinished(
        &self,
        id: &TaskspaceId,
        record: &Record,
    ) -> Result<(), Problem> {
        for name in unfinished(record) {
            self.drop_snapshot(id, name).await?;
        }
        Ok(())
    }

    async fn drop_snapshot(&self, id: &TaskspaceId, name: &SnapshotName) -> Result<(), Problem> {
        // Nobody begins with it any more, and a crash is found by the next start.
        let condemned = name.clone();
        let condemn = self.change(id, move |record| {
            if let Some(entry) = record.snapshots.get_mut(&condemned) {
                entry.state = BaseState::Making;
            }
            Ok(())
        });
        if !condemn.await?.snapshots.contains_key(name) {
            return Ok(());
        }
        fault::point(|| "snapshot: remove the volume: before".to_owned());
        let registry = self.document().await?.registry;
        let volume = names::snapshot_volume(id, name);
        self.volumes().await?.remove(registry, &volume).await?;
        fault::point(|| "snapshot: remove the volume: after".to_owned());
        let gone = name.clone();
        let forgotten = self.change(id, move |record| {
            record.snapshots.remove(&gone);
            Ok(())
        });
        forgotten.await.map(drop)
    }
}

impl Acting {
    pub(super) async fn enter_snapshot(&self, taking: &Taking) -> Result<(), Problem> {
        let Taking { name, note, agent_state } = taking.clone();
        let entry = SnapshotRecord {
            state: BaseState::Making,
            created: Timestamp::now(),
            note,
            agent_state,
            bytes: None,
        };
        let entered = self.engine.change(&self.id, move |record| {
            record.snapshots.insert(name, entry);
            Ok(())
        });
        entered.await.map(drop)
    }

    /// Records that a snapshot is whole: once all of it is on the disk.
    pub(super) async fn publish_snapshot(&self, name: &SnapshotName) -> Result<(), Problem> {
        let (_, capabilities) = self.engine.link.get().await?;
        let whole = capabilities.volume_directory(&names::snapshot_volume(&self.id, name));
        let bytes = self.engine.measure(vec![whole.clone()]).await?;
        let sync = move || files::sync_file_system(&whole).map_err(|error| problems::file(&error));
        blocking(sync).await?;
        let name = name.clone();
        let published = self.engine.change(&self.id, move |record| {
            if let Some(entry) = record.snapshots.get_mut(&name) {
                entry.state = BaseState::Ready;
                entry.bytes = Some(bytes);
            }
            Ok(())
        });
        published.await.map(drop)
    }

    pub(super) async fn drop_snapshot(&self, name: &SnapshotName) -> Result<(), Problem> {
        self.engine.drop_snapshot(&self.id, name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_whole_is_there_and_only_the_rest_is_left_over() {
        let id = "example".parse().unwrap();
        let mut record = Record::example();
        let [whole, half, none]: [SnapshotName; 3] =
            ["whole", "half", "none"].map(|name| name.parse().unwrap());
        assert!(!are_left(&record));
        for (name, state) in [(&whole, BaseState::Ready), (&half, BaseState::Making)] {
            let entry = SnapshotRecord {
                state,
                created: Timestamp::UNIX_EPOCH,
                note: None,
                agent_state: false,
                bytes: None,
            };
            record.snapshots.insert(name.clone(), entry);
        }
        assert!(unfinished(&record).eq([&half]));
        assert!(find(&id, &record, &whole).is_ok());
        assert_eq!(check_free(&id, &record, &whole).unwrap_err().code, Code::StateConflict);
        for name in [&half, &none] {
            assert_eq!(find(&id, &record, name).unwrap_err().code, Code::NotFound);
            assert_eq!(check_free(&id, &record, name), Ok(()));
        }
    }

    #[test]
    fn a_note_is_a_line_of_text() {
        assert_eq!(check_note(Some("vor dem großen Umbau")), Ok(()));
        for bad in ["two\nlines", "\u{1b}[31m", &"x".repeat(MAX_NOTE + 1)] {
            assert_eq!(check_note(Some(bad)).unwrap_err().code, Code::MessageFormatInvalid);
        }
    }
}
