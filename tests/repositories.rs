//! Repositories of kinds that are seldom seen: what a container's git and tools make of them.

mod environment;
mod huge;
mod kinds;
mod lfs;
mod names;
mod submodules;

use crate::common::User;
use crate::common::repository::Repository;

/// Makes a taskspace of what a repository has checked out.
#[track_caller]
fn create(user: &User, repository: &Repository, id: &str) {
    user.run(&["create", "--project", repository.as_str(), "--type", "generic", id]);
}

/// Runs a script in a taskspace's checkout.
#[track_caller]
fn inside(user: &User, id: &str, script: &str) -> String {
    user.run(&["exec", id, "--", "bash", "-ec", script])
}
