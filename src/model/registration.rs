//! Registered containers and services: what can be registered, and how they are.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::Hash;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::openapi::Ref;
use utoipa::openapi::schema::{Array, ArrayBuilder, Object, ObjectBuilder, Type};

use super::schema::Text;
use super::{ContainerName, Target};

/// How many containers and services can be registered.
pub const MAX_REGISTERED: usize = 1_000;

/// How many ports one can have: each is knocked at in every round.
pub const MAX_PORTS: usize = 100;

/// How many others one can depend on.
pub const MAX_DEPENDENCIES: usize = 100;

/// How a registered container or service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// It runs, and answers where it can be asked.
    Running,
    /// It does not run.
    Stopped,
    /// It is being started.
    Starting,
    /// It is being stopped.
    Stopping,
    /// It is being stopped and started.
    Restarting,
    /// It ended badly, or does not answer.
    Error,
    /// It cannot be seen.
    Unknown,
}

impl ContainerState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Running,
        Self::Stopped,
        Self::Starting,
        Self::Stopping,
        Self::Restarting,
        Self::Error,
        Self::Unknown,
    ];
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
            Self::Error => "error",
            Self::Unknown => "unknown",
        })
    }
}

/// How a container came to be registered.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// By its labels.
    Label,
    /// By the settings.
    Settings,
    /// By a call.
    Api,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Label => "label",
            Self::Settings => "settings",
            Self::Api => "api",
        })
    }
}

/// What is known of a container or service beforehand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Its name in Podman, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerName>,
    /// The ports on which it answers on the host's loopback.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(schema_with = ports_schema)]
    pub ports: Vec<u16>,
    /// What it cannot do without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub depends_on: Vec<Target>,
}

/// A registered container or service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RegisteredContainer {
    /// Its name.
    pub name: ContainerName,
    /// Its name in Podman, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerName>,
    /// The ports on which it answers on the host's loopback.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// What it cannot do without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Target>,
    /// How it came to be registered.
    pub source: Source,
    /// How it is.
    pub state: ContainerState,
    /// Since when it is so.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Why it is so, where that does not go without saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Asks for containers and services to be registered: all of them or none. In a file it is written in
/// the same form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// What is known of each of them; it takes the place of what was registered by a call before.
    #[schema(schema_with = containers_schema)]
    pub containers: BTreeMap<ContainerName, Registration>,
}

/// Describes the ports of a registration.
fn ports_schema() -> Array {
    let port =
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(u16::MAX));
    ArrayBuilder::new().items(port).max_items(Some(MAX_PORTS)).build()
}

/// Describes the registrations of a request, by name.
fn containers_schema() -> Object {
    ObjectBuilder::new()
        .property_names(Some(ContainerName::description()))
        .additional_properties(Some(Ref::from_schema_name("Registration")))
        .min_properties(Some(1))
        .max_properties(Some(MAX_REGISTERED))
        .build()
}

impl RegisterRequest {
    /// Returns it without repetitions.
    ///
    /// # Errors
    /// Says what cannot be registered, and why.
    pub fn checked(self) -> Result<Self, String> {
        if self.containers.is_empty() {
            return Err("no container is given".to_owned());
        }
        let count = self.containers.len();
        if count > MAX_REGISTERED {
            return Err(format!(
                "{count} containers are given, and {MAX_REGISTERED} at most can be"
            ));
        }
        let checked = |(name, registration): (ContainerName, Registration)| {
            let checked = registration.checked().map_err(|reason| format!("{name}: {reason}"))?;
            Ok::<_, String>((name, checked))
        };
        let containers = self.containers.into_iter().map(checked).collect::<Result<_, _>>()?;
        Ok(Self { containers })
    }
}

impl Registration {
    /// Returns it without repetitions.
    ///
    /// # Errors
    /// Says what about it cannot be.
    pub fn checked(mut self) -> Result<Self, String> {
        retain_first(&mut self.ports);
        retain_first(&mut self.depends_on);
        if self.ports.contains(&0) {
            return Err("0 is not a port".to_owned());
        }
        let counts = [
            (self.ports.len(), MAX_PORTS, "ports"),
            (self.depends_on.len(), MAX_DEPENDENCIES, "dependencies"),
        ];
        match counts.into_iter().find(|(count, most, _)| count > most) {
            Some((count, most, what)) => Err(format!("it has {count} {what}, and {most} at most")),
            None => Ok(self),
        }
    }
}

/// Leaves out what was there before.
fn retain_first<T: Clone + Eq + Hash>(items: &mut Vec<T>) {
    let mut seen = HashSet::new();
    items.retain(|item| seen.insert(item.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(
        containers: impl IntoIterator<Item = (String, Registration)>,
    ) -> Result<RegisterRequest, String> {
        let parsed = containers.into_iter().map(|(name, it)| (name.parse().unwrap(), it));
        RegisterRequest { containers: parsed.collect() }.checked()
    }

    fn with_ports(ports: impl IntoIterator<Item = u16>) -> Registration {
        Registration { ports: ports.into_iter().collect(), ..Registration::default() }
    }

    #[test]
    fn repetitions_are_left_out() {
        let api = ["api", "redis", "api"].map(|name| name.parse().unwrap());
        let given = Registration { depends_on: api.into(), ..with_ports([2, 1, 2]) };
        let checked = given.checked().unwrap();
        let names: Vec<String> = checked.depends_on.iter().map(ToString::to_string).collect();
        assert_eq!((checked.ports, names.join(" ")), (vec![2, 1], "api redis".to_owned()));
    }

    #[test]
    fn what_is_too_much_or_nonsense_is_refused() {
        let many = |count: usize| (0..count).map(|n| (format!("c{n}"), Registration::default()));
        assert!(request(many(MAX_REGISTERED)).is_ok());
        let depends_on = (0..=MAX_DEPENDENCIES).map(|n| format!("c{n}").parse().unwrap());
        let entangled = Registration { depends_on: depends_on.collect(), ..with_ports([]) };
        let one = |registration| request([("api".to_owned(), registration)]);
        let cases = [
            (request([]), "no container is given"),
            (request(many(1_001)), "1001 containers are given, and 1000 at most can be"),
            (one(with_ports([80, 0])), "api: 0 is not a port"),
            (one(with_ports(1..=101)), "api: it has 101 ports, and 100 at most"),
            (one(entangled), "api: it has 101 dependencies, and 100 at most"),
        ];
        for (refused, reason) in cases {
            assert_eq!(refused.unwrap_err(), reason);
        }
        assert!(one(with_ports(1..=100)).is_ok());
    }
}
