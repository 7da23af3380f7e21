//! Settings: fragments (files) are merged to inputs, and inputs are validated to settings.

mod containers;
mod error;
mod fragment;
mod read;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub use self::containers::ContainerSettings;
pub use self::error::SettingsError;
use self::fragment::SettingsFragment;
pub use self::read::Fingerprint;
use self::read::Sources;
use crate::policy::coordination::{Coordination, CoordinationFragment};
use crate::policy::images::{Images, ImagesFragment};
use crate::policy::network::{Authority, Bound, Bounds, BoundsError, Networks};
use crate::policy::reserve::Reserve;
use crate::policy::resources::{NoTier, Resources, ResourcesFragment};
use crate::policy::restart::RestartPolicy;
use crate::policy::retention::{Retention, RetentionFragment};

/// Everything that the administrator and the user decided, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// About the service itself.
    pub service: ServiceSettings,
    /// Where ports are picked from.
    pub ports: PortSettings,
    /// How long a taskspace may take until both sshds answer.
    pub ready_timeout: Duration,
    /// How long containers may take to stop before they are killed.
    pub stop_timeout: Duration,
    /// How often taskspaces are compared with what Podman has, beside its events.
    pub reconcile_interval: Duration,
    /// How their health is looked after.
    pub health: HealthSettings,
    /// How often one is recovered by itself.
    pub restart: RestartPolicy,
    /// How build caches become those of their projects.
    pub cache: CacheSettings,
    /// What holds in all containers.
    pub containers: ContainerSettings,
    /// How it is looked after that the disk does not fill up.
    pub storage: StorageSettings,
    /// What the images are made of.
    pub images: Images,
    /// Which operations may run side by side.
    pub coordination: Coordination,
    /// How long what is out of use is kept.
    pub retention: Retention,
    /// How much a taskspace may use.
    pub resources: Resources,
    /// What a taskspace may reach.
    pub networks: Networks,
    /// Who is asked for names on behalf of taskspaces; none for those that the host asks.
    pub nameservers: Vec<SocketAddr>,
    /// What holds for the taskspaces of a project, by its name.
    pub projects: BTreeMap<String, ProjectSettings>,
}

/// What holds for the taskspaces of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectSettings {
    /// What they may reach.
    pub network: Bounds,
}

/// How the health of taskspaces is looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// How often each sshd is asked.
    pub interval: Duration,
    /// How long it may take to introduce itself.
    pub timeout: Duration,
    /// How often in a row it may be silent before something is done about it.
    pub retries: u32,
}

/// How build caches become those of their projects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// When that is done by itself.
    pub promote: Promote,
    /// The names of the directories of a checkout that are part of its build cache.
    pub directories: Vec<String>,
}

/// How it is looked after that the disk does not fill up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// Nothing is made that needs room when less than this is free.
    pub reserve: Reserve,
    /// How often it is looked at whether taskspaces have written something.
    pub interval: Duration,
}

/// When a taskspace's build cache becomes the one of its project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Promote {
    /// When somebody asks for it.
    #[default]
    Never,
    /// When the taskspace is deleted.
    Delete,
}

/// About the service itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// It ends after this time without anything to do.
    pub idle_timeout: Duration,
}

/// Where ports are picked from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// For the dev containers.
    pub dev: RangeInclusive<u16>,
    /// For the agent containers.
    pub agent: RangeInclusive<u16>,
    /// How long a port that nobody has any more is given to nobody else.
    pub rest: Duration,
}

impl Settings {
    /// Reads `settings.yaml`, `images.yaml`, `coordination.yaml`, `retention.yaml`,
    /// `resource-policies.yaml`, `network-groups.yaml` and `network/*.yaml` of each directory, later ones
    /// over earlier ones, over what is built in.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what it should be.
    pub fn load(config_dirs: &[PathBuf]) -> Result<Self, SettingsError> {
        Self::load_with(config_dirs, &[])
    }

