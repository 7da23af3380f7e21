//! The plan that makes a taskspace's build cache the one that later taskspaces of its project begin
//! with.

use uuid::Uuid;

use super::capability::Capabilities;
use super::volumes::{self, CACHED_CHECKOUT, CACHED_FILES, UPPER};
use super::{Act, FillPlan, Layers, Plan, names};
use crate::model::{Record, TaskspaceId};
use crate::podman::VolumeSpec;

/// What the plan is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The registry that the objects belong to.
    pub registry: Uuid,
    /// The taskspace's id.
    pub id: &'a TaskspaceId,
    /// Its entry.
    pub record: &'a Record,
    /// What Podman can do.
    pub capabilities: &'a Capabilities,
    /// The directories of the checkout that are part of a build cache, by name.
    pub directories: &'a [String],
    /// What tells the new volume from others.
    pub unique: Uuid,
}

/// Returns the plan. What is copied is what a crash at one moment would leave: the containers are
/// paused meanwhile.
pub fn promote(inputs: &Inputs<'_>) -> Plan {
    let Inputs { registry, id, record, capabilities, .. } = *inputs;
    let project = record.spec.project.name.clone();
    let volume = names::cache_volume(&project, inputs.unique);
    let mut plan = Plan::new("promote");
    let enter = Act::EnterCache { project: project.clone(), volume: volume.clone() };
    let drop = Act::DropCache { project: project.clone(), volume: volume.clone() };
    let entered = plan.push("enter the new cache", enter, Some(drop), &[]);
    let spec = VolumeSpec {
        name: volume.clone(),
        options: Default::default(),
        labels: names::cache_labels(registry, &project),
    };
    let made = plan.push("volume for the new cache", Act::CreateVolume(spec), None, &[entered]);
    // One that is paused in any case stays so.
    let go_on = (!record.is_frozen()).then_some(Act::Unpause);
    let paused = plan.push("pause the containers", Act::Pause, go_on.clone(), &[made]);

    let new = capabilities.volume_directory(&volume);
    let old = record.cache.as_deref();
    let changes = capabilities.volume_directory(&names::changes_volume(id));
    let fill = Act::FillCache(FillPlan {
        files: Layers {
            lower: old.map(|old| volumes::cached_files(old, capabilities)),
            upper: volumes::own_cache(id, record, capabilities),
            to: new.join(CACHED_FILES),
        },
        checkout: Layers {
            lower: old.map(|old| volumes::cached_checkout(old, capabilities)),
            upper: changes.join(UPPER),
            to: new.join(CACHED_CHECKOUT),
        },
        directories: inputs.directories.to_vec(),
        base: capabilities
            .volume_directory(&names::base_volume(&project, record.spec.project.base())),
    });
    let filled = plan.push("copy the build cache", fill, None, &[paused]);
    if let Some(go_on) = go_on {
        plan.push("let the containers go on", go_on, None, &[filled]);
    }
    let publish = Act::PublishCache { project: project.clone(), volume };
    let published = plan.push("give it to new taskspaces", publish, None, &[filled]);
    plan.push("remove caches that nobody uses", Act::TrimCaches(project), None, &[published]);
    plan
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn inputs<'a>(
        id: &'a TaskspaceId,
        record: &'a Record,
        capabilities: &'a Capabilities,
    ) -> Inputs<'a> {
        let (registry, unique) = (Uuid::nil(), Uuid::nil());
        Inputs { registry, id, record, capabilities, directories: &[], unique }
    }

    #[test]
    fn a_cache_over_another_one_is_merged_with_it() {
        let id = "example".parse().unwrap();
        let capabilities = Capabilities::example();
        let fill = |record: &Record| {
            let plan = promote(&inputs(&id, record, &capabilities));
            let fill = plan.steps.into_iter().find_map(|step| match step.act {
                Act::FillCache(fill) => Some(fill),
                _ => None,
            });
            fill.unwrap().files
        };
        let mut record = Record::example();
        let to = "/v/project-cache-webshop-00000000/_data/files".into();
        let upper = "/v/taskspace-example-build-cache/_data".into();
        assert_eq!(fill(&record), Layers { lower: None, upper, to });
        record.cache = Some("old".to_owned());
        let first = fill(&record);
        assert_eq!(first.lower, Some("/v/old/_data/files".into()));
        assert_eq!(first.upper, Path::new("/v/taskspace-example-changes/_data/cache/upper"));
    }

    #[test]
    fn whatever_fails_the_containers_go_on_and_nothing_is_left() {
        let id = "example".parse().unwrap();
        let capabilities = Capabilities::example();
        let record = Record::example();
        let plan = promote(&inputs(&id, &record, &capabilities));
        let undone: Vec<&Act> = plan.steps.iter().filter_map(|step| step.undo.as_ref()).collect();
        assert!(matches!(undone[..], [Act::DropCache { .. }, Act::Unpause]), "{undone:?}");
    }
}
