//! What Podman replies.
//!
//! Only what identifies an object must be there; anything else may be missing, null or new.

mod container;
mod event;
mod info;
mod runtime;
mod stats;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

pub use container::{Container, ContainerState, ContainerSummary, Mount, PublishedPorts};
pub use event::{EventObject, PodmanEvent};
pub use info::{IdMap, Info, Version};
pub use runtime::{RuntimeMount, RuntimeSpec};
pub use stats::ContainerStats;

pub(super) use event::EventReply;
pub(super) use stats::Measured;

use super::spec::Labels;

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Where its files are; not mounted there unless a container uses it.
    #[serde(default, deserialize_with = "nullable")]
    pub mountpoint: PathBuf,
    /// Its driver.
    #[serde(default, deserialize_with = "nullable")]
    pub driver: String,
    /// The driver's options.
    #[serde(default, deserialize_with = "nullable")]
    pub options: BTreeMap<String, String>,
    /// Its labels.
    #[serde(default, deserialize_with = "nullable")]
    pub labels: Labels,
    /// When it was made.
    #[serde(default, deserialize_with = "moment")]
    pub created_at: Option<Timestamp>,
    /// How many containers have it mounted, if it is of a kind that is mounted at all.
    #[serde(default, deserialize_with = "nullable")]
    pub mount_count: u64,
}

/// A pod, with what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pod {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `Created`, `Running`, `Degraded`, `Stopped`, `Exited`, `Paused`, `Dead` or `Error`.
    #[serde(default, deserialize_with = "nullable")]
    pub state: String,
    /// The container that holds its namespaces; empty if it has none.
    #[serde(default, rename = "InfraContainerID", deserialize_with = "nullable")]
    pub infra_id: String,
    /// Its labels.
    #[serde(default, deserialize_with = "nullable")]
    pub labels: Labels,
    /// Its containers, the infra container among them.
    #[serde(default, deserialize_with = "nullable")]
    pub containers: Vec<PodContainer>,
}

/// A container as its pod shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PodContainer {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default, alias = "Names", deserialize_with = "nullable")]
    pub name: String,
    /// As in [`ContainerState::status`].
    #[serde(default, alias = "Status", deserialize_with = "nullable")]
    pub state: String,
}

/// A pod in a list, with what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PodSummary {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// As in [`Pod`].
    #[serde(default, rename = "Status", deserialize_with = "nullable")]
    pub state: String,
    /// The container that holds its namespaces; empty if it has none.
    #[serde(default, deserialize_with = "nullable")]
    pub infra_id: String,
    /// Its labels.
    #[serde(default, deserialize_with = "nullable")]
    pub labels: Labels,
    /// Its containers, the infra container among them.
    #[serde(default, deserialize_with = "nullable")]
    pub containers: Vec<PodContainer>,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Its names.
    #[serde(default, rename = "RepoTags", deserialize_with = "nullable")]
    pub tags: Vec<String>,
    /// Its labels.
    #[serde(default, deserialize_with = "nullable")]
    pub labels: Labels,
    /// When it was made.
    #[serde(default, deserialize_with = "moment")]
    pub created: Option<Timestamp>,
    /// Its size in bytes, shared layers included.
    #[serde(default, deserialize_with = "nullable")]
    pub size: u64,
    /// The user that its containers run as; empty for root.
    #[serde(default, deserialize_with = "nullable")]
    pub user: String,
    /// What it says of its containers.
    #[serde(default, deserialize_with = "nullable")]
    pub config: ImageConfig,
}

/// What an image says of its containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    /// The variables that their processes get, each as `NAME=value`.
    #[serde(deserialize_with = "nullable")]
    pub env: Vec<String>,
}

/// What a create call returns.
#[derive(Debug, Deserialize)]
pub(super) struct Created {
    #[serde(alias = "Id", alias = "ID")]
    pub id: String,
}

/// A network in a list.
#[derive(Debug, Deserialize)]
pub(super) struct Network {
    #[serde(alias = "Name")]
    pub name: String,
}

