//! What Podman refuses, and what keeps it from answering.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The result of a call to Podman.
pub type Result<T, E = PodmanError> = std::result::Result<T, E>;

/// Why a call to Podman failed.
#[derive(Debug, thiserror::Error)]
pub enum PodmanError {
    /// Nothing listens on Podman's socket.
    #[error("podman is not available at {}", socket.display())]
    Unavailable {
        /// The socket.
        socket: PathBuf,
        /// Why no connection came about.
        source: io::Error,
    },
    /// What answers is not Podman, or a Podman that nobody knows yet.
    #[error("the answer to {request} is not podman's: {detail}")]
    Nonsense {
        /// What was asked.
        request: String,
        /// What is wrong with the answer.
        detail: String,
    },
    /// Podman answered with an error.
    #[error("podman refused {request}: {message}")]
    Refused {
        /// What was asked.
        request: String,
        /// The HTTP status, which says little: see [`PodmanError::kind`].
        status: u16,
        /// The innermost error; empty where the reply has none.
        cause: String,
        /// The whole error.
        message: String,
    },
    /// Podman did not answer in time; what was asked for may happen yet.
    #[error("podman did not answer {request} within {after:?}")]
    Timeout {
        /// What was asked.
        request: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection ended before the reply did; what was asked for may have happened.
    #[error("podman's answer to {request} was cut off")]
    Cut {
        /// What was asked.
        request: String,
        /// How it ended.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A name that no object of Podman can have, so that nothing was asked.
    #[error("{name:?} cannot be the name of a podman {object}")]
    BadName {
        /// The kind of object.
        object: &'static str,
        /// The name.
        name: String,
    },
    /// What was to be sent has no form that Podman can read, so that nothing was asked.
    #[error("could not put {request} into words")]
    Malformed {
        /// What was to be asked.
        request: String,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An image could not be built.
    #[error("the image build failed: {message}")]
    BuildFailed {
        /// What the builder said.
        message: String,
    },
}

/// What an error means to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Podman cannot be reached, or went away.
    Unavailable,
    /// The object, or one that it needs, does not exist.
    NotFound,
    /// An object of that name exists.
    Exists,
    /// Something else uses the object.
    InUse,
    /// A port to be published is taken.
    PortTaken,
    /// The disk is full.
    NoSpace,
    /// The object is in a state that does not allow it.
    BadState,
    /// No answer in time.
    Timeout,
    /// Anything else.
    Other,
}

/// The causes that Podman gives, word for word.
const CAUSES: &[(&str, ErrorKind)] = &[
    ("no such container", ErrorKind::NotFound),
    ("no such pod", ErrorKind::NotFound),
    ("no such volume", ErrorKind::NotFound),
    ("image not known", ErrorKind::NotFound),
    ("network not found", ErrorKind::NotFound),
    ("no such exec session", ErrorKind::NotFound),
    ("container has already been removed", ErrorKind::NotFound),
    ("pod has already been removed", ErrorKind::NotFound),
    ("volume has already been removed", ErrorKind::NotFound),
    ("volume already exists", ErrorKind::Exists),
    ("pod already exists", ErrorKind::Exists),
    ("container already exists", ErrorKind::Exists),
    ("that name is already in use", ErrorKind::Exists),
    ("that name is already in use by an external entity", ErrorKind::Exists),
    ("volume is being used", ErrorKind::InUse),
    ("image is in use by a container", ErrorKind::InUse),
    ("dependency exists", ErrorKind::InUse),
    ("container state improper", ErrorKind::BadState),
    ("exec session state improper", ErrorKind::BadState),
    ("container is stopped", ErrorKind::BadState),
    // The members of a pod that is removed without force run.
    ("removing pod containers", ErrorKind::BadState),
];

/// How Podman says that nothing can be run in a paused container, which has no cause of its own: the
/// container's id stands in between.
const PAUSED: (&str, &str) = ("cannot create exec session as container ", " is paused");

impl PodmanError {
    /// Tells what the error means, from the words of the reply.
    ///
    /// The status does not say: a volume that exists is a 500, a missing pod is a 404 or a 500.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable { .. } | Self::Cut { .. } => ErrorKind::Unavailable,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Refused { cause, message, .. } => classify(cause, message),
            Self::BuildFailed { message } => host_trouble(message).unwrap_or(ErrorKind::Other),
            Self::Nonsense { .. } | Self::BadName { .. } | Self::Malformed { .. } => {
                ErrorKind::Other
            }
        }
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }
}

