//! Where everything is, for one user.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::unistd::{User, getuid};

use super::ClientFiles;
use crate::model::TaskspaceId;

/// The name of our directory in the standard places.
const NAME: &str = "symposium";

/// Every place that the program uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The user's directory for sockets. When it is `/tmp/symposium-UID`, it must be made private and
    /// its owner checked before it is used.
    pub runtime_dir: PathBuf,
    /// The API's socket.
    pub socket: PathBuf,
    /// What must survive a restart.
    pub state_dir: PathBuf,
    /// The registry's file.
    pub registry: PathBuf,
    /// The directories of the taskspaces.
    pub taskspaces: PathBuf,
    /// The service's log, where no journal keeps it.
    pub service_log: PathBuf,
    /// The mirrors of repositories.
    pub mirrors: PathBuf,
    /// The directories of settings, the later ones override the earlier ones.
    pub config_dirs: Vec<PathBuf>,
    /// The directory in which root says which project quotas users have.
    pub project_quotas: PathBuf,
    /// `~/.symposium`.
    pub home_dir: PathBuf,
    /// The SSH configuration of all taskspaces.
    pub ssh_config: PathBuf,
    /// The directory of keys and known hosts.
    pub ssh_dir: PathBuf,
    /// The key that certifies the host keys.
    pub ssh_ca: PathBuf,
    /// The key that the user logs in with.
    pub ssh_client: PathBuf,
    /// The certificate authority, as ssh wants it.
    pub ssh_known_hosts: PathBuf,
    /// The sockets of ssh connections that sessions share.
    pub ssh_sockets: PathBuf,
    /// What agents authenticate with; mounted read-only.
    pub auth: PathBuf,
    /// What agents should know; mounted read-only.
    pub context: PathBuf,
    /// The user's own SSH configuration.
    pub user_ssh_config: PathBuf,
    /// Directories that are there while a container may be started.
    pub permits: PathBuf,
    /// Logs of the addresses that names have led to, one for each network that is up.
    pub granted: PathBuf,
    /// What this user's clients of package registries are configured by.
    pub clients: ClientFiles,
    /// `CONTAINER_HOST`, as it is.
    pub container_host: Option<String>,
    /// Whether `CONTAINERS_CONF_OVERRIDE` is set: then Podman's settings are left as they are.
    pub overrides_containers_conf: bool,
    /// Podman's socket in its usual place.
    pub podman_socket: PathBuf,
    /// Podman's socket when this program has to start Podman's service itself.
    pub own_podman_socket: PathBuf,
}

/// Why the places could not be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    /// There is no home directory.
    #[error("HOME is not set to an absolute path")]
    NoHome,
    /// A path that other programs' files cannot hold.
    #[error("{variable} has a character that ssh's configuration cannot hold: {value:?}")]
    Unusable {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        value: OsString,
    },
    /// A path that must be absolute is not.
    #[error("{variable} must be an absolute path, and is {value:?}")]
    Relative {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        value: OsString,
    },
}

impl PathsError {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoHome => "set HOME to your home directory".to_owned(),
            Self::Unusable { variable, .. } => format!(
                "set {variable} to a path in UTF-8 without double quotes, backslashes and control \
                 characters"
            ),
            Self::Relative { variable, .. } => {
                format!("unset {variable}, or begin it with a slash")
            }
        }
    }
}

impl Paths {
    /// Tells the places from the process's environment.
    pub fn from_environment() -> Result<Self, PathsError> {
        let uid = getuid();
        let passwd_home = || User::from_uid(uid).ok().flatten().map(|user| user.dir);
        let lookup = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            if name == "HOME" { value.or_else(|| passwd_home().map(Into::into)) } else { value }
        };
        Self::new(lookup, uid.as_raw())
    }

    /// Tells the places of the user `uid` from what `lookup` returns for environment variables.
    pub fn new(lookup: impl Fn(&str) -> Option<OsString>, uid: u32) -> Result<Self, PathsError> {
        let path = |variable: &'static str| match lookup(variable).filter(|value| !value.is_empty())
        {
            None => Ok(None),
            Some(value) if is_usable(&value) => Ok(Some(PathBuf::from(value))),
            Some(value) => Err(PathsError::Unusable { variable, value }),
        };
        // The base directory specification: a path that is not absolute is to be ignored.
        let xdg = |variable| path(variable).map(|found| found.filter(|path| path.is_absolute()));

        let home = path("HOME")?.filter(|home| home.is_absolute()).ok_or(PathsError::NoHome)?;
        let runtime_dir = xdg("XDG_RUNTIME_DIR")?.unwrap_or_else(|| default_runtime_dir(uid));
        let socket = match path("TASKSPACE_SOCKET")? {
            None => runtime_dir.join(NAME).join("taskspace.sock"),
            Some(socket) if socket.is_absolute() => socket,
            Some(socket) => {
                let value = socket.into_os_string();
                return Err(PathsError::Relative { variable: "TASKSPACE_SOCKET", value });
            }
        };
        let state = xdg("XDG_STATE_HOME")?.unwrap_or_else(|| home.join(".local/state"));
        let cache = xdg("XDG_CACHE_HOME")?.unwrap_or_else(|| home.join(".cache"));
        let config = xdg("XDG_CONFIG_HOME")?.unwrap_or_else(|| home.join(".config"));
        let container_host = lookup("CONTAINER_HOST")
            .filter(|value| !value.is_empty())
            .map(|value| value.to_string_lossy().into_owned());

        let state_dir = state.join(NAME);
        let home_dir = home.join(".symposium");
        let ssh_dir = home_dir.join("ssh");
        Ok(Self {
            socket,
            registry: state_dir.join("taskspace-registry.json"),
            taskspaces: state_dir.join("taskspaces"),
            service_log: state_dir.join("taskspaced.log"),
            ssh_sockets: runtime_dir.join(NAME).join("ssh"),
            permits: runtime_dir.join(NAME).join("permits"),
            granted: runtime_dir.join(NAME).join("granted"),
            state_dir,
            mirrors: cache.join(NAME).join("mirrors"),
            config_dirs: vec![Path::new("/etc").join(NAME), config.join(NAME)],
            project_quotas: project_quotas(),
            clients: ClientFiles::new(&home, &config, |name| {
                lookup(name).map(PathBuf::from).filter(|path| path.is_absolute())
            }),
            ssh_config: home_dir.join("ssh_config"),
            ssh_ca: ssh_dir.join("ca"),
            ssh_client: ssh_dir.join("client"),
            ssh_known_hosts: ssh_dir.join("known_hosts"),
            ssh_dir,
            auth: home_dir.join("auth"),
            context: home_dir.join("context"),
            home_dir,
            user_ssh_config: home.join(".ssh/config"),
            container_host,
            overrides_containers_conf: lookup("CONTAINERS_CONF_OVERRIDE").is_some(),
            podman_socket: runtime_dir.join("podman/podman.sock"),
            own_podman_socket: runtime_dir.join(NAME).join("podman.sock"),
            runtime_dir,
        })
    }

    /// Returns the directory of one taskspace.
    pub fn taskspace(&self, id: &TaskspaceId) -> PathBuf {
        self.taskspaces.join(id.as_str())
    }
}

