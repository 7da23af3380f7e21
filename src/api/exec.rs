//! Commands in containers: an HTTP upgrade, then frames.

use std::fmt::Display;

use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::extract::{Document, Id};
use super::problem::{Answer, Failure};
use crate::engine::{ExecSession, LogStream};
use crate::frames::{self, Frame, FrameReader, PROTOCOL};
use crate::model::{Code, ExecRequest, Problem, TaskspaceId};

/// Run a command in a container
///
/// The connection is upgraded to `taskspace-exec` and carries frames from then on:
/// `[type u8][0,0,0][length u32, big-endian][payload]`. To the service: 0 input (an empty one is
/// its end), 4 the terminal's size (columns and rows, u16 big-endian each). To the client: 1
/// standard output, 2 standard error, 3 exit status (i32 big-endian), 5 a problem document. The
/// last frame is of type 3 or 5.
#[utoipa::path(post, path = "/v1/taskspaces/{id}/exec", tag = "taskspaces",
    operation_id = "exec_command",
    params(("id" = TaskspaceId, Path, description = "The taskspace"),
        ("Upgrade" = String, Header, description = "`taskspace-exec`")),
    request_body = ExecRequest,
    responses(
        (status = 101, description = "Frames follow"),
        (status = 409, description = "It does not run", body = Problem)))]
pub(crate) async fn exec(State(app): State<App>, Id(id): Id, request: Request) -> Answer<Response> {
    let upgrade = request.headers().get(header::UPGRADE).map(HeaderValue::as_bytes);
    let asked = upgrade.is_some_and(|value| value.eq_ignore_ascii_case(PROTOCOL.as_bytes()));
    let (mut parts, body) = request.into_parts();
    let Some(upgrade) = parts.extensions.remove::<OnUpgrade>().filter(|_| asked) else {
        return Err(Failure::bad_request(format!("exec needs the header 'Upgrade: {PROTOCOL}'")));
    };
    let request = Request::from_parts(parts, body);
    let Document(request) = Document::<ExecRequest>::from_request(request, &app).await?;
    if request.command.is_empty() {
        return Err(Failure::bad_request("exec needs a command"));
    }
    let session = app.engine()?.exec(&id, request).await?;
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => serve(upgraded, session, app.closing).await,
            Err(error) => tracing::debug!("the client left before its exec session: {error}"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// Serves one session until the command or the service ends, or the client goes.
async fn serve(upgraded: Upgraded, session: ExecSession, closing: CancellationToken) {
    let (from_client, mut to_client) = tokio::io::split(TokioIo::new(upgraded));
    let last = tokio::select! {
        last = carry(from_client, &mut to_client, session) => last,
        () = closing.cancelled() => Err(Problem::new(
            Code::ServiceUnavailable,
            "the service ends; the command may run on",
        )),
    };
    let last = match last {
        Ok(None) => return,
        Ok(Some(status)) => Frame::Exit(status),
        Err(problem) => Frame::Problem(serde_json::to_vec(&problem).unwrap_or_default().into()),
    };
    let sent = async {
        to_client.write_all(&last.encode()).await?;
        to_client.shutdown().await
    };
    if let Err(error) = sent.await {
        tracing::debug!("the client left before the end of its command: {error}");
    }
}

/// Carries frames both ways; returns the exit status, or nothing when the client has gone.
async fn carry(
    from_client: impl AsyncRead + Unpin,
    to_client: &mut (impl AsyncWrite + Unpin),
    session: ExecSession,
) -> Result<Option<i32>, Problem> {
    let failed = |error: &dyn Display| {
        Problem::new(Code::PodmanFailed, format!("the exec session failed: {error}"))
    };
    let ExecSession { mut output, mut input, control } = session;
    let outward = async {
        while let Some(chunk) = output.next().await {
            let chunk = chunk.map_err(|error| failed(&error))?;
            for part in frames::chunks(chunk.bytes) {
                let frame = match chunk.stream {
                    LogStream::Stdout => Frame::Output(part),
                    LogStream::Stderr => Frame::ErrorOutput(part),
                };
                if to_client.write_all(&frame.encode()).await.is_err() {
                    return Ok(None);
                }
            }
        }
        let status = control.exit_code().await.map_err(|error| failed(&error))?;
        // Podman's type is wider than any status.
        Ok(Some(i32::try_from(status).unwrap_or(i32::MAX)))
    };
    let inward = async {
        let mut frames = FrameReader::new(from_client);
        loop {
            match frames.next().await {
                Ok(Some(Frame::Input(bytes))) => {
                    let ends = bytes.is_empty();
                    let passed_on =
                        if ends { input.shutdown().await } else { input.write_all(&bytes).await };
                    // A command may close its input, or end, before it has read everything.
                    if let Err(error) = passed_on {
                        tracing::debug!("the command takes no more input: {error}");
                    }
                }
                Ok(Some(Frame::Resize { columns, rows })) => {
                    if let Err(error) = control.resize(columns, rows).await {
                        tracing::debug!("could not resize the terminal: {error}");
                    }
                }
                Ok(Some(frame)) => return Err(unexpected(&frame)),
                Ok(None) => return Ok(None),
                Err(error) => {
                    tracing::debug!("{error}");
                    return Ok(None);
                }
            }
        }
    };
    tokio::select! {
        ended = outward => ended,
        ended = inward => ended,
    }
}

fn unexpected(frame: &Frame) -> Problem {
    let problem = Problem::new(
        Code::MessageFormatInvalid,
        "a client sends frames of the types 0 (input) and 4 (size) only",
    );
    tracing::debug!(?frame, "unexpected frame");
    problem
}
