//! The plans that make and remove a snapshot, and that give a taskspace back what one has.

use std::path::PathBuf;

use super::capability::Capabilities;
use super::create::Inputs;
use super::volumes::{self, CHANGES_DIRECTORIES, CHANGES_DIRECTORIES_WITH_CACHE, UPPER};
use super::{Act, CopyPath, Plan, names};
use crate::model::{Record, Restoring, SnapshotName, TaskspaceId};

/// What is in a snapshot's volume: what was written over the base, the build cache as far as it is the
/// taskspace's own, and perhaps the agent's state.
const DIRECTORIES: &[&str] = &["changes", "cache"];
const DIRECTORIES_WITH_STATE: &[&str] = &["changes", "cache", "agent-state"];

/// A snapshot that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taking {
    /// Its name.
    pub name: SnapshotName,
    /// What it is about.
    pub note: Option<String>,
    /// Whether it has the agent's state.
    pub agent_state: bool,
}

/// Returns the plan that makes a snapshot: what it has is as at one moment, for the containers are
/// paused meanwhile.
pub fn make(inputs: &Inputs<'_>, taking: &Taking) -> Plan {
    let Inputs { registry, id, record, capabilities, .. } = *inputs;
    let Taking { name, agent_state, .. } = taking;
    let volume = names::snapshot_volume(id, name);
    let root = capabilities.volume_directory(&volume);
    let mut plan = Plan::new("snapshot");
    let drop = Act::DropSnapshot(name.clone());
    let enter = Act::EnterSnapshot(taking.clone());
    let entered = plan.push("enter the snapshot", enter, Some(drop), &[]);
    let spec = volumes::plain(registry, id, volume, "snapshot");
    let made = plan.push("volume for the snapshot", Act::CreateVolume(spec), None, &[entered]);
    let directories = directories(*agent_state);
    let directories = Act::MakeDirectories { root: root.clone(), directories };
    let made = plan.push("directories of the snapshot", directories, None, &[made]);
    let live = live(id, record, *agent_state, capabilities);
    let copies = live.into_iter().map(|(part, from)| CopyPath { from, to: root.join(part) });
    // One that is paused in any case stays so.
    let go_on = (!record.is_frozen()).then_some(Act::Unpause);
    let paused = plan.push("pause the containers", Act::Pause, go_on.clone(), &[made]);
    let copy = Act::CopyOut(copies.collect());
    let mut copied = plan.push("copy what it has", copy, None, &[paused]);
    if let Some(go_on) = go_on {
        copied = plan.push("let the containers go on", go_on, None, &[copied]);
    }
    let publish = Act::PublishSnapshot(name.clone());
    plan.push("record that the snapshot is whole", publish, None, &[copied]);
    plan
}

/// Returns the plan that removes a snapshot.
pub fn remove(name: &SnapshotName) -> Plan {
    let mut plan = Plan::new("delete-snapshot");
    plan.push("remove the snapshot", Act::DropSnapshot(name.clone()), None, &[]);
    plan
}

/// Returns the plan that replaces what a taskspace has by what a snapshot has. It can be run again,
/// however far it came; until files are replaced it changes nothing but that the containers are
/// stopped.
pub fn restore(inputs: &Inputs<'_>, restoring: &Restoring) -> Plan {
    let Inputs { registry, id, record, capabilities, .. } = *inputs;
    let Restoring { snapshot, agent_state, .. } = restoring;
    let volume = names::snapshot_volume(id, snapshot);
    let root = capabilities.volume_directory(&volume);
    let changes = names::changes_volume(id);
    let changes_root = capabilities.volume_directory(&changes);
    let mut plan = Plan::new("restore");
    let mut used = vec![names::project_volume(id), changes.clone(), names::build_cache_volume(id)];
    if *agent_state {
        used.push(record.agent_state_volume.clone());
    }
    let there = Act::RequireVolume(volume);
    let there = plan.push("the snapshot is there", there, None, &[]);
    let others = Act::RefuseOtherUsers(used.clone());
    let others = plan.push("nobody else uses its files", others, None, &[]);
    let stopped = plan.push("stop the containers", Act::StopPod, None, &[there, others]);
    // An overlay whose layers change while it is mounted shows nonsense.
    let unused = Act::AwaitUnused(used);
    let unused = plan.push("nobody uses its files any more", unused, None, &[stopped]);

    // What somebody removed is made anew: what was in it comes from the snapshot.
    let mut made = vec![unused];
    let mut plain = vec![(changes, "changes")];
    if record.cache.is_none() {
        plain.push((names::build_cache_volume(id), "build-cache"));
    }
    if *agent_state {
        plain.push((record.agent_state_volume.clone(), "agent-state"));
    }
    for (volume, role) in plain {
        let spec = volumes::plain(registry, id, volume, role);
        let title = format!("the volume for the {role} is there");
        made.push(plan.push(title, Act::CreateVolume(spec), None, &[unused]));
    }
    let (directories, work) = match record.cache {
        None => (CHANGES_DIRECTORIES, &["work"][..]),
        Some(_) => (CHANGES_DIRECTORIES_WITH_CACHE, &["work", "cache/work"][..]),
    };
    let directories = Act::MakeDirectories { root: changes_root.clone(), directories };
    let directories = plan.push("directories of the changes", directories, None, &made);
    let begun = plan.push("record that files are replaced", Act::BeginRefill, None, &[directories]);
    let live = live(id, record, *agent_state, capabilities);
    let copies = live.into_iter().map(|(part, to)| CopyPath { from: root.join(part), to });
    let refill = Act::Refill {
        copies: copies.collect(),
        emptied: work.iter().map(|work| changes_root.join(work)).collect(),
    };
    plan.push("replace what it has", refill, None, &[begun]);
    plan
}

