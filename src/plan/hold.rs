//! The steps that have the file system hold a taskspace to its storage.

use std::path::PathBuf;

use super::create::Inputs;
use super::{Act, HoldPlan, Plan, volumes};

/// Appends what makes a volume part of the taskspace's project, if it has one, before anything is in
/// it: ids are inherited, and what containers made cannot be given another one.
pub(super) fn push_hold(
    plan: &mut Plan,
    inputs: &Inputs<'_>,
    title: &str,
    directory: PathBuf,
    volume: usize,
) -> usize {
    let held = inputs.record.storage.as_ref().and_then(|it| Some((it.hard?, it.limit)));
    let Some((id, limit)) = held else { return volume };
    plan.push(title, Act::Hold(HoldPlan { directory, id, limit }), None, &[volume])
}

/// The same for the build cache, where that is a volume of its own.
pub(super) fn push_hold_cache(plan: &mut Plan, inputs: &Inputs<'_>, volume: usize) -> usize {
    let Inputs { id, record, capabilities, .. } = *inputs;
    match record.cache {
        None => {
            let directory = volumes::own_cache(id, record, capabilities);
            push_hold(plan, inputs, "project quota of the build cache", directory, volume)
        }
        Some(_) => volume,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use uuid::Uuid;

    use super::*;
    use crate::model::{ContainerDefaults, LimitSource, OnFull, Quantity, Record, Storage};
    use crate::plan::capability::Capabilities;
    use crate::plan::create::{self, Places};

    fn made(record: &Record) -> Plan {
        let capabilities = Capabilities::example();
        let places = Places::example();
        create::plan(
            &Inputs {
                registry: Uuid::nil(),
                id: &"fix".parse().unwrap(),
                record,
                capabilities: &capabilities,
                mirrors: Path::new("/m"),
                places: &places,
                stop_seconds: 10,
                defaults: &ContainerDefaults::example(),
            },
            false,
        )
    }

    #[test]
    fn volumes_have_their_id_before_there_is_anything_in_them() {
        let limit = Quantity(1 << 30);
        let storage = Storage::new(limit, LimitSource::Tier, OnFull::Warn);
        let hard = Storage { hard: Some(7), ..storage };
        let mut record = Record { storage: Some(hard), ..Record::example() };
        for (cache, count) in [(None, 2), (Some("project-cache-a".to_owned()), 1)] {
            record.cache = cache;
            let plan = made(&record);
            let mut held = Vec::new();
            for (index, step) in plan.steps.iter().enumerate() {
                match &step.act {
                    Act::Hold(hold) => {
                        assert_eq!((hold.id, hold.limit), (7, limit));
                        held.push((index, hold.directory.clone()));
                    }
                    Act::MakeDirectories { root, .. } => {
                        let hold = held.iter().find(|(_, directory)| directory == root);
                        let is_needed = hold.is_some_and(|(index, _)| step.needs.contains(index));
                        let is_below =
                            held.iter().any(|(_, top)| root != top && root.starts_with(top));
                        let is_state = root.ends_with("taskspace-example-agent-state/_data");
                        assert!(is_needed || is_below || is_state, "{}", root.display());
                    }
                    _ => {}
                }
            }
            assert_eq!(held.len(), count);
        }
        record.storage = None;
        assert!(made(&record).steps.iter().all(|step| !matches!(step.act, Act::Hold(_))));
    }
}
