//! Why a call of the service does not succeed.

use std::error::Error;
use std::io;

use crate::model::{Code, Problem};
use crate::uds::UdsError;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The service answered with a problem.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// Nobody answers; the service has seen nothing of the call.
    #[error("the service does not answer")]
    Unreachable(#[source] UdsError),
    /// The exchange broke off; the service may have seen the call.
    #[error("the exchange with the service broke off")]
    Broken(#[source] UdsError),
    /// What came is not what the service says.
    #[error("the service's answer to {call} is not understood: {reason}")]
    NotUnderstood {
        /// What was asked.
        call: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl ClientError {
    /// Whether no answer came in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Broken(UdsError::Timeout { .. }))
    }

    /// Whether the listener accepts no connection and its queue is full (connect(2), EAGAIN).
    pub fn is_full(&self) -> bool {
        let Self::Unreachable(error) = self else { return false };
        error.connect_kind() == Some(io::ErrorKind::WouldBlock)
    }
}

impl From<UdsError> for ClientError {
    fn from(error: UdsError) -> Self {
        if error.is_connect() { Self::Unreachable(error) } else { Self::Broken(error) }
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        let detail = with_causes(&error);
        match error {
            ClientError::Problem(problem) => *problem,
            ClientError::Unreachable(_) | ClientError::Broken(_) => {
                Self::new(Code::ServiceUnavailable, detail)
                    .hint("`taskspace status` tells how the service is; its log tells more")
            }
            ClientError::NotUnderstood { .. } => Self::new(Code::Internal, detail)
                .hint("client and service may be of different versions: end the old service"),
        }
    }
}

/// Returns an error's message with those of its causes, each said once.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    for cause in causes.map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
