//! When a taskspace's storage is nearly full, when it is full, and what is done then.

use jiff::Timestamp;

use crate::model::{
    Desired, OnFull, Quantity, Record, Status, Storage, StorageAction, StorageHold, StorageLevel,
};

/// From so much of the limit on, in percent, it is told.
const HIGH: u64 = 80;

/// From so much on it is told again.
const CRITICAL: u64 = 95;

/// So much below a threshold, in percent of the limit, it counts as below again: what grows and shrinks
/// by a little around one is told once, and is not paused and let go on all the time.
const MARGIN: u64 = 2;

/// Tells how full it is by what is in use, when it was found `before` the last time.
pub fn level(used: Quantity, limit: Quantity, before: StorageLevel) -> StorageLevel {
    let reached =
        |percent: u64| u128::from(used.0) * 100 >= u128::from(limit.0) * u128::from(percent);
    let thresholds =
        [(StorageLevel::Full, 100), (StorageLevel::Critical, CRITICAL), (StorageLevel::High, HIGH)];
    let found = thresholds.into_iter().find(|(level, percent)| {
        let margin = if before >= *level { MARGIN } else { 0 };
        reached(percent - margin)
    });
    found.map_or(StorageLevel::Ample, |(level, _)| level)
}

/// Tells what a taskspace that is as full as this is to be held by.
///
/// Where the file system itself enforces the limit, that is enough.
pub fn hold(storage: &Storage) -> Option<StorageAction> {
    if storage.level < StorageLevel::Full || storage.hard.is_some() {
        return None;
    }
    match storage.on_full {
        OnFull::Warn => None,
        OnFull::Freeze => Some(StorageAction::Frozen),
        OnFull::Stop => Some(StorageAction::Stopped),
    }
}

/// What is to be recorded of a taskspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// How full it is, and what is done about it.
    pub storage: Storage,
    /// What it is to be.
    pub desired: Desired,
}

/// Tells what is to be recorded of a taskspace of which so much is in use; nothing if it is recorded.
///
/// One that is paused stays so here: it is let go on and recorded as such by whoever does it.
pub fn judge(record: &Record, used: Quantity, now: Timestamp) -> Option<Judgement> {
    let before = record.storage.as_ref()?;
    let level = level(used, before.limit, before.level);
    let mut storage = Storage { level, ..before.clone() };
    let wanted = hold(&storage);
    let held = before.held.as_ref().map(|held| held.action);
    let runs = record.desired == Desired::Running
        && record.underway.is_none()
        && matches!(record.status, Status::Running | Status::Degraded);
    let mut desired = record.desired;
    if wanted != held {
        storage.held = match (wanted, held) {
            (Some(action), _) if runs => Some(StorageHold { action, since: now, used }),
            (_, Some(StorageAction::Frozen)) => storage.held,
            // It does not run, and whether it may is looked at when it starts.
            _ => None,
        };
        if runs && wanted == Some(StorageAction::Stopped) {
            desired = Desired::Stopped;
        }
    }
    (storage != *before).then_some(Judgement { storage, desired })
}

