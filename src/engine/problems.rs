//! How the lower rooms' errors are told to clients: one exhaustive match for each.

use std::fmt::Display;

use crate::host::files::FileError;
use crate::host::git::GitError;
use crate::host::pod_network::PodNetworkError;
use crate::host::podman_service::PodmanServiceError;
use crate::host::sshkeys::KeyError;
use crate::host::unshared::UnsharedError;
use crate::model::{Code, Problem, TaskspaceId};
use crate::plan::capability::Unsuitable;
use crate::podman::{ErrorKind, PodmanError};
use crate::policy::network::{BoundsError, ResolveError};
use crate::registry::RegistryError;

pub(crate) fn podman(error: PodmanError) -> Problem {
    let detail = error.to_string();
    if let PodmanError::Nonsense { .. } = error {
        return Problem::new(Code::PodmanUnavailable, detail)
            .hint("is the program behind that socket Podman? see CONTAINER_HOST");
    }
    match error.kind() {
        ErrorKind::Unavailable => Problem::new(Code::PodmanUnavailable, detail)
            .hint("check `systemctl --user status podman.socket` and `podman info`"),
        ErrorKind::Timeout => Problem::new(Code::PodmanUnavailable, detail)
            .hint("Podman is there and does not answer; check its load and `podman info`"),
        ErrorKind::NoSpace => Problem::new(Code::InsufficientResources, detail)
            .hint("free disk space where Podman keeps its storage (`podman system df`)"),
        ErrorKind::PortTaken => Problem::new(Code::NetworkPortUnavailable, detail)
            .hint("another program took the port; try again"),
        ErrorKind::NotFound
        | ErrorKind::Exists
        | ErrorKind::InUse
        | ErrorKind::BadState
        | ErrorKind::Other => Problem::new(Code::PodmanFailed, detail),
    }
}

pub(crate) fn network(error: &PodNetworkError) -> Problem {
    let problem = Problem::new(Code::PolicyUnenforceable, error.to_string());
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

pub(crate) fn unresolved(error: &ResolveError) -> Problem {
    let hint = match error {
        ResolveError::Service { service, .. } => format!(
            "name its port in settings.yaml (`network: {{host_services: {{{service}: PORT}}}}`) or in \
             the policy, or take it out with `taskspace network … reset host:{service}`"
        ),
        _ => "`taskspace policy list` shows which policies there are".to_owned(),
    };
    Problem::new(Code::PolicyUnenforceable, error.to_string()).hint(hint)
}

pub(crate) fn bounds(error: &BoundsError) -> Problem {
    match error {
        BoundsError::Policy(_) => Problem::new(Code::NotFound, error.to_string())
            .hint("`taskspace policy list` shows which there are"),
        _ => Problem::new(Code::PolicyForbids, error.to_string())
            .hint("see settings.yaml (projects) and resource-policies.yaml (tiers)"),
    }
}

pub(crate) fn git(error: &GitError) -> Problem {
    let code = git_code(error);
    let problem = Problem::new(code, error.to_string()).log(error.log().to_vec());
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

pub(crate) fn unshared(error: UnsharedError) -> Problem {
    let code = match error.is_no_space() {
        true => Code::InsufficientResources,
        false => Code::Internal,
    };
    let problem = Problem::new(code, error.to_string());
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

fn git_code(error: &GitError) -> Code {
    match error {
        GitError::NoWorkTree { .. } => Code::MessageFormatInvalid,
        GitError::Moved { .. } => Code::StateConflict,
        GitError::RefNotFound { .. } => Code::RefNotFound,
        GitError::NoSpace { .. } => Code::InsufficientResources,
        GitError::File(error) => file(error).code,
        GitError::Submodule { error, .. } => git_code(error),
        GitError::BadSource { .. }
        | GitError::NotInstalled(_)
        | GitError::RepositoryUnavailable { .. }
        | GitError::Empty { .. }
        | GitError::BadSubmodule { .. }
        | GitError::Other { .. } => Code::RepositoryUnavailable,
    }
}

pub(crate) fn registry(error: RegistryError) -> Problem {
    let code = match error.is_no_space() {
        true => Code::InsufficientResources,
        false => Code::RegistryUnusable,
    };
    let problem = Problem::new(code, error.to_string());
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

pub(crate) fn unsuitable(error: &Unsuitable) -> Problem {
    let problem = Problem::new(Code::PodmanUnavailable, error.to_string());
    match error {
        Unsuitable::TooOld(_) => problem.hint("install a newer Podman"),
        Unsuitable::Rootful => problem.hint("unset CONTAINER_HOST, or point it to your own socket"),
        Unsuitable::VolumePath(_) => {
            problem.hint("set another `volume_path` in containers.conf, or another graphroot")
        }
    }
}

pub(crate) fn internal(error: impl Display) -> Problem {
    Problem::new(Code::Internal, error.to_string())
}

/// A file or directory of ours that cannot be read or written.
pub(crate) fn file(error: &FileError) -> Problem {
    let code = if error.is_no_space() { Code::InsufficientResources } else { Code::Internal };
    let problem = Problem::new(code, error.to_string());
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

pub(crate) fn key(error: KeyError) -> Problem {
    let hint = error.hint();
    let problem = match error {
        KeyError::File(error) => return file(&error),
        error => Problem::new(Code::Internal, error.to_string()),
    };
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

pub(crate) fn podman_service(error: &PodmanServiceError) -> Problem {
    let problem =
        Problem::new(Code::PodmanUnavailable, error.to_string()).log(error.log().to_vec());
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// Volumes with what cannot be made anew are gone.
pub(crate) fn lost(volumes: &[impl AsRef<str>]) -> Problem {
    let names: Vec<&str> = volumes.iter().map(AsRef::as_ref).collect();
    let detail = match names.as_slice() {
        [volume] => format!("the volume '{volume}' is gone, and the work in it"),
        several => {
            format!("the volumes '{}' are gone, and the work in them", several.join("' and '"))
        }
    };
    Problem::new(Code::StateConflict, detail)
        .hint("bring it back from a backup and start the taskspace, or delete it")
}

/// It is paused, because it has written too much.
pub(crate) fn frozen(id: &TaskspaceId) -> Problem {
    Problem::new(Code::StateConflict, format!("'{id}' is paused: it has written all that it may"))
        .hint(format!("`taskspace show {id}` tells what to do"))
}

pub(crate) fn no_project(name: &str) -> Problem {
    Problem::new(Code::NotFound, format!("there is no project '{name}'"))
        .hint("`taskspace projects` shows what there is")
}

pub(crate) fn not_found(id: &TaskspaceId) -> Problem {
    Problem::new(Code::TaskspaceNotFound, format!("there is no taskspace '{id}'"))
        .hint("`taskspace list` shows what there is")
}
