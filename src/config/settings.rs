//! Settings: fragments (files) are merged to inputs, and inputs are validated to settings.

use std::io;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::Quantity;
use crate::policy::coordination::{Coordination, CoordinationError, CoordinationFragment};
use crate::policy::images::{Images, ImagesError, ImagesFragment};
use crate::policy::reserve::Reserve;
use crate::policy::resources::{Resources, ResourcesError, ResourcesFragment};
use crate::policy::restart::RestartPolicy;
use crate::policy::retention::{Retention, RetentionError, RetentionFragment};
use crate::policy::text::{Period, Text};

/// The service ends after this time without a running taskspace, an operation or a client.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The dev containers' sshds.
const DEV_PORTS: RangeInclusive<u16> = 10_000..=20_000;

/// The agent containers' sshds.
const AGENT_PORTS: RangeInclusive<u16> = 20_001..=30_000;

/// Starting takes half a second on an idle machine; a busy one gets this long.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// What Podman gives containers by default before it kills them.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often taskspaces are compared with what Podman has, beside its events.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(30);

/// How often each sshd is asked. Each time costs two lines in the container's log.
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);

/// How long an sshd may take to introduce itself: long, because replacing one ends everything that
/// runs in its container, and a machine may be busy.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);

/// How often in a row an sshd may be silent before something is done about it.
const HEALTH_RETRIES: u32 = 3;

/// How often a taskspace is recovered before it has failed, in which time, and the first pause.
const RESTART_POLICY: RestartPolicy =
    RestartPolicy { limit: 5, window: Duration::from_secs(10 * 60), delay: Duration::from_secs(2) };

/// So much of the disk is left alone: less, and everything else on the machine is in trouble.
const RESERVE: Reserve = Reserve::Bytes(Quantity(1 << 30));

/// How often it is looked at whether taskspaces have written something: a disk writes about so many
/// gigabytes meanwhile.
const STORAGE_INTERVAL: Duration = Duration::from_secs(10);

/// Where node and Python keep what they install for a project: nowhere else than in its checkout.
const CACHED_DIRECTORIES: [&str; 2] = ["node_modules", ".venv"];

