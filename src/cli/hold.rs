//! Holding an operation: from when it is asked for until it is let go, through restarts of the
//! service.
//!
//! ```text
//! asked for → waits → begun → ended
//!               ↓       ↓
//!              over    lost
//! ```
//!
//! The open stream of its events holds it. When the stream ends, the service has ended: then the
//! lease holds it, and is renewed until there is a stream again. Nobody else can have got the lock
//! meanwhile, since the next run of the service waits for the lease too.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use tokio::time::{Instant, sleep, timeout_at};

use super::context::Context;
use super::output::Stop;
use super::progress::waits;
use crate::client;
use crate::model::{
    Code, Conflict, Event, EventBody, Hold, Operation, OperationRequest, OperationState,
    OperationUpdate, Outcome, Problem,
};

/// How long to wait before a service that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// For how long nobody else gets what is held by who has fallen silent, where neither the request
/// nor the service has said.
const LEASE: Duration = Duration::from_secs(30);

/// For how long a service that ends finishes what it does; meanwhile it takes no more calls.
const LONGEST_END: Duration = Duration::from_secs(75);

type Events = Pin<Box<dyn Stream<Item = client::Result<Event>> + Send>>;

/// A question for another stream of events.
type Asked<'a> = Pin<Box<dyn Future<Output = Result<Events, Stop>> + 'a>>;

/// An operation that is held, or waits to be.
pub(super) struct Holding<'a> {
    context: &'a Context,
    number: u64,
    /// What it is, for messages: `restart of api`.
    name: String,
    token: Option<u64>,
    lease: Duration,
    /// The event that came last.
    seen: Option<u64>,
    events: Events,
    /// Kept until it is answered, whoever waits for that: the service may have answered already, and who
    /// then closes the connection has gone away.
    asked: Option<Asked<'a>>,
}

/// How far it has got.
#[derive(Debug, PartialEq)]
pub(super) enum Progress {
    /// It waits, for what is said here.
    Waits(String),
    /// It has begun.
    Begins {
        /// By what it is known.
        hold: Hold,
        /// Beside what it runs although that may disturb it.
        cautions: Vec<Conflict>,
    },
}

/// What came of asking the service to go on holding it.
#[derive(Debug, PartialEq)]
enum Renewed {
    /// It is held.
    Held(Box<Operation>),
    /// It is no longer, for this reason.
    Lost(Box<Problem>),
    /// It has begun meanwhile, so that its token has to be learned first.
    Begun,
    /// Nobody answers.
    Silence,
}

impl<'a> Holding<'a> {
    /// Asks for it; a problem when it is refused.
    pub(super) async fn ask(
        context: &'a Context,
        request: &OperationRequest,
    ) -> Result<Self, Stop> {
        let asked = context.call(async |client| client.hold_operation(request).await).await?;
        let (number, events) = asked;
        Ok(Self {
            context,
            number,
            name: format!("{} of {}", request.kind, request.target),
            token: None,
            lease: request.lease_seconds.map_or(LEASE, Duration::from_secs),
            seen: None,
            events: Box::pin(events.fuse()),
            asked: None,
        })
    }

    /// Returns what it is: `operation 7, restart of api`.
    pub(super) fn name(&self) -> String {
        format!("operation {}, {}", self.number, self.name)
    }

    /// Returns how far it has got, when that changes; a problem when it is over, or lost.
    pub(super) async fn progress(&mut self) -> Result<Progress, Problem> {
        loop {
            let body = match self.next().await {
                Some(event) => event.body,
                // What was said meanwhile was said to nobody.
                None => {
                    let operation = self.take_up().await?;
                    match self.progress_of(operation) {
                        Some(progress) => return Ok(progress),
                        None => continue,
                    }
                }
            };
            match body {
                EventBody::OperationQueued { behind, full } => {
                    return Ok(Progress::Waits(waits(&behind, full.as_ref())));
                }
                EventBody::OperationAdmitted { token, cautions } => {
                    return Ok(self.begins(token, cautions));
                }
                EventBody::OperationFinished { state, problem } => {
                    return Err(over(&self.name(), state, problem));
                }
                _ => {}
            }
        }
    }

    fn progress_of(&mut self, operation: Operation) -> Option<Progress> {
        let Operation { token, cautions, behind, full, .. } = operation;
        match token {
            Some(token) => Some(self.begins(token, cautions)),
            None if behind.is_empty() && full.is_none() => None,
            None => Some(Progress::Waits(waits(&behind, full.as_ref()))),
        }
    }

    fn begins(&mut self, token: u64, cautions: Vec<Conflict>) -> Progress {
        self.token = Some(token);
        Progress::Begins { hold: Hold { operation: self.number, token }, cautions }
    }

