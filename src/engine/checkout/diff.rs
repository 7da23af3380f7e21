//! What a taskspace has changed.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use hyper::body::Bytes;

use super::super::{Engine, problems};
use super::ending::Ending;
use super::{Work, files};
use crate::model::{Code, DiffFormat, DiffView, Problem, TaskspaceId};
use crate::podman::LogStream;

/// What is run in the container.
const SCRIPT: &str = include_str!("../../../templates/checkout/diff.sh");

/// The form that [`files::read`] reads.
const FILES: &str = "files";

/// How long git may be silent: a large checkout takes minutes, and what the repository has git run may
/// never end.
const SILENCE: Duration = Duration::from_secs(600);

/// How many lines of an error are told, and how much is kept of it.
const LOG_LINES: usize = 20;
const LOG_SIZE: usize = 16 << 10;

/// How long a list of changed files may be; a million of them is not read by anybody.
const LIST_SIZE: usize = 64 << 20;

impl Engine {
    /// Returns what a taskspace has changed since its base commit, as text.
    ///
    /// It is complete when the stream ends without an error.
    ///
    /// # Errors
    /// When there is no such taskspace, or git cannot tell.
    pub async fn diff(
        &self,
        id: &TaskspaceId,
        format: DiffFormat,
    ) -> Result<impl Stream<Item = Result<Bytes, Problem>> + Send + use<>, Problem> {
        let mut output = self.changes(id, format.name()).await?;
        // What fails does so before there is any output, as a rule: then the answer is the error.
        let first = output.next().await?;
        let rest = stream::try_unfold(output, |mut output| async move {
            Ok(output.next().await?.map(|bytes| (bytes, output)))
        });
        Ok(stream::iter(first.map(Ok)).chain(rest))
    }

    /// Returns the files that a taskspace has changed since its base commit.
    ///
    /// # Errors
    /// When there is no such taskspace, or git cannot tell.
    pub async fn changed_files(&self, id: &TaskspaceId) -> Result<DiffView, Problem> {
        let mut output = self.changes(id, FILES).await?;
        let mut list = Vec::new();
        while let Some(bytes) = output.next().await? {
            list.extend_from_slice(&bytes);
            if list.len() > LIST_SIZE {
                let detail = format!("'{id}' has changed too many files for a list");
                return Err(
                    Problem::new(Code::InsufficientResources, detail).hint("ask for it as text")
                );
            }
        }
        files::read(&output.base, &list).map_err(|reason| {
            problems::internal(format!("what git says of '{id}' is not understood: {reason}"))
        })
    }

    async fn changes(&self, id: &TaskspaceId, form: &str) -> Result<Output, Problem> {
        let record = self.inner.record(id).await?;
        let (ending, base) = (Ending::new(), record.spec.project.commit.clone());
        let arguments = [base.as_str(), form, ending.word()];
        let work = self.inner.in_checkout(id, SCRIPT, &arguments).await?;
        Ok(Output { id: id.clone(), base, work, ending, log: Vec::new() })
    }
}

/// What git writes.
struct Output {
    id: TaskspaceId,
    base: String,
    work: Work,
    ending: Ending,
    /// What it writes to standard error.
    log: Vec<u8>,
}

impl Output {
    /// Returns the next piece; nothing when that was all.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let output = &mut self.work.session.output;
            let Ok(chunk) = tokio::time::timeout(SILENCE, output.next()).await else {
                return Err(self.failed("it has been silent for too long"));
            };
            let chunk = match chunk {
                Some(chunk) => chunk.map_err(problems::podman)?,
                None if self.ending.is_reached() => return Ok(None),
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

    /// Tells why there is no end.
    async fn broke_off(&mut self) -> Problem {
        match self.work.session.control.exit_code().await {
            Ok(0) => self.failed("what it wrote was cut off"),
            Ok(code) => self.failed(&format!("it ended with exit code {code}")),
            Err(error) => self.failed(&error.to_string()),
        }
    }

    fn failed(&self, reason: &str) -> Problem {
        let text = String::from_utf8_lossy(&self.log);
        let mut lines: VecDeque<String> = text.lines().map(str::to_owned).collect();
        while lines.len() > LOG_LINES {
            lines.pop_front();
        }
        let detail = format!("git cannot tell what '{}' has changed: {reason}", self.id);
        Problem::new(Code::RepositoryUnavailable, detail).log(lines.into())
    }
}
