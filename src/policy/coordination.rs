//! Which operations may run side by side, and how long others wait (`coordination.yaml`).

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZero;
use std::time::Duration;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::cycle::Cycle;
use super::pairs::{Pair, Pairs};
use super::text::{Period, Text};
use crate::model::{ContainerName, OperationClass, Registration, Severity, Target};

/// The built-in `coordination.yaml`.
pub const BUILT_IN: &str = include_str!("../../policies/coordination.yaml");

/// The mildest severity at which two operations must not run side by side, whatever the files say:
/// that they do not is what everybody counts on.
const NEVER_TOGETHER: Severity = Severity::High;

/// How many kinds of operations there are.
const CLASSES: usize = OperationClass::ALL.len();

/// How many severities there are.
const SEVERITIES: usize = Severity::ALL.len();

/// One `coordination.yaml`: everything in it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinationFragment {
    inherit: Option<bool>,
    severities: Option<SeveritiesFragment>,
    conflicts: Option<Pairs>,
    dependencies: Option<DependenciesFragment>,
    limits: Option<LimitsFragment>,
    #[serde(default, deserialize_with = "each_once")]
    containers: BTreeMap<ContainerName, Registration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeveritiesFragment {
    none: Option<Response>,
    low: Option<Response>,
    medium: Option<Response>,
    high: Option<Response>,
    critical: Option<Response>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct DependenciesFragment {
    disruptive: Option<Vec<OperationClass>>,
    at_most: Option<Severity>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFragment {
    queue: Option<NonZero<usize>>,
    per_container: Option<NonZero<usize>>,
    timeout: Option<Text<Period>>,
    lease: Option<Text<Period>>,
    ageing: Option<Text<Period>>,
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

/// What comes of two operations that meet, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// The later one is let in.
    Proceed,
    /// It is let in, and that they met is recorded.
    Caution,
    /// It waits.
    Queue,
    /// It is refused.
    Reject,
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Proceed => "proceed",
            Self::Caution => "caution",
            Self::Queue => "queue",
            Self::Reject => "reject",
        })
    }
}

/// How badly each two kinds of operations go together on the same container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix([[Severity; CLASSES]; CLASSES]);

impl Matrix {
    /// Returns how badly two go together.
    pub const fn severity(&self, one: OperationClass, other: OperationClass) -> Severity {
        self.0[one as usize][other as usize]
    }
}

/// What comes of each severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Responses([Response; SEVERITIES]);

impl Responses {
    /// Returns what comes of a severity.
    pub const fn to(&self, severity: Severity) -> Response {
        self.0[severity as usize]
    }
}

/// How many may run and wait, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many may wait.
    pub queue: usize,
    /// So many may run on one container.
    pub per_container: usize,
    /// An operation is ended after this time, unless it says something else.
    pub timeout: Duration,
    /// Within this time a holder has to renew, unless it says something else.
    pub lease: Duration,
    /// Having waited for so long is worth one step of priority.
    pub ageing: Duration,
}

/// Which operations may run side by side, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordination {
    /// How badly two kinds of operations go together.
    pub matrix: Matrix,
    /// What comes of that.
    pub responses: Responses,
    /// The operations that disturb also what depends on their target.
    pub disruptive: Vec<OperationClass>,
    /// The worst that two operations can be to each other through a dependency.
    pub at_most: Severity,
    /// How many may run and wait, and for how long.
    pub limits: Limits,
    /// What is known beforehand of containers and services.
    pub containers: BTreeMap<ContainerName, Registration>,
}

/// What is wrong with the coordination although each value is well-formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoordinationError {
    /// A value that has no default is missing.
    #[error("'{0}' is missing")]
    Missing(&'static str),
    /// Pairs are missing.
    #[error("'conflicts' lacks {}", join(.0))]
    MissingPairs(Vec<Pair>),
    /// Nothing is said about a severity.
    #[error("'severities' does not say what comes of {0}")]
    MissingResponse(Severity),
    /// What is worse has a milder response.
    #[error(
        "'severities.{worse}' is {response}, which is milder than {milder_response} for {milder}"
    )]
    Order {
        /// The worse severity.
        worse: Severity,
        /// What comes of it.
        response: Response,
        /// The milder severity.
        milder: Severity,
        /// What comes of that.
        milder_response: Response,
    },
    /// Operations that must not run side by side would.
    #[error("'severities.{severity}' is {response}; it has to be queue or reject")]
    TooMild {
        /// The severity.
        severity: Severity,
        /// What would come of it.
        response: Response,
    },
    /// The containers depend on each other.
    #[error("the dependencies in 'containers' run in a circle: {0}")]
    Cycle(#[from] Cycle),
}

