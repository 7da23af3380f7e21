//! Server-sent events (WHATWG HTML, 9.2), as far as our own service sends them.

use futures_util::stream::{self, Stream, StreamExt};

use super::{ClientError, Result};
use crate::model::Event;
use crate::uds::UdsError;

/// One event as it came over the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    event: String,
    data: String,
}

/// Collects lines into events.
#[derive(Debug, Default)]
struct Parser {
    event: String,
    data: Option<String>,
}

impl Parser {
    /// Takes one line; returns the event that it ends, if it ends one.
    fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return self.data.take().map(|data| Message { event, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // The id is in the data too; comments (no field) keep the connection alive.
            _ => {}
        }
        None
    }
}

/// Turns the lines of a stream into events.
pub(super) fn events(
    lines: impl Stream<Item = std::result::Result<String, UdsError>> + Send + Unpin + 'static,
) -> impl Stream<Item = Result<Event>> + Send + Unpin {
    Box::pin(stream::unfold((lines, Parser::default()), |(mut lines, mut parser)| async {
        loop {
            let event = match lines.next().await? {
                Err(error) => Err(error.into()),
                Ok(line) => match parser.line(&line) {
                    None => continue,
                    Some(message) => decode(&message),
                },
            };
            return Some((event, (lines, parser)));
        }
    }))
}

fn decode(message: &Message) -> Result<Event> {
    serde_json::from_str(&message.data).map_err(|error| ClientError::NotUnderstood {
        call: format!("the event '{}'", message.event),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventBody;

    fn parse(text: &str) -> Vec<Message> {
        let mut parser = Parser::default();
        text.lines().filter_map(|line| parser.line(line)).collect()
    }

    fn message(event: &str, data: &str) -> Message {
        Message { event: event.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_end_with_an_empty_line() {
        let cases: [(&str, &[Message]); 6] = [
            ("data: a\n\n", &[message("", "a")]),
            ("event: x\nid: 7\ndata: a\n\n", &[message("x", "a")]),
            ("data: a\ndata:b\n\n", &[message("", "a\nb")]),
            (": alive\n\n:\n\ndata: a\n\n", &[message("", "a")]),
            ("event: x\n\ndata: a\n\n", &[message("", "a")]),
            ("data: a: b\n\ndata: cut", &[message("", "a: b")]),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[tokio::test]
    async fn what_the_service_says_is_understood() {
        let data = r#"{"id":3,"time":"2026-01-01T00:00:00Z","operation":1,
            "body":{"type":"step-started","step":"make the volumes"}}"#;
        let data = data.replace('\n', " ");
        let lines = ["event: step-started".to_owned(), format!("data: {data}"), String::new()];
        let lines = stream::iter(lines.into_iter().map(Ok));
        let events: Vec<_> = events(lines).collect().await;
        let event = events[0].as_ref().unwrap();
        assert_eq!((events.len(), event.id, event.operation), (1, 3, Some(1)));
        assert!(
            matches!(&event.body, EventBody::StepStarted { step } if step == "make the volumes")
        );
    }
}
