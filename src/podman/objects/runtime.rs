//! What Podman has the OCI runtime make (`config.json` of the OCI runtime specification): the last word
//! on a container, in which also is what Podman does not tell of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::nullable;

/// What the OCI runtime is given; only what is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RuntimeSpec {
    /// Everything that is mounted, devices of the host among it.
    #[serde(deserialize_with = "nullable")]
    pub mounts: Vec<RuntimeMount>,
    /// What crun and Podman are told beside the specification.
    #[serde(deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
    /// The programs of the host that are run for it, by the moment at which they are.
    #[serde(deserialize_with = "nullable")]
    pub hooks: BTreeMap<String, Vec<Hook>>,
    /// What is particular to Linux.
    #[serde(deserialize_with = "nullable")]
    pub linux: Linux,
}

impl RuntimeSpec {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// When it is not what the specification says.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}

/// A mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RuntimeMount {
    /// Where it is in the container.
    pub destination: PathBuf,
    /// `bind`, or the kind of file system.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    /// Where it is on the host.
    #[serde(deserialize_with = "nullable")]
    pub source: PathBuf,
}

/// A program of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Where it is.
    pub path: PathBuf,
}

/// What is particular to Linux.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Linux {
    /// The namespaces that are not those of Podman itself.
    #[serde(deserialize_with = "nullable")]
    pub namespaces: Vec<Namespace>,
    /// Which system calls are allowed; none when all are.
    pub seccomp: Option<Seccomp>,
}

/// A namespace, new or that of another container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// `pid`, `network`, `mount`, `ipc`, `uts`, `user` or `cgroup`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A filter of system calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Seccomp {
    /// What happens at a call that it does not name.
    pub default_action: String,
}
