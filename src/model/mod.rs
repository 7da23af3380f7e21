//! Pure types that every room shares: no I/O, no clock, no tokio.

mod asker;
mod collection;
mod commits;
mod conflict;
mod container_defaults;
mod coordination;
mod diff;
mod event;
mod git_environment;
mod id;
mod network;
mod operation;
mod problem;
mod project;
mod project_view;
mod published;
mod quantity;
mod record;
mod registration;
mod resting;
pub(crate) mod schema;
mod shared;
mod snapshot;
mod spec;
mod status;
mod storage;
mod submodule;
mod target;
mod uses;
mod view;

pub use asker::{AgentName, Asker, Hold, Priority};
pub use collection::{
    AgentStateView, Collectable, CollectableKind, CollectionReason, CollectionView,
};
pub use commits::{CommitSettings, Identity};
pub use conflict::{Conflict, OperationClass, Severity};
pub use container_defaults::ContainerDefaults;
pub use coordination::{
    CoordinationView, Lease, LockView, MAX_DESCRIPTION, OperationRequest, OperationUpdate, Outcome,
    Totals,
};
pub use diff::{Change, ChangedFile, DiffFormat, DiffView, LeftOut, LeftOutHeader, name_as_text};
pub use event::{Event, EventBody, EventQuery, StepOutcome};
pub use git_environment::GitEnvironment;
pub use id::{IdError, TaskspaceId};
pub(crate) use network::joined;
pub use network::{
    AddressRange, Blocked, Destination, DomainName, GroupName, HOST_ADDRESSES, HOST_ALIAS,
    HOST_NAME, HostServiceView, NamePattern, NetworkChange, NetworkPolicy, NetworkReplacement,
    NetworkRequest, NetworkState, NetworkView, OBSERVE_SECONDS, OBSERVE_SECONDS_MOST, PolicyName,
    PortRange, PortSet, Protocol, ServiceName,
};
pub use operation::{Operation, OperationKind, OperationState};
pub use problem::{Code, Problem};
pub use project::{BaseRecord, BaseState, CacheRecord, ProjectRecord};
pub use project_view::{BaseView, CacheView, ProjectView, RefreshRequest};
pub use published::{MAX_PUBLISHED, PortView, PublishRequest, PublishedPort};
pub use quantity::Quantity;
pub use record::{
    AgentStateRecord, CoordinationRecord, Document, Ending, FORMAT_VERSION, Forked, KeptJob,
    KeptOperation, Ports, Record, Recorded, Underway,
};
pub use registration::{
    ContainerState, MAX_DEPENDENCIES, MAX_PORTS, MAX_REGISTERED, RegisterRequest,
    RegisteredContainer, Registration, Source,
};
pub use resting::RestingPorts;
pub use shared::Shared;
pub use snapshot::{
    MAX_NOTE, RestoreRequest, Restoring, SnapshotName, SnapshotRecord, SnapshotRequest,
    SnapshotView,
};
pub use spec::{
    AgentSpec, CreateRequest, ForkRequest, ImageRef, ProjectSpec, ProjectType, Role, Spec,
};
pub use status::{Desired, Status, TRANSITIONS, TransitionError};
pub use storage::{
    LimitSource, OnFull, ResizeRequest, Storage, StorageAction, StorageHold, StorageLevel,
    StorageUsage,
};
pub(crate) use submodule::shell_word;
pub use submodule::{SubmoduleSpec, base_commit, base_key};
pub use target::{ContainerName, Target};
pub use uses::{Standing, Uses};
pub use view::{
    BuildRequest, ContainerView, DeleteOptions, DetailView, ExecRequest, HealthView, ImageState,
    ImageView, LivenessView, OperationOrPlan, PlanView, PodmanView, SettingsView, SshHealth,
    StatusView, StepView, UnansweredView, Usage, VersionView, VolumeView,
};
