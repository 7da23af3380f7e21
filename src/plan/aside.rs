//! A container beside a taskspace that does not run, to look at its checkout.

use uuid::Uuid;

use super::capability::Capabilities;
use super::isolation;
use super::names::{self, labels};
use super::pod::{USER, user_namespace};
use crate::model::TaskspaceId;
use crate::podman::{ContainerSpec, LogConfiguration, NamedVolume, Namespace};

/// How long it lives when nobody removes it, in seconds: the service may be ended before, and not be
/// started again.
const LIFETIME: &str = "3600";

/// The signal that ends it: there is nothing in it that had to end by itself.
const SIGKILL: i32 = 9;

/// How the checkout is seen: never written, nothing of it run with privileges.
const OPTIONS: [&str; 3] = ["ro", "nosuid", "nodev"];

/// Returns the container: it does nothing, has no network, no capabilities and nothing of the taskspace
/// but the checkout, which it cannot change. Its users are those of the taskspace's pod, so that git
/// finds its own files.
pub fn spec(
    registry: Uuid,
    id: &TaskspaceId,
    mark: &str,
    image: String,
    capabilities: &Capabilities,
) -> ContainerSpec {
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
        stop_timeout: Some(0),
        stop_signal: Some(SIGKILL),
        init: true,
        no_new_privileges: true,
        cap_drop: vec!["ALL".to_owned()],
        // Root looks at whatever a container has left, as it may in the dev container.
        cap_add: vec!["DAC_OVERRIDE".to_owned()],
        log_configuration: Some(LogConfiguration { driver: "none".to_owned(), size: None }),
        ..ContainerSpec::default()
    }
}
