//! What a taskspace has changed.

use futures_util::{Stream, StreamExt, stream};
use hyper::body::Bytes;

use super::super::{Engine, problems};
use super::files;
use super::output::Output;
use crate::model::{DiffFormat, DiffView, LeftOut, Problem, TaskspaceId};

/// What is run in the container.
const SCRIPT: &str = include_str!("../../../templates/checkout/diff.sh");

/// The form that [`files::read`] reads.
const FILES: &str = "files";

/// How long a list of changed files may be; a million of them is not read by anybody.
const LIST_SIZE: usize = 64 << 20;

/// What a taskspace has changed, as text.
pub struct DiffText<S> {
    /// What is not in it.
    pub left_out: Vec<LeftOut>,
    /// The text, which is complete when it ends without an error.
    pub text: S,
}

impl Engine {
    /// Returns what a taskspace has changed since its base commit, as text.
    ///
    /// # Errors
    /// When there is no such taskspace, or git cannot tell.
    pub async fn diff(
        &self,
        id: &TaskspaceId,
        format: DiffFormat,
    ) -> Result<DiffText<impl Stream<Item = Result<Bytes, Problem>> + Send + use<>>, Problem> {
        let (mut output, _) = self.changes(id, format.name()).await?;
        // What fails does so before there is any output, as a rule: then the answer is the error.
        let (left_out, mut first) = output.left_out().await?;
        if first.is_none() {
            first = output.next().await?;
        }
        let rest = stream::try_unfold(output, |mut output| async move {
            Ok(output.next().await?.map(|bytes| (bytes, output)))
        });
        // Nothing is asked once more after the end.
        let rest = stream::iter(first.is_some().then_some(rest)).flatten();
        Ok(DiffText { left_out, text: stream::iter(first.map(Ok)).chain(rest) })
    }

    /// Returns the files that a taskspace has changed since its base commit.
    ///
    /// # Errors
    /// When there is no such taskspace, or git cannot tell.
    pub async fn changed_files(&self, id: &TaskspaceId) -> Result<DiffView, Problem> {
        let (mut output, base) = self.changes(id, FILES).await?;
        let (left_out, first) = output.left_out().await?;
        let list = [first.unwrap_or_default(), output.all(LIST_SIZE).await?.into()].concat();
        let view = files::read(&base, &list).map_err(|reason| {
            problems::internal(format!("what git says of '{id}' is not understood: {reason}"))
        })?;
        Ok(DiffView { left_out, ..view })
    }

    async fn changes(&self, id: &TaskspaceId, form: &str) -> Result<(Output, String), Problem> {
        let record = self.inner.record(id).await?;
        let base = record.spec.project.commit.clone();
        let question = format!("what '{id}' has changed");
        let output = self.inner.ask_git(id, &record, question, SCRIPT, &[&base, form]).await?;
        Ok((output, base))
    }
}
