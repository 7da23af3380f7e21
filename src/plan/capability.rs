//! What this host's Podman can do, and what about it is in the way.

use std::path::{Path, PathBuf};

use crate::podman::{IdMap, Info};

/// The oldest Podman that works at all: `container update` and `userxattr` volumes are known good.
const OLDEST: (u32, u32, u32) = (4, 3, 1);
/// The oldest Podman that is not warned about.
const RECOMMENDED_MAJOR: u32 = 5;

/// What matters of Podman and its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Podman's version.
    pub version: String,
    /// Where its containers are.
    pub graph_root: PathBuf,
    /// Where the local volumes are.
    pub volume_path: PathBuf,
    /// Which users its containers have.
    pub uid_map: Vec<IdMap>,
    /// Which groups they have.
    pub gid_map: Vec<IdMap>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Why this Podman cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    /// Older than 4.3.1.
    #[error("Podman {0} is too old; taskspace needs 4.3.1, and 5.0 or newer is recommended")]
    TooOld(String),
    /// It runs as root.
    #[error("the Podman that answers runs as root; taskspace needs a rootless one")]
    Rootful,
    /// The mount options of an overlay cannot hold such a path.
    #[error("Podman keeps its volumes in '{0}'; an overlay cannot have ',' or ':' in its path")]
    VolumePath(PathBuf),
}

impl Capabilities {
    /// Reads them from Podman's description of itself.
    ///
    /// # Errors
    /// When this Podman cannot be used at all.
    pub fn new(info: &Info) -> Result<Self, Unsuitable> {
        let version = info.version.text.clone();
        let numbers = (info.version.major, info.version.minor, info.version.patch);
        if numbers < OLDEST {
            return Err(Unsuitable::TooOld(version));
        }
        if !info.rootless {
            return Err(Unsuitable::Rootful);
        }
        let volume_path = info.volume_path.clone();
        if volume_path.to_string_lossy().contains([',', ':']) {
            return Err(Unsuitable::VolumePath(volume_path));
        }
        let mut warnings = Vec::new();
        if info.version.major < RECOMMENDED_MAJOR {
            warnings.push(format!(
                "Podman {version} is older than {RECOMMENDED_MAJOR}.0, with which taskspace is \
                 tested"
            ));
        }
        let graph_root = info.graph_root.clone();
        let (uid_map, gid_map) = (info.uid_map.clone(), info.gid_map.clone());
        Ok(Self { version, graph_root, volume_path, uid_map, gid_map, warnings })
    }

    /// Returns the directory of a local volume.
    pub fn volume_directory(&self, volume: &str) -> PathBuf {
        directory_of(&self.volume_path, volume)
    }
}

#[cfg(test)]
impl Capabilities {
    /// Those of a Podman whose volumes are in `/v`, for tests.
    pub(crate) fn example() -> Self {
        Self {
            version: "5.4.2".to_owned(),
            graph_root: "/g".into(),
            volume_path: "/v".into(),
            uid_map: Vec::new(),
            gid_map: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Podman's layout of local volumes: `<volume path>/<name>/_data`.
fn directory_of(volume_path: &Path, volume: &str) -> PathBuf {
    volume_path.join(volume).join("_data")
}