    /// Holds it, once it has begun; returns why it is no longer held.
    pub(super) async fn lost(&mut self) -> Problem {
        loop {
            match self.next().await {
                Some(Event { body: EventBody::OperationFinished { state, problem }, .. }) => {
                    return over(&self.name(), state, problem);
                }
                Some(_) => {}
                None => {
                    if let Err(problem) = self.take_up().await {
                        return problem;
                    }
                }
            }
        }
    }

    /// Lets it go, and says how what was done under it ended; a problem when it was lost before.
    pub(super) async fn end(
        &mut self,
        outcome: Outcome,
        reason: Option<String>,
    ) -> Result<(), Problem> {
        let update = OperationUpdate { token: self.token, outcome: Some(outcome), reason };
        // A service that is about to end does not answer, and its next run begins with a whole lease.
        let until = Instant::now() + self.lease + LONGEST_END;
        loop {
            match self.update(&update, until).await {
                Renewed::Held(_) => return Ok(()),
                // An answer may have got lost on its way, and what it said be true.
                Renewed::Lost(_) if self.has_ended(outcome).await => return Ok(()),
                Renewed::Lost(problem) => return Err(*problem),
                Renewed::Begun | Renewed::Silence if Instant::now() >= until => {
                    return Err(self.silence());
                }
                Renewed::Begun | Renewed::Silence => sleep(PAUSE).await,
            }
        }
    }

    /// Gives up waiting for it.
    pub(super) async fn cancel(self) {
        let number = self.number;
        let cancelled = self.context.call(async |client| client.cancel_operation(number).await);
        // Where nobody hears it, it ends with its stream, or its lease.
        if let Ok(Err(Stop::Problem(problem))) =
            timeout_at(Instant::now() + self.lease, cancelled).await
        {
            tracing::debug!("could not cancel operation {number}: {problem}");
        }
    }

    /// Returns the next event; none when the stream has ended. Cancel-safe.
    async fn next(&mut self) -> Option<Event> {
        match self.events.next().await {
            Some(Ok(event)) => {
                self.seen = Some(event.id);
                Some(event)
            }
            Some(Err(error)) => {
                tracing::debug!("the events broke off: {error}");
                None
            }
            None => None,
        }
    }

    /// Renews it until there is a stream again, and returns how it is.
    async fn take_up(&mut self) -> Result<Operation, Problem> {
        let mut until = Instant::now() + self.lease;
        loop {
            let renewal = OperationUpdate { token: self.token, ..OperationUpdate::default() };
            match self.update(&renewal, until).await {
                Renewed::Held(operation) if operation.state.is_over() => {
                    return Err(over(&self.name(), operation.state, operation.problem));
                }
                Renewed::Held(operation) => {
                    if let Some(lease) = &operation.lease {
                        self.lease = Duration::from_secs(lease.seconds);
                    }
                    self.token = self.token.or(operation.token);
                    until = Instant::now() + self.lease;
                    if self.hold_again(until).await {
                        return Ok(*operation);
                    }
                }
                Renewed::Begun => match self.look(until).await {
                    Some(known) if known.state.is_over() => {
                        return Err(over(&self.name(), known.state, known.problem));
                    }
                    known => self.token = known.and_then(|operation| operation.token),
                },
                Renewed::Lost(problem) => return Err(*problem),
                Renewed::Silence => {}
            }
            if Instant::now() >= until {
                return Err(self.silence());
            }
            sleep(PAUSE).await;
        }
    }

    async fn hold_again(&mut self, until: Instant) -> bool {
        let Self { context, number, token, seen, .. } = *self;
        let asked = self.asked.get_or_insert_with(|| {
            Box::pin(async move {
                let held =
                    context.call(async |client| client.hold_again(number, token, seen).await);
                Ok(Box::pin(held.await?.fuse()) as Events)
            })
        });
        let answer = timeout_at(until, asked).await;
        self.asked = None;
        match answer {
            Ok(Ok(events)) => {
                self.events = events;
                true
            }
            // The next renewal tells whether it is lost.
            Ok(Err(Stop::Problem(problem))) => {
                tracing::debug!("could not hold operation {number} again: {problem}");
                false
            }
            Ok(Err(Stop::BrokenPipe)) | Err(_) => false,
        }
    }

    async fn update(&self, update: &OperationUpdate, until: Instant) -> Renewed {
        let number = self.number;
        let call = self.context.call(async |client| client.update_operation(number, update).await);
        match timeout_at(until, call).await {
            Ok(answer) => renewed(answer, self.token.is_some()),
            Err(_) => Renewed::Silence,
        }
    }

