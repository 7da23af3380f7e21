//! The plans that start, stop and mend a taskspace that is there.

use std::collections::BTreeMap;

use super::assess::Trouble;
use super::create::Inputs;
use super::hold::push_hold_cache;
use super::{Act, Plan, names, pod, volumes};
use crate::model::Role;

/// Returns the plan that starts a pod that is there and not running.
pub fn start(inputs: &Inputs<'_>) -> Plan {
    let mut plan = Plan::new("start");
    // Whoever made the containers may have been interrupted before it looked at them.
    let mut ready = Role::ALL.map(|role| push_verify(&mut plan, inputs, role, &[])).to_vec();
    // Podman makes a volume that is missing by itself, an empty one, or names one that nobody knows.
    let changes = Act::RequireVolume(names::changes_volume(inputs.id));
    ready.push(plan.push("the changes are there", changes, None, &[]));
    let state = Act::RequireVolume(inputs.record.agent_state_volume.clone());
    ready.push(plan.push("the agent's state is there", state, None, &[]));
    let unpaused = plan.push("let go on what is paused", Act::Unpause, None, &ready);
    let infra = plan.push("start the network", Act::StartInfra, Some(Act::StopPod), &[unpaused]);
    let guarded = push_guard(&mut plan, inputs, &[infra]);
    push_start(&mut plan, guarded, &[], &[]);
    plan
}

/// Appends what puts the network policy in force: nothing of ours is started before.
pub(super) fn push_guard(plan: &mut Plan, inputs: &Inputs<'_>, needs: &[usize]) -> usize {
    let title = format!("network policy {}", inputs.record.network.name);
    plan.push(title, Act::GuardNetwork, None, needs)
}

/// Returns the plan that stops a taskspace.
pub fn stop() -> Plan {
    let mut plan = Plan::new("stop");
    plan.push("stop the containers", Act::StopPod, None, &[]);
    plan
}

/// Returns the plan that pauses a taskspace.
pub fn freeze() -> Plan {
    let mut plan = Plan::new("freeze");
    plan.push("pause the containers", Act::Pause, None, &[]);
    plan
}

/// Returns the plan that lets a taskspace go on that is paused.
pub fn let_go() -> Plan {
    let mut plan = Plan::new("let go");
    plan.push("let the containers go on", Act::Unpause, None, &[]);
    plan
}

/// Returns the plan that brings back single containers of a pod whose network is up.
pub fn mend(inputs: &Inputs<'_>, troubles: &BTreeMap<Role, Trouble>) -> Plan {
    let mut plan = Plan::new("mend");
    let guarded = push_guard(&mut plan, inputs, &[]);
    for (role, trouble) in troubles {
        let role = *role;
        let mut before = Vec::new();
        match trouble {
            Trouble::Ended => {}
            Trouble::Deaf => {
                let title = format!("stop the {role} container");
                before.push(plan.push(title, Act::StopContainer(role), None, &[]));
            }
            Trouble::Missing => {
                let needs = push_volumes(&mut plan, inputs, role);
                let spec = Box::new(pod::container(inputs, role));
                let title = format!("{role} container");
                before.push(plan.push(title, Act::CreateContainer(role, spec), None, &needs));
            }
        }
        let verified = push_verify(&mut plan, inputs, role, &before);
        let start = format!("start the {role} container");
        let start = plan.push(start, Act::StartContainer(role), None, &[verified, guarded]);
        let wait = format!("wait for the sshd of the {role} container");
        plan.push(wait, Act::AwaitSsh(role), None, &[start]);
    }
    plan
}

/// Appends what makes sure of the volumes of one container: Podman makes one that is missing by
/// itself, an empty one.
fn push_volumes(plan: &mut Plan, inputs: &Inputs<'_>, role: Role) -> Vec<usize> {
    let Inputs { registry, id, record, capabilities, .. } = *inputs;
    let project = &record.spec.project;
    let base = names::base_volume(&project.name, project.base());
    let changes = Act::RequireVolume(names::changes_volume(id));
    let changes = plan.push("the changes are there", changes, None, &[]);
    let base_there = Act::RequireVolume(base.clone());
    let base_there = plan.push("the base is there", base_there, None, &[]);
    let overlay = Act::CreateVolume(volumes::checkout(registry, id, record, capabilities));
    let below: Vec<usize> =
        [changes, base_there].into_iter().chain(push_project_cache(plan, inputs)).collect();
    let mut needs = vec![plan.push("the checkout", overlay, None, &below)];
    needs.push(push_build_cache(plan, inputs, &below));
    if role == Role::Agent {
        let state = Act::RequireVolume(record.agent_state_volume.clone());
        needs.push(plan.push("the agent's state is there", state, None, &[]));
    }
    needs
}

/// Appends what makes sure of the project's build cache, if the taskspace's own lies over one.
pub(super) fn push_project_cache(plan: &mut Plan, inputs: &Inputs<'_>) -> Option<usize> {
    let volume = inputs.record.cache.clone()?;
    let project = inputs.record.spec.project.name.clone();
    let act = Act::EnsureCache { project, volume };
    Some(plan.push("the project's build cache", act, None, &[]))
}

/// Appends the making of the build cache's volume.
pub(super) fn push_build_cache(plan: &mut Plan, inputs: &Inputs<'_>, needs: &[usize]) -> usize {
    let Inputs { registry, id, record, capabilities, .. } = *inputs;
    let cache = volumes::build_cache(registry, id, record, capabilities);
    let root = volumes::own_cache(id, record, capabilities);
    let cache = plan.push("the build cache", Act::CreateVolume(cache), None, needs);
    let cache = push_hold_cache(plan, inputs, cache);
    plan.push("directories of the build cache", Act::LayOutCache(root), None, &[cache])
}

/// Appends the comparison of a container with what is asked for.
pub(super) fn push_verify(
    plan: &mut Plan,
    inputs: &Inputs<'_>,
    role: Role,
    needs: &[usize],
) -> usize {
    let spec = Box::new(pod::container(inputs, role));
    let title = format!("check what Podman made of the {role} container");
    plan.push(title, Act::VerifyContainer(role, spec), None, needs)
}

/// Appends the start of both containers, the agent's first, and the waiting for their sshds. Returns the
/// step that starts the dev container.
pub(super) fn push_start(plan: &mut Plan, guarded: usize, agent: &[usize], dev: &[usize]) -> usize {
    let mut needs = agent.to_vec();
    needs.push(guarded);
    let start =
        plan.push("start the agent container", Act::StartContainer(Role::Agent), None, &needs);
    plan.push("wait for the agent's sshd", Act::AwaitSsh(Role::Agent), None, &[start]);
    let mut needs = dev.to_vec();
    needs.push(start);
    let start = plan.push("start the dev container", Act::StartContainer(Role::Dev), None, &needs);
    plan.push("wait for the dev container's sshd", Act::AwaitSsh(Role::Dev), None, &[start]);
    start
}
