//! podman-api, tamed: owned streams, our errors, and no panic on what it cannot read.

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use futures_util::{Stream, StreamExt, future};
use podman_api::conn::TtyChunk;
use podman_api::{ApiVersion, Error as ApiError, conn};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{LogChunk, LogStream};
use crate::podman::{Podman, PodmanError, Result};
use crate::uds;

/// How many pieces of output wait for a slow reader; a piece is 32 KiB at most.
const WAITING: usize = 16;

impl Podman {
    /// Returns podman-api's client; making it costs nothing, and nothing is sent.
    pub(super) fn api(&self) -> podman_api::Podman {
        let version = ApiVersion::new(5, Some(0), Some(0));
        podman_api::Podman::unix_versioned(self.socket(), version)
    }
}

/// Sends pieces of output to whoever holds the other end.
pub(super) type Sender<T> = mpsc::Sender<Result<T>>;

/// Runs what borrows podman-api's client in a task of its own, and returns what it sends.
///
/// The task ends with the stream, at the latest when the stream is dropped.
pub(super) fn owned<T, F, Work>(work: F) -> ReceiverStream<Result<T>>
where
    T: Send + 'static,
    F: FnOnce(Sender<T>) -> Work,
    Work: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING);
    let closed = sender.clone();
    let work = work(sender);
    tokio::spawn(async move {
        tokio::select! {
            () = work => {}
            () = closed.closed() => {}
        }
    });
    ReceiverStream::new(receiver)
}

/// Puts podman-api's chunks into our words; it panics where there are none, which is caught here.
pub(super) fn chunks<S, E>(
    stream: S,
    socket: &Path,
    request: &str,
) -> impl Stream<Item = Result<LogChunk>> + Send + use<S, E>
where
    S: Stream<Item = Result<TtyChunk, E>> + Send,
    E: Into<ApiError>,
{
    let (socket, request) = (socket.to_owned(), request.to_owned());
    AssertUnwindSafe(stream).catch_unwind().filter_map(move |item| {
        future::ready(match item {
            Ok(Ok(TtyChunk::StdOut(bytes))) => Some(Ok(chunk(LogStream::Stdout, bytes))),
            Ok(Ok(TtyChunk::StdErr(bytes))) => Some(Ok(chunk(LogStream::Stderr, bytes))),
            // What was typed; Podman does not send it back.
            Ok(Ok(TtyChunk::StdIn(_))) => None,
            Ok(Err(error)) => Some(Err(explain(error.into(), &socket, &request))),
            Err(_) => Some(Err(PodmanError::Nonsense {
                request: request.clone(),
                detail: "it has a piece of output that is of no stream".to_owned(),
            })),
        })
    })
}

fn chunk(stream: LogStream, bytes: Vec<u8>) -> LogChunk {
    LogChunk { stream, bytes: bytes.into() }
}

/// Puts podman-api's error into our words; it wraps its own errors in one another.
pub(super) fn explain(error: ApiError, socket: &Path, request: &str) -> PodmanError {
    let request = request.to_owned();
    match error {
        ApiError::Fault { code, message } => refused(request, code.as_u16(), message),
        ApiError::ServerError(error) => refused(request, 200, error.to_string()),
        ApiError::IO(error) => explain_io(error, socket, request),
        ApiError::Error(conn::Error::IO(error)) => explain_io(error, socket, request),
        ApiError::Error(conn::Error::Any(error)) => match error.downcast::<ApiError>() {
            Ok(inner) => explain(*inner, socket, &request),
            Err(source) => PodmanError::Cut { request, source },
        },
        ApiError::Error(conn::Error::Fault { code, message }) => {
            refused(request, code.as_u16(), message)
        }
        ApiError::Error(conn::Error::Hyper(error)) if error.is_connect() => {
            let source = uds::find::<io::Error>(&error).map_or_else(
                || io::Error::other(error.to_string()),
                |found| io::Error::new(found.kind(), found.to_string()),
            );
            PodmanError::Unavailable { socket: socket.to_owned(), source }
        }
        ApiError::Error(conn::Error::Hyper(error)) if !error.is_parse() => {
            PodmanError::Cut { request, source: error.into() }
        }
        other => PodmanError::Nonsense { request, detail: other.to_string() },
    }
}

fn explain_io(error: io::Error, socket: &Path, request: String) -> PodmanError {
    let Some(inner) = error.get_ref() else {
        return PodmanError::Cut { request, source: error.into() };
    };
    if !inner.is::<ApiError>() && !inner.is::<conn::Error>() {
        return PodmanError::Cut { request, source: error.into() };
    }
    let inner = error.into_inner().unwrap_or_else(|| "nothing".into());
    match inner.downcast::<ApiError>() {
        Ok(inner) => explain(*inner, socket, &request),
        Err(inner) => match inner.downcast::<conn::Error>() {
            Ok(inner) => explain(ApiError::Error(*inner), socket, &request),
            Err(source) => PodmanError::Cut { request, source },
        },
    }
}

/// podman-api joins message and cause, and the message ends with the cause already.
fn refused(request: String, status: u16, joined: String) -> PodmanError {
    let (message, cause) = match joined.rsplit_once(": ") {
        Some((message, cause)) if message.ends_with(cause) => {
            (message.to_owned(), cause.to_owned())
        }
        Some((_, cause)) => (joined.clone(), cause.to_owned()),
        None => (joined, String::new()),
    };
    PodmanError::Refused { request, status, cause, message }
}