    async fn look(&self, until: Instant) -> Option<Operation> {
        let number = self.number;
        let call = self.context.call(async |client| client.operation(number).await);
        timeout_at(until, call).await.ok()?.ok()
    }

    async fn has_ended(&self, outcome: Outcome) -> bool {
        let wanted = match outcome {
            Outcome::Done => OperationState::Done,
            Outcome::Failed => OperationState::Failed,
        };
        let known = self.look(Instant::now() + self.lease).await;
        known.is_some_and(|operation| operation.state == wanted)
    }

    fn silence(&self) -> Problem {
        let detail = format!(
            "{}: the service has not answered for {}s, and may give the lock to another",
            self.name(),
            self.lease.as_secs()
        );
        Problem::new(Code::LeaseLost, detail).hint("its log tells why it does not answer")
    }
}

/// Tells what an answer to a renewal means; without a token it may be refused only because it has
/// begun meanwhile.
fn renewed(answer: Result<Operation, Stop>, has_token: bool) -> Renewed {
    match answer {
        Ok(operation) => Renewed::Held(Box::new(operation)),
        Err(Stop::Problem(problem)) => match problem.code {
            Code::ServiceUnavailable => Renewed::Silence,
            Code::LeaseLost if !has_token => Renewed::Begun,
            _ => Renewed::Lost(problem),
        },
        Err(Stop::BrokenPipe) => Renewed::Silence,
    }
}

/// Says why an operation that was to go on is over.
fn over(name: &str, state: OperationState, problem: Option<Problem>) -> Problem {
    problem.unwrap_or_else(|| Problem::new(Code::LeaseLost, format!("{name}: {state}")))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use jiff::Timestamp;

    use super::*;
    use crate::cli::output::Output;
    use crate::config::Paths;
    use crate::model::OperationKind;
    use crate::uds::fake_podman::{Answer, FakePodman};

    #[test]
    fn only_a_refusal_is_a_loss() {
        let operation = Operation::new(7, OperationKind::Config, Timestamp::UNIX_EPOCH);
        let refused = |code| Err(Stop::from(Problem::new(code, "no")));
        let lost = |code| Renewed::Lost(Box::new(Problem::new(code, "no")));
        let cases = [
            (Ok(operation.clone()), true, Renewed::Held(Box::new(operation))),
            (refused(Code::ServiceUnavailable), true, Renewed::Silence),
            (refused(Code::LeaseLost), true, lost(Code::LeaseLost)),
            (refused(Code::LeaseLost), false, Renewed::Begun),
            (refused(Code::NotFound), false, lost(Code::NotFound)),
        ];
        for (answer, has_token, expected) in cases {
            assert_eq!(renewed(answer, has_token), expected);
        }
    }

    #[test]
    fn an_end_without_a_reason_names_its_state() {
        let problem = over("operation 7, config of api", OperationState::Cancelled, None);
        assert_eq!(problem.detail, "operation 7, config of api: cancelled");
        let problem = Problem::new(Code::OperationTimeout, "it took too long");
        assert_eq!(over("x", OperationState::TimedOut, Some(problem.clone())), problem);
    }

    #[tokio::test]
    async fn who_ends_it_while_it_is_taken_up_has_not_gone_away() {
        let mut held = Operation::new(7, OperationKind::Config, Timestamp::UNIX_EPOCH);
        held.token = Some(3);
        let answer = serde_json::to_value(&held).unwrap();
        let service = FakePodman::always(move |seen| match seen.method.as_str() {
            "GET" => Answer::Silence,
            _ => Answer::json(200, answer.clone()),
        });
        let socket = service.socket().as_os_str().to_owned();
        let places = |name: &str| match name {
            "TASKSPACE_SOCKET" => Some(socket.clone()),
            "HOME" => Some("/none".into()),
            _ => None,
        };
        let paths = Paths::new(places, 0).unwrap();
        let context = Context::new(paths, Output::new(true), true).unwrap();
        let mut holding = Holding {
            context: &context,
            number: 7,
            name: "config of api".to_owned(),
            token: Some(3),
            lease: LEASE,
            seen: None,
            events: Box::pin(stream::empty()),
            asked: None,
        };
        let asks = async {
            while !service.requests().iter().any(|seen| seen.path.contains("/hold")) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            lost = holding.lost() => panic!("{lost}"),
            () = asks => {}
        }
        holding.end(Outcome::Done, None).await.unwrap();
        // The one by which it is held, and the one by which it was ended.
        assert_eq!((service.connections(), service.open()), (2, 2));
    }
}
