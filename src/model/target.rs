//! What operations act on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::schema::described;
use super::{IdError, Role, TaskspaceId};

/// The longest name.
const MAX_NAME: usize = 128;

/// The name of a registered container or service, in the form of Podman's names:
/// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

impl ContainerName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inner = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let good = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= MAX_NAME
            && text.chars().all(inner);
        if good {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(MAX_NAME).collect();
        Err(format!(
            "{shown:?} is not the name of a container: use up to {MAX_NAME} letters, digits, '_', \
             '.' and '-', a letter or digit first"
        ))
    }
}

impl TryFrom<String> for ContainerName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> Self {
        name.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What an operation acts on.
///
/// As text: `api` for a registered container or service, `taskspace:demo` for a taskspace, and
/// `taskspace:demo/dev` or `taskspace:demo/agent` for one of its containers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// A registered container or service.
    Container(ContainerName),
    /// A taskspace: both of its containers.
    Taskspace(TaskspaceId),
    /// One container of a taskspace.
    Member(TaskspaceId, Role),
}

impl Target {
    /// Returns the taskspace that it is, or is of.
    pub const fn taskspace(&self) -> Option<&TaskspaceId> {
        match self {
            Self::Container(_) => None,
            Self::Taskspace(id) | Self::Member(id, _) => Some(id),
        }
    }

    /// Whether it is `other`, or has it in it.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Taskspace(whole), Self::Member(of, _)) => whole == of,
            _ => self == other,
        }
    }

    /// Whether what acts on one acts on the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Returns the single containers that it stands for.
    pub fn containers(&self) -> Vec<Self> {
        match self {
            Self::Taskspace(id) => {
                Role::ALL.into_iter().map(|role| Self::Member(id.clone(), role)).collect()
            }
            one => vec![one.clone()],
        }
    }

    /// Returns everything that overlaps it: itself, and its containers or its taskspace.
    pub fn overlapping(&self) -> Vec<Self> {
        let mut all = match self {
            Self::Container(_) => Vec::new(),
            Self::Taskspace(_) => self.containers(),
            Self::Member(id, _) => vec![Self::Taskspace(id.clone())],
        };
        all.push(self.clone());
        all
    }
}

/// What begins the text of a taskspace as a target.
const TASKSPACE: &str = "taskspace:";

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix(TASKSPACE) else {
            return text.parse().map(Self::Container).map_err(|reason: String| {
                format!("{reason}; a taskspace is 'taskspace:ID' or 'taskspace:ID/dev'")
            });
        };
        let (id, role) = match rest.split_once('/') {
            Some((id, role)) => (id, Some(role)),
            None => (rest, None),
        };
        let id: TaskspaceId = id.parse().map_err(|error: IdError| error.to_string())?;
        match role {
            None => Ok(Self::Taskspace(id)),
            Some(given) => Role::ALL
                .into_iter()
                .find(|role| role.to_string() == given)
                .map(|role| Self::Member(id, role))
                .ok_or_else(|| format!("{given:?} is no container of a taskspace: dev or agent")),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl From<ContainerName> for Target {
    fn from(name: ContainerName) -> Self {
        Self::Container(name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => f.pad(name.as_str()),
            Self::Taskspace(id) => f.pad(&format!("{TASKSPACE}{id}")),
            Self::Member(id, role) => f.pad(&format!("{TASKSPACE}{id}/{role}")),
        }
    }
}

described! {
    ContainerName: "The name of a registered container or service.", r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$";
    Target: "A registered container or service, a taskspace (`taskspace:ID`), or one of its containers \
             (`taskspace:ID/dev`, `taskspace:ID/agent`).",
        r"^([a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}|taskspace:[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?(/(dev|agent))?)$";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn a_target_is_read_and_written() {
        for text in ["api", "voice-interaction-service", "taskspace:a", "taskspace:a/dev"] {
            assert_eq!(target(text).to_string(), text);
        }
        let cases = [
            ("", "is not the name of a container"),
            ("a b", "a taskspace is 'taskspace:ID'"),
            ("-a", "is not the name of a container"),
            ("taskspace:", "a taskspace id must not be empty"),
            ("taskspace:A", "has the character 'A'"),
            ("taskspace:a/db", "\"db\" is no container of a taskspace: dev or agent"),
        ];
        for (text, message) in cases {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_taskspace_and_its_containers_overlap_and_its_containers_do_not() {
        let [whole, dev, agent] =
            ["taskspace:a", "taskspace:a/dev", "taskspace:a/agent"].map(target);
        assert!(whole.covers(&dev) && !dev.covers(&whole));
        assert!(whole.overlaps(&dev) && dev.overlaps(&whole) && dev.overlaps(&dev));
        assert!(!dev.overlaps(&agent));
        assert!(!whole.overlaps(&target("taskspace:b/dev")) && !target("a").overlaps(&whole));
        assert_eq!(whole.containers().len(), 2);
        assert_eq!(dev.containers().as_slice(), std::slice::from_ref(&dev));
        for one in [&whole, &dev, &agent, &target("a")] {
            assert!(one.overlapping().contains(one));
            for other in [&whole, &dev, &agent, &target("a")] {
                assert_eq!(one.overlapping().contains(other), one.overlaps(other));
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in ".{0,200}") {
            drop(text.parse::<Target>());
            drop(format!("taskspace:{text}").parse::<Target>());
        }
    }
}
