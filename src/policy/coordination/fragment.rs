//! One layer of `coordination.yaml`, as it is written.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Response;
use crate::model::{ContainerName, OperationClass, Registration, Severity};
use crate::policy::pairs::Pairs;
use crate::policy::text::{Period, Text};

/// One `coordination.yaml`: everything in it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinationFragment {
    pub(super) inherit: Option<bool>,
    pub(super) severities: Option<SeveritiesFragment>,
    pub(super) conflicts: Option<Pairs>,
    pub(super) dependencies: Option<DependenciesFragment>,
    pub(super) limits: Option<LimitsFragment>,
    #[serde(default, deserialize_with = "each_once")]
    pub(super) containers: BTreeMap<ContainerName, Registration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeveritiesFragment {
    pub(super) none: Option<Response>,
    pub(super) low: Option<Response>,
    pub(super) medium: Option<Response>,
    pub(super) high: Option<Response>,
    pub(super) critical: Option<Response>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DependenciesFragment {
    pub(super) disruptive: Option<Vec<OperationClass>>,
    pub(super) at_most: Option<Severity>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFragment {
    pub(super) queue: Option<usize>,
    pub(super) per_container: Option<usize>,
    pub(super) timeout: Option<Text<Period>>,
    pub(super) lease: Option<Text<Period>>,
    pub(super) ageing: Option<Text<Period>>,
}

impl CoordinationFragment {
    /// Lays `over` onto this fragment: pairs, severities and limits one by one, containers by their
    /// name; a list replaces a list.
    #[must_use]
    pub fn merge(self, over: Self) -> Self {
        let (severities, over_severities) =
            (self.severities.unwrap_or_default(), over.severities.unwrap_or_default());
        let (dependencies, over_dependencies) =
            (self.dependencies.unwrap_or_default(), over.dependencies.unwrap_or_default());
        let (limits, over_limits) =
            (self.limits.unwrap_or_default(), over.limits.unwrap_or_default());
        let mut conflicts = match over.inherit {
            Some(false) => Pairs::default(),
            Some(true) | None => self.conflicts.unwrap_or_default(),
        };
        conflicts.0.extend(over.conflicts.unwrap_or_default().0);
        let mut containers = self.containers;
        containers.extend(over.containers);
        Self {
            inherit: self.inherit,
            severities: Some(SeveritiesFragment {
                none: over_severities.none.or(severities.none),
                low: over_severities.low.or(severities.low),
                medium: over_severities.medium.or(severities.medium),
                high: over_severities.high.or(severities.high),
                critical: over_severities.critical.or(severities.critical),
            }),
            conflicts: Some(conflicts),
            dependencies: Some(DependenciesFragment {
                disruptive: over_dependencies.disruptive.or(dependencies.disruptive),
                at_most: over_dependencies.at_most.or(dependencies.at_most),
            }),
            limits: Some(LimitsFragment {
                queue: over_limits.queue.or(limits.queue),
                per_container: over_limits.per_container.or(limits.per_container),
                timeout: over_limits.timeout.or(limits.timeout),
                lease: over_limits.lease.or(limits.lease),
                ageing: over_limits.ageing.or(limits.ageing),
            }),
            containers,
        }
    }
}

/// Reads containers; one that is written twice is an error, which serde's maps pass over.
fn each_once<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<BTreeMap<ContainerName, Registration>, D::Error> {
    input.deserialize_map(Containers)
}

struct Containers;

impl<'de> Visitor<'de> for Containers {
    type Value = BTreeMap<ContainerName, Registration>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("containers by their names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut containers = BTreeMap::new();
        while let Some(name) = map.next_key::<ContainerName>()? {
            if containers.contains_key(&name) {
                return Err(A::Error::custom(format!("{name} is there twice")));
            }
            containers.insert(name, map.next_value()?);
        }
        Ok(containers)
    }
}