/// The first port that an ordinary user may bind.
const FIRST_PORT: u16 = 1024;

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
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}:{line}:{column}: {reason}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The files together give ports that cannot be used.
    #[error("the settings of the ports are wrong: {0}")]
    Ports(String),
    /// The files together give images that cannot work.
    #[error("the settings of the images are wrong: {0}")]
    Images(#[from] ImagesError),
    /// The files together give a coordination that cannot work.
    #[error("the settings of the coordination are wrong: {0}")]
    Coordination(#[from] CoordinationError),
    /// The files together do not say how long everything is kept.
    #[error("the settings of the retention are wrong: {0}")]
    Retention(#[from] RetentionError),
    /// The files together give tiers that cannot work.
    #[error("the settings of the resources are wrong: {0}")]
    Resources(#[from] ResourcesError),
}

impl SettingsError {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Read { path, .. } => format!("check the permissions of {}", path.display()),
            Self::Invalid { path, .. } => format!("correct {}, or remove it", path.display()),
            Self::Ports(_) => "write two ranges such as 10000-20000 that do not overlap".to_owned(),
            Self::Images(_) => {
                "correct images.yaml; see the built-in one for an example".to_owned()
            }
            Self::Coordination(_) => {
                "correct coordination.yaml; see the built-in one for an example".to_owned()
            }
            Self::Retention(_) => {
                "correct retention.yaml; see the built-in one for an example".to_owned()
            }
            Self::Resources(_) => {
                "correct resource-policies.yaml; see the built-in one for an example".to_owned()
            }
        }
    }
}

/// One `settings.yaml`: everything in it is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFragment {
    service: Option<ServiceFragment>,
    ports: Option<PortsFragment>,
    ready_timeout: Option<Text<Period>>,
    stop_timeout: Option<Text<Period>>,
    reconcile_interval: Option<Text<Period>>,
    health: Option<HealthFragment>,
    restart: Option<RestartFragment>,
    cache: Option<CacheFragment>,
    storage: Option<StorageSettingsFragment>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StorageSettingsFragment {
    reserve: Option<Text<Reserve>>,
    interval: Option<Text<Period>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheFragment {
    promote: Option<Promote>,
    directories: Option<Vec<Text<DirectoryName>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthFragment {
    interval: Option<Text<Period>>,
    timeout: Option<Text<Period>>,
    retries: Option<NonZero<u32>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RestartFragment {
    limit: Option<usize>,
    window: Option<Text<Period>>,
    delay: Option<Text<Period>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceFragment {
    idle_timeout: Option<Text<Period>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PortsFragment {
    dev: Option<Text<PortRange>>,
    agent: Option<Text<PortRange>>,
}

impl SettingsFragment {
    /// Lays `over` onto this fragment, field by field.
    fn merge(self, over: Self) -> Self {
        let (service, over_service) =
            (self.service.unwrap_or_default(), over.service.unwrap_or_default());
        let (ports, over_ports) = (self.ports.unwrap_or_default(), over.ports.unwrap_or_default());
        let (health, over_health) =
            (self.health.unwrap_or_default(), over.health.unwrap_or_default());
        let (restart, over_restart) =
            (self.restart.unwrap_or_default(), over.restart.unwrap_or_default());
        let (storage, over_storage) =
            (self.storage.unwrap_or_default(), over.storage.unwrap_or_default());
        let (cache, over_cache) = (self.cache.unwrap_or_default(), over.cache.unwrap_or_default());
        Self {
            service: Some(ServiceFragment {
                idle_timeout: over_service.idle_timeout.or(service.idle_timeout),
            }),
            ports: Some(PortsFragment {
                dev: over_ports.dev.or(ports.dev),
                agent: over_ports.agent.or(ports.agent),
            }),
            reconcile_interval: over.reconcile_interval.or(self.reconcile_interval),
            health: Some(HealthFragment {
                interval: over_health.interval.or(health.interval),
                timeout: over_health.timeout.or(health.timeout),
                retries: over_health.retries.or(health.retries),
            }),
            restart: Some(RestartFragment {
                limit: over_restart.limit.or(restart.limit),
                window: over_restart.window.or(restart.window),
                delay: over_restart.delay.or(restart.delay),
            }),
            cache: Some(CacheFragment {
                promote: over_cache.promote.or(cache.promote),
                directories: over_cache.directories.or(cache.directories),
            }),
            storage: Some(StorageSettingsFragment {
                reserve: over_storage.reserve.or(storage.reserve),
                interval: over_storage.interval.or(storage.interval),
            }),
            ready_timeout: over.ready_timeout.or(self.ready_timeout),
            stop_timeout: over.stop_timeout.or(self.stop_timeout),
        }
    }
}

impl Settings {
    /// Reads `settings.yaml`, `images.yaml`, `coordination.yaml`, `retention.yaml` and
    /// `resource-policies.yaml` of each directory, later ones over earlier ones, over what is built in.
    pub fn load(config_dirs: &[PathBuf]) -> Result<Self, SettingsError> {
        let mut settings = SettingsFragment::default();
        let mut images = Images::built_in();
        let mut coordination = Coordination::built_in();
        let mut retention = Retention::built_in();
        let mut resources = Resources::built_in();
        for dir in config_dirs {
            if let Some(over) = read(&dir.join("settings.yaml"))? {
                settings = settings.merge(over);
            }
            if let Some(over) = read::<ImagesFragment>(&dir.join("images.yaml"))? {
                images = images.merge(over);
            }
            if let Some(over) = read::<CoordinationFragment>(&dir.join("coordination.yaml"))? {
                coordination = coordination.merge(over);
            }
            if let Some(over) = read::<RetentionFragment>(&dir.join("retention.yaml"))? {
                retention = retention.merge(over);
            }
            if let Some(over) = read::<ResourcesFragment>(&dir.join("resource-policies.yaml"))? {
                resources = resources.merge(over);
            }
        }
        Self::validate(settings, images, coordination, retention, resources)
    }

    fn validate(
        settings: SettingsFragment,
        images: ImagesFragment,
        coordination: CoordinationFragment,
        retention: RetentionFragment,
        resources: ResourcesFragment,
    ) -> Result<Self, SettingsError> {
        let service = settings.service.unwrap_or_default();
        let ports = settings.ports.unwrap_or_default();
        let health = settings.health.unwrap_or_default();
        let restart = settings.restart.unwrap_or_default();
        let cache = settings.cache.unwrap_or_default();
        let storage = settings.storage.unwrap_or_default();
        let period = |given: Option<Text<Period>>, default| given.map_or(default, |it| it.0.0);
        let ports = PortSettings {
            dev: ports.dev.map_or(DEV_PORTS, |it| it.0.0),
            agent: ports.agent.map_or(AGENT_PORTS, |it| it.0.0),
        };
        if ports.dev.start() <= ports.agent.end() && ports.agent.start() <= ports.dev.end() {
            return Err(SettingsError::Ports(format!(
                "dev ({}-{}) and agent ({}-{}) overlap",
                ports.dev.start(),
                ports.dev.end(),
                ports.agent.start(),
                ports.agent.end()
            )));
        }
        Ok(Self {
            service: ServiceSettings { idle_timeout: period(service.idle_timeout, IDLE_TIMEOUT) },
            ports,
            ready_timeout: period(settings.ready_timeout, READY_TIMEOUT),
            stop_timeout: period(settings.stop_timeout, STOP_TIMEOUT),
            reconcile_interval: period(settings.reconcile_interval, RECONCILE_INTERVAL),
            health: HealthSettings {
                interval: period(health.interval, HEALTH_INTERVAL),
                timeout: period(health.timeout, HEALTH_TIMEOUT),
                retries: health.retries.map_or(HEALTH_RETRIES, NonZero::get),
            },
            restart: RestartPolicy {
                limit: restart.limit.unwrap_or(RESTART_POLICY.limit),
                window: period(restart.window, RESTART_POLICY.window),
                delay: period(restart.delay, RESTART_POLICY.delay),
            },
            cache: CacheSettings {
                promote: cache.promote.unwrap_or_default(),
                directories: cache.directories.map_or_else(
                    || CACHED_DIRECTORIES.map(str::to_owned).to_vec(),
                    |names| names.into_iter().map(|name| name.0.0).collect(),
                ),
            },
            storage: StorageSettings {
                reserve: storage.reserve.map_or(RESERVE, |it| it.0),
                interval: period(storage.interval, STORAGE_INTERVAL),
            },
            images: images.try_into()?,
            coordination: coordination.try_into()?,
            retention: retention.try_into()?,
            resources: resources.try_into()?,
        })
    }
}

/// Reads a fragment; a file that does not exist, or is empty, is none.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SettingsError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SettingsError::Read { path: path.to_owned(), source }),
    };
    serde_yaml::from_str(&text).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        let reason = error.to_string();
        let place = format!(" at line {line} column {column}");
        let reason = reason.replacen(&place, "", 1);
        SettingsError::Invalid { path: path.to_owned(), line, column, reason }
    })
}

/// A range that is written as `10000-20000`.
#[derive(Clone, Debug)]
struct PortRange(RangeInclusive<u16>);

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (first, last) = text.split_once('-')?;
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (FIRST_PORT <= first && first <= last).then_some(Self(first..=last))
        };
        parse().ok_or_else(|| {
            format!("{text:?} is not a range of ports such as 10000-20000 (from {FIRST_PORT} up)")
        })
    }
}

