//! How badly operations go together.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{AgentName, OperationKind, Target};

/// What an operation is to others on the same container.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum OperationClass {
    /// Only looks.
    Read,
    /// Changes its configuration.
    Config,
    /// Stops and starts it.
    Restart,
    /// Stops it.
    Stop,
    /// Starts it.
    Start,
    /// Puts another version in its place.
    Deploy,
    /// Changes how much of it there is, or how much it may use.
    Scale,
    /// Tries whether it works.
    Health,
}

impl OperationClass {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Read,
        Self::Config,
        Self::Restart,
        Self::Stop,
        Self::Start,
        Self::Deploy,
        Self::Scale,
        Self::Health,
    ];
}

impl fmt::Display for OperationClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Config => "config",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Deploy => "deploy",
            Self::Scale => "scale",
            Self::Health => "health",
        })
    }
}

impl FromStr for OperationClass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|class| class.to_string() == text).ok_or_else(|| {
            let known: Vec<String> = Self::ALL.iter().map(Self::to_string).collect();
            format!("{text:?} is not a kind of operation; there are {}", known.join(", "))
        })
    }
}

/// How badly two operations go together.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Not at all badly.
    None,
    /// They may notice each other.
    Low,
    /// One may disturb the other.
    Medium,
    /// One has to wait for the other.
    High,
    /// The second one makes no sense as long as there is the first.
    Critical,
}

impl Severity {
    /// All of them, the mildest first.
    pub const ALL: [Self; 5] = [Self::None, Self::Low, Self::Medium, Self::High, Self::Critical];
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// An operation that another one does not go well with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Conflict {
    /// The operation in the way.
    pub operation: u64,
    /// What it does.
    pub kind: OperationKind,
    /// What it acts on.
    pub target: Target,
    /// Who does it.
    pub agent: AgentName,
    /// How badly they go together.
    pub severity: Severity,
    /// Through which dependencies they meet: each depends on the next. Empty where both act on the
    /// same container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Target>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, kind, target, agent, severity, chain } = self;
        write!(f, "operation {operation}, {kind} of {target} by {agent} ({severity}")?;
        if let [first, rest @ ..] = chain.as_slice() {
            write!(f, ": {first}")?;
            rest.iter().try_for_each(|next| write!(f, " depends on {next}"))?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_names_the_chain() {
        let target = |text: &str| text.parse::<Target>().unwrap();
        let conflict = Conflict {
            operation: 7,
            kind: OperationKind::Restart,
            target: target("postgres"),
            agent: "ops".parse().unwrap(),
            severity: Severity::High,
            chain: ["worker", "api", "postgres"].map(target).into(),
        };
        assert_eq!(
            conflict.to_string(),
            "operation 7, restart of postgres by ops (high: worker depends on api depends on postgres)"
        );
    }
}
