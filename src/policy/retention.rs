//! How long what is out of use is kept (`retention.yaml`).

use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use serde::Deserialize;

use super::text::{Period, Text};

/// The built-in `retention.yaml`.
pub const BUILT_IN: &str = include_str!("../../policies/retention.yaml");

/// How long something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// For this time after it came out of use.
    For(Duration),
    /// Until somebody removes it.
    Forever,
}

impl Keep {
    /// Returns until when something is kept that has been out of use since `since`; none for ever.
    pub fn until(self, since: Timestamp) -> Option<Timestamp> {
        match self {
            // What does not fit a calendar is as good as for ever.
            Self::For(time) => since.checked_add(SignedDuration::try_from(time).ok()?).ok(),
            Self::Forever => None,
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Forever);
        }
        text.parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
            .ok()
            .and_then(|time| Duration::try_from(time).ok())
            .map(Self::For)
            .ok_or_else(|| format!("{text:?} is neither a duration such as 12h or 7d nor `never`"))
    }
}

/// How long what is out of use is kept, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bases that nobody uses.
    pub bases: Keep,
    /// The newest base of a project, if nobody uses it.
    pub newest_bases: Keep,
    /// Build caches that nobody uses and with which no new taskspace begins.
    pub caches: Keep,
    /// The build cache with which a new taskspace of a project begins, if nobody uses it.
    pub current_caches: Keep,
    /// What the agents of deleted taskspaces remember.
    pub agent_states: Keep,
    /// Mirrors that no project has.
    pub mirrors: Keep,
    /// What belongs to nothing in the registry.
    pub strays: Keep,
    /// How often to look.
    pub interval: Duration,
}

/// A value that has no default is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is missing")]
pub struct RetentionError(&'static str);

/// One `retention.yaml`: everything in it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionFragment {
    bases: Option<BasesFragment>,
    caches: Option<CachesFragment>,
    agent_states: Option<Text<Keep>>,
    mirrors: Option<Text<Keep>>,
    strays: Option<Text<Keep>>,
    interval: Option<Text<Period>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct BasesFragment {
    unused: Option<Text<Keep>>,
    newest: Option<Text<Keep>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct CachesFragment {
    unused: Option<Text<Keep>>,
    current: Option<Text<Keep>>,
}

impl RetentionFragment {
    /// Lays `over` onto this fragment, value by value.
    #[must_use]
    pub fn merge(self, over: Self) -> Self {
        let (bases, over_bases) = (self.bases.unwrap_or_default(), over.bases.unwrap_or_default());
        let (caches, over_caches) =
            (self.caches.unwrap_or_default(), over.caches.unwrap_or_default());
        Self {
            bases: Some(BasesFragment {
                unused: over_bases.unused.or(bases.unused),
                newest: over_bases.newest.or(bases.newest),
            }),
            caches: Some(CachesFragment {
                unused: over_caches.unused.or(caches.unused),
                current: over_caches.current.or(caches.current),
            }),
            agent_states: over.agent_states.or(self.agent_states),
            mirrors: over.mirrors.or(self.mirrors),
            strays: over.strays.or(self.strays),
            interval: over.interval.or(self.interval),
        }
    }
}

impl Retention {
    /// Returns the built-in retention.
    pub fn built_in() -> RetentionFragment {
        // A test sees to it that this parses.
        serde_yaml::from_str(BUILT_IN).unwrap_or_default()
    }
}

impl TryFrom<RetentionFragment> for Retention {
    type Error = RetentionError;

    fn try_from(fragment: RetentionFragment) -> Result<Self, RetentionError> {
        let keep = |name, given: Option<Text<Keep>>| {
            given.map(|Text(keep)| keep).ok_or(RetentionError(name))
        };
        let bases = fragment.bases.unwrap_or_default();
        let caches = fragment.caches.unwrap_or_default();
        let Text(Period(interval)) = fragment.interval.ok_or(RetentionError("interval"))?;
        Ok(Self {
            bases: keep("bases.unused", bases.unused)?,
            newest_bases: keep("bases.newest", bases.newest)?,
            caches: keep("caches.unused", caches.unused)?,
            current_caches: keep("caches.current", caches.current)?,
            agent_states: keep("agent_states", fragment.agent_states)?,
            mirrors: keep("mirrors", fragment.mirrors)?,
            strays: keep("strays", fragment.strays)?,
            interval,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn the_built_in_file_says_everything() {
        let retention = Retention::try_from(Retention::built_in()).unwrap();
        assert_eq!(retention.bases, Keep::For(Duration::ZERO));
        assert_eq!(retention.agent_states, Keep::For(30 * DAY));
        assert_eq!(retention.interval, Duration::from_secs(3600));
        let text = "bases: {unused: 2w}\nagent_states: never\n";
        let over = Retention::built_in().merge(serde_yaml::from_str(text).unwrap());
        let mine = Retention::try_from(over).unwrap();
        assert_eq!((mine.bases, mine.agent_states), (Keep::For(14 * DAY), Keep::Forever));
        assert_eq!(mine.newest_bases, retention.newest_bases);
        assert_eq!(
            Retention::try_from(RetentionFragment::default()).unwrap_err().to_string(),
            "'interval' is missing"
        );
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let good = [("0s", 0), ("90s", 90), ("1d", 86_400), ("1w", 604_800), ("1h 30m", 5_400)];
        for (text, seconds) in good {
            assert_eq!(text.parse(), Ok(Keep::For(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!("never".parse(), Ok(Keep::Forever));
        for text in ["", "soon", "-1d", "7", "1mo", "forever"] {
            assert!(text.parse::<Keep>().unwrap_err().contains("7d"), "{text}");
        }
    }

    #[test]
    fn what_is_beyond_the_calendar_is_for_ever() {
        let long = Keep::For(Duration::from_secs(u64::MAX));
        assert_eq!(long.until(Timestamp::UNIX_EPOCH), None);
        assert_eq!(Keep::For(DAY).until(Timestamp::MAX), None);
        let next = Keep::For(DAY).until(Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(next.as_second(), 86_400);
    }
}