/// Returns the directory in which root says which project quotas users have.
pub fn project_quotas() -> PathBuf {
    Path::new("/etc").join(NAME).join("project-quotas")
}

/// Whether ssh's configuration files can hold a path: they know no way to write these characters
/// that all of its versions understand.
fn is_usable(value: &OsString) -> bool {
    value
        .to_str()
        .is_some_and(|text| !text.contains(|c: char| c.is_control() || "\"\\".contains(c)))
}

/// Where sockets go when nothing says where: systemd's place, or one that must be checked before use.
fn default_runtime_dir(uid: u32) -> PathBuf {
    let usual = PathBuf::from(format!("/run/user/{uid}"));
    if usual.is_dir() { usual } else { PathBuf::from(format!("/tmp/{NAME}-{uid}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A uid that has no directory in `/run/user`.
    const UID: u32 = 4_000_000_000;

    fn paths(variables: &[(&str, &str)]) -> Result<Paths, PathsError> {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        };
        Paths::new(lookup, UID)
    }

    #[test]
    fn everything_follows_from_the_home_directory() {
        let paths = paths(&[("HOME", "/home/u"), ("XDG_STATE_HOME", "")]).unwrap();
        let expected = [
            (&paths.runtime_dir, "/tmp/symposium-4000000000"),
            (&paths.socket, "/tmp/symposium-4000000000/symposium/taskspace.sock"),
            (&paths.registry, "/home/u/.local/state/symposium/taskspace-registry.json"),
            (&paths.mirrors, "/home/u/.cache/symposium/mirrors"),
            (&paths.config_dirs[0], "/etc/symposium"),
            (&paths.config_dirs[1], "/home/u/.config/symposium"),
            (&paths.ssh_config, "/home/u/.symposium/ssh_config"),
            (&paths.ssh_ca, "/home/u/.symposium/ssh/ca"),
            (&paths.user_ssh_config, "/home/u/.ssh/config"),
            (&paths.podman_socket, "/tmp/symposium-4000000000/podman/podman.sock"),
        ];
        for (path, text) in expected {
            assert_eq!(path, Path::new(text));
        }
        let id = "fix-1".parse().unwrap();
        assert_eq!(
            paths.taskspace(&id),
            Path::new("/home/u/.local/state/symposium/taskspaces/fix-1")
        );
        assert_eq!(paths.container_host, None);
    }

    #[test]
    fn variables_move_the_places_and_relative_ones_are_ignored() {
        let paths = paths(&[
            ("HOME", "/home/u"),
            ("XDG_RUNTIME_DIR", "/run/u"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "/c"),
            ("XDG_CONFIG_HOME", "/e"),
            ("TASKSPACE_SOCKET", "/s.sock"),
            ("CONTAINER_HOST", "unix:///p.sock"),
        ])
        .unwrap();
        assert_eq!(paths.socket, Path::new("/s.sock"));
        assert_eq!(paths.state_dir, Path::new("/home/u/.local/state/symposium"));
        assert_eq!(paths.mirrors, Path::new("/c/symposium/mirrors"));
        assert_eq!(paths.config_dirs[1], Path::new("/e/symposium"));
        assert_eq!(paths.podman_socket, Path::new("/run/u/podman/podman.sock"));
        assert_eq!(paths.container_host.as_deref(), Some("unix:///p.sock"));
    }

    #[test]
    fn unusable_paths_are_refused() {
        assert_eq!(paths(&[]), Err(PathsError::NoHome));
        assert_eq!(paths(&[("HOME", "here")]), Err(PathsError::NoHome));
        for home in ["/a\nb", "/a\"b", "/a\\b"] {
            let error = paths(&[("HOME", home)]).unwrap_err();
            assert!(error.to_string().starts_with("HOME has a character"), "{error}");
            assert!(error.hint().contains("set HOME"));
        }
        let error = paths(&[("HOME", "/h"), ("TASKSPACE_SOCKET", "s.sock")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "TASKSPACE_SOCKET must be an absolute path, and is \"s.sock\""
        );
    }
}