/// What Podman says when it refuses something, in each of its forms.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    #[serde(deserialize_with = "nullable")]
    pub cause: String,
    #[serde(deserialize_with = "nullable")]
    pub message: String,
    #[serde(rename = "Errs", alias = "Errors", deserialize_with = "nullable")]
    pub errors: Vec<String>,
}

/// How an exec session is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ExecState {
    pub running: bool,
    #[serde(default, deserialize_with = "nullable")]
    pub exit_code: i64,
}

/// One item of a build's output.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BuildItem {
    pub stream: Option<String>,
    pub error: Option<String>,
}

/// Reads null as the default.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a moment; Go writes the year 1 for never.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    let time = text.and_then(|text| text.parse::<Timestamp>().ok());
    Ok(time.filter(|time| *time > Timestamp::UNIX_EPOCH))
}

/// Reads a moment in whole seconds since 1970; Go's year 1 is a negative one.
fn moment_in_seconds<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let seconds: Option<i64> = Option::deserialize(deserializer)?;
    let seconds = seconds.filter(|seconds| *seconds > 0);
    Ok(seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()))
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    /// Replies without anything but identity, then with null for all the rest.
    #[test]
    fn missing_and_null_are_taken_for_nothing() {
        fn read<T: DeserializeOwned + PartialEq + Debug>(identity: &Value, rest: &[&str]) {
            let bare: T = serde_json::from_value(identity.clone()).unwrap();
            let mut full = identity.clone();
            for key in rest {
                full[key] = Value::Null;
            }
            full["Unknown"] = json!({"a": [1]});
            assert_eq!(serde_json::from_value::<T>(full).unwrap(), bare);
        }
        read::<Volume>(&json!({"Name": "v"}), &["Mountpoint", "Driver", "Options", "Labels"]);
        let id = json!({"Id": "1", "Name": "p"});
        read::<Pod>(&id, &["State", "InfraContainerID", "Labels", "Containers"]);
        read::<PodSummary>(&id, &["Status", "InfraId", "Labels", "Containers"]);
        read::<Image>(&id, &["RepoTags", "Labels", "Created", "Size", "User"]);
        read::<Container>(
            &id,
            &["State", "Config", "HostConfig", "Mounts", "EffectiveCaps", "BoundingCaps", "Pod"],
        );
        read::<ContainerSummary>(
            &json!({"Id": "1"}),
            &[
                "Names",
                "Labels",
                "State",
                "Pod",
                "PodName",
                "ExitCode",
                "Pid",
                "IsInfra",
                "StartedAt",
                "ExitedAt",
            ],
        );
        read::<Info>(&json!({"version": {"Version": "5.4.2"}}), &["host", "store"]);
    }

    #[test]
    fn a_reply_without_identity_is_none() {
        assert!(serde_json::from_value::<Volume>(json!({"Driver": "local"})).is_err());
        assert!(serde_json::from_value::<Pod>(json!({"Name": "p"})).is_err());
        assert!(serde_json::from_value::<Container>(json!({"Names": ["c"]})).is_err());
        assert!(serde_json::from_value::<Info>(json!({"host": {}})).is_err());
    }

    #[test]
    fn a_pod_reads_alike_in_a_list_and_alone() {
        let alone: Pod = serde_json::from_value(json!({
            "Id": "0c7", "Name": "p", "State": "Running", "InfraContainerID": "51b",
            "Containers": [{"Id": "51b", "Name": "0c7-infra", "State": "running"}],
        }))
        .unwrap();
        let listed: PodSummary = serde_json::from_value(json!({
            "Id": "0c7", "Name": "p", "Status": "Running", "InfraId": "51b",
            "Containers": [{"Id": "51b", "Names": "0c7-infra", "Status": "running", "RestartCount": 0}],
        }))
        .unwrap();
        assert_eq!(alone.containers, listed.containers);
        assert_eq!((alone.state, alone.infra_id), (listed.state, listed.infra_id));
    }
}