    /// Reads the same, and over it files that may be anywhere; what they are, their names say.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what it should be.
    pub fn load_with(config_dirs: &[PathBuf], files: &[PathBuf]) -> Result<Self, SettingsError> {
        let sources = Sources { config_dirs, files };
        sources.check()?;
        let settings = sources.layered(
            "settings.yaml",
            SettingsFragment::default(),
            SettingsFragment::merge,
        )?;
        let images = sources.layered("images.yaml", Images::built_in(), ImagesFragment::merge)?;
        let coordination = sources.layered(
            "coordination.yaml",
            Coordination::built_in(),
            CoordinationFragment::merge,
        )?;
        let retention =
            sources.layered("retention.yaml", Retention::built_in(), RetentionFragment::merge)?;
        let resources = sources.layered(
            "resource-policies.yaml",
            Resources::built_in(),
            ResourcesFragment::merge,
        )?;
        let networks = Networks::from_files(&sources.networks()?, &settings.host_services())?;
        let settings = settings.validate(
            images.try_into()?,
            coordination.try_into()?,
            retention.try_into()?,
            resources.try_into()?,
            networks,
        )?;
        settings.check_bounds()?;
        Ok(settings)
    }

    /// Returns the names of the files by which they differ from other settings.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let rest = |settings: &Self| Self {
            images: other.images.clone(),
            coordination: other.coordination.clone(),
            retention: other.retention.clone(),
            resources: other.resources.clone(),
            networks: other.networks.clone(),
            ..settings.clone()
        };
        let files = [
            ("settings.yaml", rest(self) != *other),
            ("images.yaml", self.images != other.images),
            ("coordination.yaml", self.coordination != other.coordination),
            ("retention.yaml", self.retention != other.retention),
            ("resource-policies.yaml", self.resources != other.resources),
            ("network policies", self.networks != other.networks),
        ];
        files.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// Returns who says something about the network policies of a taskspace: its project, which has the
    /// first word, and its tier.
    ///
    /// # Errors
    /// When there is no such tier.
    pub fn network_bounds(&self, project: &str, tier: &str) -> Result<Vec<Bound<'_>>, NoTier> {
        let tier_bounds = &self.resources.tier(tier)?.network;
        let of_project = self.projects.get(project).map(|settings| Bound {
            by: Authority::Project(project.to_owned()),
            bounds: &settings.network,
        });
        let of_tier = Bound { by: Authority::Tier(tier.to_owned()), bounds: tier_bounds };
        Ok(of_project.into_iter().chain([of_tier]).collect())
    }

    fn check_bounds(&self) -> Result<(), BoundsError> {
        let tiers = self.resources.tiers().map(|(name, tier)| Bound {
            by: Authority::Tier(name.to_owned()),
            bounds: &tier.network,
        });
        let projects = self.projects.iter().map(|(name, project)| Bound {
            by: Authority::Project(name.clone()),
            bounds: &project.network,
        });
        tiers.chain(projects).try_for_each(|bound| self.networks.check_bounds(&bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::network::Wanted;

    fn load(layers: &[(&str, &str)]) -> Result<Settings, String> {
        let root = tempfile::tempdir().unwrap();
        let dirs: Vec<PathBuf> =
            (0..layers.len()).map(|n| root.path().join(n.to_string())).collect();
        for (dir, (name, text)) in dirs.iter().zip(layers) {
            std::fs::create_dir(dir).unwrap();
            let file = dir.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        Settings::load(&dirs)
            .map_err(|error| error.to_string().replace(&format!("{}/", root.path().display()), ""))
    }

    #[test]
    fn without_files_the_built_in_settings_hold() {
        let settings = Settings::load(&["/nowhere".into()]).unwrap();
        assert_eq!(settings.service.idle_timeout, Duration::from_secs(300));
        assert_eq!((settings.ports.dev, settings.ports.agent), (10_000..=20_000, 20_001..=30_000));
        assert_eq!(settings.ports.rest, Duration::from_secs(600));
        assert_eq!(
            (settings.containers.shm_size, settings.containers.timezone),
            (None, "UTC".into())
        );
        assert_eq!(settings.images, Images::built_in().try_into().unwrap());
        assert_eq!(settings.coordination, Coordination::built_in().try_into().unwrap());
        assert_eq!(settings.retention, Retention::built_in().try_into().unwrap());
        assert_eq!(settings.resources, Resources::built_in().try_into().unwrap());
    }

    #[test]
    fn later_layers_override_field_by_field() {
        let settings = load(&[
            ("settings.yaml", "ready_timeout: 90s\nports: {dev: 3000-3999, agent: 4000-4999}"),
            ("settings.yaml", "cache: {promote: delete, directories: [target]}"),
            ("settings.yaml", "service: {idle_timeout: 500ms}\nports: {dev: 5000-5999}"),
            ("settings.yaml", "ports: {rest: 90s}"),
            ("settings.yaml", "cache: {directories: [vendor]}"),
            ("settings.yaml", "# nothing\n"),
            ("images.yaml", "base: debian:13"),
            ("coordination.yaml", "limits: {queue: 7, lease: 1m}"),
            ("coordination.yaml", "limits: {queue: 8}"),
        ])
        .unwrap();
        assert_eq!(settings.coordination.limits.queue, 8);
        assert_eq!(settings.coordination.limits.lease, Duration::from_secs(60));
        assert_eq!(settings.ready_timeout, Duration::from_secs(90));
        assert_eq!(settings.cache.promote, Promote::Delete);
        assert_eq!(settings.cache.directories, ["vendor"]);
        assert_eq!(settings.service.idle_timeout, Duration::from_millis(500));
        assert_eq!((settings.ports.dev, settings.ports.agent), (5000..=5999, 4000..=4999));
        assert_eq!(settings.ports.rest, Duration::from_secs(90));
        assert_eq!(settings.images.base, "debian:13");
    }

    #[test]
    fn policies_tiers_and_projects_come_together() {
        let settings = load(&[
            ("settings.yaml", "network: {host_services: {db: 5432}}"),
            ("network/mine.yaml", "like: restricted\nallow: ['host:db']"),
            ("network/notes.txt", "no policy"),
            ("settings.yaml", "projects: {app: {network: {default: mine}}}"),
            ("settings.yaml", "projects: {app: {network: {at_most: restricted}}}"),
            ("resource-policies.yaml", "tiers: {minimal: {network: {fixed: isolated}}}"),
        ])
        .unwrap();
        let choose = |project: &str, tier: &str| {
            let bounds = settings.network_bounds(project, tier).unwrap();
            settings.networks.choose(Wanted::default(), &bounds).unwrap().to_string()
        };
        assert_eq!(choose("app", "default"), "mine");
        assert_eq!(choose("other", "premium"), "open");
        assert_eq!(choose("app", "minimal"), "isolated");
        assert!(settings.network_bounds("app", "gold").is_err());
    }

    #[test]
    fn a_file_is_read_over_what_is_in_force() {
        let root = tempfile::tempdir().unwrap();
        let dirs = [root.path().join("config")];
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        write("config/network-groups.yaml", "groups: {a: [example.org]}");
        let policy = write("mine.yaml", "like: restricted\nallow: ['@a', '@b']");
        let groups = write("network-groups.yaml", "groups: {b: [example.com]}");
        let error = Settings::load_with(&dirs, std::slice::from_ref(&policy)).unwrap_err();
        assert!(error.to_string().contains("mine.yaml:2:15: there is no group @b"), "{error}");
        let settings = Settings::load_with(&dirs, &[groups, policy]).unwrap();
        assert_eq!(settings.networks.policies().count(), 4);
        // Its name says what it is; in the directory of the network policies it is one.
        let strange = write("network/retention.yaml", "like: open");
        assert!(Settings::load_with(&dirs, &[strange]).is_ok());
        let error = Settings::load_with(&dirs, &[root.path().join("none.yaml")]).unwrap_err();
        assert!(matches!(error, SettingsError::Read { .. }), "{error}");
    }

    #[test]
    fn errors_name_the_file_and_the_place() {
        let cases = [
            ("settings.yaml", "a: 1", "0/settings.yaml:1:1: unknown field `a`, expected one of"),
            (
                "settings.yaml",
                "\nservice:\n  idle_timeout: soon",
                "0/settings.yaml:3:17: service.idle_timeout: \"soon\" is not a duration such as 90s \
                 or 5m",
            ),
            ("settings.yaml", "stop_timeout: 0s", "is not a duration"),
            ("settings.yaml", "stop_timeout: -5s", "is not a duration"),
            ("settings.yaml", "ports: {dev: 80-90}", "is not a range of ports"),
            ("settings.yaml", "ports: {dev: 9000-8000}", "is not a range of ports"),
            ("settings.yaml", "ports: {dev: 9000-99999}", "is not a range of ports"),
            ("settings.yaml", "ports: {dev: 25000-26000}", "dev (25000-26000) and agent (20001-"),
            ("settings.yaml", "ports: [", "0/settings.yaml:"),
            ("settings.yaml", "cache: {directories: [a/b]}", "\"a/b\" is not the name of a"),
            ("settings.yaml", "cache: {directories: [.git]}", "is not the name of a directory"),
            (
                "settings.yaml",
                "storage: {reserve: 200%}",
                "is no part of a disk such as 10Gi or 5%",
            ),
            ("settings.yaml", "cache: {promote: always}", "unknown variant `always`"),
            (
                "images.yaml",
                "agent:\n  packages: [A]",
                "0/images.yaml:2:14: agent.packages[0]: \"A\"",
            ),
            ("images.yaml", "agent: {packages: []}", "'agent.packages' lacks git"),
            (
                "coordination.yaml",
                "conflicts:\n  read: {stop: low}\n  stop: {read: high}",
                "0/coordination.yaml:3:16: conflicts.stop.read: read+stop is low and high",
            ),
            (
                "coordination.yaml",
                "limits:\n  ageing: 0s",
                "0/coordination.yaml:2:11: limits.ageing: \"0s\" is not a duration",
            ),
            (
                "resource-policies.yaml",
                "tiers:\n  default:\n    storage: {limit: lots}",
                "0/resource-policies.yaml:3:22: tiers.default.storage.limit: \"lots\" is not an",
            ),
            (
                "coordination.yaml",
                "severities: {high: caution}",
                "the settings of the coordination are wrong: 'severities.high'",
            ),
            (
                "retention.yaml",
                "bases:\n  unused: soon",
                "0/retention.yaml:2:11: bases.unused: \"soon\" is neither a duration such as 12h or \
                 7d nor `never`",
            ),
            ("retention.yaml", "interval: never", "is not a duration"),
            (
                "network/mine.yaml",
                "like: restricted\nallow: ['*']",
                "0/network/mine.yaml:2:9: allow[0]: `*` is every name",
            ),
            (
                "network/Mine.yaml",
                "like: open",
                "0/network/Mine.yaml:1:1: \"Mine\" is not the name",
            ),
            (
                "network-groups.yaml",
                "groups: {a: ['@b']}",
                "0/network-groups.yaml:1:14: there is no",
            ),
            ("settings.yaml", "network: {host_services: {a: b}}", "0/settings.yaml:1:30: network"),
            (
                "settings.yaml",
                "network: {nameservers: [dns.example.org]}",
                "\"dns.example.org\" is not the address of a server",
            ),
            ("settings.yaml", "projects: {a/b: {}}", "is not the name of a project"),
            (
                "settings.yaml",
                "projects: {app: {network: {fixed: gone}}}",
                "the project 'app' has a network policy that there is not: there is no network policy",
            ),
            (
                "resource-policies.yaml",
                "tiers: {minimal: {network: {default: gone}}}",
                "the tier 'minimal' has a network policy that there is not",
            ),
        ];
        for (name, text, message) in cases {
            let error = load(&[(name, text)]).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
