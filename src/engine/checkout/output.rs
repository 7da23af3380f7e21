//! What git writes, asked in a container.

use std::time::Duration;

use futures_util::StreamExt;
use hyper::body::Bytes;

use super::super::problems;
use super::aside::Aside;
use super::ending::Ending;
use super::files;
use crate::model::{Code, LeftOut, Problem};
use crate::podman::{ExecSession, LogStream};

/// How long git may be silent: a large checkout takes minutes.
const SILENCE: Duration = Duration::from_secs(600);

/// How much is read of what is left out.
const LEFT_OUT_SIZE: usize = 64 << 20;

/// How many lines of an error are told, and how much is kept of it.
const LOG_LINES: usize = 20;
const LOG_SIZE: usize = 16 << 10;

/// What a script writes.
pub(super) struct Output {
    /// What it is to tell.
    question: String,
    session: ExecSession,
    ending: Ending,
    /// What it writes to standard error.
    log: Vec<u8>,
    /// The container that was made for it; it goes with this.
    aside: Option<Aside>,
}

impl Output {
    /// Reads what a script writes that ends with a word.
    pub(super) fn new(
        question: String,
        session: ExecSession,
        ending: Ending,
        aside: Aside,
    ) -> Self {
        Self { question, session, ending, log: Vec::new(), aside: Some(aside) }
    }

    /// Returns the next piece; nothing when that was all.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let Ok(chunk) = tokio::time::timeout(SILENCE, self.session.output.next()).await else {
                return Err(self.failed("it has been silent for too long"));
            };
            let chunk = match chunk {
                Some(chunk) => chunk.map_err(problems::podman)?,
                None if self.ending.is_reached() => {
                    if let Some(aside) = self.aside.take() {
                        aside.remove().await;
                    }
                    return Ok(None);
                }
                None => return Err(self.broke_off().await),
            };
            match chunk.stream {
                LogStream::Stdout => {
                    let bytes = self.ending.take(&chunk.bytes);
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
                LogStream::Stderr => {
                    self.log.extend_from_slice(&chunk.bytes);
                    let surplus = self.log.len().saturating_sub(LOG_SIZE);
                    self.log.drain(..surplus);
                }
            }
        }
    }

    /// Reads what is left out, with which every comparison begins: how many paths, and each with the
    /// reason. Returns it with what came after.
    pub(super) async fn left_out(&mut self) -> Result<(Vec<LeftOut>, Option<Bytes>), Problem> {
        let mut begun = Vec::new();
        while let Some(bytes) = self.next().await? {
            begun.extend_from_slice(&bytes);
            let understood = files::left_out(&begun).map_err(|reason| self.failed(&reason))?;
            if let Some((left_out, rest)) = understood {
                let rest = Bytes::copy_from_slice(rest);
                return Ok((left_out, Some(rest).filter(|rest| !rest.is_empty())));
            }
            if begun.len() > LEFT_OUT_SIZE {
                return Err(self.failed("too many paths are left out"));
            }
        }
        Err(self.failed("it says nothing"))
    }

    /// Returns everything, unless that is too much.
    pub(super) async fn all(&mut self, most: usize) -> Result<Vec<u8>, Problem> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
            if all.len() > most {
                let detail = format!("there is too much to tell {}", self.question);
                return Err(Problem::new(Code::InsufficientResources, detail));
            }
        }
        Ok(all)
    }

    /// Tells why there is no end.
    async fn broke_off(&mut self) -> Problem {
        match self.session.control.exit_code().await {
            Ok(0) => self.failed("what it wrote was cut off"),
            Ok(code) => self.failed(&format!("it ended with exit code {code}")),
            Err(error) => self.failed(&error.to_string()),
        }
    }

    fn failed(&self, reason: &str) -> Problem {
        let text = String::from_utf8_lossy(&self.log);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let last = lines.len().saturating_sub(LOG_LINES);
        let detail = format!("git cannot tell {}: {reason}", self.question);
        Problem::new(Code::RepositoryUnavailable, detail).log(lines[last..].to_vec())
    }
}