fn join(pairs: &[Pair]) -> String {
    pairs.iter().map(Pair::to_string).collect::<Vec<_>>().join(", ")
}

impl Coordination {
    /// Returns the built-in coordination.
    pub fn built_in() -> CoordinationFragment {
        // A test sees to it that this parses.
        serde_yaml::from_str(BUILT_IN).unwrap_or_default()
    }
}

impl TryFrom<CoordinationFragment> for Coordination {
    type Error = CoordinationError;

    fn try_from(fragment: CoordinationFragment) -> Result<Self, CoordinationError> {
        let missing = CoordinationError::Missing;
        let dependencies = fragment.dependencies.unwrap_or_default();
        let limits = fragment.limits.unwrap_or_default();
        let targets = fragment.containers.iter().map(|(name, registration)| {
            (Target::Container(name.clone()), registration.depends_on.clone())
        });
        if let Some(cycle) = Cycle::find(&targets.collect()) {
            return Err(cycle.into());
        }
        Ok(Self {
            matrix: fragment.conflicts.unwrap_or_default().try_into()?,
            responses: fragment.severities.unwrap_or_default().try_into()?,
            disruptive: dependencies.disruptive.ok_or(missing("dependencies.disruptive"))?,
            at_most: dependencies.at_most.ok_or(missing("dependencies.at_most"))?,
            limits: Limits {
                queue: limits.queue.ok_or(missing("limits.queue"))?.get(),
                per_container: limits.per_container.ok_or(missing("limits.per_container"))?.get(),
                timeout: limits.timeout.ok_or(missing("limits.timeout"))?.0.0,
                lease: limits.lease.ok_or(missing("limits.lease"))?.0.0,
                ageing: limits.ageing.ok_or(missing("limits.ageing"))?.0.0,
            },
            containers: fragment.containers,
        })
    }
}

impl TryFrom<Pairs> for Matrix {
    type Error = CoordinationError;

    fn try_from(Pairs(pairs): Pairs) -> Result<Self, CoordinationError> {
        let missing: Vec<Pair> = Pair::all().filter(|pair| !pairs.contains_key(pair)).collect();
        if !missing.is_empty() {
            return Err(CoordinationError::MissingPairs(missing));
        }
        let mut matrix = [[Severity::Critical; CLASSES]; CLASSES];
        for (Pair(one, other), severity) in pairs {
            matrix[one as usize][other as usize] = severity;
            matrix[other as usize][one as usize] = severity;
        }
        Ok(Self(matrix))
    }
}

impl TryFrom<SeveritiesFragment> for Responses {
    type Error = CoordinationError;

