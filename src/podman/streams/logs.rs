//! What containers have written, and pulls.

use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use podman_api::opts::{ContainerLogsOpts, PullOpts};

use super::LogChunk;
use super::api::{chunks, explain, owned};
use crate::podman::transport::{image_segment, segment};
use crate::podman::{Podman, PodmanError, Result};

/// Which part of a container's output is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Whether to wait for more, until the container ends.
    pub follow: bool,
    /// How many of the last lines; all of them if not given.
    pub tail: Option<u64>,
    /// Whether each line begins with its time.
    pub timestamps: bool,
    /// Nothing that was written before.
    pub since: Option<Timestamp>,
}

impl Podman {
    /// Returns what a container has written.
    ///
    /// A connection that ends between two pieces is an error; one that ends within a piece looks
    /// like the end, for podman-api does not tell.
    pub async fn logs(
        &self,
        container: &str,
        options: LogOptions,
    ) -> Result<impl Stream<Item = Result<LogChunk>> + Send + Unpin + 'static + use<>> {
        // A stream that follows says nothing before there is output, not even that it exists.
        self.inspect_container(container).await?;
        let request = format!("GET /containers/{container}/logs");
        let api = self.api().containers().get(segment("container", container)?);
        let socket = self.socket().to_owned();
        let options = options.encode();
        Ok(owned(|sender| async move {
            let mut chunks = Box::pin(chunks(api.logs(&options), &socket, &request));
            while let Some(chunk) = chunks.next().await {
                if sender.send(chunk).await.is_err() {
                    break;
                }
            }
        }))
    }

    /// Pulls an image and returns the lines that are written meanwhile.
    pub fn pull_image(
        &self,
        name: &str,
    ) -> impl Stream<Item = Result<String>> + Send + Unpin + 'static + use<> {
        let name = image_segment(name).map(|_| name.to_owned());
        let (api, socket) = (self.api(), self.socket().to_owned());
        owned(|sender| async move {
            let name = match name {
                Ok(name) => name,
                Err(error) => return sender.send(Err(error)).await.unwrap_or_default(),
            };
            let request = format!("POST /images/pull?reference={name}");
            let images = api.images();
            let options = PullOpts::builder().reference(name).build();
            let mut reports = images.pull(&options);
            while let Some(report) = reports.next().await {
                let line = match report {
                    Err(error) => Err(explain(error, &socket, &request)),
                    Ok(report) => match (report.error, report.stream) {
                        (Some(message), _) => Err(PodmanError::Refused {
                            request: request.clone(),
                            status: 200,
                            cause: String::new(),
                            message,
                        }),
                        (None, Some(line)) => Ok(line.trim_end().to_owned()),
                        (None, None) => continue,
                    },
                };
                let failed = line.is_err();
                if sender.send(line).await.is_err() || failed {
                    break;
                }
            }
        })
    }
}

impl LogOptions {
    fn encode(&self) -> ContainerLogsOpts {
        let mut options = ContainerLogsOpts::builder()
            .stdout(true)
            .stderr(true)
            .follow(self.follow)
            .timestamps(self.timestamps);
        if let Some(tail) = self.tail {
            options = options.tail(tail.to_string());
        }
        if let Some(since) = self.since {
            options = options.since(since.to_string());
        }
        options.build()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::podman::ErrorKind;
    use crate::podman::streams::LogStream;
    use crate::uds::fake_podman::{Answer, FakePodman};

    async fn logs(answer: Answer) -> (FakePodman, Vec<Result<LogChunk>>) {
        let known = Answer::json(200, json!({"Id": "1", "Name": "c"}));
        let fake = FakePodman::script([known, answer]);
        let since = Some("2026-01-02T03:04:05Z".parse().unwrap());
        let options = LogOptions { follow: true, tail: Some(5), since, ..LogOptions::default() };
        let chunks = Podman::new(fake.socket().to_owned()).logs("c", options).await.unwrap();
        (fake, chunks.collect().await)
    }

    fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        [&[stream, 0, 0, 0, 0, 0, 0, length], text].concat()
    }

