//! What happened, as it is told to those who watch.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    AgentName, Conflict, ContainerName, ContainerState, Ending, OnFull, OperationKind,
    OperationState, PolicyName, Priority, Problem, Quantity, Role, Status, StorageAction,
    StorageLevel, Target, TaskspaceId,
};

/// How a step of an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    /// As it should.
    Done,
    /// Not as it should.
    Failed,
    /// Undone, because a later one failed.
    Undone,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Event {
    /// Its number; rises by one with each event while the service runs, and by more when it starts
    /// again.
    pub id: u64,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// The operation that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
    /// The taskspace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taskspace: Option<TaskspaceId>,
    /// What happened.
    pub body: EventBody,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum EventBody {
    /// An operation was asked for.
    OperationRequested {
        /// What it does.
        kind: OperationKind,
        /// What it acts on; absent for what acts on no container.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Target>,
        /// Who asked for it.
        agent: AgentName,
        /// How urgent it is.
        priority: Priority,
        /// The operation under which it is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        under: Option<u64>,
    },
    /// An operation has to wait.
    OperationQueued {
        /// For which others.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        behind: Vec<Conflict>,
        /// The container that has as many operations as it may, if it waits for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        full: Option<Target>,
    },
    /// An operation was let in.
    OperationAdmitted {
        /// Its fencing token.
        token: u64,
        /// What it was let in beside although it may be disturbed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cautions: Vec<Conflict>,
    },
    /// A step of an operation began.
    StepStarted {
        /// What it does.
        step: String,
    },
    /// A step of an operation ended.
    StepEnded {
        /// What it did.
        step: String,
        /// How it ended.
        outcome: StepOutcome,
        /// How long it took, in milliseconds.
        milliseconds: u64,
    },
    /// A program that a step runs wrote a line.
    Output {
        /// The line.
        line: String,
    },
    /// Something that the user should know.
    Warning {
        /// What.
        message: String,
    },
    /// A taskspace changed its state.
    StatusChanged {
        /// From; absent for a new one.
        from: Option<Status>,
        /// To; absent for one that is gone.
        to: Option<Status>,
    },
    /// A container ended without having been asked to.
    ContainerEnded(Ending),
    /// Other settings are in force: their files have changed.
    SettingsReloaded {
        /// The files, or kinds of files, that say something else than before.
        files: Vec<String>,
        /// What of it is in force later, and when.
        notes: Vec<String>,
    },
    /// A file of settings is wrong, so the settings that were read before stay in force.
    SettingsRefused {
        /// What is wrong, and where.
        reason: String,
    },
    /// A container's sshd began to answer, or no longer does.
    HealthChanged {
        /// Which container's.
        role: Role,
        /// Whether it answers.
        healthy: bool,
        /// What was seen instead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A taskspace is fuller or less full than before, or something is done about it.
    StorageChanged {
        /// How full it is.
        level: StorageLevel,
        /// How much it has written, in bytes.
        used: Quantity,
        /// How much it may write, in bytes.
        limit: Quantity,
        /// What is done when it is full.
        on_full: OnFull,
        /// What is done now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<StorageAction>,
    },
    /// A taskspace was refused something by its network policy, or would have been if that did not only
    /// observe.
    NetworkRefused {
        /// A name, or an address with port and protocol.
        destination: String,
        /// Whether it was let through all the same, to be observed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        let_through: bool,
        /// Why.
        reason: String,
        /// How often since it was last told.
        count: u64,
    },
    /// A network policy that was only observed for a while is enforced again.
    NetworkEnforced {
        /// The policy.
        policy: PolicyName,
    },
    /// Events after the one from which on was asked are no longer kept: look at the whole again.
    Missed,
    /// An operation is over.
    OperationFinished {
        /// How it ended.
        state: OperationState,
        /// Why it failed, if it did.
        problem: Option<Problem>,
    },
    /// A registered container or service is in another state than before.
    ContainerChanged {
        /// Its name.
        container: ContainerName,
        /// The state before.
        from: ContainerState,
        /// The state now.
        to: ContainerState,
        /// Why it is so, where that does not go without saying.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// Which events are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Those kept with a greater id, then new ones; only new ones when it is not given (with
    /// `operation`, or without `follow`: all of them). The header `Last-Event-ID` goes before.
    #[serde(default)]
    pub after: Option<u64>,
    /// Only those of this operation; the stream ends with its `operation-finished`.
    #[serde(default)]
    pub operation: Option<u64>,
    /// Only those of this taskspace.
    #[serde(default)]
    pub taskspace: Option<TaskspaceId>,
    /// Go on with new ones; otherwise the stream ends with the last one that is kept.
    #[serde(default = "yes")]
    #[param(default = true)]
    pub follow: bool,
}

const fn yes() -> bool {
    true
}

impl EventQuery {
    /// Asks for everything that an operation does, from its beginning to its end.
    pub const fn of_operation(number: u64) -> Self {
        Self { after: None, operation: Some(number), taskspace: None, follow: true }
    }

    /// Whether an event is asked for. That some were missed concerns everybody.
    pub fn wants(&self, event: &Event) -> bool {
        let of_operation = self.operation.is_none_or(|wanted| event.operation == Some(wanted));
        let taskspace = self.taskspace.as_ref();
        let of_taskspace = taskspace.is_none_or(|wanted| event.taskspace.as_ref() == Some(wanted));
        event.body == EventBody::Missed || (of_operation && of_taskspace)
    }

    /// Returns from where on; none for only what is new.
    pub fn after(&self) -> Option<u64> {
        self.after.or((self.operation.is_some() || !self.follow).then_some(0))
    }
}

impl EventBody {
    /// Returns the name of the kind of event, as in the SSE field `event`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OperationRequested { .. } => "operation-requested",
            Self::OperationQueued { .. } => "operation-queued",
            Self::OperationAdmitted { .. } => "operation-admitted",
            Self::StepStarted { .. } => "step-started",
            Self::StepEnded { .. } => "step-ended",
            Self::Output { .. } => "output",
            Self::Warning { .. } => "warning",
            Self::StatusChanged { .. } => "status-changed",
            Self::ContainerEnded(_) => "container-ended",
            Self::SettingsReloaded { .. } => "settings-reloaded",
            Self::SettingsRefused { .. } => "settings-refused",
            Self::HealthChanged { .. } => "health-changed",
            Self::StorageChanged { .. } => "storage-changed",
            Self::NetworkRefused { .. } => "network-refused",
            Self::NetworkEnforced { .. } => "network-enforced",
            Self::Missed => "missed",
            Self::OperationFinished { .. } => "operation-finished",
            Self::ContainerChanged { .. } => "container-changed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(operation: Option<u64>, taskspace: Option<&str>, body: EventBody) -> Event {
        let taskspace = taskspace.map(|id| id.parse().unwrap());
        Event { id: 1, time: Timestamp::UNIX_EPOCH, operation, taskspace, body }
    }

    #[test]
    fn a_query_wants_what_is_of_all_that_it_names() {
        let warning = || EventBody::Warning { message: "w".to_owned() };
        let all = EventQuery { after: None, operation: None, taskspace: None, follow: true };
        let of_a = EventQuery { taskspace: Some("a".parse().unwrap()), ..all.clone() };
        let both = EventQuery { operation: Some(7), ..of_a.clone() };
        let cases = [
            (event(None, None, warning()), [true, false, false]),
            (event(None, Some("a"), warning()), [true, true, false]),
            (event(Some(7), Some("a"), warning()), [true, true, true]),
            (event(Some(7), Some("b"), warning()), [true, false, false]),
            (event(None, None, EventBody::Missed), [true, true, true]),
        ];
        for (event, wanted) in cases {
            assert_eq!([&all, &of_a, &both].map(|query| query.wants(&event)), wanted, "{event:?}");
        }
    }

    #[test]
    fn a_stream_that_does_not_follow_begins_with_what_is_kept() {
        let query =
            |after, follow| EventQuery { after, operation: None, taskspace: None, follow }.after();
        assert_eq!([query(None, true), query(None, false)], [None, Some(0)]);
        assert_eq!([query(Some(5), true), query(Some(5), false)], [Some(5); 2]);
        assert_eq!(EventQuery::of_operation(1).after(), Some(0));
    }
}
