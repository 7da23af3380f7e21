//! The plans that start and stop a taskspace that is there.

use super::{Act, Plan};
use crate::model::Role;

/// Returns the plan that starts a pod that is there and not running.
pub fn start() -> Plan {
    let mut plan = Plan::default();
    let infra = plan.push("start the network", Act::StartInfra, Some(Act::StopPod), &[]);
    push_start(&mut plan, infra, &[], &[]);
    plan
}

/// Returns the plan that stops a taskspace.
pub fn stop() -> Plan {
    let mut plan = Plan::default();
    plan.push("stop the containers", Act::StopPod, None, &[]);
    plan
}

/// Appends the start of both containers, the agent's first, and the waiting for their sshds.
pub(super) fn push_start(plan: &mut Plan, infra: usize, agent: &[usize], dev: &[usize]) {
    let mut needs = agent.to_vec();
    needs.push(infra);
    let start =
        plan.push("start the agent container", Act::StartContainer(Role::Agent), None, &needs);
    plan.push("wait for the agent's sshd", Act::AwaitSsh(Role::Agent), None, &[start]);
    let mut needs = dev.to_vec();
    needs.push(start);
    let start = plan.push("start the dev container", Act::StartContainer(Role::Dev), None, &needs);
    plan.push("wait for the dev container's sshd", Act::AwaitSsh(Role::Dev), None, &[start]);
}
