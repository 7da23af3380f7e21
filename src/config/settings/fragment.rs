//! One `settings.yaml`, and what holds where it says nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::containers::ContainersFragment;
use super::{
    CacheSettings, HealthSettings, PortSettings, ProjectSettings, Promote, ServiceSettings,
    Settings, SettingsError, StorageSettings,
};
use crate::model::{Quantity, ServiceName};
use crate::policy::coordination::Coordination;
use crate::policy::images::Images;
use crate::policy::named::each_once;
use crate::policy::network::{BoundsFragment, Networks};
use crate::policy::reserve::Reserve;
use crate::policy::resources::Resources;
use crate::policy::restart::RestartPolicy;
use crate::policy::retention::Retention;
use crate::policy::text::{Period, Text};

/// The service ends after this time without a running taskspace, an operation or a client.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The dev containers' sshds.
const DEV_PORTS: RangeInclusive<u16> = 10_000..=20_000;

/// The agent containers' sshds.
const AGENT_PORTS: RangeInclusive<u16> = 20_001..=30_000;

/// A browser's tab or an editor's window may go on asking for so long.
const PORT_REST: Duration = Duration::from_secs(10 * 60);

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

/// Where servers are asked for names.
const DNS_PORT: u16 = 53;

/// The first port that an ordinary user may bind.
const FIRST_PORT: u16 = 1024;

/// One `settings.yaml`: everything in it is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsFragment {
    service: Option<ServiceFragment>,
    ports: Option<PortsFragment>,
    ready_timeout: Option<Text<Period>>,
    stop_timeout: Option<Text<Period>>,
    reconcile_interval: Option<Text<Period>>,
    health: Option<HealthFragment>,
    restart: Option<RestartFragment>,
    cache: Option<CacheFragment>,
    containers: Option<ContainersFragment>,
    storage: Option<StorageSettingsFragment>,
    network: Option<NetworkSettingsFragment>,
    #[serde(default, deserialize_with = "each_once")]
    projects: BTreeMap<ProjectName, ProjectFragment>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkSettingsFragment {
    #[serde(default, deserialize_with = "each_once")]
    host_services: BTreeMap<ServiceName, NonZero<u16>>,
    nameservers: Option<Vec<Text<Nameserver>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectFragment {
    network: Option<BoundsFragment>,
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
    rest: Option<Text<Period>>,
}

impl SettingsFragment {
    /// Lays `over` onto this fragment, field by field.
    pub(super) fn merge(self, over: Self) -> Self {
        let (service, over_service) =
            (self.service.unwrap_or_default(), over.service.unwrap_or_default());
        let (ports, over_ports) = (self.ports.unwrap_or_default(), over.ports.unwrap_or_default());
        let (health, over_health) =
            (self.health.unwrap_or_default(), over.health.unwrap_or_default());
        let (restart, over_restart) =
            (self.restart.unwrap_or_default(), over.restart.unwrap_or_default());
        let (storage, over_storage) =
            (self.storage.unwrap_or_default(), over.storage.unwrap_or_default());
        let mut network = self.network.unwrap_or_default();
        let over_network = over.network.unwrap_or_default();
        network.host_services.extend(over_network.host_services);
        network.nameservers = over_network.nameservers.or(network.nameservers);
        let mut projects = self.projects;
        for (name, over) in over.projects {
            let before = projects.remove(&name).and_then(|project| project.network);
            let merged = before.unwrap_or_default().merge(over.network.unwrap_or_default());
            projects.insert(name, ProjectFragment { network: Some(merged) });
        }
        let (cache, over_cache) = (self.cache.unwrap_or_default(), over.cache.unwrap_or_default());
        Self {
            service: Some(ServiceFragment {
                idle_timeout: over_service.idle_timeout.or(service.idle_timeout),
            }),
            ports: Some(PortsFragment {
                dev: over_ports.dev.or(ports.dev),
                agent: over_ports.agent.or(ports.agent),
                rest: over_ports.rest.or(ports.rest),
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
            containers: Some(
                self.containers.unwrap_or_default().merge(over.containers.unwrap_or_default()),
            ),
            storage: Some(StorageSettingsFragment {
                reserve: over_storage.reserve.or(storage.reserve),
                interval: over_storage.interval.or(storage.interval),
            }),
            network: Some(network),
            projects,
            ready_timeout: over.ready_timeout.or(self.ready_timeout),
            stop_timeout: over.stop_timeout.or(self.stop_timeout),
        }
    }

    /// Returns the services of the host that all network policies can name.
    pub(super) fn host_services(&self) -> BTreeMap<ServiceName, NonZero<u16>> {
        self.network.as_ref().map(|network| network.host_services.clone()).unwrap_or_default()
    }

    /// Returns the settings: what is not given is as it is built in.
    ///
    /// # Errors
    /// When the ranges of the ports overlap.
    pub(super) fn validate(
        self,
        images: Images,
        coordination: Coordination,
        retention: Retention,
        resources: Resources,
        networks: Networks,
    ) -> Result<Settings, SettingsError> {
        let service = self.service.unwrap_or_default();
        let ports = self.ports.unwrap_or_default();
        let health = self.health.unwrap_or_default();
        let restart = self.restart.unwrap_or_default();
        let cache = self.cache.unwrap_or_default();
        let storage = self.storage.unwrap_or_default();
        let nameservers = self.network.and_then(|network| network.nameservers);
        let period = |given: Option<Text<Period>>, default| given.map_or(default, |it| it.0.0);
        let ports = PortSettings {
            dev: ports.dev.map_or(DEV_PORTS, |it| it.0.0),
            agent: ports.agent.map_or(AGENT_PORTS, |it| it.0.0),
            rest: period(ports.rest, PORT_REST),
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
        Ok(Settings {
            service: ServiceSettings { idle_timeout: period(service.idle_timeout, IDLE_TIMEOUT) },
            ports,
            ready_timeout: period(self.ready_timeout, READY_TIMEOUT),
            stop_timeout: period(self.stop_timeout, STOP_TIMEOUT),
            reconcile_interval: period(self.reconcile_interval, RECONCILE_INTERVAL),
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
            containers: self.containers.unwrap_or_default().into(),
            storage: StorageSettings {
                reserve: storage.reserve.map_or(RESERVE, |it| it.0),
                interval: period(storage.interval, STORAGE_INTERVAL),
            },
            nameservers: nameservers.into_iter().flatten().map(|it| it.0.0).collect(),
            images,
            coordination,
            retention,
            resources,
            networks,
            projects: (self.projects.into_iter())
                .map(|(name, project)| {
                    let network = project.network.unwrap_or_default().into();
                    (name.0, ProjectSettings { network })
                })
                .collect(),
        })
    }
}

/// Who is asked for names: `192.0.2.53`, or with a port `192.0.2.53:5353`.
#[derive(Clone, Copy, Debug)]
struct Nameserver(SocketAddr);

impl FromStr for Nameserver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT));
        let address = address.or_else(|_| text.parse());
        address.map(Self).map_err(|_| {
            format!(
                "{text:?} is not the address of a server such as 192.0.2.53 or [2001:db8::1]:53"
            )
        })
    }
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

/// The name of a project, as `taskspace projects` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ProjectName(String);

impl FromStr for ProjectName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = text.contains(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        is_name.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!("{text:?} is not the name of a project; `taskspace projects` shows them")
        })
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
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