    fn try_from(fragment: SeveritiesFragment) -> Result<Self, CoordinationError> {
        let mut responses = [Response::Reject; SEVERITIES];
        let mut milder: Option<(Severity, Response)> = None;
        for severity in Severity::ALL {
            let response = match severity {
                Severity::None => fragment.none,
                Severity::Low => fragment.low,
                Severity::Medium => fragment.medium,
                Severity::High => fragment.high,
                Severity::Critical => fragment.critical,
            };
            let response = response.ok_or(CoordinationError::MissingResponse(severity))?;
            if severity >= NEVER_TOGETHER && response < Response::Queue {
                return Err(CoordinationError::TooMild { severity, response });
            }
            if let Some((milder, milder_response)) = milder
                && response < milder_response
            {
                let worse = severity;
                return Err(CoordinationError::Order { worse, response, milder, milder_response });
            }
            milder = Some((severity, response));
            responses[severity as usize] = response;
        }
        Ok(Self(responses))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CoordinationFragment, String> {
        serde_yaml::from_str(text).map_err(|error: serde_yaml::Error| error.to_string())
    }

    fn over_built_in(text: &str) -> Result<Coordination, String> {
        let merged = Coordination::built_in().merge(parse(text)?);
        merged.try_into().map_err(|error: CoordinationError| error.to_string())
    }

    #[test]
    fn the_built_in_file_is_whole_and_sensible() {
        parse(BUILT_IN).unwrap();
        let built_in: Coordination = Coordination::built_in().try_into().unwrap();
        let severity = |one: &str, other: &str| {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(built_in.matrix.severity(one, other), built_in.matrix.severity(other, one));
            built_in.matrix.severity(one, other)
        };
        assert_eq!(severity("restart", "restart"), Severity::Critical);
        assert_eq!(severity("config", "restart"), Severity::High);
        assert_eq!(severity("stop", "stop"), Severity::High);
        assert_eq!(severity("config", "config"), Severity::Medium);
        assert_eq!(severity("read", "config"), Severity::Low);
        assert_eq!(severity("read", "read"), Severity::None);
        let responses = Severity::ALL.map(|severity| built_in.responses.to(severity));
        let [proceed, caution] = [Response::Proceed, Response::Caution];
        assert_eq!(responses, [proceed, proceed, caution, Response::Queue, Response::Reject]);
        assert_eq!((built_in.limits.queue, built_in.limits.per_container), (100, 3));
        assert_eq!(built_in.limits.timeout, Duration::from_secs(300));
        assert_eq!(Pair::all().count(), 36);
    }

    #[test]
    fn a_layer_replaces_only_what_it_names() {
        let built_in: Coordination = Coordination::built_in().try_into().unwrap();
        let changed = over_built_in(
            "conflicts: {read: {stop: high}}\nseverities: {critical: queue}\n\
             limits: {per_container: 1}\ndependencies: {disruptive: []}\ncontainers: {api: {}}",
        )
        .unwrap();
        for pair @ Pair(one, other) in Pair::all() {
            let expected = match pair {
                Pair(OperationClass::Read, OperationClass::Stop) => Severity::High,
                _ => built_in.matrix.severity(one, other),
            };
            assert_eq!(changed.matrix.severity(other, one), expected, "{pair}");
        }
        assert_eq!(changed.responses.to(Severity::Critical), Response::Queue);
        assert_eq!(changed.limits, Limits { per_container: 1, ..built_in.limits });
        assert_eq!((changed.disruptive, changed.at_most), (Vec::new(), built_in.at_most));
        let more = "containers: {api: {ports: [8000]}, db: {}}";
        let merged = parse("containers: {api: {}, web: {}}").unwrap().merge(parse(more).unwrap());
        let names: Vec<&str> = merged.containers.keys().map(ContainerName::as_str).collect();
        assert_eq!(names, ["api", "db", "web"]);
        assert_eq!(merged.containers.values().next().unwrap().ports, [8000]);
    }

    #[test]
    fn all_missing_pairs_are_named() {
        let mut text = "inherit: false\nconflicts:\n".to_owned();
        for row in OperationClass::ALL {
            text += &format!("  {row}:\n");
            for column in OperationClass::ALL {
                // Both orders are fine as long as they agree.
                text += &format!("    {column}: low\n");
            }
        }
        let matrix = over_built_in(&text).unwrap().matrix;
        assert!(Pair::all().all(|Pair(one, other)| matrix.severity(one, other) == Severity::Low));
        let text = text.replace("  read:\n    read: low\n", "  read:\n");
        let text = text.replace("    restart: low\n", "");
        assert_eq!(
            over_built_in(&text).unwrap_err(),
            "'conflicts' lacks read+read, restart+restart"
        );
        let error = over_built_in("inherit: false").unwrap_err();
        assert_eq!(error.matches('+').count(), 36, "{error}");
        // A later layer lies over the one that began anew.
        let anew = parse("inherit: false\nconflicts: {read: {read: low}}").unwrap();
        let over = parse("conflicts: {stop: {read: low}}").unwrap();
        let merged = Coordination::built_in().merge(anew).merge(over);
        assert_eq!(merged.conflicts.unwrap().0.len(), 2);
    }

    #[test]
    fn a_key_without_a_value_says_nothing() {
        let built_in: Coordination = Coordination::built_in().try_into().unwrap();
        for key in ["inherit", "severities", "conflicts", "dependencies", "limits", "containers"] {
            assert_eq!(over_built_in(&format!("{key}:\n")).as_ref(), Ok(&built_in), "{key}");
        }
        assert_eq!(over_built_in("conflicts: {read: }"), Ok(built_in));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let cases = [
            ("conflict: {}", "unknown field `conflict`"),
            ("limits: {queues: 1}", "unknown field `queues`"),
            ("containers: {api: {port: 1}}", "unknown field `port`"),
            ("conflicts: {reads: {}}", "unknown variant `reads`"),
            ("conflicts: {read: {reads: low}}", "unknown variant `reads`"),
            ("conflicts:\n  read:\n    stop: bad", "unknown variant `bad`, expected one of `none`"),
            ("conflicts:\n  read:\n    stop: bad", "at line 3 column 11"),
            ("conflicts: {read: low}", "expected kinds of operations with severities"),
            (
                "conflicts:\n  read: {stop: low}\n  stop:\n    read: high",
                "conflicts.stop.read: read+stop is low and high at line 4 column 11",
            ),
            ("conflicts: {read: {stop: low, stop: none}}", "read+stop is low and none"),
            ("conflicts: {read: {stop: low}, read: {stop: none}}", "read+stop is low and none"),
            ("severities: {high: wait}", "unknown variant `wait`"),
            ("severities: {fatal: reject}", "unknown field `fatal`"),
            ("severities: {high: caution}", "'severities.high' is caution; it has to be queue or"),
            ("severities: {critical: proceed}", "'severities.critical' is proceed; it has to be"),
            (
                "severities: {none: caution}",
                "'severities.low' is proceed, which is milder than caution for none",
            ),
            ("severities: {high: reject, critical: queue}", "which is milder than reject for high"),
            ("limits: {queue: 0}", "nonzero"),
            ("limits: {per_container: 0}", "nonzero"),
            ("limits: {queue: -1}", "expected a nonzero usize"),
            ("limits: {timeout: 0s}", "is not a duration"),
            ("limits: {lease: soon}", "is not a duration"),
            ("dependencies: {disruptive: [kill]}", "unknown variant `kill`"),
            ("dependencies: {at_most: worst}", "unknown variant `worst`"),
            ("containers: {api: {}, web: {}, api: {}}", "api is there twice"),
            ("containers: {'a b': {}}", "\"a b\" is not the name of a container"),
            ("containers: {api: {depends_on: ['taskspace:A']}}", "has the character 'A'"),
            ("containers: {api: {ports: [70000]}}", "invalid value: integer `70000`"),
            ("containers: {api: {depends_on: [api]}}", "run in a circle: api depends on api"),
            (
                "containers: {a: {depends_on: [b, c]}, c: {depends_on: [d]}, d: {depends_on: [a]}}",
                "run in a circle: a depends on c depends on d depends on a",
            ),
        ];
        for (text, message) in cases {
            let error = over_built_in(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let all = Coordination::built_in;
        let error = |fragment: CoordinationFragment| {
            Coordination::try_from(fragment).unwrap_err().to_string()
        };
        assert_eq!(
            error(CoordinationFragment { severities: None, ..all() }),
            "'severities' does not say what comes of none"
        );
        assert_eq!(
            error(CoordinationFragment { limits: None, ..all() }),
            "'limits.queue' is missing"
        );
        assert_eq!(
            error(CoordinationFragment { dependencies: None, ..all() }),
            "'dependencies.disruptive' is missing"
        );
    }

    #[test]
    fn eight_containers_are_read_from_one_file() {
        let text = "
containers:
  api: {ports: [8000]}
  webui: {ports: [3000], depends_on: [api]}
  worker: {depends_on: [api, redis, postgres]}
  postgres: {ports: [5432]}
  redis: {ports: [6379]}
  voice-interaction-service: {ports: [8006], depends_on: [api]}
  chat-service: {ports: [8007], depends_on: [api]}
  prometheus: {ports: [9090]}
";
        assert_eq!(over_built_in(text).unwrap().containers.len(), 8);
    }
}
