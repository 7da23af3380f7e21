//! The events, as server-sent events.

use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};

use super::app::App;
use super::extract::Parameters;
use super::problem::{Answer, Failure};
use crate::engine::{Engine, Held};
use crate::model::{Event, EventBody, EventQuery, Problem};

/// How often a silent stream says that it is alive, so that a client's going is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// For how long the stream of an operation that is over waits for its last event. Only where
/// that event has fallen out of the kept ones does it have to.
const LAST_EVENT_GRACE: Duration = Duration::from_millis(500);

/// The header by which a client resumes (WHATWG HTML, 9.2.4).
const LAST_EVENT_ID: &str = "last-event-id";

/// A server-sent event (WHATWG HTML, 9.2).
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what the stream is made of")]
pub(crate) struct ServerSentEvent {
    /// The number of the event.
    id: String,
    /// The `type` of its body.
    event: String,
    /// The event: an `Event` as JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// From where a stream is resumed.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a header")]
pub(crate) struct Resumption {
    /// Resume after this event.
    #[param(rename = "Last-Event-ID", nullable = false)]
    last_event_id: Option<u64>,
}

/// Watch what happens
#[utoipa::path(get, path = "/v1/events", tag = "system",
    operation_id = "watch_events",
    params(EventQuery, Resumption),
    responses(
        (status = 200, description = "Server-sent events",
            body = ServerSentEvent, content_type = "text/event-stream"),
        (status = 404, description = "No such operation", body = Problem)))]
pub(crate) async fn events(
    State(app): State<App>,
    headers: HeaderMap,
    Parameters(mut query): Parameters<EventQuery>,
) -> Answer<Sse<impl Stream<Item = Result<SseEvent, axum::Error>> + use<>>> {
    query.after = last_seen(&headers)?.or(query.after);
    let engine = app.engine()?.clone();
    if let Some(number) = query.operation {
        engine.operation(number)?;
    }
    // The stream of an operation ends by itself, with the operation, and must tell its end.
    let endless = query.operation.is_none();
    let closing = app.closing.clone();
    let closed = async move {
        if endless { closing.cancelled().await } else { std::future::pending().await }
    };
    let stream = if query.follow {
        coming(engine, query).left_stream()
    } else {
        let mut kept = engine.kept_events(query.after().unwrap_or_default());
        kept.retain(|event| query.wants(event));
        stream::iter(kept).right_stream()
    };
    let stream = stream.take_until(closed).map(|event| encode(&event));
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Returns after which event a client resumes.
pub(crate) fn last_seen(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let id = id.to_str().ok().and_then(|id| id.parse().ok());
    id.map(Some).ok_or_else(|| Failure::bad_request("Last-Event-ID is a number"))
}

/// Returns the events of an operation, which is held for as long as they are read.
pub(crate) fn of_held(
    app: &App,
    held: Held,
    query: EventQuery,
) -> Sse<impl Stream<Item = Result<SseEvent, axum::Error>> + use<>> {
    let (engine, number) = (held.engine().clone(), held.number());
    let told = engine.clone();
    let stream = coming(engine, query).then(move |event| {
        let engine = told.clone();
        async move {
            // Who is told that it holds something must hold it after a crash, too; what cannot be kept
            // is over, as the next event says.
            if matches!(event.body, EventBody::OperationAdmitted { .. }) {
                engine.kept(number).await.ok()?;
            }
            Some(event)
        }
    });
    let stream = stream.filter_map(std::future::ready);
    let closing = app.closing.clone();
    let stream = stream.take_until(closing.cancelled_owned()).map(move |event| {
        // Gone with the stream.
        let _held = &held;
        encode(&event)
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// Returns the kept events that are asked for, then those to come.
fn coming(engine: Engine, query: EventQuery) -> impl Stream<Item = Event> + Send {
    let operation = query.operation;
    let stream = engine.events(query.after());
    let stream = stream.filter(move |event| std::future::ready(query.wants(event)));
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
    stream::unfold(Some(stream), move |stream| async move {
        let mut stream = stream?;
        let event = stream.next().await?;
        let last = operation.is_some() && matches!(event.body, EventBody::OperationFinished { .. });
        Some((event, (!last).then_some(stream)))
    })
}

fn encode(event: &Event) -> Result<SseEvent, axum::Error> {
    SseEvent::default().id(event.id.to_string()).event(event.body.name()).json_data(event)
}
