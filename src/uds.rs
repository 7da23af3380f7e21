//! HTTP/1.1 over a Unix socket.
//!
//! Connections are kept and used again. A server may close an idle one just as a request goes out
//! on it. What the server cannot have seen is then sent again, and so is a question that it may
//! have seen; never a change, which may have happened: the same removal again could hit something
//! else.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderMap};
use hyper::http::uri::{InvalidUri, PathAndQuery};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyperlocal::UnixConnector;

/// The largest body that is collected; a list of 1,000 containers is about 2 MiB.
const MAX_BODY: usize = 64 << 20;

/// The longest line of a streamed body; the longest that is known is a failed build's message.
const MAX_LINE: usize = 1 << 20;

/// The name that requests carry in `Host`; a socket has none, and HTTP/1.1 asks for one.
const HOST_NAME: &str = "localhost";

/// Sends requests to the server behind one Unix socket; cheap to clone.
#[derive(Clone, Debug)]
pub struct UnixHttp {
    socket: Arc<Path>,
    client: Client<UnixConnector, Full<Bytes>>,
}

/// A reply whose body has been collected.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The head.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why an exchange with the server did not come about.
#[derive(Debug, thiserror::Error)]
pub enum UdsError {
    /// Nothing listens there.
    #[error("could not connect to {}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What was to be sent is not HTTP.
    #[error("{request} is not a valid request")]
    Malformed {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        source: hyper::http::Error,
    },
    /// The server did not answer in time.
    #[error("{request} was not answered within {after:?}")]
    Timeout {
        /// Method and path.
        request: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server answered with something that is not HTTP.
    #[error("{request} was not answered in HTTP")]
    NotHttp {
        /// Method and path.
        request: String,
        /// What was found instead.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The connection ended before the reply did.
    #[error("the reply to {request} was cut off")]
    Cut {
        /// Method and path.
        request: String,
        /// How it ended.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The reply is larger than any that is expected.
    #[error("the reply to {request} is too large")]
    TooLarge {
        /// Method and path.
        request: String,
    },
}

impl UdsError {
    /// Whether no connection came about, so that the server has seen nothing of the request.
    pub const fn is_connect(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }

    /// Returns why no connection came about: `NotFound` without a socket, `ConnectionRefused` when
    /// nobody listens on it.
    pub fn connect_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Connect { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    fn cut(request: String, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Cut { request, source: source.into() }
    }
}

impl UnixHttp {
    /// Returns a client of the server behind `socket`, which keeps idle connections for
    /// `pool_idle`: less than the server does, so that it is the client that closes them.
    pub fn new(socket: PathBuf, pool_idle: Duration) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(pool_idle)
            .pool_timer(TokioTimer::new())
            .build(UnixConnector);
        Self { socket: socket.into(), client }
    }

    /// Returns the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request and returns the head of the reply, with the body still to be read.
    ///
    /// A question is sent once more when the connection ends before the reply begins.
    pub async fn request(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, UdsError> {
        let name = describe(&method, path_and_query);
        let again = method.is_safe().then(|| (method.clone(), body.clone()));
        let first = self.send(&name, method, path_and_query, headers, body).await;
        match (first, again) {
            (Err(UdsError::Cut { source, .. }), Some((method, body))) => {
                tracing::debug!(request = name, error = %source, "sending it once more");
                self.send(&name, method, path_and_query, headers, body).await
            }
            (first, _) => first,
        }
    }

    /// Sends a request and collects the reply, within `timeout` for both.
    pub async fn fetch(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Reply, UdsError> {
        let name = describe(&method, path_and_query);
        let exchange = async {
            let response = self.request(method, path_and_query, headers, body).await?;
            let (head, body) = response.into_parts();
            let body = collect(body, &name).await?;
            Ok(Reply { status: head.status, headers: head.headers, body })
        };
        match timeout {
            None => exchange.await,
            Some(after) => tokio::time::timeout(after, exchange)
                .await
                .unwrap_or_else(|_| Err(UdsError::Timeout { request: name.clone(), after })),
        }
    }

    async fn send(
        &self,
        name: &str,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, UdsError> {
        let malformed = |source| UdsError::Malformed { request: name.to_owned(), source };
        // hyperlocal panics on a path that is none.
        let path: PathAndQuery =
            path_and_query.parse().map_err(|e: InvalidUri| malformed(e.into()))?;
        let uri = hyperlocal::Uri::new(&self.socket, path.as_str());
        let mut request = Request::builder().method(method).uri(uri).header(HOST, HOST_NAME);
        for (key, value) in headers {
            request = request.header(*key, *value);
        }
        let request = request.body(Full::new(body)).map_err(malformed)?;
        self.client.request(request).await.map_err(|error| self.explain(name, error))
    }

    fn explain(&self, name: &str, error: legacy::Error) -> UdsError {
        if error.is_connect() {
            let source = find::<io::Error>(&error).map_or_else(
                || io::Error::other(error.to_string()),
                |found| io::Error::new(found.kind(), found.to_string()),
            );
            return UdsError::Connect { socket: self.socket.to_path_buf(), source };
        }
        let request = name.to_owned();
        if find::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse) {
            return UdsError::NotHttp { request, source: error.into() };
        }
        UdsError::cut(request, error)
    }
}

/// Returns the lines of a streamed body, without their ends; `request` names it in errors.
pub fn lines(
    body: Incoming,
    request: String,
) -> impl Stream<Item = Result<String, UdsError>> + Send + Unpin + 'static + use<> {
    let state = Some(Lines { body, request, buffer: Vec::new(), searched: 0 });
    Box::pin(stream::unfold(state, |state| async move {
        let mut state = state?;
        match state.next().await {
            Ok(line) => line.map(|line| (Ok(line), Some(state))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Lines {
    body: Incoming,
    request: String,
    buffer: Vec<u8>,
    searched: usize,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<String>, UdsError> {
        loop {
            let found = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n');
            if let Some(offset) = found {
                let mut line: Vec<u8> = self.buffer.drain(..=self.searched + offset).collect();
                line.pop();
                line.pop_if(|last| *last == b'\r');
                self.searched = 0;
                return Ok(Some(into_text(line)));
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE {
                return Err(UdsError::TooLarge { request: self.request.clone() });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(UdsError::cut(self.request.clone(), error)),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    self.searched = 0;
                    return Ok(Some(into_text(std::mem::take(&mut self.buffer))));
                }
            }
        }
    }
}

fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Collects a body, up to the limit; `request` names it in errors.
pub async fn collect(body: Incoming, request: &str) -> Result<Bytes, UdsError> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(UdsError::TooLarge { request: request.to_owned() })
        }
        Err(error) => Err(UdsError::cut(request.to_owned(), error)),
    }
}

fn describe(method: &Method, path_and_query: &str) -> String {
    format!("{method} {path_and_query}")
}

/// Finds an error of one type among the causes of another.
pub(crate) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
#[path = "../tests/common/fake_podman.rs"]
pub(crate) mod fake_podman;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use futures_util::StreamExt;
    use serde_json::json;

    use super::fake_podman::{Answer, FakePodman};
    use super::*;

    const IDLE: Duration = Duration::from_secs(5);

    async fn get(http: &UnixHttp, timeout: Option<Duration>) -> Result<Reply, UdsError> {
        http.fetch(Method::GET, "/x?y=1", &[], Bytes::new(), timeout).await
    }

    #[tokio::test]
    async fn a_connection_is_used_again() {
        let fake = FakePodman::always(|_| Answer::json(200, json!({"a": 1})));
        let http = UnixHttp::new(fake.socket().to_owned(), IDLE);
        for _ in 0..3 {
            let reply = get(&http, None).await.unwrap();
            assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &br#"{"a":1}"#[..]));
        }
        assert_eq!(fake.connections(), 1);
        assert_eq!(fake.requests()[0].head(), "GET /x?y=1");
        assert_eq!(fake.requests()[0].header("host"), Some("localhost"));
    }

    #[tokio::test]
    async fn a_question_is_asked_once_more_and_a_change_is_not() {
        for (method, times) in [(Method::GET, 2), (Method::POST, 1), (Method::DELETE, 1)] {
            let answers = [Answer::ClosedWithoutResponse, Answer::json(200, json!(null))];
            let fake = FakePodman::script(answers);
            let http = UnixHttp::new(fake.socket().to_owned(), IDLE);
            let result = http.fetch(method, "/x", &[], Bytes::new(), None).await;
            assert_eq!(result.is_ok(), times == 2, "{result:?}");
            assert_eq!(fake.requests().len(), times);
        }
    }

    #[tokio::test]
    async fn a_connection_closed_while_idle_costs_nothing() {
        let fake = FakePodman::always(|_| Answer::json(200, json!(null)).then_close());
        let http = UnixHttp::new(fake.socket().to_owned(), IDLE);
        for _ in 0..3 {
            http.fetch(Method::POST, "/x", &[], Bytes::new(), None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!((fake.requests().len(), fake.connections()), (3, 3));
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_apart() {
        let cases = [
            (Answer::Silence, "GET /x?y=1 was not answered within 100ms"),
            (Answer::Nonsense(b"hello\r\n\r\n".to_vec()), "GET /x?y=1 was not answered in HTTP"),
            (Answer::ChunkedTruncated(b"[".to_vec()), "the reply to GET /x?y=1 was cut off"),
            (Answer::ClosedWithoutResponse, "the reply to GET /x?y=1 was cut off"),
        ];
        for (answer, message) in cases {
            let fake = FakePodman::always(move |_| answer.clone());
            let http = UnixHttp::new(fake.socket().to_owned(), IDLE);
            let error = get(&http, Some(Duration::from_millis(100))).await.unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(!error.is_connect());
        }
    }

    #[tokio::test]
    async fn a_missing_server_is_told_from_a_missing_socket() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("none.sock");
        let http = UnixHttp::new(socket.clone(), IDLE);
        let error = get(&http, None).await.unwrap_err();
        assert_eq!(error.connect_kind(), Some(io::ErrorKind::NotFound));

        drop(UnixListener::bind(&socket).unwrap());
        let error = get(&http, None).await.unwrap_err();
        assert_eq!(error.connect_kind(), Some(io::ErrorKind::ConnectionRefused));
        assert_eq!(error.to_string(), format!("could not connect to {}", socket.display()));
    }

    #[tokio::test]
    async fn a_bad_path_is_an_error() {
        let http = UnixHttp::new("/none".into(), IDLE);
        let error = http.fetch(Method::GET, "/a b", &[], Bytes::new(), None).await.unwrap_err();
        assert_eq!(error.to_string(), "GET /a b is not a valid request");
    }

    #[tokio::test]
    async fn lines_are_cut_at_their_ends_only() {
        let parts = ["one\r\nt", "wo\n\nthr", "ee"].map(|part| part.as_bytes().to_vec());
        let fake = FakePodman::script([Answer::Chunked(parts.to_vec())]);
        let http = UnixHttp::new(fake.socket().to_owned(), IDLE);
        let body = http.request(Method::GET, "/", &[], Bytes::new()).await.unwrap().into_body();
        let found: Vec<String> = lines(body, "it".into()).map(Result::unwrap).collect().await;
        assert_eq!(found, ["one", "two", "", "three"]);
    }

    #[tokio::test]
    async fn a_cut_stream_of_lines_ends_with_an_error() {
        let fake = FakePodman::script([Answer::ChunkedTruncated(b"one\ntw".to_vec())]);
        let http = UnixHttp::new(fake.socket().to_owned(), IDLE);
        let body = http.request(Method::GET, "/", &[], Bytes::new()).await.unwrap().into_body();
        let found: Vec<_> = lines(body, "it".into()).collect().await;
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].as_ref().unwrap(), "one");
        assert!(matches!(found[1], Err(UdsError::Cut { .. })));
    }
}
