//! Asking to act on something, holding it, and letting go.

use futures_util::Stream;
use hyper::body::{Bytes, Incoming};
use hyper::header::LOCATION;
use hyper::{Method, Response};

use super::{Client, ClientError, NOTHING, Result, encode, sse};
use crate::model::{Event, LockView, Operation, OperationRequest, OperationUpdate};
use crate::uds;

/// Where operations are.
const OPERATIONS: &str = "/v1/operations";

impl Client {
    /// Asks for an operation, which then has to be renewed.
    pub async fn request_operation(&self, request: &OperationRequest) -> Result<Operation> {
        self.call(Method::POST, OPERATIONS, Some(request)).await
    }

    /// Asks for an operation and holds it for as long as the events that come with its number are
    /// kept; without them it is over at once.
    pub async fn hold_operation(
        &self,
        request: &OperationRequest,
    ) -> Result<(u64, impl Stream<Item = Result<Event>> + Send + Unpin + use<>)> {
        let path = format!("{OPERATIONS}?hold=true");
        let body = encode(&path, request)?;
        let said = self.asker.headers();
        let mut headers = vec![("content-type", "application/json"), EVENTS];
        headers.extend(said.iter().map(|(name, value)| (*name, value.as_str())));
        let response = self.http.request(Method::POST, &path, &headers, body).await?;
        let response = self.successful(&path, response).await?;
        let number = located(&path, &response)?;
        Ok((number, sse::events(uds::lines(response.into_body(), path))))
    }

    /// Holds an operation again whose events have ended with the service that sent them: with its
    /// token once it has one, and from after the event that was `seen` last.
    pub async fn hold_again(
        &self,
        number: u64,
        token: Option<u64>,
        seen: Option<u64>,
    ) -> Result<impl Stream<Item = Result<Event>> + Send + Unpin + use<>> {
        let token = token.map(|token| format!("?token={token}")).unwrap_or_default();
        let path = format!("{OPERATIONS}/{number}/hold{token}");
        let seen = seen.map(|id| id.to_string());
        let mut headers = vec![EVENTS];
        headers.extend(seen.as_deref().map(|id| ("last-event-id", id)));
        let response = self.http.request(Method::GET, &path, &headers, Bytes::new()).await?;
        let response = self.successful(&path, response).await?;
        Ok(sse::events(uds::lines(response.into_body(), path)))
    }

    /// Renews or ends an operation.
    pub async fn update_operation(
        &self,
        number: u64,
        update: &OperationUpdate,
    ) -> Result<Operation> {
        self.call(Method::PUT, &format!("{OPERATIONS}/{number}"), Some(update)).await
    }

    /// Cancels an operation that waits, or that an agent holds.
    pub async fn cancel_operation(&self, number: u64) -> Result<Operation> {
        self.call(Method::DELETE, &format!("{OPERATIONS}/{number}"), NOTHING).await
    }

    /// Lists what is held.
    pub async fn locks(&self) -> Result<Vec<LockView>> {
        self.get("/v1/locks").await
    }
}

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

/// Returns the number of the operation that an answer is about.
fn located(path: &str, response: &Response<Incoming>) -> Result<u64> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let number = location.and_then(number);
    number.ok_or_else(|| ClientError::NotUnderstood {
        call: path.to_owned(),
        reason: format!("the place of the operation is {location:?}"),
    })
}

fn number(location: &str) -> Option<u64> {
    location.strip_prefix(OPERATIONS)?.strip_prefix('/')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use serde_json::json;

    use super::*;
    use crate::model::Asker;
    use crate::model::{OperationClass, OperationKind, Outcome, Priority};
    use crate::uds::fake_podman::{Answer, FakePodman, Seen};

    fn request() -> OperationRequest {
        OperationRequest {
            kind: OperationClass::Config,
            target: "api".parse().unwrap(),
            agent: "me".parse().unwrap(),
            priority: Priority::default(),
            estimated_seconds: None,
            timeout_seconds: None,
            lease_seconds: None,
            description: None,
        }
    }

    #[test]
    fn the_number_is_in_the_place() {
        let cases = [
            ("/v1/operations/12", Some(12)),
            ("/v1/operations/", None),
            ("/v1/operations/x", None),
            ("/v2/operations/1", None),
        ];
        for (location, expected) in cases {
            assert_eq!(number(location), expected, "{location}");
        }
    }

    #[tokio::test]
    async fn changes_are_asked_for_by_somebody() {
        let operation = Operation::new(7, OperationKind::Config, jiff::Timestamp::UNIX_EPOCH);
        let answer = serde_json::to_value(&operation).unwrap();
        let fake = FakePodman::always(move |_| Answer::json(200, answer.clone()));
        let asker = Asker { agent: Some("me".parse().unwrap()), ..Asker::default() };
        let client = Client::new(fake.socket().to_owned()).asking(asker);
        client.request_operation(&request()).await.unwrap();
        let done = OperationUpdate { token: Some(3), outcome: Some(Outcome::Done), reason: None };
        client.update_operation(7, &done).await.unwrap();
        client.cancel_operation(7).await.unwrap();
        client.operation(7).await.unwrap();
        let seen = fake.requests();
        let heads: Vec<String> = seen.iter().map(Seen::head).collect();
        assert_eq!(
            heads,
            [
                "POST /v1/operations",
                "PUT /v1/operations/7",
                "DELETE /v1/operations/7",
                "GET /v1/operations/7"
            ]
        );
        let agents: Vec<_> = seen.iter().map(|seen| seen.header("taskspace-agent")).collect();
        assert_eq!(agents, [Some("me"), Some("me"), Some("me"), None]);
        assert_eq!(
            seen[0].json(),
            json!({"kind": "config", "target": "api", "agent": "me", "priority": 5})
        );
        assert_eq!(seen[1].json(), json!({"token": 3, "outcome": "done"}));
    }

    #[tokio::test]
    async fn an_operation_is_held_again_from_the_event_seen_last() {
        let fake = FakePodman::always(|_| Answer::Chunked(Vec::new()));
        let client = Client::new(fake.socket().to_owned());
        let mut events = client.hold_again(7, Some(3), Some(40)).await.unwrap();
        assert!(events.next().await.is_none());
        drop(client.hold_again(7, None, None).await.unwrap());
        let seen = fake.requests();
        assert_eq!(seen[0].head(), "GET /v1/operations/7/hold?token=3");
        assert_eq!(seen[0].header("last-event-id"), Some("40"));
        assert_eq!(seen[1].head(), "GET /v1/operations/7/hold");
        // Held without saying which one it is: not understood.
        let error = client.hold_operation(&request()).await.err().unwrap();
        assert!(error.to_string().contains("the place of the operation is None"), "{error}");
    }
}
