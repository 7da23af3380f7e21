//! Who may act on what at the same time: what operations are to each other, and what they act on.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{OperationKind, Role, TaskspaceId};

/// The longest name of a container or an agent.
const MAX_NAME: usize = 128;

/// The longest description of an operation.
pub const MAX_DESCRIPTION: usize = 1_000;

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
        let id: TaskspaceId = id.parse().map_err(|error: super::IdError| error.to_string())?;
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

/// Who asks for an operation: the name of an agent, or of whatever acts in a person's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentName(String);

impl AgentName {
    /// The service itself.
    pub fn service() -> Self {
        Self("taskspace".to_owned())
    }

    /// A person, or a program that does not say who it is.
    pub fn user() -> Self {
        Self("user".to_owned())
    }
}

impl FromStr for AgentName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = !text.is_empty()
            && text.len() <= MAX_NAME
            && text.chars().all(|c| c.is_ascii_graphic());
        if good {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(MAX_NAME).collect();
        Err(format!(
            "{shown:?} is not the name of an agent: use up to {MAX_NAME} visible ASCII characters"
        ))
    }
}

impl TryFrom<String> for AgentName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<AgentName> for String {
    fn from(name: AgentName) -> Self {
        name.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How urgent an operation is: from 1 to 10, the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// The least urgent.
    pub const MIN: Self = Self(1);
    /// The most urgent.
    pub const MAX: Self = Self(10);

    /// Returns it as a number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

impl TryFrom<u8> for Priority {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        if (Self::MIN.0..=Self::MAX.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err(format!("the priority {number} is not between {} and {}", Self::MIN, Self::MAX))
        }
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: u8 =
            text.parse().map_err(|_| format!("{text:?} is not a priority: 1 to 10"))?;
        number.try_into()
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
    #[schema(value_type = String)]
    pub target: Target,
    /// Who does it.
    #[schema(value_type = String)]
    pub agent: AgentName,
    /// How badly they go together.
    pub severity: Severity,
    /// Through which dependencies they meet: each depends on the next. Empty where both act on the
    /// same container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
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

/// For how long something is held without a word from its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Lease {
    /// Within how many seconds it has to be renewed.
    pub seconds: u64,
    /// When it ends unless it is renewed; absent as long as its holder is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
}

/// Asks to act on something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationRequest {
    /// What is to be done.
    pub kind: OperationClass,
    /// What it acts on: `api`, `taskspace:demo` or `taskspace:demo/dev`.
    #[schema(value_type = String)]
    pub target: Target,
    /// Who asks.
    #[schema(value_type = String)]
    pub agent: AgentName,
    /// How urgent it is: 1 to 10.
    #[serde(default)]
    #[schema(value_type = u8, minimum = 1, maximum = 10)]
    pub priority: Priority,
    /// How long it will probably take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_seconds: Option<u64>,
    /// After how many seconds from its beginning it is ended; as the settings say when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// Within how many seconds it has to be renewed, waiting or running; as the settings say when
    /// not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<u64>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Renews or ends an operation that one holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationUpdate {
    /// The token of the lease; not needed as long as it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// How it ended; absent to renew the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How an operation ended, in its holder's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should.
    Done,
    /// Not as it should.
    Failed,
}

/// Who asks for something to be done to a taskspace, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// Who it is; [`AgentName::user`] for one that does not say.
    pub agent: Option<AgentName>,
    /// How urgent it is; the usual when not given.
    pub priority: Option<Priority>,
    /// The operation that is held, and under which it is to be done.
    pub lock: Option<Hold>,
}

/// An operation that one holds, under which something else is asked for: `12:7` as text, the
/// operation and the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The operation.
    pub operation: u64,
    /// The token of its lease.
    pub token: u64,
}

impl FromStr for Hold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once(':')
            .and_then(|(operation, token)| {
                Some(Self { operation: operation.parse().ok()?, token: token.parse().ok()? })
            })
            .ok_or_else(|| format!("{text:?} is not an operation and its token, such as 12:7"))
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.operation, self.token)
    }
}

/// One operation that holds something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LockView {
    /// What is held.
    #[schema(value_type = String)]
    pub target: Target,
    /// The operation that holds it.
    pub operation: u64,
    /// What that does.
    pub kind: OperationKind,
    /// Who holds it.
    #[schema(value_type = String)]
    pub agent: AgentName,
    /// The fencing token.
    pub token: u64,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it ends at the latest; absent for the service's own operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// The lease; absent for the service's own operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// The operations that wait for it.
    pub waiting: Vec<u64>,
}

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
    #[schema(value_type = Option<String>)]
    pub container: Option<ContainerName>,
    /// The ports on which it answers on the host's loopback.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// What it cannot do without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub depends_on: Vec<Target>,
}

/// A registered container or service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RegisteredContainer {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ContainerName,
    /// What is known of it beforehand.
    #[serde(flatten)]
    pub registration: Registration,
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

/// How the coordination of operations goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CoordinationView {
    /// How many containers and services are registered.
    pub containers: usize,
    /// How many operations run.
    pub active: usize,
    /// How many wait.
    pub queued: usize,
    /// How many may wait.
    pub queue_limit: usize,
    /// What is held, and by whom.
    pub locks: Vec<LockView>,
    /// For how long the longest-waiting one has been waiting, in seconds.
    pub longest_wait_seconds: f64,
    /// What there was today.
    pub today: Totals,
}

/// What there was on one day of the host's calendar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Totals {
    /// The day, as `2026-11-21`.
    pub day: String,
    /// How many operations were asked for.
    pub requested: u64,
    /// How many of them had to wait.
    pub queued: u64,
    /// How many ended as they should.
    pub done: u64,
    /// How many failed.
    pub failed: u64,
    /// How many took too long.
    pub timed_out: u64,
    /// How many were cancelled.
    pub cancelled: u64,
    /// How many were refused.
    pub rejected: u64,
    /// For how long those that had to wait and then began have waited together, in seconds.
    pub waited_seconds: f64,
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

    #[test]
    fn what_is_out_of_range_is_refused() {
        assert!(Priority::try_from(0).is_err() && Priority::try_from(11).is_err());
        assert_eq!("10".parse(), Ok(Priority::MAX));
        assert!("a b".parse::<AgentName>().is_err() && "agent-1".parse::<AgentName>().is_ok());
        assert_eq!("12:7".parse(), Ok(Hold { operation: 12, token: 7 }));
        for text in ["", "12", "12:", ":7", "a:b", "1:2:3"] {
            assert!(text.parse::<Hold>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_conflict_names_the_chain() {
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

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in ".{0,200}") {
            drop(text.parse::<Target>());
            drop(format!("taskspace:{text}").parse::<Target>());
            drop(text.parse::<AgentName>());
            drop(text.parse::<Hold>());
        }
    }
}
