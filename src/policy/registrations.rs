//! Registrations of containers as they are written in YAML.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::text::Text;
use crate::model::{ContainerName, RegisterRequest, Registration, Target};

/// Why a text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {reason}")]
pub struct RegistrationsError {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// What is wrong there.
    pub reason: String,
}

/// Reads a mapping with the key `containers`.
pub fn parse(text: &str) -> Result<RegisterRequest, RegistrationsError> {
    let file: File = serde_yaml::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        let place = format!(" at line {line} column {column}");
        let reason = error.to_string().replacen(&place, "", 1);
        RegistrationsError { line, column, reason }
    })?;
    let containers = file.containers.0.into_iter().map(|(name, fragment)| {
        let Fragment { container, ports, depends_on } = fragment.unwrap_or_default();
        let depends_on = depends_on.into_iter().map(|target| target.0).collect();
        (name, Registration { container: container.map(|name| name.0), ports, depends_on })
    });
    Ok(RegisterRequest { containers: containers.collect() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    containers: Containers,
}

/// One registration; a name alone says enough of a container of that name.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fragment {
    container: Option<Text<ContainerName>>,
    #[serde(default)]
    ports: Vec<u16>,
    #[serde(default)]
    depends_on: Vec<Text<Target>>,
}

/// The registrations by name. What serde derives would take the last one of several of one name.
struct Containers(BTreeMap<ContainerName, Option<Fragment>>);

impl<'de> Deserialize<'de> for Containers {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct ContainersVisitor;

        impl<'de> Visitor<'de> for ContainersVisitor {
            type Value = Containers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names to registrations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Containers, A::Error> {
                let mut containers = BTreeMap::new();
                while let Some(name) = map.next_key_seed(NewName(&containers))? {
                    containers.insert(name, map.next_value()?);
                }
                Ok(Containers(containers))
            }
        }

        input.deserialize_map(ContainersVisitor)
    }
}

/// Reads a name that is not among these; what is wrong is reported at its very line and column.
struct NewName<'a>(&'a BTreeMap<ContainerName, Option<Fragment>>);

impl<'de> DeserializeSeed<'de> for NewName<'_> {
    type Value = ContainerName;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<ContainerName, D::Error> {
        input.deserialize_str(self)
    }
}

impl Visitor<'_> for NewName<'_> {
    type Value = ContainerName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ContainerName, E> {
        let name: ContainerName = text.parse().map_err(E::custom)?;
        if self.0.contains_key(&name) {
            return Err(E::custom(format!("'{name}' is there twice")));
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_are_read() {
        let text = "\
            containers:\n  \
              api: {ports: [8000]}\n  \
              worker:\n    \
                container: shop_worker_1\n    \
                depends_on: [api, taskspace:x/dev]\n  \
              redis:\n";
        let request = parse(text).unwrap();
        let shown = serde_json::to_value(request.containers).unwrap();
        let expected = serde_json::json!({
            "api": {"ports": [8000]},
            "worker": {"container": "shop_worker_1", "depends_on": ["api", "taskspace:x/dev"]},
            "redis": {},
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn errors_name_the_place() {
        let cases = [
            "a: 1",
            "containers: [api]",
            "containers:\n  api: {ports: [80000]}",
            "containers:\n  api:\n    ports: [80]\n    colour: red",
            "containers:\n  api:\n    depends_on: [taskspace:x/db]",
            "containers:\n  a b: {}",
            "containers:\n  api: {}\n  api: {}",
            "containers: {",
            "",
        ];
        let told: Vec<String> =
            cases.iter().map(|text| parse(text).unwrap_err().to_string()).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        1:1: unknown field `a`, expected `containers`
        1:13: containers: invalid type: sequence, expected a mapping of names to registrations
        2:17: containers.api.ports[0]: invalid value: integer `80000`, expected u16
        4:5: containers.api: unknown field `colour`, expected one of `container`, `ports`, `depends_on`
        3:18: containers.api.depends_on[0]: "db" is no container of a taskspace: dev or agent
        2:3: containers: "a b" is not the name of a container: use up to 128 letters, digits, '_', '.' and '-', a letter or digit first
        3:3: containers: 'api' is there twice
        2:1: did not find expected node content, while parsing a flow node
        1:1: missing field `containers`
        "#);
    }
}
