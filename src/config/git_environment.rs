//! The environment of this process, as far as git gets it.

use std::env;

use crate::model::GitEnvironment;

/// Returns the environment of this process as it is passed to git. Variables that are not UTF-8 are
/// left out.
pub fn git_environment() -> GitEnvironment {
    let text = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    GitEnvironment::new(text)
}
