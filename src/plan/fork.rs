//! What a taskspace that begins where another one is has a copy of.

use super::capability::Capabilities;
use super::volumes::{self, UPPER};
use super::{Act, CopyPath, CopyPlan, Plan, names, snapshot};
use crate::model::{Forked, Record, TaskspaceId};

/// Returns what is copied: the changes, the build cache and perhaps the agent's state. Both taskspaces
/// are on the same base, and their build caches on the same one of the project.
pub(super) fn copies(
    id: &TaskspaceId,
    record: &Record,
    forked: &Forked,
    capabilities: &Capabilities,
) -> CopyPlan {
    let from = &forked.from;
    if let Some(name) = &forked.snapshot {
        let with_state = forked.agent_state.is_some();
        let paths = snapshot::copies(id, record, (from, name), with_state, capabilities);
        return CopyPlan { of: from.clone(), snapshot: Some(name.clone()), paths };
    }
    let directory = |volume: &str| capabilities.volume_directory(volume);
    let changes = |id| directory(&names::changes_volume(id)).join(UPPER);
    let cache = |id| volumes::own_cache(id, record, capabilities);
    let mut paths = vec![
        CopyPath { from: changes(from), to: changes(id) },
        CopyPath { from: cache(from), to: cache(id) },
    ];
    if let Some(state) = &forked.agent_state {
        paths.push(CopyPath { from: directory(state), to: directory(&record.agent_state_volume) });
    }
    CopyPlan { of: from.clone(), snapshot: None, paths }
}

/// Returns the plan that copies what a taskspace has as it is at one moment, which is what a crash then
/// would have left: its containers are paused meanwhile. One that is paused in any case stays so.
pub fn copy_out(paths: Vec<CopyPath>, is_frozen: bool) -> Plan {
    let mut plan = Plan::new("copy");
    let go_on = (!is_frozen).then_some(Act::Unpause);
    let paused = plan.push("pause the containers", Act::Pause, go_on.clone(), &[]);
    let copied = plan.push("copy what it has", Act::CopyOut(paths), None, &[paused]);
    if let Some(go_on) = go_on {
        plan.push("let the containers go on", go_on, None, &[copied]);
    }
    plan
}

/// Returns the plan that copies what a snapshot has: that does not change any more.
pub fn copy_of_snapshot(paths: Vec<CopyPath>) -> Plan {
    let mut plan = Plan::new("copy");
    plan.push("copy what the snapshot has", Act::CopyOut(paths), None, &[]);
    plan
}
