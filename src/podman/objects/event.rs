//! Events.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::nullable;
use crate::podman::spec::Labels;

/// Something that happened to a container, a pod or a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodmanEvent {
    /// When it happened, by the host's clock.
    pub time: Timestamp,
    /// What it happened to.
    pub object: EventObject,
    /// What happened, in Podman's words.
    ///
    /// A container's are `create`, `init`, `start`, `restart` (before it), `kill` (some signal was
    /// sent), `died`, `cleanup` (unless it is removed or started at once), `remove`, `pause`,
    /// `unpause`, `rename`, `exec`, `exec_died`, `health_status` and more. A pod's are `create`,
    /// `start`, `stop`, `remove` and more; most are missing when it is its containers that are
    /// asked. A volume's are `create`, `remove` and more.
    pub action: String,
    /// The object's id; empty for a volume, which has none.
    pub id: String,
    /// The object's name.
    pub name: String,
    /// The id of the container's pod; nothing in a `died` or `exec` event, even in a pod.
    pub pod_id: Option<String>,
    /// How the container ended, in a `died` or `remove` event, or the command, in an `exec_died`.
    pub exit_code: Option<i64>,
    /// The container's labels, as in [`Container`](super::Container); before Podman 6 there are
    /// none of pods and volumes. An infra container carries those of its pod.
    pub labels: Labels,
}

/// What an event happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventObject {
    /// A container.
    Container,
    /// A pod.
    Pod,
    /// A volume.
    Volume,
}

/// An event as Podman writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::podman) struct EventReply {
    #[serde(rename = "Type")]
    object: String,
    action: String,
    #[serde(rename = "timeNano")]
    nanos: i64,
    actor: Actor,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Actor {
    #[serde(default, rename = "ID", deserialize_with = "nullable")]
    id: String,
    /// What belongs to the event, in a map with the labels.
    #[serde(default, deserialize_with = "nullable")]
    attributes: BTreeMap<String, Option<String>>,
}

impl EventReply {
    /// Returns the event, unless it happened to something else.
    pub fn into_event(self) -> Option<PodmanEvent> {
        let object = match self.object.as_str() {
            "container" => EventObject::Container,
            "pod" => EventObject::Pod,
            "volume" => EventObject::Volume,
            _ => return None,
        };
        let mut attributes = self.actor.attributes;
        let mut take = |key: &str| attributes.remove(key).flatten().filter(|text| !text.is_empty());
        let name = take("name").unwrap_or_default();
        let pod_id = take("podId");
        let exit_code = take("containerExitCode").and_then(|code| code.parse().ok());
        take("image");
        Some(PodmanEvent {
            time: Timestamp::from_nanosecond(self.nanos.into()).ok()?,
            object,
            action: self.action,
            id: self.actor.id,
            name,
            pod_id,
            exit_code,
            labels: attributes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(event: Value) -> Option<PodmanEvent> {
        serde_json::from_value::<EventReply>(event).unwrap().into_event()
    }

    #[test]
    fn a_real_event_of_a_container_is_read() {
        let event = read(json!({
            "status": "remove", "id": "b1b", "from": "localhost/podman-pause:5.4.2-1766335321",
            "Type": "container", "Action": "remove",
            "Actor": {
                "ID": "b1b",
                "Attributes": {
                    "containerExitCode": "137", "image": "localhost/podman-pause:5.4.2-1766335321",
                    "io.buildah.version": "1.39.3", "name": "3d9-infra", "podId": "3d9", "a": "b",
                },
            },
            "scope": "local", "time": 1_795_244_724, "timeNano": 1_795_244_724_244_571_905_i64,
        }));
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            event.unwrap(),
            PodmanEvent {
                time: "2026-11-21T07:05:24.244571905Z".parse().unwrap(),
                object: EventObject::Container,
                action: "remove".to_owned(),
                id: "b1b".to_owned(),
                name: "3d9-infra".to_owned(),
                pod_id: Some("3d9".to_owned()),
                exit_code: Some(137),
                labels: [label("a", "b"), label("io.buildah.version", "1.39.3")].into(),
            }
        );
    }

    #[test]
    fn a_real_event_of_a_volume_has_a_name_only() {
        let event = read(json!({
            "status": "create", "Type": "volume", "Action": "create",
            "Actor": {"ID": "", "Attributes": {"image": "", "name": "v", "podId": ""}},
            "scope": "local", "time": 1_795_244_724, "timeNano": 1_795_244_724_224_629_229_i64,
        }))
        .unwrap();
        assert_eq!((event.object, event.name.as_str()), (EventObject::Volume, "v"));
        assert_eq!((event.id.as_str(), event.pod_id, event.exit_code), ("", None, None));
        assert!(event.labels.is_empty());
    }

    #[test]
    fn missing_and_null_are_taken_for_nothing() {
        let with = |actor: Value| json!({"Type": "pod", "Action": "stop", "timeNano": 1, "Actor": actor, "New": [1]});
        let bare = read(with(json!({}))).unwrap();
        assert_eq!(read(with(json!({"ID": null, "Attributes": null}))).unwrap(), bare);
        let nulls = json!({"name": null, "podId": null, "containerExitCode": null, "a": null});
        assert_eq!(read(with(json!({"Attributes": nulls}))).unwrap(), bare);
        assert_eq!(
            read(with(json!({"Attributes": {"containerExitCode": "x"}}))).unwrap().exit_code,
            None
        );
    }
}
