//! The registry's document.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Code, ContainerName, Desired, NetworkChange, NetworkPolicy, NetworkRequest, Operation,
    OperationKind, Problem, ProjectRecord, PublishedPort, Registration, ResizeRequest,
    RestingPorts, Restoring, Role, Shared, SnapshotName, SnapshotRecord, Spec, Status, Storage,
    StorageUsage, TaskspaceId, Totals,
};

/// The document's format; a file of a newer one is refused.
pub const FORMAT_VERSION: u32 = 1;

/// The whole registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The format, [`FORMAT_VERSION`].
    pub version: u32,
    /// Tells the objects of this registry from those of another one on the same storage.
    pub registry: Uuid,
    /// Operations have got numbers up to this one.
    #[serde(default)]
    pub operations: u64,
    /// What became of the latest operations of a service that was told to end: clients may ask its
    /// next run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Operation>,
    /// The taskspaces.
    #[serde(default)]
    pub taskspaces: BTreeMap<TaskspaceId, Shared<Record>>,
    /// The projects, by name.
    #[serde(default)]
    pub projects: BTreeMap<String, ProjectRecord>,
    /// Agent states whose taskspaces are gone, by the former taskspace.
    #[serde(default)]
    pub agent_states: BTreeMap<TaskspaceId, AgentStateRecord>,
    /// What belongs to nothing here, and since when that is seen: the names as in
    /// [`Collectable`](super::Collectable).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub astray: BTreeMap<String, Timestamp>,
    /// Ports that were a taskspace's until lately.
    #[serde(default, skip_serializing_if = "RestingPorts::is_empty")]
    pub resting_ports: RestingPorts,
    /// What the coordination of operations has to remember.
    #[serde(default, skip_serializing_if = "CoordinationRecord::is_empty")]
    pub coordination: CoordinationRecord,
}

/// What the coordination of operations has to remember.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CoordinationRecord {
    /// The containers and services that were registered by a call.
    #[serde(default)]
    pub containers: BTreeMap<ContainerName, Registration>,
    /// The operations that agents hold or wait for, and those of the service that wait.
    #[serde(default)]
    pub operations: Vec<KeptOperation>,
    /// Fencing tokens have been given up to this one.
    #[serde(default)]
    pub tokens: u64,
    /// What there was today.
    #[serde(default)]
    pub today: Totals,
}

impl CoordinationRecord {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An operation that outlives the service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptOperation {
    /// The operation.
    pub operation: Operation,
    /// What the service is to do; none for what an agent does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<KeptJob>,
    /// For how many seconds its holder may be silent.
    #[serde(default)]
    pub lease_seconds: u64,
}

/// What the service is to do to a taskspace when nothing is in the way any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptJob {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop and start it.
    Restart,
    /// Remove it.
    Delete {
        /// With its agent's state.
        purge: bool,
    },
    /// Make its build cache the one of its project.
    Promote,
    /// Make a snapshot of it.
    Snapshot {
        /// The snapshot's name.
        name: SnapshotName,
        /// What it is about.
        note: Option<String>,
        /// With the agent's state.
        agent_state: bool,
    },
    /// Remove a snapshot of it.
    DeleteSnapshot {
        /// The snapshot's name.
        name: SnapshotName,
    },
    /// Give it back what a snapshot has.
    Restore {
        /// The snapshot's name.
        name: SnapshotName,
        /// With the agent's state.
        agent_state: bool,
        /// As what to keep what there is now.
        save: Option<SnapshotName>,
    },
    /// Change how much it may use.
    Resize(ResizeRequest),
    /// Change its network policy.
    Network(NetworkChange),
    /// Give it another network policy.
    ReplaceNetwork(NetworkRequest),
}

impl Document {
    /// Makes an empty document.
    pub fn new(registry: Uuid) -> Self {
        Self {
            version: FORMAT_VERSION,
            registry,
            operations: 0,
            outcomes: Vec::new(),
            taskspaces: BTreeMap::new(),
            projects: BTreeMap::new(),
            agent_states: BTreeMap::new(),
            astray: BTreeMap::new(),
            resting_ports: RestingPorts::default(),
            coordination: CoordinationRecord::default(),
        }
    }

