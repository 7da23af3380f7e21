//! Events.

use futures_util::{Stream, StreamExt, future, stream};
use hyper::Method;
use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::json;

use super::lines::{lines, until_error};
use crate::podman::objects::{EventReply, PodmanEvent, Refusal};
use crate::podman::transport::{ANSWER, encode};
use crate::podman::{Podman, PodmanError, Result};

/// What errors call the request; its query is long.
const REQUEST: &str = "GET /events";

impl Podman {
    /// Returns what happens to containers, pods and volumes from now on, or from a moment on.
    ///
    /// The events are a hint to look again, not the truth. Podman keeps them in the host's journal
    /// by default, where other output drives old ones out. With `since` those of the moment itself
    /// come again, and then those to come; without it, one that happens while the connection is
    /// made may be missing. What cannot be read is left out. There is no filter by labels, for the
    /// events of pods and volumes have none.
    ///
    /// The stream never ends well: its last item is an error, of the kind
    /// [`ErrorKind::Unavailable`](crate::podman::ErrorKind::Unavailable) when Podman went away.
    ///
    /// Podman stays up as long as the stream is held, and holds back events that nobody reads. Of a
    /// stream that was dropped it keeps open files and memory until the next event: better one that
    /// is kept than many in turn.
    pub async fn events(
        &self,
        since: Option<Timestamp>,
    ) -> Result<impl Stream<Item = Result<PodmanEvent>> + Send + Unpin + 'static + use<>> {
        let path = path(since);
        let opened = lines(&self.http, (Method::GET, &path), &[], Bytes::new(), REQUEST);
        // Podman sends the head of its reply at once, whether there are events or not.
        let lines = tokio::time::timeout(ANSWER, opened).await.unwrap_or_else(|_| {
            Err(PodmanError::Timeout { request: REQUEST.to_owned(), after: ANSWER })
        })?;
        let events =
            lines.filter_map(|line| future::ready(line.and_then(|l| read(&l)).transpose()));
        let end = stream::once(future::ready(Err(PodmanError::Cut {
            request: REQUEST.to_owned(),
            source: "podman ended the stream of events".into(),
        })));
        Ok(Box::pin(until_error(events.chain(end))))
    }
}

fn path(since: Option<Timestamp>) -> String {
    let types = json!({"type": ["container", "pod", "volume"]}).to_string();
    let mut path = format!("/events?stream=true&filters={}", encode(&types));
    if let Some(since) = since {
        path += &format!("&since={}", encode(&since.to_string()));
    }
    path
}

