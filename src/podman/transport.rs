//! One JSON document there, one back.

use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Podman;
use super::error::{PodmanError, Result};
use super::objects::Refusal;
use crate::uds::{Reply, UdsError};

/// The prefix of every path.
///
/// Podman never compares the version with its own: 4.3.1 and 5.4.2 both take every one, so there is
/// nothing to agree on. It only chooses between forms of a reply, and 5 means the newest.
const PREFIX: &str = "/v5.0.0/libpod";

/// How long Podman may take to answer. The first container of an image copies the image's files (4 s
/// for 700 MB), and questions wait while the object is being changed; all of it takes many times as
/// long when the disk is busy.
pub(super) const ANSWER: Duration = Duration::from_secs(60);

/// The most of an unreadable answer that an error shows.
const SHOWN: usize = 200;

/// What Podman expects of a document; without it 4.3.1 reads none.
const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

/// A request whose reply is one document or nothing.
pub(super) struct Call<'a> {
    podman: &'a Podman,
    method: Method,
    /// The path below the prefix, with the query.
    path: String,
    body: Result<Bytes>,
    timeout: Option<Duration>,
}

impl Podman {
    /// Asks for what is at a path.
    pub(super) fn get(&self, path: String) -> Call<'_> {
        Call {
            podman: self,
            method: Method::GET,
            path,
            body: Ok(Bytes::new()),
            timeout: Some(ANSWER),
        }
    }

    /// Asks for a change.
    pub(super) fn post(&self, path: String) -> Call<'_> {
        Call {
            podman: self,
            method: Method::POST,
            path,
            body: Ok(Bytes::new()),
            timeout: Some(ANSWER),
        }
    }

    /// Asks for a removal.
    pub(super) fn delete(&self, path: String) -> Call<'_> {
        Call {
            podman: self,
            method: Method::DELETE,
            path,
            body: Ok(Bytes::new()),
            timeout: Some(ANSWER),
        }
    }
}

impl Call<'_> {
    /// Adds a document.
    pub(super) fn document(mut self, document: &impl Serialize) -> Self {
        self.body = serde_json::to_vec(document)
            .map(Bytes::from)
            .map_err(|error| PodmanError::Malformed { request: self.name(), source: error.into() });
        self
    }

    /// Waits longer, for what takes `seconds` by itself.
    pub(super) fn lasting(mut self, seconds: u32) -> Self {
        self.timeout = self.timeout.map(|timeout| timeout + Duration::from_secs(seconds.into()));
        self
    }

    /// Waits for ever, for what ends when it ends.
    pub(super) fn endless(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// Sends it and reads the document that comes back.
    pub(super) async fn read<T: DeserializeOwned>(self) -> Result<T> {
        let request = self.name();
        let reply = self.send().await?;
        serde_json::from_slice(&reply.body).map_err(|error| PodmanError::Nonsense {
            detail: format!("{error} in {:?}", shorten(&reply.body)),
            request,
        })
    }

    /// Sends it; what comes back does not matter, as long as it is no refusal.
    pub(super) async fn run(self) -> Result<()> {
        self.send().await.map(drop)
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    async fn send(self) -> Result<Reply> {
        let request = self.name();
        let path = full_path(&self.path);
        let body = self.body?;
        // What ends when it ends is not waited for.
        let lasting = self.timeout.map(|timeout| timeout.saturating_sub(ANSWER));
        let _waiting =
            lasting.map(|lasting| self.podman.unanswered.enter(request.clone(), lasting));
        let reply = self
            .podman
            .http
            .fetch(self.method, &path, JSON, body, self.timeout)
            .await
            .map_err(|error| from_uds(error, &request))?;
        check(request, reply.status, &reply.body).map(|()| reply)
    }
}

/// Returns a path with its prefix.
pub(super) fn full_path(path: &str) -> String {
    format!("{PREFIX}{path}")
}

/// Tells a refusal from success; what is so already (304) is a success.
pub(super) fn check(request: String, status: StatusCode, body: &[u8]) -> Result<()> {
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(());
    }
    let refusal: Refusal = match serde_json::from_slice(body) {
        Ok(refusal) => refusal,
        // A proxy, or some other server: its "not found" must not be taken for Podman's.
        Err(_) => {
            let detail = format!("{status} with {:?}", shorten(body));
            return Err(PodmanError::Nonsense { request, detail });
        }
    };
    let mut messages = refusal.errors;
    messages.insert(0, refusal.message);
    messages.retain_mut(|message| {
        message.truncate(message.trim_end().len());
        !message.is_empty()
    });
    let message = if messages.is_empty() { status.to_string() } else { messages.join("; ") };
    let status = status.as_u16();
    Err(PodmanError::Refused { request, status, cause: refusal.cause, message })
}

/// Puts what went wrong on the socket into this room's words.
pub(super) fn from_uds(error: UdsError, request: &str) -> PodmanError {
    let request = request.to_owned();
    match error {
        UdsError::Connect { socket, source } => PodmanError::Unavailable { socket, source },
        UdsError::Timeout { after, .. } => PodmanError::Timeout { request, after },
        UdsError::Cut { source, .. } => PodmanError::Cut { request, source },
        UdsError::NotHttp { source, .. } => {
            PodmanError::Nonsense { request, detail: source.to_string() }
        }
        UdsError::TooLarge { .. } => {
            PodmanError::Nonsense { request, detail: "it is too large".to_owned() }
        }
        UdsError::Malformed { source, .. } => {
            PodmanError::Malformed { request, source: source.into() }
        }
    }
}

/// Returns a name as it stands in a path, if an object of Podman can have it.
///
/// The rule is Podman's own, and it keeps dots and slashes out, with which a path would lead to
/// another object or to all of them.
pub(super) fn segment<'a>(object: &'static str, name: &'a str) -> Result<&'a str> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(inner);
    if good { Ok(name) } else { Err(PodmanError::BadName { object, name: name.to_owned() }) }
}

/// Returns an image's name, or id, as it stands in a path.
pub(super) fn image_segment(name: &str) -> Result<String> {
    let parts_are_good = name.split(['/', ':', '@']).all(|part| segment("image", part).is_ok());
    if parts_are_good {
        Ok(encode(name))
    } else {
        Err(PodmanError::BadName { object: "image", name: name.to_owned() })
    }
}

/// Percent-encodes everything but what never has a meaning in a URI.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Returns the query that asks for the objects with all of these labels.
pub(super) fn label_filter(labels: &[(&str, &str)]) -> String {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    filter("label", &labels)
}

/// Writes a filter of lists.
pub(super) fn filter(key: &str, values: &[String]) -> String {
    encode(&serde_json::json!({ key: values }).to_string())
}

fn shorten(body: &[u8]) -> String {
    String::from_utf8_lossy(body).trim().chars().take(SHOWN).collect()
}
