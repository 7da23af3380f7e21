//! What agents can ask for: to act on something, to go on, and to let go.

use std::time::Duration;

use jiff::Timestamp;

use super::super::Engine;
use crate::coordinator::{Change, Coordinator, Holder, Moment};
use crate::model::{
    Code, CoordinationView, Hold, LockView, MAX_DESCRIPTION, Operation, OperationRequest,
    OperationUpdate, Outcome, Problem, Target, TaskspaceId,
};

/// The longest time that an operation may be given.
const LONGEST: u64 = 24 * 60 * 60;

/// The longest time that a holder may be silent.
const LONGEST_LEASE: u64 = 60 * 60;

impl Engine {
    /// Asks for an operation in the name of an agent; it is held as long as the returned value lives,
    /// and then for as long as its lease says.
    ///
    /// # Errors
    /// When the request is wrong, there is no such target, or the operation is refused.
    pub async fn request_operation(
        &self,
        request: OperationRequest,
        lock: Option<Hold>,
    ) -> Result<(Operation, Held), Problem> {
        let inner = &self.inner;
        let rules = &inner.coordination.rules;
        check(&request)?;
        self.check_target(&request.target).await?;
        // What cannot be kept must not use up what is set aside for what can.
        inner.keeps().await?;
        let number = inner.operations.next_number();
        let mut operation = Operation::new(number, request.kind.into(), Timestamp::now());
        operation.taskspace = request.target.taskspace().cloned();
        operation.target = Some(request.target);
        operation.agent = request.agent;
        operation.priority = request.priority;
        operation.description = request.description;
        operation.estimated_seconds = request.estimated_seconds;
        let timeout = request.timeout_seconds.unwrap_or(rules.limits.timeout.as_secs());
        operation.timeout_seconds = Some(timeout);
        let lease = request.lease_seconds.map_or(rules.limits.lease, Duration::from_secs);
        let connection = inner.coordinate(|coordinator, now| {
            let mut changes = coordinator.request(operation, Holder::Lease(lease), lock, now);
            let token = coordinator.current(number).and_then(|operation| operation.token);
            let connected = coordinator.connect(number, token, now);
            let (connection, connects) = connected.unwrap_or_default();
            changes.extend(connects);
            (connection, changes)
        });
        let held = Held { engine: self.clone(), number, connection, stays: false };
        inner.accepted(number)?;
        // Who is told that it holds something must hold it after a crash, too.
        self.kept(number).await?;
        Ok((self.operation(number)?, held))
    }

    async fn check_target(&self, target: &Target) -> Result<(), Problem> {
        match target {
            Target::Taskspace(id) | Target::Member(id, _) => self.inner.record(id).await.map(drop),
            Target::Container(name) => {
                // One may be known by its labels only.
                self.inner.know_containers().await;
                if self.inner.containers.knows(name) {
                    return Ok(());
                }
                let problem = Problem::new(
                    Code::NotFound,
                    format!("there is no container '{name}' registered"),
                );
                let id = name.as_str().parse::<TaskspaceId>();
                let is_taskspace = match id {
                    Ok(id) => self.inner.record(&id).await.is_ok(),
                    Err(_) => false,
                };
                Err(problem.hint(if is_taskspace {
                    format!("the taskspace is 'taskspace:{name}'")
                } else {
                    "`taskspace containers` lists them, `taskspace containers register` adds one"
                        .to_owned()
                }))
            }
        }
    }

    /// Waits until an operation has begun, or is over.
    ///
    /// # Errors
    /// When it is not known (any more).
    pub async fn wait_begun(&self, number: u64) -> Result<Operation, Problem> {
        let begun = self.inner.operations.wait_begun(number).await?;
        self.kept(number).await?;
        Ok(begun)
    }

    /// Waits until it would be held after a crash, too; what cannot be is over.
    ///
    /// # Errors
    /// When the registry cannot be written.
    pub async fn kept(&self, number: u64) -> Result<(), Problem> {
        let inner = &self.inner;
        let Err(problem) = inner.coordination.is_kept().await else { return Ok(()) };
        let reason = problem.clone();
        inner.coordinate(|coordinator, now| ((), coordinator.finish(number, Err(reason), now)));
        Err(problem)
    }

    /// Renews or ends what an agent holds.
    ///
    /// # Errors
    /// [`Code::LeaseLost`] when it does not hold it (any more).
    pub async fn update_operation(
        &self,
        number: u64,
        update: OperationUpdate,
    ) -> Result<Operation, Problem> {
        self.check_number(number)?;
        let OperationUpdate { token, outcome, reason } = update;
        check_text(reason.as_deref(), "reason")?;
        let result = match outcome {
            None => {
                let renewed = |operation: &Change| match operation {
                    Change::Renewed(operation) => Some(operation.clone()),
                    _ => None,
                };
                return self.change(renewed, |it, now| it.renew(number, token, now));
            }
            Some(Outcome::Done) => Ok(()),
            Some(Outcome::Failed) => {
                let reason = reason.unwrap_or_else(|| "its holder says so".to_owned());
                Err(Problem::new(Code::OperationFailed, reason))
            }
        };
        let ended =
            self.change(ended(number), |it, now| it.complete(number, token, result, now))?;
        self.inner.coordination.is_kept().await.map(|()| ended)
    }

