//! The events, as server-sent events.

use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;

use super::app::App;
use super::extract::Parameters;
use super::problem::{Answer, Failure};
use crate::engine::Engine;
use crate::model::{Event, EventBody, Problem, TaskspaceId};

/// How often a silent stream says that it is alive, so that a client's going is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// For how long the stream of an operation that is over waits for its last event. Only where
/// that event has fallen out of the kept ones does it have to.
const LAST_EVENT_GRACE: Duration = Duration::from_millis(500);

/// The header by which a client resumes (WHATWG HTML, 9.2.4).
const LAST_EVENT_ID: &str = "last-event-id";

/// Which events.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventParameters {
    /// Those kept with a greater id, then new ones; only new ones when it is not given (with
    /// `operation`: all of them). The header `Last-Event-ID` goes before.
    #[serde(default)]
    after: Option<u64>,
    /// Only those of this operation; the stream ends with its `operation-finished`.
    #[serde(default)]
    operation: Option<u64>,
    /// Only those of this taskspace.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    taskspace: Option<TaskspaceId>,
}

impl EventParameters {
    fn wants(&self, event: &Event) -> bool {
        self.operation.is_none_or(|wanted| event.operation == Some(wanted))
            && self.taskspace.as_ref().is_none_or(|wanted| event.taskspace.as_ref() == Some(wanted))
    }

    /// From where on; an operation is told whole.
    fn after(&self) -> Option<u64> {
        self.after.or(self.operation.map(|_| 0))
    }
}

/// Watch what happens
#[utoipa::path(get, path = "/v1/events", tag = "system",
    params(EventParameters,
        ("Last-Event-ID" = Option<u64>, Header, description = "Resume after this event")),
    responses(
        (status = 200, description = "Server-sent events; the data of each is an Event",
            body = Event, content_type = "text/event-stream"),
        (status = 404, description = "No such operation", body = Problem)))]
pub(crate) async fn events(
    State(app): State<App>,
    headers: HeaderMap,
    Parameters(mut parameters): Parameters<EventParameters>,
) -> Answer<Sse<impl Stream<Item = Result<SseEvent, axum::Error>> + use<>>> {
    if let Some(id) = headers.get(LAST_EVENT_ID) {
        let id = id.to_str().ok().and_then(|id| id.parse().ok());
        parameters.after =
            Some(id.ok_or_else(|| Failure::bad_request("Last-Event-ID is a number"))?);
    }
    let engine = app.engine()?.clone();
    if let Some(number) = parameters.operation {
        engine.operation(number)?;
    }
    // The stream of an operation ends by itself, with the operation, and must tell its end.
    let endless = parameters.operation.is_none();
    let closing = app.closing.clone();
    let closed = async move {
        if endless { closing.cancelled().await } else { std::future::pending().await }
    };
    let stream = wanted(engine, parameters).take_until(closed).map(|event| encode(&event));
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn wanted(engine: Engine, parameters: EventParameters) -> impl Stream<Item = Event> + Send {
    let operation = parameters.operation;
    let stream = engine.events(parameters.after());
    let stream = stream.filter(move |event| std::future::ready(parameters.wants(event)));
    let over = async move {
        match operation {
            Some(number) => {
                // Unknown by now means over.
                let _over = engine.wait(number).await;
                tokio::time::sleep(LAST_EVENT_GRACE).await;
            }
            None => std::future::pending().await,
        }
    };
    let stream = Box::pin(stream.take_until(over));
    futures_util::stream::unfold(Some(stream), move |stream| async move {
        let mut stream = stream?;
        let event = stream.next().await?;
        let last = operation.is_some() && matches!(event.body, EventBody::OperationFinished { .. });
        Some((event, (!last).then_some(stream)))
    })
}

fn encode(event: &Event) -> Result<SseEvent, axum::Error> {
    SseEvent::default().id(event.id.to_string()).event(event.body.name()).json_data(event)
}