/// Returns how much of the limit is in use, in percent, cut off.
pub fn percent(used: Quantity, limit: Quantity) -> u64 {
    let percent = u128::from(used.0) * 100 / u128::from(limit.0.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::LimitSource;
    use StorageLevel::{Ample, Critical, Full, High};

    const LEVELS: [StorageLevel; 4] = [Ample, High, Critical, Full];

    fn level_of(used: u64, before: StorageLevel) -> StorageLevel {
        level(Quantity(used), Quantity(1000), before)
    }

    #[test]
    fn a_level_is_reached_at_its_threshold_and_left_below_its_margin() {
        let rising = [0, 799, 800, 949, 950, 999, 1000, 5000].map(|used| level_of(used, Ample));
        assert_eq!(rising, [Ample, Ample, High, High, Critical, Critical, Full, Full]);
        let falling = [980, 979, 930, 929, 780, 779].map(|used| level_of(used, Full));
        assert_eq!(falling, [Full, Critical, Critical, High, High, Ample]);
    }

    #[test]
    fn what_is_done_is_up_to_the_policy_and_to_the_file_system() {
        let holds = |level, hard| {
            OnFull::ALL.map(|on_full| {
                let limit = Storage::new(Quantity(1000), LimitSource::Tier, on_full);
                hold(&Storage { level, hard, ..limit })
            })
        };
        let full = [None, Some(StorageAction::Frozen), Some(StorageAction::Stopped)];
        assert_eq!(holds(Full, None), full);
        assert_eq!(holds(Full, Some(7)), [None; 3]);
        assert_eq!(holds(Critical, None), [None; 3]);
    }

    fn judged(record: &mut Record, used: u64) -> bool {
        let Some(judgement) = judge(record, Quantity(used), Timestamp::UNIX_EPOCH) else {
            return false;
        };
        record.storage = Some(judgement.storage);
        record.desired = judgement.desired;
        true
    }

    fn limited(on_full: OnFull) -> Record {
        let storage = Storage::new(Quantity(1000), LimitSource::Tier, on_full);
        Record { storage: Some(storage), ..Record::example() }
    }

    fn held(record: &Record) -> Option<StorageAction> {
        record.storage.as_ref()?.held.as_ref().map(|held| held.action)
    }

    #[test]
    fn what_is_full_is_held_once_and_only_while_it_runs() {
        let mut warned = limited(OnFull::Warn);
        assert!(judged(&mut warned, 1000) && !judged(&mut warned, 2000));
        assert_eq!((held(&warned), warned.desired), (None, Desired::Running));

        let mut frozen = limited(OnFull::Freeze);
        assert!(judged(&mut frozen, 1000) && !judged(&mut frozen, 1000));
        assert_eq!(
            (held(&frozen), frozen.desired),
            (Some(StorageAction::Frozen), Desired::Running)
        );
        // Whoever lets it go on records that.
        assert!(judged(&mut frozen, 0));
        assert_eq!(held(&frozen), Some(StorageAction::Frozen));

        let mut stopped = limited(OnFull::Stop);
        assert!(judged(&mut stopped, 1000));
        assert_eq!(
            (held(&stopped), stopped.desired),
            (Some(StorageAction::Stopped), Desired::Stopped)
        );
        stopped.status = Status::Stopped;
        assert!(!judged(&mut stopped, 1000));
        assert!(judged(&mut stopped, 0));
        assert_eq!((held(&stopped), stopped.desired), (None, Desired::Stopped));

        let mut idle = limited(OnFull::Freeze);
        (idle.status, idle.desired) = (Status::Stopped, Desired::Stopped);
        assert!(judged(&mut idle, 1000));
        assert_eq!((held(&idle), idle.storage.unwrap().level), (None, Full));
        assert!(!judged(&mut Record::example(), u64::MAX));
    }

    #[test]
    fn another_policy_takes_the_place_of_the_first() {
        let mut record = limited(OnFull::Freeze);
        assert!(judged(&mut record, 1000));
        record.storage = record.storage.map(|it| it.changed(None, Some(OnFull::Stop)));
        assert!(judged(&mut record, 1000));
        assert_eq!(
            (held(&record), record.desired),
            (Some(StorageAction::Stopped), Desired::Stopped)
        );
    }

    #[test]
    fn limits_without_measure_are_no_trouble() {
        let most = Quantity(u64::MAX);
        assert_eq!(level(most, most, Ample), Full);
        assert_eq!((percent(most, Quantity(0)), percent(most, most)), (u64::MAX, 100));
        assert_eq!(level(Quantity(0), Quantity(0), Ample), Full);
    }

    proptest! {
        #[test]
        fn more_is_never_less_full(used in 0..3000u64, more in 0..3000u64, before in 0..4usize) {
            let before = LEVELS[before];
            prop_assert!(level_of(used, before) <= level_of(used + more, before));
        }

        #[test]
        fn it_was_full_is_never_told_as_less_full(used in 0..3000u64, one in 0..4usize, other in 0..4usize) {
            let (one, other) = (one.min(other), one.max(other));
            prop_assert!(level_of(used, LEVELS[one]) <= level_of(used, LEVELS[other]));
        }

        #[test]
        fn the_same_is_found_the_same_again(used in 0..3000u64, before in 0..4usize) {
            let found = level_of(used, LEVELS[before]);
            prop_assert_eq!(level_of(used, found), found);
        }

        #[test]
        fn a_little_more_and_less_is_told_once(start in 0..2000u64, steps in prop::collection::vec(0..15u64, 1..50)) {
            // All within less than the margin of each other.
            let mut found = Ample;
            let mut risen = 0;
            for step in steps {
                let next = level_of(start + step, found);
                risen += usize::from(next > found);
                found = next;
            }
            prop_assert!(risen <= 2, "{risen}");
        }
    }
}
