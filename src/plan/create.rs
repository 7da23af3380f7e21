//! The plan that makes a taskspace.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::capability::Capabilities;
use super::hold::{push_hold, push_hold_cache};
use super::lifecycle::{push_build_cache, push_guard, push_project_cache, push_start, push_verify};
use super::{Act, BasePlan, Plan, SeedPlan, fork, names, pod, volumes};
use crate::model::{ContainerDefaults, ImageRef, Record, Role, TaskspaceId};
use crate::podman::VolumeSpec;

/// What the plan is computed from.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The registry's UUID, for the labels.
    pub registry: Uuid,
    /// The taskspace.
    pub id: &'a TaskspaceId,
    /// Its entry in the registry.
    pub record: &'a Record,
    /// What the host's Podman can do.
    pub capabilities: &'a Capabilities,
    /// Where the mirrors of repositories are.
    pub mirrors: &'a Path,
    /// Places on the host.
    pub places: &'a Places,
    /// How long a container may take to stop, in seconds.
    pub stop_seconds: u32,
    /// What is the same in all containers.
    pub defaults: &'a ContainerDefaults,
}

/// Places on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The taskspace's own files.
    pub files: PathBuf,
    /// The user's directory with the agents' credentials.
    pub auth: PathBuf,
    /// The user's directory with the agents' context.
    pub context: PathBuf,
    /// Where directories are while containers of the taskspace may be started.
    pub permits: PathBuf,
}

#[cfg(test)]
impl Places {
    /// Some places, for tests.
    pub(crate) fn example() -> Self {
        Self { files: "/f".into(), auth: "/a".into(), context: "/c".into(), permits: "/r".into() }
    }
}

/// Returns the plan that makes and starts a taskspace; with `again` after an interrupted one, of
/// which anything may be there.
pub fn plan(inputs: &Inputs<'_>, again: bool) -> Plan {
    let Inputs { registry, id, record, capabilities, .. } = *inputs;
    let project = &record.spec.project;
    let base_volume = names::base_volume(&project.name, project.base());
    let mut plan = Plan::new("create");

    let dev_image = ImageRef::Dev(record.spec.project_type);
    let agent_image =
        plan.push("image localhost/symposium/agent", Act::EnsureImage(ImageRef::Agent), None, &[]);
    let dev_image = plan.push(
        format!("image localhost/symposium/{}", dev_image.short_name()),
        Act::EnsureImage(dev_image),
        None,
        &[],
    );
    let short_commit = &project.commit[..project.commit.len().min(12)];
    let base = plan.push(
        format!("base of {} at {short_commit}", project.name),
        Act::EnsureBase(BasePlan {
            project: project.name.clone(),
            source: project.source.clone(),
            mirrors: inputs.mirrors.to_owned(),
            commit: project.commit.clone(),
            key: project.base().to_owned(),
            submodules: project.submodules.clone(),
            volume: base_volume.clone(),
        }),
        Some(Act::DropBase { project: project.name.clone(), key: project.base().to_owned() }),
        &[],
    );
    // A taskspace begins to exist only when what takes long, and fails most, is there.
    let mut ready = vec![agent_image, dev_image, base];
    ready.extend(push_project_cache(&mut plan, inputs));
    if again {
        ready.push(plan.push("remove the unfinished pod", Act::RemovePod, None, &[]));
    }

    let files =
        plan.push("keys and configuration", Act::WriteFiles, Some(Act::RemoveFiles), &ready);
    let volume = |plan: &mut Plan, title, spec: VolumeSpec, needs: &[usize]| {
        let undo = Act::RemoveVolume(spec.name.clone());
        plan.push(title, Act::CreateVolume(spec), Some(undo), needs)
    };
    let changes_name = names::changes_volume(id);
    let changes_directory = capabilities.volume_directory(&changes_name);
    let changes = volume(
        &mut plan,
        "volume for the changes",
        volumes::plain(registry, id, changes_name, "changes"),
        &ready,
    );
    let changes_directories = Act::MakeDirectories {
        root: changes_directory.clone(),
        directories: match record.cache {
            None => volumes::CHANGES_DIRECTORIES,
            Some(_) => volumes::CHANGES_DIRECTORIES_WITH_CACHE,
        },
    };
    let title = "project quota of the changes";
    let changes = push_hold(&mut plan, inputs, title, changes_directory.clone(), changes);
    let changes = plan.push("directories of the changes", changes_directories, None, &[changes]);
    let checkout = volume(
        &mut plan,
        "volume for the checkout",
        volumes::checkout(registry, id, record, capabilities),
        &[changes],
    );

    let state_name = record.agent_state_volume.clone();
    let state_directory = capabilities.volume_directory(&state_name);
    let state_spec = volumes::plain(registry, id, state_name, "agent-state");
    let state = if record.agent_state_from.is_some() {
        // The volume outlives this plan: it is another taskspace's past.
        plan.push("volume for the agent's state", Act::CreateVolume(state_spec), None, &ready)
    } else {
        volume(&mut plan, "volume for the agent's state", state_spec, &ready)
    };
    let cache = volume(
        &mut plan,
        "volume for the build cache",
        volumes::build_cache(registry, id, record, capabilities),
        &[changes],
    );
    let cache = push_hold_cache(&mut plan, inputs, cache);
    let (seeded, copied) = match &record.forked {
        None => {
            let seed = Act::SeedChanges(SeedPlan {
                base: capabilities.volume_directory(&base_volume),
                changes: changes_directory,
                branch: project.branch.clone(),
                commit: project.commit.clone(),
                origin: project.origin.as_ref().unwrap_or(&project.source).clone(),
                push_url: project.push_url.clone(),
                commits: project.commits.clone(),
                work_tree: project.dirty.then(|| PathBuf::from(&project.source)),
            });
            let seeded = plan.push(format!("branch {}", project.branch), seed, None, &[changes]);
            (seeded, None)
        }
        Some(forked) => {
            let copy = fork::copies(id, record, forked, capabilities);
            let title = format!("copy what {} has", forked.from);
            let copied = plan.push(title, Act::CopyFrom(copy), None, &[changes, cache, state]);
            (copied, Some(copied))
        }
    };
    // What is copied goes into what is empty.
    let after_copy = |volume: usize| [Some(volume), copied].into_iter().flatten().collect();
    let needs: Vec<usize> = after_copy(state);
    let state_directories = plan.push(
        "directories of the agent's state",
        Act::MakeDirectories {
            root: state_directory,
            directories: volumes::AGENT_STATE_DIRECTORIES,
        },
        None,
        &needs,
    );
    let needs: Vec<usize> = after_copy(cache);
    let cache_directories = plan.push(
        "directories of the build cache",
        Act::LayOutCache(volumes::own_cache(id, record, capabilities)),
        None,
        &needs,
    );

    let needs = PodNeeds {
        pod: &ready,
        agent: vec![checkout, cache, state, files],
        dev: vec![checkout, cache, files],
        start: vec![seeded, state_directories, cache_directories],
        hand_over: true,
    };
    let started = push_pod(&mut plan, inputs, needs);
    if let Some(forked) = &record.forked {
        let from = names::branch(&forked.from, &names::excluded_by(&project.branch));
        let to = project.branch.clone();
        let title = format!("branch {to}");
        plan.push(title, Act::RenameBranch { from, to }, None, &[started]);
    }
    plan.push("ssh_config", Act::PublishSsh, None, &[files]);
    plan
}

