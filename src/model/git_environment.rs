//! The environment in which git runs: what is passed of a caller's, and what never is.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The variables of git itself (git(1), "Environment Variables") that are passed: how a repository is
/// reached, and the settings of the caller. A name that ends with `_` is a prefix.
///
/// All others are withheld. They name another repository or another part of one, as a git hook has
/// them, change what git writes, or are set by us.
const GIT_VARIABLES: &[&str] = &[
    "GIT_ALLOW_PROTOCOL",
    "GIT_ASKPASS",
    "GIT_AUTHOR_",
    "GIT_COMMITTER_",
    "GIT_CONFIG_",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_EXEC_PATH",
    "GIT_HTTP_",
    "GIT_LFS_",
    "GIT_PROXY_",
    "GIT_SSH",
    "GIT_SSH_",
    "GIT_SSL_",
];

/// Variables that are withheld although their names are not git's: those that load code into every program or
/// shell, those by which a service manager addresses a single process, and those of this program. A name that
/// ends with `_` is a prefix.
const WITHHELD: &[&str] = &[
    "BASHOPTS",
    "BASH_ENV",
    "ENV",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LD_",
    "LISTEN_",
    "MAINPID",
    "NOTIFY_SOCKET",
    "OLDPWD",
    "PS4",
    "PWD",
    "SHELLOPTS",
    "SHLVL",
    "TASKSPACE_",
    "WATCHDOG_",
    "_",
];

/// A longer value is no setting of git or of a credential helper.
const MAX_VALUE: usize = 32 << 10;

/// The environment in which git runs.
///
/// It may hold passwords: it is neither recorded nor logged, and shown only by the names in it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GitEnvironment {
    /// The variables of the caller; those of the service when they are not given. Variables that git
    /// never gets are ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variables: Option<BTreeMap<String, String>>,
}

impl GitEnvironment {
    /// Picks what is passed of an environment.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let passed = variables.into_iter().filter(|(name, value)| is_passed(name, value));
        Self { variables: Some(passed.collect()) }
    }

    /// Returns the variables that are passed; none when the service's own are meant.
    pub fn variables(&self) -> Option<impl Iterator<Item = (&str, &str)>> {
        let pairs = self.variables.as_ref()?.iter();
        let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
        Some(pairs.filter(|(name, value)| is_passed(name, value)))
    }
}

impl fmt::Debug for GitEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.iter().flat_map(BTreeMap::keys)).finish()
    }
}

/// Whether a variable is passed.
fn is_passed(name: &str, value: &str) -> bool {
    let among = |list: &[&str]| {
        list.iter().any(|known| match known.strip_suffix('_') {
            Some("") | None => name == *known,
            Some(_) => name.starts_with(known),
        })
    };
    // Functions that bash exports have other names, and would be run by each shell.
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let wanted = if name.starts_with("GIT_") { among(GIT_VARIABLES) } else { !among(WITHHELD) };
    is_name && wanted && value.len() <= MAX_VALUE && !value.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_gets_what_reaches_a_repository_and_nothing_that_names_another_one() {
        let passed = [
            "PATH",
            "HOME",
            "http_proxy",
            "HTTPS_PROXY",
            "no_proxy",
            "ALL_PROXY",
            "XDG_CONFIG_HOME",
            "SSH_AUTH_SOCK",
            "SSH_ASKPASS",
            "GIT_ASKPASS",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
            "GIT_CONFIG_COUNT",
            "GIT_CONFIG_KEY_0",
            "GIT_CONFIG_PARAMETERS",
            "GIT_CONFIG_GLOBAL",
            "GIT_SSL_CAINFO",
            "GIT_PROXY_SSL_CERT",
            "GIT_HTTP_PROXY_AUTHMETHOD",
            "HELPER_TOKEN",
            "DBUS_SESSION_BUS_ADDRESS",
            "GIT_ALLOW_PROTOCOL",
            "GNUPGHOME",
        ];
        for name in passed {
            assert!(is_passed(name, "x"), "{name}");
        }
        let withheld = [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_NAMESPACE",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES",
            "GIT_COMMON_DIR",
            "GIT_CEILING_DIRECTORIES",
            "GIT_QUARANTINE_PATH",
            "GIT_PREFIX",
            "GIT_CONFIG",
            "GIT_TRACE",
            "GIT_TRACE_CURL",
            "GIT_TRACE2_EVENT",
            "GIT_CURL_VERBOSE",
            "GIT_TEMPLATE_DIR",
            "GIT_LITERAL_PATHSPECS",
            "GIT_NO_LAZY_FETCH",
            "GIT_ATTR_SOURCE",
            "LD_PRELOAD",
            "BASH_ENV",
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "TASKSPACE_SOCKET",
            "PWD",
            "_",
            "BASH_FUNC_git%%",
            "1X",
            "",
        ];
        for name in withheld {
            assert!(!is_passed(name, "x"), "{name}");
        }
        assert!(!is_passed("LONG", &"x".repeat(MAX_VALUE + 1)) && !is_passed("NUL", "a\0b"));
    }

    #[test]
    fn values_are_not_shown_and_a_foreign_request_is_filtered_too() {
        let proxy = "http://user:secret@proxy.example";
        let asked = format!(r#"{{"variables":{{"http_proxy":"{proxy}","GIT_DIR":"/x"}}}}"#);
        let environment: GitEnvironment = serde_json::from_str(&asked).unwrap();
        let passed: Vec<_> = environment.variables().unwrap().collect();
        assert_eq!(passed, [("http_proxy", proxy)]);
        assert!(!format!("{environment:?}").contains("secret"));
        assert!(GitEnvironment::default().variables().is_none());
    }
}