fn classify(cause: &str, message: &str) -> ErrorKind {
    if let Some(kind) = host_trouble(message) {
        return kind;
    }
    let named = |cause: &str| CAUSES.iter().find(|(text, _)| *text == cause).map(|(_, kind)| *kind);
    // A list of errors has no cause of its own, and its messages end with theirs.
    let last = message.trim_end().rsplit(": ").next().unwrap_or_default();
    let (head, tail) = PAUSED;
    let is_paused = || message.starts_with(head) && message.ends_with(tail);
    let paused = || is_paused().then_some(ErrorKind::BadState);
    named(cause).or_else(|| named(last)).or_else(paused).unwrap_or(ErrorKind::Other)
}

/// Finds what the host itself lacks; the network's and the kernel's words come in many wrappings.
fn host_trouble(message: &str) -> Option<ErrorKind> {
    let message = message.to_lowercase();
    let has = |words: &str| message.contains(words);
    if has("address already in use") || (has("failed to bind") && !has("permission denied")) {
        Some(ErrorKind::PortTaken)
    } else if has("no space left on device") || has("disk quota exceeded") {
        Some(ErrorKind::NoSpace)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cause and message of real replies (Podman 5.4.2).
    #[rustfmt::skip]
    const REPLIES: &[(&str, &str, ErrorKind)] = &[
        ("volume already exists", "volume with name v already exists: volume already exists", ErrorKind::Exists),
        ("pod already exists", "failed to make pod: adding pod to state: name \"p\" is in use: pod already exists", ErrorKind::Exists),
        ("that name is already in use", "creating container storage: the container name \"c\" is already in use by e08. You have to remove that container to be able to reuse that name: that name is already in use", ErrorKind::Exists),
        ("that name is already in use by an external entity", "creating container storage: the container name \"c\" is already in use by 99c. You have to remove that container to be able to reuse that name: that name is already in use by an external entity", ErrorKind::Exists),
        ("no such volume", "no such volume", ErrorKind::NotFound),
        ("no such volume", "no volume with name \"v\" found: no such volume", ErrorKind::NotFound),
        ("no such pod", "no pod with name or ID p found: no such pod", ErrorKind::NotFound),
        ("no such container", "no container with ID or name \"c\" found: no such container", ErrorKind::NotFound),
        ("image not known", "no such image: localhost/x:1: image not known", ErrorKind::NotFound),
        ("volume is being used", "volume v is being used by the following container(s): e08: volume is being used", ErrorKind::InUse),
        ("image is in use by a container", "image used by ead: image is in use by a container: consider listing external containers and force-removing image", ErrorKind::InUse),
        ("container state improper", "cannot remove container e08 as it is running - running or paused containers cannot be removed without force: container state improper", ErrorKind::BadState),
        ("container state improper", "can only create exec sessions on running containers: container state improper", ErrorKind::BadState),
        ("cannot create exec session as container 95f is paused", "cannot create exec session as container 95f is paused", ErrorKind::BadState),
        ("removing pod containers", "not all containers could be removed from pod 0c7: removing pod containers. 2 errors occurred:\n\t* cannot remove container e08 as it is running - running or paused containers cannot be removed without force: container state improper\n\t* a container that depends on container 51b still exists: dependency exists\n\n", ErrorKind::BadState),
        ("", "starting container ce4: pasta failed with exit code 1:\nFailed to bind port 34567 (Address already in use) for option '-t 127.0.0.1/34567-34567:22-22'\n", ErrorKind::PortTaken),
        ("", "starting container ead: a dependency of container ead failed to start: container state improper", ErrorKind::BadState),
        ("no space left on device", "creating container storage: write /x: no space left on device", ErrorKind::NoSpace),
        ("pasta failed", "pasta failed with exit code 1:\nFailed to bind port 22 (Permission denied) for option '-t 22'\n", ErrorKind::Other),
        ("internal libpod error", "starting some containers: internal libpod error", ErrorKind::Other),
        ("invalid argument", "running container create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument", ErrorKind::Other),
        ("OCI runtime attempted to invoke a command that was not found", "crun: executable file `/nosuch` not found: No such file or directory: OCI runtime attempted to invoke a command that was not found", ErrorKind::Other),
    ];

    #[test]
    fn replies_are_told_apart_by_their_words() {
        for (cause, message, kind) in REPLIES {
            let error = PodmanError::Refused {
                request: "POST /x".to_owned(),
                status: 500,
                cause: (*cause).to_owned(),
                message: (*message).to_owned(),
            };
            assert_eq!(error.kind(), *kind, "{message}");
        }
    }

    #[test]
    fn a_build_on_a_full_disk_is_told_from_a_wrong_one() {
        let failed = |message: &str| PodmanError::BuildFailed { message: message.to_owned() };
        assert_eq!(failed("exit status 7").kind(), ErrorKind::Other);
        assert_eq!(
            failed("creating build container: x:1: image not known").kind(),
            ErrorKind::Other
        );
        assert_eq!(failed("write /x: no space left on device").kind(), ErrorKind::NoSpace);
    }
}
