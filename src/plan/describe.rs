//! Plans in words.

use std::path::PathBuf;

use super::{Act, CopyPath, HoldPlan, Plan, Step};
use crate::model::{PlanView, StepView, TaskspaceId};
use crate::plan::{names, volumes};
use crate::podman::PortMapping;

impl Plan {
    /// Returns the plan as clients see it; `id` is the taskspace that it is for.
    pub fn view(&self, id: &TaskspaceId) -> PlanView {
        let step = |step: &Step| StepView {
            title: step.title.clone(),
            act: step.act.describe(id),
            undo: step.undo.as_ref().map(|undo| undo.describe(id)),
            needs: step.needs.clone(),
        };
        PlanView {
            name: self.name.to_owned(),
            taskspace: id.clone(),
            steps: self.steps.iter().map(step).collect(),
            uncommitted: None,
        }
    }
}

impl Act {
    /// Says what is done for the taskspace `id`.
    pub fn describe(&self, id: &TaskspaceId) -> String {
        let pod = names::pod(id);
        match self {
            Self::EnsureImage(image) => {
                format!("build the image {}, unless it is there and current", image.full_name())
            }
            Self::EnsureBase(base) => {
                let (commit, volume) = (&base.commit, &base.volume);
                format!("check {commit} out into the volume {volume}, unless it is there")
            }
            Self::EnsureCache { volume, .. } => {
                format!("make the volume {volume}, unless it is there")
            }
            Self::EnterCache { project, volume } => {
                format!("record that {volume} becomes a build cache of {project}")
            }
            Self::FillCache(fill) => format!(
                "copy the build cache of {id} to {}, and what is called {} in its checkout to {}",
                fill.files.to.display(),
                fill.directories.join(", "),
                fill.checkout.to.display()
            ),
            Self::PublishCache { project, volume } => {
                format!("have new taskspaces of {project} begin with {volume}")
            }
            Self::DropCache { volume, .. } => {
                format!("remove the volume {volume}, unless a taskspace uses it")
            }
            Self::TrimCaches(project) => {
                format!("remove the build caches of {project} that nobody uses")
            }
            Self::WriteFiles => format!("make keys, certificates and configuration of {id}"),
            Self::RemoveFiles => format!("remove keys, certificates and configuration of {id}"),
            Self::CreateVolume(spec) => format!("make the volume {}", spec.name),
            Self::RequireVolume(volume) => format!("make sure of the volume {volume}"),
            Self::RemoveVolume(volume) => format!("remove the volume {volume}"),
            Self::MakeDirectories { root, directories } => {
                format!("make {} in {}", directories.join(", "), root.display())
            }
            Self::LayOutCache(root) => {
                let directories = volumes::BUILD_CACHE_DIRECTORIES.join(", ");
                format!("make {directories} in {}", root.display())
            }
            Self::Hold(HoldPlan { directory, id, limit }) => format!(
                "have the file system hold {} to {limit}, as project {id}",
                directory.display()
            ),
            Self::SeedChanges(seed) => {
                let (branch, origin) = (&seed.branch, &seed.origin);
                let seeded = format!("put branch {branch} and origin {origin} into the changes");
                match &seed.work_tree {
                    Some(work_tree) => {
                        format!("{seeded}, and what is not committed in {}", work_tree.display())
                    }
                    None => seeded,
                }
            }
            Self::CopyFrom(copy) => {
                let to: Vec<_> =
                    copy.paths.iter().map(|path| path.to.display().to_string()).collect();
                format!("copy what {} has to {}", copy.of, to.join(", "))
            }
            Self::CopyOut(paths) => {
                let from: Vec<_> =
                    paths.iter().map(|path| path.from.display().to_string()).collect();
                format!("copy {}", from.join(", "))
            }
            Self::EnterSnapshot(taking) => format!("record that {} is being made", taking.name),
            Self::PublishSnapshot(name) => format!("record that the snapshot {name} is whole"),
            Self::DropSnapshot(name) => {
                format!("remove the volume {}", names::snapshot_volume(id, name))
            }
            Self::RefuseOtherUsers(volumes) => {
                format!("check that no other container uses {}", volumes.join(", "))
            }
            Self::AwaitUnused(volumes) => {
                format!("wait until no container uses {}", volumes.join(", "))
            }
            Self::BeginRefill => format!("record that what {id} has is being replaced"),
            Self::Refill { copies, emptied } => {
                let copy = |CopyPath { from, to }: &CopyPath| {
                    format!("empty {} and copy {} to it", to.display(), from.display())
                };
                let empty = |path: &PathBuf| format!("empty {}", path.display());
                let parts: Vec<_> =
                    copies.iter().map(copy).chain(emptied.iter().map(empty)).collect();
                parts.join(", ")
            }
            Self::RenameBranch { from, to } => format!("rename the branch {from} to {to}"),
            Self::CreatePod(spec) => {
                let mapping = |mapping: &PortMapping| {
                    let (ip, port) = (mapping.host_ip, mapping.host_port);
                    format!("{ip}:{port} → {}", mapping.container_port)
                };
                let ports: Vec<String> = spec.port_mappings.iter().map(mapping).collect();
                format!("make the pod {} with the ports {}", spec.name, ports.join(", "))
            }
            Self::RemovePod => format!("remove the pod {pod} and its containers"),
            Self::CreateContainer(_, spec) => {
                format!("make the container {} of {}", spec.name, spec.image)
            }
            Self::VerifyContainer(_, spec) => {
                format!("compare the container {} with what was asked for", spec.name)
            }
            Self::HandOver => format!("record that {id} may be used"),
            Self::Pause => format!("pause the containers of the pod {pod}"),
            Self::Unpause => format!("let the containers of the pod {pod} go on"),
            Self::StartInfra => format!("start the network of the pod {pod}"),
            Self::GuardNetwork => {
                format!("put the network policy of {id} in force in the network of the pod {pod}")
            }
            Self::StartContainer(role) => {
                format!("start the container {}", names::container(id, *role))
            }
            Self::StopContainer(role) => {
                format!("stop the container {}", names::container(id, *role))
            }
            Self::StopPod => format!("stop the pod {pod}"),
            Self::AwaitSsh(role) => {
                format!("wait until the sshd of {} answers", names::ssh_host(id, *role))
            }
            Self::PublishSsh => "write ssh_config and known_hosts".to_owned(),
            Self::Forget { keep_state_as: None } => {
                format!("take {id} out of the registry and ssh_config")
            }
            Self::Forget { keep_state_as: Some(kept) } => format!(
                "take {id} out of the registry and ssh_config, and keep the agent's state as \
                 that of {kept}"
            ),
            Self::DropBase { project, key } => {
                let volume = names::base_volume(project, key);
                format!("remove the volume {volume}, if it was made for {id}")
            }
            Self::TrimBases(project) => {
                format!("remove the bases of {project} that nobody uses, but the newest")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::delete;

    #[test]
    fn a_plan_in_words_keeps_order_and_needs() {
        let id = "fix".parse().unwrap();
        let mut plan = delete::plan_of_kept_state("taskspace-old-agent-state");
        let undo = Some(Act::RemovePod);
        plan.push("start the network", Act::StartInfra, undo, &[0]);
        let view = plan.view(&id);
        assert_eq!((view.name.as_str(), &view.taskspace), ("delete", &id));
        assert_eq!(view.steps[0].act, "remove the volume taskspace-old-agent-state");
        let step = &view.steps[1];
        assert_eq!(step.act, "start the network of the pod taskspace-fix");
        assert_eq!(step.undo.as_deref(), Some("remove the pod taskspace-fix and its containers"));
        assert_eq!(step.needs, [0]);
    }
}