    /// Whether a taskspace stands on a base.
    pub fn uses_base(&self, project: &str, commit: &str) -> bool {
        let on_base = |record: &Shared<Record>| {
            record.spec.project.name == project && record.spec.project.commit == commit
        };
        self.taskspaces.values().any(on_base)
    }

    /// Whether a taskspace's build cache lies over this one.
    pub fn uses_cache(&self, volume: &str) -> bool {
        self.taskspaces.values().any(|record| record.cache.as_deref() == Some(volume))
    }
}

/// The two ports on the host's loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The dev container's sshd.
    pub dev: u16,
    /// The agent container's sshd.
    pub agent: u16,
}

impl Ports {
    /// Returns the port of one container.
    pub const fn of(self, role: Role) -> u16 {
        match role {
            Role::Dev => self.dev,
            Role::Agent => self.agent,
        }
    }
}

/// What is being done to a taskspace: recorded before it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Underway {
    /// What it is.
    pub kind: OperationKind,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The titles of the steps that are done.
    #[serde(default)]
    pub done: Vec<String>,
    /// Whether a removal removes the agent's state too.
    #[serde(default)]
    pub purge: bool,
    /// Whether a creation that fails is to leave what it made.
    #[serde(default)]
    pub keep: bool,
    /// The operation's number.
    #[serde(default)]
    pub operation: u64,
    /// How often a later run of the service has taken it up.
    #[serde(default)]
    pub resumed: u32,
}

impl Underway {
    /// Begins with nothing done.
    pub fn new(kind: OperationKind, operation: u64, since: Timestamp) -> Self {
        let done = Vec::new();
        Self { kind, since, done, purge: false, keep: false, operation, resumed: 0 }
    }
}

/// Where a taskspace began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Forked {
    /// The taskspace whose changes and build cache it has a copy of.
    pub from: TaskspaceId,
    /// The volume of the agent state that it has a copy of, if it has. Of a snapshot it is the state of
    /// then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_state: Option<String>,
    /// The snapshot of that taskspace that they were copied from, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotName>,
}

/// How a container ended by itself, or by somebody else's hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Ending {
    /// Which one.
    pub role: Role,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Its exit code: that of its first process, or 128 and the signal that ended it.
    pub exit_code: i64,
    /// Whether the kernel ended it for lack of memory.
    pub oom_killed: bool,
}

/// One taskspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Record {
    /// What it is.
    pub status: Status,
    /// What the user wants it to be.
    pub desired: Desired,
    /// The host's port of the dev container's sshd.
    pub dev_port: u16,
    /// The host's port of the agent container's sshd.
    pub agent_port: u16,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When this entry changed last.
    #[schema(value_type = String, format = DateTime)]
    pub last_updated: Timestamp,
    /// When something was last done to it on request.
    #[schema(value_type = String, format = DateTime)]
    pub last_activity: Timestamp,
    /// What it is made of.
    pub spec: Spec,
    /// The volume with the agent's state.
    pub agent_state_volume: String,
    /// The former taskspace whose agent state this one continues with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_state_from: Option<TaskspaceId>,
    /// What it began with, if it began where another one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked: Option<Forked>,
    /// The volume of the project's build cache over which its own lies, if it began with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// What it had at earlier times, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshots: BTreeMap<SnapshotName, SnapshotRecord>,
    /// The restoration of a snapshot that is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<Restoring>,
    /// The tier that decides its limits where it was asked for nothing else; absent for one that was
    /// made before there were tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// How much it may write; absent where that is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// What it may reach; one that was made before there were policies is open.
    #[serde(default)]
    pub network: NetworkPolicy,
    /// What of it is published on the host's loopback, by the pod's port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<PublishedPort>,
    /// What is being done to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underway: Option<Underway>,
    /// Why it is `failed` or `degraded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Problem>,
    /// What the user should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How often it was recovered.
    #[serde(default)]
    pub restarts: u32,
    /// When its recovery was tried lately: it is not tried without end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub attempts: Vec<Timestamp>,
    /// How its containers ended lately without having been asked to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endings: Vec<Ending>,
}

