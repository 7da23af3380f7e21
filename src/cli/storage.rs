//! How full a taskspace is, in words.

use jiff::Timestamp;

use super::output::span;
use super::show::{Page, when};
use crate::model::{
    Code, LimitSource, OnFull, Problem, Quantity, Record, Recorded, Storage, StorageAction,
    StorageLevel, TaskspaceId,
};
use crate::policy::quota;

/// Returns how much of what it may write a taskspace has written: `1.2Gi/20Gi`.
pub(super) fn cell(recorded: &Recorded) -> String {
    let Some(storage) = &recorded.record.storage else { return "-".to_owned() };
    let used = recorded.written.map_or_else(|| "-".to_owned(), |usage| usage.used.to_string());
    let hard = if storage.hard.is_some() { " hard" } else { "" };
    format!("{used}/{}{hard}", storage.limit)
}

/// Says in a few words that a taskspace is nearly full, or what was done because it is.
pub(super) fn note(record: &Record) -> Option<String> {
    let storage = record.storage.as_ref()?;
    match storage.held.as_ref().map(|held| held.action) {
        Some(StorageAction::Frozen) => return Some("paused, storage full".to_owned()),
        Some(StorageAction::Stopped) => return Some("stopped, storage full".to_owned()),
        None => {}
    }
    match storage.level {
        StorageLevel::Ample => None,
        StorageLevel::High => Some("storage 80 % full".to_owned()),
        StorageLevel::Critical => Some("storage 95 % full".to_owned()),
        StorageLevel::Full => Some("storage full".to_owned()),
    }
}

/// Says what was done because a taskspace is full, or that it is nearly so, and what to do.
pub(super) fn reason(id: &TaskspaceId, record: &Record) -> Option<(String, String)> {
    let storage = record.storage.as_ref()?;
    let limit = storage.limit;
    let more = match storage.hard {
        None => format!("let it write more: `taskspace resize {id} --storage …`"),
        Some(project) => {
            format!("have root let it write more: `sudo taskspace quota resize {project} …`")
        }
    };
    let tidy =
        format!("have it run all the same to tidy up: `taskspace resize {id} --on-full warn`");
    if let Some(held) = &storage.held {
        let (what, then) = match held.action {
            StorageAction::Frozen => ("paused", String::new()),
            StorageAction::Stopped => {
                ("stopped", format!("; then start it: `taskspace start {id}`"))
            }
        };
        let detail = format!("it is {what}: it has written {} of {limit}", held.used);
        return Some((detail, format!("{more}; or {tidy}{then}")));
    }
    let room = format!("free some of it, or {more}");
    let detail = match storage.level {
        StorageLevel::Ample => return None,
        StorageLevel::High => format!("80 % of the {limit} that it may write are in use"),
        StorageLevel::Critical => format!("95 % of the {limit} that it may write are in use"),
        StorageLevel::Full => format!("the {limit} that it may write are in use"),
    };
    Some((detail, room))
}

/// Refuses to ask the sshds of a taskspace that is paused, which would be waited for in vain.
pub(super) fn refuse_paused(id: &TaskspaceId, record: &Record) -> Result<(), Problem> {
    match reason(id, record) {
        Some((reason, hint)) if record.is_frozen() => {
            Err(Problem::new(Code::StateConflict, reason).hint(hint))
        }
        _ => Ok(()),
    }
}

/// Adds what a taskspace may write and has written.
pub(super) fn section(page: &mut Page, recorded: &Recorded, now: Timestamp) {
    let Recorded { record, written, .. } = recorded;
    let Some(storage) = &record.storage else { return };
    page.section("Storage");
    let used = match written {
        Some(usage) => {
            let ago = span(now.as_second() - usage.measured.as_second());
            let percent = quota::percent(usage.used, storage.limit);
            format!("{} of {} ({percent} %; measured {ago} ago)", usage.used, storage.limit)
        }
        None => format!("not measured yet, of {}", storage.limit),
    };
    page.line("Used", used);
    page.line("Limit", limit(record, storage));
    if let Some(held) = &storage.held {
        let what = match held.action {
            StorageAction::Frozen => "Paused",
            StorageAction::Stopped => "Stopped",
        };
        page.line(what, when(held.since, now));
    }
}

fn limit(record: &Record, storage: &Storage) -> String {
    let source = match (storage.source, &record.tier) {
        (LimitSource::Tier, Some(tier)) => format!("by the tier '{tier}'"),
        (LimitSource::Tier, None) | (LimitSource::Request, _) => "as asked for".to_owned(),
    };
    match storage.hard {
        Some(quota) => {
            format!("{} {source}, hard: enforced by project quota {quota}", storage.limit)
        }
        None => {
            let full = match storage.on_full {
                OnFull::Warn => "when full it is told",
                OnFull::Freeze => "when full it is paused",
                OnFull::Stop => "when full it is stopped",
            };
            format!("{} {source}, measured; {full}", storage.limit)
        }
    }
}

/// Says how full a taskspace has become.
pub(super) fn changed(
    level: StorageLevel,
    used: Quantity,
    limit: Quantity,
    on_full: OnFull,
    held: Option<StorageAction>,
) -> String {
    let percent = quota::percent(used, limit);
    let amount = format!("{used} of {limit} ({percent} %)");
    match (level, held) {
        (StorageLevel::Full, Some(StorageAction::Frozen)) => {
            format!("storage is full, {amount}: it is paused")
        }
        (StorageLevel::Full, Some(StorageAction::Stopped)) => {
            format!("storage is full, {amount}: it is stopped")
        }
        (StorageLevel::Full, None) => {
            let left = match on_full {
                OnFull::Warn => ": it may go on all the same",
                OnFull::Freeze | OnFull::Stop => "",
            };
            format!("STORAGE IS FULL, {amount}{left}")
        }
        (StorageLevel::Critical | StorageLevel::High, _) => {
            format!("storage is nearly full: {amount}")
        }
        (StorageLevel::Ample, _) => format!("storage has room again: {amount}"),
    }
}