/// Reads one line of the reply; there may be nothing in it.
fn read(line: &str) -> Result<Option<PodmanEvent>> {
    let error = match serde_json::from_str::<EventReply>(line) {
        Ok(event) => return Ok(event.into_event()),
        Err(error) => error,
    };
    // Some Podmans find out what is wrong when the reply has begun.
    match serde_json::from_str(line) {
        Ok(Refusal { cause, message, .. }) if !message.is_empty() => {
            let request = REQUEST.to_owned();
            Err(PodmanError::Refused { request, status: 200, cause, message })
        }
        _ => {
            tracing::debug!(%error, line, "an event cannot be read");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::podman::ErrorKind;
    use crate::uds::fake_podman::{Answer, FakePodman};

    async fn events(answer: Answer) -> (FakePodman, Vec<Result<PodmanEvent>>) {
        let fake = FakePodman::script([answer]);
        let podman = Podman::new(fake.socket().to_owned());
        let events = podman.events(None).await.unwrap().collect().await;
        (fake, events)
    }

    fn event(kind: &str, action: &str, name: &str) -> String {
        let actor = json!({"ID": "1", "Attributes": {"name": name, "image": "", "podId": ""}});
        let event = json!({"Type": kind, "Action": action, "Actor": actor, "timeNano": 1});
        format!("{event}\n")
    }

    /// Returns what happened, and the error at the end.
    fn shown(mut events: Vec<Result<PodmanEvent>>) -> (Vec<String>, PodmanError) {
        let error = events.pop().unwrap().unwrap_err();
        let line =
            |event: PodmanEvent| format!("{:?} {} {}", event.object, event.action, event.name);
        (events.into_iter().map(|event| line(event.unwrap())).collect(), error)
    }

    #[tokio::test]
    async fn events_are_asked_for_from_a_moment_on() {
        let fake = FakePodman::always(|_| Answer::Chunked(Vec::new()));
        let podman = Podman::new(fake.socket().to_owned());
        let since = Some("2026-01-02T03:04:05.000000006Z".parse().unwrap());
        for since in [None, since] {
            let ended = podman.events(since).await.unwrap().next().await.unwrap();
            assert_eq!(ended.unwrap_err().kind(), ErrorKind::Unavailable);
        }
        let heads: Vec<String> = fake.requests().iter().map(|seen| seen.head()).collect();
        let types = "%7B%22type%22%3A%5B%22container%22%2C%22pod%22%2C%22volume%22%5D%7D";
        let expected = format!("GET /v5.0.0/libpod/events?stream=true&filters={types}");
        assert_eq!(
            heads,
            [expected.clone(), expected + "&since=2026-01-02T03%3A04%3A05.000000006Z"]
        );
    }

    #[tokio::test]
    async fn events_are_read_however_they_are_cut() {
        let all = [event("pod", "create", "p"), event("container", "died", "c")].concat();
        // As many pieces as there are bytes, and one for all.
        for size in [1, 7, all.len()] {
            let pieces = all.as_bytes().chunks(size).map(<[u8]>::to_vec).collect();
            let (_fake, found) = events(Answer::Chunked(pieces)).await;
            let (found, error) = shown(found);
            assert_eq!(found, ["Pod create p", "Container died c"]);
            assert!(matches!(error, PodmanError::Cut { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn what_nobody_knows_is_left_out() {
        let garbage = ["hello", "", "null", "[1]", "{}", "{\"Type\":\"pod\"}", "\u{0}", "{\"Ty"];
        let pieces = vec![
            event("volume", "create", "v").into_bytes(),
            (garbage.join("\n") + "\n").into_bytes(),
            b"\xff\xfe\n".to_vec(),
            event("image", "pull", "i").into_bytes(),
            event("spaceship", "launch", "s").into_bytes(),
            event("pod", "spin", "p").into_bytes(),
            // Without an end.
            b"{\"Type\":".to_vec(),
        ];
        let (_fake, found) = events(Answer::Chunked(pieces)).await;
        assert_eq!(shown(found).0, ["Volume create v", "Pod spin p"]);
    }

    #[tokio::test]
    async fn each_end_is_an_error() {
        let whole = event("pod", "create", "p");
        for rest in ["", "{\"Type\":\"container\",\"Act"] {
            let cut = format!("{whole}{rest}").into_bytes();
            let (_fake, found) = events(Answer::ChunkedTruncated(cut)).await;
            let (found, error) = shown(found);
            assert_eq!((found.len(), error.kind()), (1, ErrorKind::Unavailable));
        }
        let late =
            "{\"cause\":\"eof\",\"message\":\"reading the journal: eof\",\"response\":500}\n";
        let pieces = [late, &whole].map(|line| line.as_bytes().to_vec()).to_vec();
        let (_fake, found) = events(Answer::Chunked(pieces)).await;
        let (found, error) = shown(found);
        assert_eq!((found.len(), error.kind()), (0, ErrorKind::Other));
        assert_eq!(error.to_string(), "podman refused GET /events: reading the journal: eof");

        let endless = vec![b'x'; 2 << 20];
        let (_fake, found) = events(Answer::Chunked(vec![endless])).await;
        assert!(matches!(shown(found).1, PodmanError::Nonsense { .. }));
    }

    #[tokio::test]
    async fn a_refusal_is_known_at_once() {
        let message = "failed to parse event filters: x is an invalid filter";
        let fake = FakePodman::script([Answer::error(500, "x is an invalid filter", message)]);
        let error = Podman::new(fake.socket().to_owned()).events(None).await.err().unwrap();
        assert_eq!(error.to_string(), format!("podman refused GET /events: {message}"));

        let error = Podman::new("/nowhere/podman.sock".into()).events(None).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
