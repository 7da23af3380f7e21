//! What a taskspace has changed.

use futures_util::{Stream, StreamExt, stream};
use hyper::body::Bytes;

use super::super::{Engine, problems};
use super::files;
use super::output::Output;
use crate::model::{DiffFormat, DiffView, Problem, TaskspaceId};

/// What is run in the container.
const SCRIPT: &str = include_str!("../../../templates/checkout/diff.sh");

/// The form that [`files::read`] reads.
const FILES: &str = "files";

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
        let (mut output, _) = self.changes(id, format.name()).await?;
        // What fails does so before there is any output, as a rule: then the answer is the error.
        let first = output.next().await?;
        let rest = stream::try_unfold(output, |mut output| async move {
            Ok(output.next().await?.map(|bytes| (bytes, output)))
        });
        // Nothing is asked once more after the end.
        let rest = stream::iter(first.is_some().then_some(rest)).flatten();
        Ok(stream::iter(first.map(Ok)).chain(rest))
    }

    /// Returns the files that a taskspace has changed since its base commit.
    ///
    /// # Errors
    /// When there is no such taskspace, or git cannot tell.
    pub async fn changed_files(&self, id: &TaskspaceId) -> Result<DiffView, Problem> {
        let (mut output, base) = self.changes(id, FILES).await?;
        let list = output.all(LIST_SIZE).await?;
        files::read(&base, &list).map_err(|reason| {
            problems::internal(format!("what git says of '{id}' is not understood: {reason}"))
        })
    }

    async fn changes(&self, id: &TaskspaceId, form: &str) -> Result<(Output, String), Problem> {
        let record = self.inner.record(id).await?;
        let base = record.spec.project.commit.clone();
        let question = format!("what '{id}' has changed");
        let output = self.inner.ask_git(id, &record, question, SCRIPT, &[&base, form]).await?;
        Ok((output, base))
    }
}
