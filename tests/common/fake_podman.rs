//! A server on a real Unix socket that records what it is asked and answers by script.

#![allow(dead_code, reason = "each test binary needs a part of it")]

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// What is sent back for one request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A whole reply; the connection stays open.
    Body { status: u16, json: Value },
    /// A whole reply; the connection is closed after it.
    BodyThenClose { status: u16, json: Value },
    /// A whole reply, a chunk for each part.
    Chunked(Vec<Vec<u8>>),
    /// A chunk, and the end of the connection where the next one should be.
    ChunkedTruncated(Vec<u8>),
    /// A switch of protocols, these bytes, and the end of the connection.
    Upgraded(Vec<u8>),
    /// A switch of protocols, and everything that comes in sent back until its end.
    UpgradedEcho,
    /// The end of the connection.
    ClosedWithoutResponse,
    /// Bytes that are no HTTP.
    Nonsense(Vec<u8>),
    /// Nothing at all, until the client closes the connection.
    Silence,
}

impl Answer {
    /// Returns a whole reply.
    pub fn json(status: u16, json: Value) -> Self {
        Self::Body { status, json }
    }

    /// Returns an error as Podman words it.
    pub fn error(status: u16, cause: &str, message: &str) -> Self {
        let json = serde_json::json!({"cause": cause, "message": message, "response": status});
        Self::Body { status, json }
    }

    /// Closes the connection after a whole reply.
    pub fn then_close(self) -> Self {
        match self {
            Self::Body { status, json } => Self::BodyThenClose { status, json },
            other => other,
        }
    }
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    /// Returns method and path.
    pub fn head(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Returns the value of a header, asked for in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// The server; it is gone when this is dropped.
pub struct FakePodman {
    socket: PathBuf,
    state: Arc<State>,
    task: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

type Script = dyn FnMut(&Seen) -> Answer + Send;

struct State {
    requests: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    script: Mutex<Box<Script>>,
}

impl FakePodman {
    /// Starts one that answers each request with what `answer` returns.
    pub fn always(answer: impl FnMut(&Seen) -> Answer + Send + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("podman.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let state = Arc::new(State {
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            script: Mutex::new(Box::new(answer)),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { socket, state, task, _directory: directory }
    }

    /// Starts one that gives these answers in turn, and then none.
    pub fn script(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers: VecDeque<Answer> = answers.into_iter().collect();
        Self::always(move |_| answers.pop_front().unwrap_or(Answer::ClosedWithoutResponse))
    }

    /// Returns the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.state.requests).clone()
    }

    /// Returns how many connections there have been.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Returns how many of them neither side has closed.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }
}

impl Drop for FakePodman {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::SeqCst);
        state.open.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            // A client that goes away in the middle is part of the game.
            serve(stream, &state).await.ok();
            state.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(stream: UnixStream, state: &State) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(seen) = read_request(&mut stream).await? {
        lock(&state.requests).push(seen.clone());
        let answer = (lock(&state.script))(&seen);
        if !write_answer(&mut stream, answer).await? {
            break;
        }
    }
    Ok(())
}

async fn read_request(stream: &mut BufReader<UnixStream>) -> io::Result<Option<Seen>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((key, value)) = line.trim_end().split_once(':') else { break };
        headers.push((key.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut seen = Seen { method, path, headers, body: Vec::new() };
    seen.body = match seen.header("transfer-encoding") {
        Some(_) => read_chunks(stream).await?,
        None => {
            let length = seen.header("content-length").and_then(|text| text.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).await?;
            body
        }
    };
    Ok(Some(seen))
}

async fn read_chunks(stream: &mut BufReader<UnixStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk).await?;
        if length == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}

/// Sends an answer and returns whether the connection stays open.
async fn write_answer(stream: &mut BufReader<UnixStream>, answer: Answer) -> io::Result<bool> {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    const UPGRADED: &str = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    match answer {
        Answer::Body { status, json } => {
            stream.write_all(&whole(status, &json)).await?;
            return Ok(true);
        }
        Answer::BodyThenClose { status, json } => stream.write_all(&whole(status, &json)).await?,
        Answer::Chunked(parts) => {
            stream.write_all(CHUNKED.as_bytes()).await?;
            for part in parts {
                write_chunk(stream, &part).await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
            return Ok(true);
        }
        Answer::ChunkedTruncated(part) => {
            stream.write_all(CHUNKED.as_bytes()).await?;
            write_chunk(stream, &part).await?;
        }
        Answer::Upgraded(bytes) => {
            stream.write_all(UPGRADED.as_bytes()).await?;
            stream.write_all(&bytes).await?;
        }
        Answer::UpgradedEcho => {
            stream.write_all(UPGRADED.as_bytes()).await?;
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await?;
            stream.write_all(&received).await?;
        }
        Answer::ClosedWithoutResponse => {}
        Answer::Nonsense(bytes) => stream.write_all(&bytes).await?,
        Answer::Silence => {
            stream.read_to_end(&mut Vec::new()).await?;
        }
    }
    stream.shutdown().await?;
    Ok(false)
}

async fn write_chunk(stream: &mut BufReader<UnixStream>, part: &[u8]) -> io::Result<()> {
    stream.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await?;
    stream.write_all(part).await?;
    stream.write_all(b"\r\n").await?;
    stream.flush().await
}

fn whole(status: u16, json: &Value) -> Vec<u8> {
    // These have no body by definition.
    let body = if matches!(status, 204 | 304) { String::new() } else { json.to_string() };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