/// The name of a directory, whatever it is in.
#[derive(Clone, Debug)]
struct DirectoryName(String);

impl FromStr for DirectoryName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = !matches!(text, "" | "." | ".." | ".git" | ".build-cache")
            && !text.contains(['/', '\0']);
        is_name
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| format!("{text:?} is not the name of a directory in a checkout"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(layers: &[(&str, &str)]) -> Result<Settings, String> {
        let root = tempfile::tempdir().unwrap();
        let dirs: Vec<PathBuf> =
            (0..layers.len()).map(|n| root.path().join(n.to_string())).collect();
        for (dir, (name, text)) in dirs.iter().zip(layers) {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join(name), text).unwrap();
        }
        Settings::load(&dirs)
            .map_err(|error| error.to_string().replace(&format!("{}/", root.path().display()), ""))
    }

    #[test]
    fn without_files_the_built_in_settings_hold() {
        let settings = Settings::load(&["/nowhere".into()]).unwrap();
        assert_eq!(settings.service.idle_timeout, Duration::from_secs(300));
        assert_eq!((settings.ports.dev, settings.ports.agent), (DEV_PORTS, AGENT_PORTS));
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
        assert_eq!(settings.images.base, "debian:13");
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
        ];
        for (name, text, message) in cases {
            let error = load(&[(name, text)]).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
