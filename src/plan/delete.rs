//! The plan that removes a taskspace; every step is content with what is gone already.

use super::{Act, Plan, names};
use crate::model::{Record, TaskspaceId};

/// Returns the plan that removes a taskspace. Its agent's state goes too only with `purge`; that of a
/// half-made one goes back to where it was.
///
/// The registry's entry goes last: whatever interrupts the removal, the next start finds it and
/// goes on.
pub fn plan(id: &TaskspaceId, record: &Record, purge: bool) -> Plan {
    let keep_state_as = if record.is_half_made() {
        record.agent_state_from.clone()
    } else {
        (!purge).then(|| id.clone())
    };
    let mut plan = Plan::new("delete");
    let remove = |volume: String| Act::RemoveVolume(volume);
    let pod = plan.push("remove the pod", Act::RemovePod, None, &[]);
    let project = plan.push("remove the checkout", remove(names::project_volume(id)), None, &[pod]);
    let mut last = vec![
        plan.push("remove the changes", remove(names::changes_volume(id)), None, &[project]),
        plan.push("remove the build cache", remove(names::build_cache_volume(id)), None, &[pod]),
    ];
    for name in record.snapshots.keys() {
        let volume = names::snapshot_volume(id, name);
        last.push(plan.push(format!("remove the snapshot {name}"), remove(volume), None, &[pod]));
    }
    if keep_state_as.is_none() {
        let volume = record.agent_state_volume.clone();
        last.push(plan.push("remove the agent's state", remove(volume), None, &[pod]));
    }
    last.push(plan.push("remove keys and configuration", Act::RemoveFiles, None, &[pod]));
    let forget = plan.push(
        "take it out of the registry and ssh_config",
        Act::Forget { keep_state_as },
        None,
        &last,
    );
    let project = record.spec.project.name.clone();
    let trim = Act::TrimCaches(project.clone());
    plan.push("remove caches that nobody uses", trim, None, &[forget]);
    plan.push("trim the project's bases", Act::TrimBases(project), None, &[forget]);
    plan
}

/// Returns the plan that removes the agent's state that a former taskspace left.
pub fn plan_of_kept_state(volume: &str) -> Plan {
    let mut plan = Plan::new("delete");
    plan.push("remove the agent's state", Act::RemoveVolume(volume.to_owned()), None, &[]);
    plan
}
