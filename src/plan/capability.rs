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
    /// What connects pods with the world.
    pub pasta: Pasta,
    /// Whether Podman takes a limit that is unlimited for the highest that it may give itself.
    pub replaces_unlimited: bool,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Which pasta(1) there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pasta {
    /// None: Podman uses slirp4netns(1).
    Absent,
    /// One that does not know all options which say how a pod reaches its host, or of unknown age.
    Old,
    /// One that does.
    Current,
}

/// The first version of pasta with `--map-host-loopback` and `--map-guest-addr`: 2024-08-14. Versions are dates.
const FIRST_CURRENT_PASTA: u32 = 20_240_814;

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
        let pasta = Pasta::of(info.pasta.as_deref());
        let replaces_unlimited = info.version.major >= RECOMMENDED_MAJOR;
        Ok(Self {
            version,
            graph_root,
            volume_path,
            uid_map,
            gid_map,
            pasta,
            replaces_unlimited,
            warnings,
        })
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
            pasta: Pasta::Current,
            replaces_unlimited: true,
            warnings: Vec::new(),
        }
    }
}

impl Pasta {
    /// Tells it by what Podman knows: a package such as `passt_0.0~git20250503.587980c-2_amd64` or a version
    /// such as `pasta 2024_08_14.61c0b0d`.
    fn of(described: Option<&str>) -> Self {
        let Some(described) = described else { return Self::Absent };
        let plain = described.replace('_', "");
        let dates = plain.split(|c: char| !c.is_ascii_digit()).filter(|it| it.len() == 8);
        let date = dates.filter_map(|it| it.parse::<u32>().ok()).find(|it| *it > 20_200_000);
        match date {
            Some(date) if date >= FIRST_CURRENT_PASTA => Self::Current,
            _ => Self::Old,
        }
    }
}

/// Podman's layout of local volumes: `<volume path>/<name>/_data`.
fn directory_of(volume_path: &Path, volume: &str) -> PathBuf {
    volume_path.join(volume).join("_data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_of_pasta_is_told_by_its_package_or_version() {
        let cases = [
            (Some("passt_0.0~git20250503.587980c-2+deb13u1_amd64 "), Pasta::Current),
            (
                Some("passt-0^20240906.g6b38f07-1.fc40.x86_64 pasta 0^20240906.g6b38f07"),
                Pasta::Current,
            ),
            (Some("Unknown pasta 2024_08_14.61c0b0d"), Pasta::Current),
            (Some("passt_0.0~git20240220.1e6f92b-1_amd64 "), Pasta::Old),
            (Some("Unknown "), Pasta::Old),
            (None, Pasta::Absent),
        ];
        for (described, pasta) in cases {
            assert_eq!(Pasta::of(described), pasta, "{described:?}");
        }
    }
}