    #[tokio::test]
    async fn the_two_streams_are_told_apart() {
        let both = [frame(1, b"out\n"), frame(2, b"err\n")].concat();
        // Cut in the middle of a piece, which the network may do anywhere.
        let (start, end) = both.split_at(14);
        let (fake, chunks) = logs(Answer::Chunked(vec![start.to_vec(), end.to_vec()])).await;
        let chunks: Vec<_> = chunks.into_iter().map(Result::unwrap).collect();
        assert_eq!((chunks[0].stream, &chunks[0].bytes[..]), (LogStream::Stdout, &b"out\n"[..]));
        assert_eq!((chunks[1].stream, &chunks[1].bytes[..]), (LogStream::Stderr, &b"err\n"[..]));
        assert_eq!(chunks.len(), 2);

        let path = fake.requests()[1].path.clone();
        assert!(path.starts_with("/v5.0.0/libpod/containers/c/logs?"), "{path}");
        let expected = [
            "follow=true",
            "tail=5",
            "since=2026-01-02T03%3A04%3A05Z",
            "stdout=true",
            "stderr=true",
        ];
        for part in expected {
            assert!(path.contains(part), "{path}");
        }
    }

    #[tokio::test]
    async fn an_end_that_is_none_is_an_error() {
        let (_fake, chunks) = logs(Answer::ChunkedTruncated(frame(1, b"out"))).await;
        assert_eq!(chunks.len(), 2);
        assert!(matches!(chunks[1], Err(PodmanError::Cut { .. })), "{:?}", chunks[1]);

        let (_fake, chunks) = logs(Answer::Chunked(vec![frame(9, b"x")])).await;
        assert!(matches!(chunks[0], Err(PodmanError::Nonsense { .. })), "{:?}", chunks[0]);
    }

    #[tokio::test]
    async fn a_missing_container_is_known_at_once() {
        let message = "no container with name or ID \"c\" found: no such container";
        let fake = FakePodman::script([Answer::error(404, "no such container", message)]);
        let podman = Podman::new(fake.socket().to_owned());
        let options = LogOptions { follow: true, ..LogOptions::default() };
        assert!(podman.logs("c", options).await.err().unwrap().is_not_found());
    }

    #[tokio::test]
    async fn a_pull_tells_lines_and_its_failure() {
        let fake = FakePodman::script([Answer::Chunked(vec![
            b"{\"stream\":\"Trying to pull x:1...\\n\"}\n".to_vec(),
            b"{\"error\":\"write /a: no space left on device\"}\n".to_vec(),
        ])]);
        let podman = Podman::new(fake.socket().to_owned());
        let lines: Vec<_> = podman.pull_image("x:1").collect().await;
        assert_eq!(lines[0].as_ref().unwrap(), "Trying to pull x:1...");
        assert_eq!(lines[1].as_ref().unwrap_err().kind(), ErrorKind::NoSpace);
        assert_eq!(lines.len(), 2);
        assert_eq!(fake.requests()[0].head(), "POST /v5.0.0/libpod/images/pull?reference=x%3A1");
    }

    #[tokio::test]
    async fn nothing_is_pulled_under_an_impossible_name() {
        let fake = FakePodman::script([]);
        let podman = Podman::new(fake.socket().to_owned());
        let lines: Vec<_> = podman.pull_image("../x").collect().await;
        assert!(matches!(lines[..], [Err(PodmanError::BadName { .. })]));
        assert!(fake.requests().is_empty());
    }

    #[tokio::test]
    async fn without_podman_a_stream_says_so() {
        let podman = Podman::new("/nowhere/podman.sock".into());
        let lines: Vec<_> = podman.pull_image("x:1").collect().await;
        assert_eq!(lines[0].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