/// Returns the plan that makes and starts the pod of a taskspace anew, on the volumes that are
/// there: its ports were taken, or someone removed it.
pub fn rebuild(inputs: &Inputs<'_>) -> Plan {
    let mut plan = Plan::new("rebuild");
    let dev_image = ImageRef::Dev(inputs.record.spec.project_type);
    let Inputs { registry, id, record, capabilities, .. } = *inputs;
    let project = &record.spec.project;
    let base = names::base_volume(&project.name, project.base());
    // The work and the agent's memory cannot be made anew, all else can. Podman makes a volume that
    // is missing by itself, an empty one.
    let changes = names::changes_volume(id);
    let state = record.agent_state_volume.clone();
    let base_plan = BasePlan {
        project: project.name.clone(),
        source: project.source.clone(),
        mirrors: inputs.mirrors.to_owned(),
        commit: project.commit.clone(),
        key: project.base().to_owned(),
        submodules: project.submodules.clone(),
        volume: base.clone(),
    };
    let checked = [
        plan.push("remove the old pod", Act::RemovePod, None, &[]),
        plan.push("the changes are there", Act::RequireVolume(changes), None, &[]),
        plan.push("the agent's state is there", Act::RequireVolume(state), None, &[]),
        plan.push("the base is there", Act::EnsureBase(base_plan), None, &[]),
    ];
    let checked: Vec<usize> =
        checked.into_iter().chain(push_project_cache(&mut plan, inputs)).collect();
    let overlay = volumes::checkout(registry, id, record, capabilities);
    let overlay = plan.push("the checkout", Act::CreateVolume(overlay), None, &checked);
    let cache = push_build_cache(&mut plan, inputs, &checked);
    let ready = [
        overlay,
        cache,
        plan.push("image of the agent", Act::EnsureImage(ImageRef::Agent), None, &[]),
        plan.push("image of the dev container", Act::EnsureImage(dev_image), None, &[]),
        plan.push("keys and configuration", Act::WriteFiles, None, &[]),
        plan.push("ssh_config", Act::PublishSsh, None, &[]),
    ];
    let needs = PodNeeds {
        pod: &ready,
        agent: Vec::new(),
        dev: Vec::new(),
        start: Vec::new(),
        hand_over: false,
    };
    push_pod(&mut plan, inputs, needs);
    plan
}

/// The steps that must come before the parts of the pod.
struct PodNeeds<'a> {
    pod: &'a [usize],
    agent: Vec<usize>,
    dev: Vec<usize>,
    start: Vec<usize>,
    /// Whether it is handed over for the first time.
    hand_over: bool,
}

fn push_pod(plan: &mut Plan, inputs: &Inputs<'_>, needs: PodNeeds<'_>) -> usize {
    let spec = pod::pod(inputs);
    let pod = plan.push("pod", Act::CreatePod(spec), Some(Act::RemovePod), needs.pod);
    // Making containers and starting the network take turns at the pod's lock: the network goes
    // first, since it takes longest.
    let infra = plan.push("start the network", Act::StartInfra, None, &[pod]);
    let mut verified = |role: Role, title: &str, mut needs: Vec<usize>| {
        let spec = Box::new(pod::container(inputs, role));
        needs.push(pod);
        let made = plan.push(title, Act::CreateContainer(role, spec), None, &needs);
        push_verify(plan, inputs, role, &[made])
    };
    let agent = verified(Role::Agent, "agent container", needs.agent);
    let dev = verified(Role::Dev, "dev container", needs.dev);
    let mut before_agent = needs.start;
    before_agent.push(agent);
    if needs.hand_over {
        // What fails from then on is no longer taken back, so as much as possible comes before.
        before_agent.push(dev);
        before_agent = vec![plan.push("hand it over", Act::HandOver, None, &before_agent)];
    }
    let guarded = push_guard(plan, inputs, &[infra]);
    push_start(plan, guarded, &before_agent, &[dev])
}
