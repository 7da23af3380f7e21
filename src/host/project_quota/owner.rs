//! The user whose volumes are to be limited, as root sees them.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};

/// A user.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: u32,
    gid: u32,
    home: PathBuf,
}

/// Why a user's volumes are not known.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// There is no such user.
    #[error("there is no user {0:?}")]
    Unknown(String),
    /// The user's Podman does not say where its volumes are.
    #[error("the Podman of {user} does not say where its volumes are: {said}")]
    NoPodman {
        /// The user.
        user: String,
        /// What it said instead.
        said: String,
    },
}

impl Owner {
    /// Finds a user by name or uid.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(wanted: &str) -> Result<Self, OwnerError> {
        let by_name = User::from_name(wanted).ok().flatten();
        let by_uid = || User::from_uid(Uid::from_raw(wanted.parse().ok()?)).ok().flatten();
        let found =
            by_name.or_else(by_uid).ok_or_else(|| OwnerError::Unknown(wanted.to_owned()))?;
        Ok(Self {
            name: found.name,
            uid: found.uid.as_raw(),
            gid: found.gid.as_raw(),
            home: found.dir,
        })
    }

    /// Asks the user's own Podman where its volumes are: it knows the user's configuration.
    ///
    /// # Errors
    /// When it does not say.
    pub fn volumes(&self) -> Result<PathBuf, OwnerError> {
        let silent = |said: String| OwnerError::NoPodman { user: self.name.clone(), said };
        let output = Command::new("podman")
            .args(["info", "--format", "{{.Store.VolumePath}}"])
            // As a login of the user's has it; of root's environment only what finds Podman.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", &self.home)
            .env("USER", &self.name)
            .env("XDG_RUNTIME_DIR", format!("/run/user/{}", self.uid))
            .current_dir("/")
            .uid(self.uid)
            .gid(self.gid)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| silent(error.to_string()))?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let path = PathBuf::from(said(&output.stdout));
        match output.status.success() && path.is_absolute() {
            true => Ok(path),
            false => Err(silent(said(&output.stderr))),
        }
    }
}