    /// Cancels an operation that waits, or that an agent holds.
    ///
    /// # Errors
    /// When it is over, or one of the service's own that has begun.
    pub async fn cancel_operation(&self, number: u64) -> Result<Operation, Problem> {
        self.operation(number)?;
        let ended = self.change(ended(number), |it, now| it.cancel(number, now))?;
        self.inner.coordination.is_kept().await.map(|()| ended)
    }

    /// Has the coordinator do something, and returns the operation of the change that is looked for.
    fn change(
        &self,
        wanted: impl Fn(&Change) -> Option<Operation>,
        act: impl FnOnce(&mut Coordinator, Moment) -> Result<Vec<Change>, Problem>,
    ) -> Result<Operation, Problem> {
        self.inner.coordinate(|coordinator, now| match act(coordinator, now) {
            Ok(changes) => {
                let found = changes.iter().find_map(wanted);
                let nothing = || Problem::new(Code::Internal, "nothing has changed");
                (found.ok_or_else(nothing), changes)
            }
            Err(problem) => (Err(problem), Vec::new()),
        })
    }

    /// One that is long over is not known any more: who thinks that it is held is told that it is not.
    fn check_number(&self, number: u64) -> Result<(), Problem> {
        if self.inner.operations.was_given(number) {
            return Ok(());
        }
        self.operation(number).map(drop)
    }

    /// Holds an operation by another connection, after the one that asked for it is gone.
    ///
    /// # Errors
    /// [`Code::LeaseLost`] when it is not held (any more) with this token.
    pub fn hold_again(&self, number: u64, token: Option<u64>) -> Result<Held, Problem> {
        self.check_number(number)?;
        let connection = self.inner.coordinate(|coordinator, now| {
            match coordinator.connect(number, token, now) {
                Ok((connection, changes)) => (Ok(connection), changes),
                Err(problem) => (Err(problem), Vec::new()),
            }
        })?;
        Ok(Held { engine: self.clone(), number, connection, stays: false })
    }

    /// Returns what is held.
    pub fn locks(&self) -> Vec<LockView> {
        self.inner.coordination.lock().coordinator.locks()
    }

    /// Tells how the coordination goes.
    pub(in crate::engine) fn coordination(&self) -> CoordinationView {
        let now = self.inner.coordination.now();
        let mut view = self.inner.coordination.lock().coordinator.view(now);
        view.containers = self.inner.containers.count();
        view
    }
}

/// The connection of whoever holds an operation. When it is dropped, the holder has gone away, and
/// the operation is over; unless the service ends, or the holder is to renew its lease from now on.
#[must_use = "the operation is over when it is dropped"]
pub struct Held {
    engine: Engine,
    number: u64,
    connection: u64,
    stays: bool,
}

impl Held {
    /// Returns the engine that coordinates it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the operation's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// From now on the lease counts.
    pub fn release(mut self) {
        self.stays = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Self { number, connection, .. } = *self;
        let inner = &self.engine.inner;
        let stays = self.stays || inner.closing.is_cancelled();
        inner.coordinate(|coordinator, now| {
            let changes = match stays {
                true => coordinator.disconnect(number, connection, now),
                false => coordinator.leave(number, connection, now),
            };
            ((), changes)
        });
    }
}

/// Finds the end of an operation.
fn ended(number: u64) -> impl Fn(&Change) -> Option<Operation> {
    move |change| match change {
        Change::Ended { operation, .. } if operation.id == number => Some(operation.clone()),
        _ => None,
    }
}

fn check(request: &OperationRequest) -> Result<(), Problem> {
    check_text(request.description.as_deref(), "description")?;
    let times = [
        ("timeout_seconds", request.timeout_seconds, LONGEST),
        ("estimated_seconds", request.estimated_seconds, LONGEST),
        ("lease_seconds", request.lease_seconds, LONGEST_LEASE),
    ];
    for (name, given, longest) in times {
        if given.is_some_and(|given| !(1..=longest).contains(&given)) {
            let detail = format!("{name} must be between 1 and {longest}");
            return Err(Problem::new(Code::MessageFormatInvalid, detail));
        }
    }
    Ok(())
}

fn check_text(text: Option<&str>, name: &str) -> Result<(), Problem> {
    if text.is_some_and(|text| text.len() > MAX_DESCRIPTION) {
        let detail = format!("the {name} is longer than {MAX_DESCRIPTION} bytes");
        return Err(Problem::new(Code::MessageFormatInvalid, detail));
    }
    Ok(())
}
