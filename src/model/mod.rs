//! Pure types that every room shares: no I/O, no clock, no tokio.

mod coordination;
mod event;
mod id;
mod operation;
mod problem;
mod record;
mod registration;
mod shared;
mod spec;
mod status;
mod view;

pub use coordination::{
    AgentName, Asker, Conflict, ContainerName, ContainerState, CoordinationView, Hold, Lease,
    LockView, MAX_DESCRIPTION, OperationClass, OperationRequest, OperationUpdate, Outcome,
    Priority, RegisteredContainer, Registration, Severity, Source, Target, Totals,
};
pub use event::{Event, EventBody, EventQuery, StepOutcome};
pub use id::{IdError, TaskspaceId};
pub use operation::{Operation, OperationKind, OperationState};
pub use problem::{Code, Problem};
pub use record::{
    AgentStateRecord, BaseRecord, BaseState, CoordinationRecord, Document, Ending, FORMAT_VERSION,
    KeptJob, KeptOperation, Ports, ProjectRecord, Record, Recorded, Underway,
};
pub use registration::{MAX_DEPENDENCIES, MAX_PORTS, MAX_REGISTERED, RegisterRequest};
pub use shared::Shared;
pub use spec::{
    AgentSpec, CreateRequest, GitEnvironment, ImageRef, ProjectSpec, ProjectType, Role, Spec,
};
pub use status::{Desired, Status, TRANSITIONS, TransitionError};
pub use view::{
    BuildRequest, ContainerView, DeleteOptions, DetailView, ExecRequest, HealthView, ImageState,
    ImageView, OperationOrPlan, PlanView, PodmanView, SshHealth, StatusView, StepView, Usage,
    VersionView, VolumeView,
};
