//! A container beside a taskspace, to look at its checkout.

use std::path::Path;

use uuid::Uuid;

use super::capability::Capabilities;
use super::isolation;
use super::names::{self, labels};
use super::pod::{USER, user_namespace};
use super::volumes::UPPER;
use crate::model::{Record, TaskspaceId};
use crate::podman::{BindMount, ContainerSpec, LogConfiguration, NamedVolume, Namespace};

/// How long it lives when nobody removes it, in seconds: the service may be ended before, and not be
/// started again.
const LIFETIME: &str = "3600";

/// The signal that ends it: there is nothing in it that had to end by itself.
const SIGKILL: i32 = 9;

/// How the checkout is seen: never written, nothing of it run with privileges.
const OPTIONS: [&str; 3] = ["ro", "nosuid", "nodev"];

/// The same for directories.
const BIND_OPTIONS: [&str; 4] = ["ro", "nosuid", "nodev", "bind"];

/// Returns the container: it does nothing, has no network, no capabilities and nothing of the taskspace
/// but the checkout, with its base and its changes by themselves, which it cannot change. Its users are
/// those of the taskspace's pod, so that git finds its own files.
pub fn spec(
    registry: Uuid,
    id: &TaskspaceId,
    record: &Record,
    mark: &str,
    image: String,
    capabilities: &Capabilities,
) -> ContainerSpec {
    let project = &record.spec.project;
    let base = names::base_volume(&project.name, project.base());
    let directory = |source, name: &str| BindMount {
        source,
        destination: Path::new("/taskspace").join(name),
        options: BIND_OPTIONS.map(str::to_owned).to_vec(),
    };
    let changes = capabilities.volume_directory(&names::changes_volume(id));
    ContainerSpec {
        name: names::aside(id, mark),
        image,
        userns: Some(user_namespace(capabilities)),
        network: Some(Namespace::None),
        remove: true,
        user: Some(format!("{USER}:{USER}")),
        entrypoint: Some(vec!["sleep".to_owned()]),
        command: vec![LIFETIME.to_owned()],
        isolation: Some(isolation::by_itself(capabilities, "UTC")),
        labels: labels(registry, id, names::ASIDE),
        volumes: vec![NamedVolume {
            name: names::project_volume(id),
            dest: "/workspace".into(),
            options: OPTIONS.map(str::to_owned).to_vec(),
        }],
        mounts: vec![
            directory(changes.join(UPPER), UPPER),
            directory(capabilities.volume_directory(&base), names::BASE),
        ],
        stop_timeout: Some(0),
        stop_signal: Some(SIGKILL),
        init: true,
        no_new_privileges: true,
        cap_drop: vec!["ALL".to_owned()],
        // Root looks at whatever a container has left.
        cap_add: vec!["DAC_OVERRIDE".to_owned()],
        log_configuration: Some(LogConfiguration { driver: "none".to_owned(), size: None }),
        ..ContainerSpec::default()
    }
}
