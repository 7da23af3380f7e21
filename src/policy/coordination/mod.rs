//! Which operations may run side by side, and how long others wait (`coordination.yaml`).

mod fragment;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::cycle::Cycle;
use super::pairs::{Pair, Pairs};
use super::text::{Period, Text};
use fragment::{LimitsFragment, SeveritiesFragment};

pub use fragment::CoordinationFragment;

use crate::model::{ContainerName, OperationClass, Registration, Severity, Target};

/// The built-in `coordination.yaml`.
pub const BUILT_IN: &str = include_str!("../../../policies/coordination.yaml");

/// The mildest severity at which two operations must not run side by side, whatever the files say:
/// that they do not is what everybody counts on.
const NEVER_TOGETHER: Severity = Severity::High;

/// Nobody has to renew more often than so.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// How many kinds of operations there are.
const CLASSES: usize = OperationClass::ALL.len();

/// How many severities there are.
const SEVERITIES: usize = Severity::ALL.len();

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
    /// What is said of a container cannot be.
    #[error("'containers.{0}': {1}")]
    Container(ContainerName, String),
    /// Nothing could ever run, or wait.
    #[error("'{0}' is 0; it has to be 1 at least")]
    Zero(&'static str),
    /// Nobody can renew so often.
    #[error("'limits.lease' is shorter than a second")]
    Lease,
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
        let checked =
            |(name, registration): (ContainerName, Registration)| match registration.checked() {
                Ok(registration) => Ok((name, registration)),
                Err(reason) => Err(CoordinationError::Container(name, reason)),
            };
        let containers: BTreeMap<_, _> =
            fragment.containers.into_iter().map(checked).collect::<Result<_, _>>()?;
        let targets = containers.iter().map(|(name, registration)| {
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
            limits: fragment.limits.unwrap_or_default().try_into()?,
            containers,
        })
    }
}

impl TryFrom<LimitsFragment> for Limits {
    type Error = CoordinationError;

    fn try_from(fragment: LimitsFragment) -> Result<Self, CoordinationError> {
        let missing = CoordinationError::Missing;
        let count = |name, count: Option<usize>| match count {
            Some(0) => Err(CoordinationError::Zero(name)),
            count => count.ok_or(missing(name)),
        };
        let period = |name, period: Option<Text<Period>>| {
            period.map(|Text(Period(period))| period).ok_or(missing(name))
        };
        let lease = |name, given| match period(name, given)? {
            lease if lease < SHORTEST_LEASE => Err(CoordinationError::Lease),
            lease => Ok(lease),
        };
        Ok(Self {
            queue: count("limits.queue", fragment.queue)?,
            per_container: count("limits.per_container", fragment.per_container)?,
            timeout: period("limits.timeout", fragment.timeout)?,
            lease: lease("limits.lease", fragment.lease)?,
            ageing: period("limits.ageing", fragment.ageing)?,
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

#[cfg(test)]
mod tests;