impl Record {
    /// Whether its creation broke off, or failed and was to leave what it made.
    pub fn is_half_made(&self) -> bool {
        self.underway.as_ref().is_some_and(|underway| underway.kind == OperationKind::Create)
    }

    /// Whether it has failed because Podman did not answer, which passes by itself. A half-made one is
    /// kept for somebody to look at.
    pub fn waits_for_podman(&self) -> bool {
        let unavailable = |problem: &Problem| problem.code == Code::PodmanUnavailable;
        self.status == Status::Failed
            && self.failure.as_ref().is_some_and(unavailable)
            && !self.is_half_made()
    }

    /// Whether something is to be done about it sooner or later, though nobody asks for it again: it
    /// is up, or on its way, or is not what it should be and can still become so.
    pub fn is_looked_after(&self) -> bool {
        match self.status {
            Status::Stopped => self.desired == Desired::Running,
            Status::Failed => self.desired == Desired::Absent || self.waits_for_podman(),
            status => status.is_up() || status.is_transient(),
        }
    }

    /// Whether it is to be paused, because it has written too much.
    pub fn is_frozen(&self) -> bool {
        self.storage.as_ref().is_some_and(Storage::is_frozen)
    }

    /// Returns the two ports.
    pub const fn ports(&self) -> Ports {
        Ports { dev: self.dev_port, agent: self.agent_port }
    }

    /// Returns all ports of the host that it has.
    pub fn host_ports(&self) -> impl Iterator<Item = u16> {
        let published = self.published.iter().map(|published| published.host_port);
        [self.dev_port, self.agent_port].into_iter().chain(published)
    }
}

#[cfg(test)]
impl Record {
    /// A taskspace that runs, for tests.
    pub(crate) fn example() -> Self {
        use super::{AgentSpec, CommitSettings, ProjectSpec, ProjectType};

        let now = Timestamp::UNIX_EPOCH;
        Self {
            status: Status::Running,
            desired: Desired::Running,
            dev_port: 10_001,
            agent_port: 20_001,
            created: now,
            last_updated: now,
            last_activity: now,
            spec: Spec {
                project: ProjectSpec {
                    name: "webshop".to_owned(),
                    source: "https://host/webshop.git".to_owned(),
                    origin: None,
                    push_url: None,
                    git_ref: None,
                    commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
                    branch: "taskspace/example".to_owned(),
                    dirty: false,
                    commits: CommitSettings::default(),
                    base_key: None,
                    submodules: Vec::new(),
                    warnings: Vec::new(),
                },
                project_type: ProjectType::Rust,
                agent: AgentSpec::resolve(None, None),
            },
            agent_state_volume: "taskspace-example-agent-state".to_owned(),
            agent_state_from: None,
            forked: None,
            cache: None,
            snapshots: BTreeMap::new(),
            restoring: None,
            tier: None,
            storage: None,
            network: NetworkPolicy::default(),
            published: Vec::new(),
            underway: None,
            failure: None,
            warnings: Vec::new(),
            restarts: 0,
            attempts: Vec::new(),
            endings: Vec::new(),
        }
    }
}

/// A taskspace with its id, as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Recorded {
    /// Its id.
    pub id: TaskspaceId,
    /// Its entry.
    #[serde(flatten)]
    pub record: Record,
    /// How much it has written, once that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<StorageUsage>,
}

/// The state of an agent whose taskspace is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AgentStateRecord {
    /// Its volume.
    pub volume: String,
    /// Since when its taskspace is gone.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The project that its taskspace was of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The agent whose it is, as in its taskspace's entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Whether it is being removed: nobody can go on with it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub going: bool,
}

impl AgentStateRecord {
    /// Makes one of what a taskspace leaves that goes now.
    pub fn of(record: &Record, now: Timestamp) -> Self {
        Self {
            volume: record.agent_state_volume.clone(),
            since: now,
            project: Some(record.spec.project.name.clone()),
            agent: Some(record.spec.agent.kind.clone()),
            going: false,
        }
    }
}
