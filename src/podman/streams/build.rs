//! Image builds.

use std::collections::BTreeMap;

use futures_util::{Stream, StreamExt, future, stream};
use hyper::Method;
use hyper::body::Bytes;

use super::lines::{lines, until_error};
use crate::podman::objects::BuildItem;
use crate::podman::spec::Labels;
use crate::podman::transport::encode;
use crate::podman::{Podman, PodmanError, Result};

/// What the context is; without it Podman looks for a directory.
const TAR: &[(&str, &str)] = &[("Content-Type", "application/x-tar")];

/// What errors call the request; its query is long.
const REQUEST: &str = "POST /build";

/// An image to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSpec {
    /// The context, as an uncompressed tar archive.
    pub context: Bytes,
    /// Where the build's steps are in the context.
    pub containerfile: String,
    /// The image's names.
    pub tags: Vec<String>,
    /// The image's labels, beside those of its steps.
    pub labels: Labels,
    /// Whether steps that were built before are taken from the cache.
    pub layers: bool,
    /// Whether the image that it is built on is pulled.
    pub pull: PullPolicy,
    /// The values of the steps' arguments.
    pub build_args: BTreeMap<String, String>,
}

impl Default for BuildSpec {
    fn default() -> Self {
        Self {
            context: Bytes::new(),
            containerfile: "Containerfile".to_owned(),
            tags: Vec::new(),
            labels: Labels::new(),
            layers: true,
            pull: PullPolicy::default(),
            build_args: BTreeMap::new(),
        }
    }
}

/// Whether an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// When it is not there.
    #[default]
    Missing,
    /// In no case.
    Never,
}

impl Podman {
    /// Builds an image and returns the lines that its steps write.
    ///
    /// The last line of a success is the image's id; a failure ends with
    /// [`PodmanError::BuildFailed`]. Dropping the stream ends the build after the step under way,
    /// but leaves that step's working container in the storage: better read it to its end.
    pub fn build_image(
        &self,
        spec: BuildSpec,
    ) -> impl Stream<Item = Result<String>> + Send + Unpin + 'static + use<> {
        let http = self.http.clone();
        let open = async move {
            let path = spec.path();
            let items = lines(&http, (Method::POST, &path), TAR, spec.context, REQUEST).await?;
            Ok(items.map(|item| read(&item?)))
        };
        let items = stream::once(open).flat_map(|opened| match opened {
            Ok(items) => items.left_stream(),
            Err(error) => stream::once(future::ready(Err(error))).right_stream(),
        });
        let lines = items.flat_map(|item| match item {
            Ok(lines) => stream::iter(lines.into_iter().map(Ok)).left_stream(),
            Err(error) => stream::once(future::ready(Err(error))).right_stream(),
        });
        Box::pin(until_error(lines))
    }
}

impl BuildSpec {
    fn path(&self) -> String {
        let pull = match self.pull {
            PullPolicy::Missing => "missing",
            PullPolicy::Never => "never",
        };
        // Intermediate containers are of no use, not even those of a build that failed.
        let mut path = format!(
            "/build?dockerfile={}&layers={}&pullpolicy={pull}&rm=true&forcerm=true",
            encode(&self.containerfile),
            self.layers,
        );
        for tag in &self.tags {
            path += &format!("&t={}", encode(tag));
        }
        for (key, map) in [("labels", &self.labels), ("buildargs", &self.build_args)] {
            if !map.is_empty() {
                path += &format!("&{key}={}", encode(&serde_json::json!(map).to_string()));
            }
        }
        path
    }
}

/// Reads one item of the reply into the lines that it carries.
fn read(item: &str) -> Result<Vec<String>> {
    if item.is_empty() {
        return Ok(Vec::new());
    }
    let parsed: BuildItem = serde_json::from_str(item).map_err(|error| PodmanError::Nonsense {
        request: REQUEST.to_owned(),
        detail: format!("{error} in {item:?}"),
    })?;
    match parsed.error {
        Some(message) => Err(PodmanError::BuildFailed { message: message.trim_end().to_owned() }),
        None => Ok(parsed.stream.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::uds::fake_podman::{Answer, FakePodman};

    fn spec() -> BuildSpec {
        BuildSpec {
            context: Bytes::from_static(b"tar"),
            tags: vec!["localhost/a:1".to_owned(), "localhost/a:2".to_owned()],
            labels: [("k".to_owned(), "v w".to_owned())].into(),
            pull: PullPolicy::Never,
            build_args: [("A".to_owned(), "1".to_owned())].into(),
            ..BuildSpec::default()
        }
    }

    /// Returns what a build shows for an answer, errors in words, and what was asked.
    async fn build(answer: Answer) -> (Vec<String>, FakePodman) {
        let fake = FakePodman::script([answer]);
        let lines = Podman::new(fake.socket().to_owned()).build_image(spec());
        let shown = lines.map(|line| line.unwrap_or_else(|error| format!("! {error}")));
        (shown.collect().await, fake)
    }

    fn items(lines: &[&str]) -> Vec<Vec<u8>> {
        lines.iter().map(|line| format!("{line}\n").into_bytes()).collect()
    }

    #[tokio::test]
    async fn the_request_says_it_all() {
        let (_, fake) = build(Answer::Chunked(Vec::new())).await;
        let seen = &fake.requests()[0];
        assert_eq!(
            seen.head(),
            "POST /v5.0.0/libpod/build?dockerfile=Containerfile&layers=true&pullpolicy=never\
             &rm=true&forcerm=true&t=localhost%2Fa%3A1&t=localhost%2Fa%3A2\
             &labels=%7B%22k%22%3A%22v%20w%22%7D&buildargs=%7B%22A%22%3A%221%22%7D"
        );
        assert_eq!(seen.header("content-type"), Some("application/x-tar"));
        assert_eq!(seen.body, b"tar");
    }

    #[tokio::test]
    async fn output_comes_line_by_line() {
        let answer = Answer::Chunked(items(&[
            r#"{"stream":"STEP 1/2: FROM x\n"}"#,
            r#"{"stream":"a\nb\n"}"#,
            r#"{"aux":{"ID":"65"}}"#,
            "",
            r#"{"stream":"65034e\n"}"#,
        ]));
        assert_eq!(build(answer).await.0, ["STEP 1/2: FROM x", "a", "b", "65034e"]);
    }

    #[tokio::test]
    async fn each_failure_ends_the_stream() {
        let cases = [
            (
                Answer::Chunked(items(&[
                    r#"{"stream":"bad\n"}"#,
                    r#"{"errorDetail":{"message":"exit status 7\n"},"error":"exit status 7\n"}"#,
                    r#"{"stream":"late\n"}"#,
                ])),
                vec!["bad", "! the image build failed: exit status 7"],
            ),
            (
                Answer::ChunkedTruncated(b"{\"stream\":\"a\\n\"}\n{\"str".to_vec()),
                vec!["a", "! podman's answer to POST /build was cut off"],
            ),
            (
                Answer::error(500, "unexpected EOF", "unexpected EOF"),
                vec!["! podman refused POST /build: unexpected EOF"],
            ),
            (
                Answer::json(302, json!("elsewhere")),
                vec![
                    "! the answer to POST /build is not podman's: \
                     302 Found with \"\\\"elsewhere\\\"\"",
                ],
            ),
            (
                Answer::Chunked(items(&["hello"])),
                vec![
                    "! the answer to POST /build is not podman's: \
                     expected value at line 1 column 1 in \"hello\"",
                ],
            ),
        ];
        for (answer, shown) in cases {
            assert_eq!(build(answer).await.0, shown);
        }
    }
}
