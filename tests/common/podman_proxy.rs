//! Stands between the service and the real Podman, and does to their talk what a test wants.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::podman::TestPodman;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Podman does it, and the connection ends in the middle of the reply.
    Cut,
    /// Podman hears nothing of it, and the answer is an error.
    RefusedInstead,
    /// Podman does it, and the answer is an error.
    RefusedAfterwards,
    /// It lies there for so long before Podman hears of it.
    Silence(Duration),
}

/// The proxy; it ends with the process.
pub struct PodmanProxy {
    directory: tempfile::TempDir,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The requests since the last fault was set: those whose reply is a document.
    requests: Vec<String>,
    /// Which one of them, from one on, meets with what.
    fault: Option<(usize, Fault)>,
    /// Requests with this in their path wait.
    held: Option<&'static str>,
}

/// How often to look whether a request has to wait still.
const PAUSE: Duration = Duration::from_millis(10);

/// The answer of a Podman that refuses.
const REFUSAL: &str = r#"{"cause":"a test wants it","message":"a test wants it","response":500}"#;

/// What answers with a stream, and is passed on as it is.
const STREAMS: &[&str] = &["/events", "/logs", "/build", "/wait", "/attach", "/exec", "/pull"];

impl PodmanProxy {
    /// Starts one in front of the test's Podman.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("p").tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("podman.sock")).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let proxy = Self { directory, state: Arc::clone(&state) };
        let podman = TestPodman::shared().container_host.trim_start_matches("unix://");
        let podman = PathBuf::from(podman);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (podman, state) = (podman.clone(), Arc::clone(&state));
                // Either side may go away in the middle.
                std::thread::spawn(move || serve(client, &podman, &state).ok());
            }
        });
        proxy
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("podman.sock")
    }

    /// Returns the address.
    pub fn container_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Has a request meet with a fault, counted from now on; with none, counts only.
    pub fn set(&self, fault: Option<(usize, Fault)>) {
        *lock(&self.state) = State { fault, ..State::default() };
    }

    /// Has the requests with `part` in their path wait; with none, lets all go on.
    pub fn hold(&self, part: Option<&'static str>) {
        lock(&self.state).held = part;
    }

    /// Returns the requests since a fault was set.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state).requests.clone()
    }

    /// Takes the socket away, or puts it back.
    pub fn hide(&self, hidden: bool) {
        let (here, away) = (self.socket(), self.directory.path().join("away.sock"));
        let (from, to) = if hidden { (here, away) } else { (away, here) };
        std::fs::rename(from, to).unwrap();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one connection: one document, or a stream.
fn serve(client: UnixStream, podman: &Path, state: &Mutex<State>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let request = head[0].trim_end_matches(" HTTP/1.1").to_owned();
    let path = request.split('?').next().unwrap_or_default();
    if STREAMS.iter().any(|part| path.contains(part)) {
        return pass_on(&head, reader, client, podman);
    }
    let length = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let fault = {
        let mut state = lock(state);
        state.requests.push(request.clone());
        let number = state.requests.len();
        state.fault.filter(|(wanted, _)| *wanted == number).map(|(_, fault)| fault)
    };
    while lock(state).held.is_some_and(|part| path.contains(part)) {
        std::thread::sleep(PAUSE);
    }
    if let Some(Fault::Silence(time)) = fault {
        std::thread::sleep(time);
    }
    let mut reply = Vec::new();
    if fault != Some(Fault::RefusedInstead) {
        let mut podman = UnixStream::connect(podman)?;
        head.push("Connection: close".to_owned());
        podman.write_all(format!("{}\r\n\r\n", head.join("\r\n")).as_bytes())?;
        podman.write_all(&body)?;
        podman.read_to_end(&mut reply)?;
    }
    let mut client = client;
    match fault {
        Some(Fault::Cut) => client.write_all(&reply[..reply.len() / 2])?,
        Some(Fault::RefusedInstead | Fault::RefusedAfterwards) => {
            let length = REFUSAL.len();
            write!(
                client,
                "HTTP/1.1 500 X\r\nContent-Type: application/json\r\nConnection: close\r\n\
                 Content-Length: {length}\r\n\r\n{REFUSAL}"
            )?;
        }
        Some(Fault::Silence(_)) | None => client.write_all(&reply)?,
    }
    client.shutdown(Shutdown::Both)
}

/// Connects both sides until one of them ends.
fn pass_on(
    head: &[String],
    mut reader: BufReader<UnixStream>,
    mut client: UnixStream,
    podman: &Path,
) -> io::Result<()> {
    let mut podman = UnixStream::connect(podman)?;
    podman.write_all(format!("{}\r\n\r\n", head.join("\r\n")).as_bytes())?;
    let mut upwards = podman.try_clone()?;
    let up = std::thread::spawn(move || {
        let copied = io::copy(&mut reader, &mut upwards);
        upwards.shutdown(Shutdown::Write).ok();
        copied
    });
    io::copy(&mut podman, &mut client)?;
    client.shutdown(Shutdown::Both)?;
    podman.shutdown(Shutdown::Both).ok();
    up.join().unwrap_or(Ok(0)).map(drop)
}
