//! `containers` in `settings.yaml`: what holds in all containers of taskspaces.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::model::Quantity;
use crate::policy::named::each_once;
use crate::policy::text::Text;

/// What the time zone is when nothing is said: it tells nothing of where the user is.
const UTC: &str = "UTC";

/// The host's own time zone, as it is written in the settings and as Podman calls it.
const HOST_ZONE: &str = "host";
const HOST_ZONE_IN_PODMAN: &str = "local";

/// Variables that the container, its shells or taskspace itself set.
const RESERVED: [&str; 7] = ["HOME", "HOSTNAME", "LOGNAME", "SHELL", "TERM", "USER", "container"];
const RESERVED_PREFIX: &str = "SYMPOSIUM_";

/// Less than this is of no use to anybody, and a sign of a forgotten unit.
const LEAST_SHM: Quantity = Quantity(1 << 20);

/// What holds in all containers of taskspaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSettings {
    /// How much `/dev/shm` can hold; half of the host's memory if not given, as on a host.
    pub shm_size: Option<Quantity>,
    /// A name of the time zone database, or `local` for that of the host.
    pub timezone: String,
    /// Variables, beside those of the images.
    pub environment: BTreeMap<String, String>,
}

/// The same, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContainersFragment {
    shm_size: Option<ShmSize>,
    timezone: Option<Text<Timezone>>,
    #[serde(default, deserialize_with = "each_once")]
    environment: BTreeMap<VariableName, Text<VariableValue>>,
}

impl ContainersFragment {
    /// Lays `over` onto this fragment, field by field and variable by variable.
    pub(super) fn merge(mut self, over: Self) -> Self {
        self.environment.extend(over.environment);
        Self {
            shm_size: over.shm_size.or(self.shm_size),
            timezone: over.timezone.or(self.timezone),
            environment: self.environment,
        }
    }
}

impl From<ContainersFragment> for ContainerSettings {
    fn from(fragment: ContainersFragment) -> Self {
        let environment = fragment.environment.into_iter();
        Self {
            shm_size: fragment.shm_size.map(|size| size.0),
            timezone: fragment.timezone.map_or_else(|| UTC.to_owned(), |zone| zone.0.0),
            environment: environment.map(|(name, value)| (name.0, value.0.0)).collect(),
        }
    }
}

/// The size of `/dev/shm`.
#[derive(Clone, Copy, Debug)]
struct ShmSize(Quantity);

impl<'de> Deserialize<'de> for ShmSize {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let size = Quantity::deserialize(input)?;
        // Podman counts in signed numbers.
        if size < LEAST_SHM || i64::try_from(size.0).is_err() {
            return Err(D::Error::custom(format!(
                "{size} is no size for /dev/shm; write at least {LEAST_SHM}, such as 2Gi"
            )));
        }
        Ok(Self(size))
    }
}

/// A time zone.
#[derive(Clone, Debug)]
struct Timezone(String);

impl FromStr for Timezone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == HOST_ZONE {
            return Ok(Self(HOST_ZONE_IN_PODMAN.to_owned()));
        }
        let is_name = !text.is_empty()
            && text.split('/').all(|part| {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
                !part.is_empty() && part.chars().all(is_plain)
            });
        if text == UTC || (is_name && TimeZone::get(text).is_ok()) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "{text:?} is not a time zone that this host has (in /usr/share/zoneinfo) such as \
             Europe/Berlin, and not `{HOST_ZONE}`"
        ))
    }
}

/// The name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct VariableName(String);

impl FromStr for VariableName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return Err(format!("{text:?} is not the name of an environment variable"));
        }
        if RESERVED.contains(&text) || text.starts_with(RESERVED_PREFIX) {
            return Err(format!("the variable {text} is set by the container itself"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The value of an environment variable.
#[derive(Clone, Debug)]
struct VariableValue(String);

impl FromStr for VariableValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err(format!("{text:?} has a line break or another control character"));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<ContainerSettings, String> {
        let mut merged = ContainersFragment::default();
        for text in texts {
            let fragment = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
            merged = merged.merge(fragment);
        }
        Ok(merged.into())
    }

    #[test]
    fn later_files_override_sizes_and_single_variables() {
        let settings = read(&[
            "{shm_size: 2GiB, timezone: UTC, environment: {A: one, B: 'two words'}}",
            "{shm_size: 512Mi, timezone: host, environment: {B: ''}}",
        ])
        .unwrap();
        assert_eq!(settings.shm_size, Some(Quantity(512 << 20)));
        assert_eq!(settings.timezone, "local");
        let environment = [("A", "one"), ("B", "")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(settings.environment, environment.into());
        assert_eq!(read(&["{}"]).unwrap().timezone, "UTC");
    }

    #[test]
    fn invalid_values_are_refused_with_the_reason() {
        let cases = [
            ("shm_size: 64", "is no size for /dev/shm"),
            ("shm_size: 16Ei", "is not an amount of bytes"),
            ("shm_size: 8Ei", "is no size for /dev/shm"),
            ("shm_size: lots", "is not an amount of bytes"),
            ("timezone: Mars/Olympus", "is not a time zone"),
            ("timezone: ../etc/passwd", "is not a time zone"),
            ("timezone: ''", "is not a time zone"),
            ("environment: {1A: x}", "is not the name of an environment variable"),
            ("environment: {'A=B': x}", "is not the name of an environment variable"),
            ("environment: {HOME: /x}", "HOME is set by the container itself"),
            ("environment: {SYMPOSIUM_TASKSPACE: x}", "is set by the container itself"),
            ("environment: {A: \"x\\ny\"}", "has a line break"),
            ("environment: {A: x, A: y}", "A"),
            ("nofile: 3", "unknown field `nofile`"),
        ];
        for (text, reason) in cases {
            let error = read(&[text]).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