/// Returns what a taskspace that begins with a snapshot of another one has a copy of.
pub(super) fn copies(
    id: &TaskspaceId,
    record: &Record,
    (from, snapshot): (&TaskspaceId, &SnapshotName),
    agent_state: bool,
    capabilities: &Capabilities,
) -> Vec<CopyPath> {
    let root = capabilities.volume_directory(&names::snapshot_volume(from, snapshot));
    let live = live(id, record, agent_state, capabilities);
    live.into_iter().map(|(part, to)| CopyPath { from: root.join(part), to }).collect()
}

const fn directories(agent_state: bool) -> &'static [&'static str] {
    if agent_state { DIRECTORIES_WITH_STATE } else { DIRECTORIES }
}

/// Returns where a taskspace has what is in each directory of a snapshot.
fn live(
    id: &TaskspaceId,
    record: &Record,
    agent_state: bool,
    capabilities: &Capabilities,
) -> Vec<(&'static str, PathBuf)> {
    let places = [
        capabilities.volume_directory(&names::changes_volume(id)).join(UPPER),
        volumes::own_cache(id, record, capabilities),
        capabilities.volume_directory(&record.agent_state_volume),
    ];
    directories(agent_state).iter().copied().zip(places).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use uuid::Uuid;

    use super::super::create::Places;
    use super::*;
    use crate::model::ContainerDefaults;

    fn with_inputs<T>(record: &Record, plan: impl FnOnce(&Inputs<'_>) -> T) -> T {
        let id = "example".parse().unwrap();
        let capabilities = Capabilities::example();
        let places = Places::example();
        plan(&Inputs {
            registry: Uuid::nil(),
            id: &id,
            record,
            capabilities: &capabilities,
            mirrors: Path::new("/m"),
            places: &places,
            stop_seconds: 10,
            defaults: &ContainerDefaults::example(),
        })
    }

    fn taking(agent_state: bool) -> Taking {
        Taking { name: "s".parse().unwrap(), note: None, agent_state }
    }

    #[test]
    fn whatever_fails_nothing_is_left_of_a_snapshot_and_the_containers_go_on() {
        let plan = with_inputs(&Record::example(), |inputs| make(inputs, &taking(false)));
        let undone: Vec<&Act> = plan.steps.iter().filter_map(|step| step.undo.as_ref()).collect();
        assert!(matches!(undone[..], [Act::DropSnapshot(_), Act::Unpause]), "{undone:?}");
    }

    #[test]
    fn what_is_copied_comes_back_to_where_it_was() {
        for (cache, agent_state) in [(None, false), (Some("old".to_owned()), true)] {
            let record = Record { cache, ..Record::example() };
            let made = with_inputs(&record, |inputs| make(inputs, &taking(agent_state)));
            let restoring = Restoring { snapshot: "s".parse().unwrap(), agent_state, begun: false };
            let restored = with_inputs(&record, |inputs| restore(inputs, &restoring));
            let there = made.steps.into_iter().find_map(|step| match step.act {
                Act::CopyOut(copies) => Some(copies),
                _ => None,
            });
            let back = restored.steps.into_iter().find_map(|step| match step.act {
                Act::Refill { copies, emptied } => Some((copies, emptied)),
                _ => None,
            });
            let ((back, emptied), there) = (back.unwrap(), there.unwrap());
            let back: Vec<CopyPath> =
                back.into_iter().map(|copy| CopyPath { from: copy.to, to: copy.from }).collect();
            assert_eq!(back, there);
            assert_eq!(there.len(), if agent_state { 3 } else { 2 });
            let changes = Path::new("/v/taskspace-example-changes/_data");
            let work: &[&str] = if agent_state { &["work", "cache/work"] } else { &["work"] };
            assert!(emptied.into_iter().eq(work.iter().map(|work| changes.join(work))));
        }
    }

    #[test]
    fn nothing_is_replaced_before_that_is_recorded_and_the_files_are_unused() {
        let restoring =
            Restoring { snapshot: "s".parse().unwrap(), agent_state: true, begun: false };
        let plan = with_inputs(&Record::example(), |inputs| restore(inputs, &restoring));
        let at = |is: fn(&Act) -> bool| plan.steps.iter().position(|step| is(&step.act)).unwrap();
        // Each step needs, perhaps by way of others, all that come before.
        let mut before = std::collections::BTreeSet::new();
        let mut pending = vec![at(|act| matches!(act, Act::Refill { .. }))];
        while let Some(step) = pending.pop() {
            before.insert(step);
            pending.extend(&plan.steps[step].needs);
        }
        assert_eq!(before.len(), plan.steps.len());
        let order = [
            at(|act| matches!(act, Act::StopPod)),
            at(|act| matches!(act, Act::AwaitUnused(_))),
            at(|act| matches!(act, Act::BeginRefill)),
            at(|act| matches!(act, Act::Refill { .. })),
        ];
        assert!(order.is_sorted(), "{order:?}");
    }
}
