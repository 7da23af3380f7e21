//! How much a taskspace may use (`resource-policies.yaml`).

mod fragment;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

pub use fragment::ResourcesFragment;

use crate::model::{LimitSource, OnFull, Quantity, Storage};
use crate::policy::network::Bounds;
use crate::policy::text::Text;
use fragment::TierFragment;

/// The built-in `resource-policies.yaml`.
pub const BUILT_IN: &str = include_str!("../../../policies/resource-policies.yaml");

/// The tier of a taskspace that asks for none.
pub const DEFAULT_TIER: &str = "default";

/// The longest name of a tier.
const NAME_LENGTH: usize = 32;

/// The name of a tier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TierName(String);

impl TierName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TierName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_name = (1..=NAME_LENGTH).contains(&text.len()) && text.bytes().all(is_allowed);
        is_name.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!("{text:?} is no name of a tier: use up to {NAME_LENGTH} of a-z, 0-9 and dashes")
        })
    }
}

impl fmt::Display for TierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a taskspace of a tier may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// How much it may write.
    pub storage: StorageLimit,
    /// What it may reach.
    pub network: Bounds,
}

/// How much a taskspace may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageLimit {
    /// So much.
    pub limit: Quantity,
    /// What is done when it has written as much.
    pub on_full: OnFull,
}

/// What each tier may use, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    default: Tier,
    others: BTreeMap<TierName, Tier>,
}

/// What is wrong with the tiers although each value is well-formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourcesError {
    /// A value that has no default is missing.
    #[error("'tiers.default.{0}' is missing")]
    Missing(&'static str),
    /// Nothing could be written.
    #[error("'tiers.{0}.storage.limit' is 0")]
    Zero(TierName),
}

/// There is no tier of a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no tier {asked:?}")]
pub struct NoTier {
    /// The name.
    pub asked: String,
    /// The names that there are.
    pub known: Vec<String>,
}

impl Resources {
    /// Returns the built-in tiers.
    pub fn built_in() -> ResourcesFragment {
        // A test sees to it that this parses.
        serde_yaml::from_str(BUILT_IN).unwrap_or_default()
    }

    /// Returns all tiers.
    pub fn tiers(&self) -> impl Iterator<Item = (&str, &Tier)> {
        let others = self.others.iter().map(|(name, tier)| (name.as_str(), tier));
        [(DEFAULT_TIER, &self.default)].into_iter().chain(others)
    }

    /// Returns a tier.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn tier(&self, name: &str) -> Result<&Tier, NoTier> {
        if name == DEFAULT_TIER {
            return Ok(&self.default);
        }
        let found = self.others.iter().find(|(known, _)| known.as_str() == name);
        found.map(|(_, tier)| tier).ok_or_else(|| NoTier {
            asked: name.to_owned(),
            known: [DEFAULT_TIER.to_owned()]
                .into_iter()
                .chain(self.others.keys().map(TierName::to_string))
                .collect(),
        })
    }
}

impl Tier {
    /// Returns how much a taskspace of this tier may write that asks for this.
    pub fn storage(&self, limit: Option<Quantity>, on_full: Option<OnFull>) -> Storage {
        let source = match limit {
            Some(_) => LimitSource::Request,
            None => LimitSource::Tier,
        };
        let limit = limit.unwrap_or(self.storage.limit);
        Storage::new(limit, source, on_full.unwrap_or(self.storage.on_full))
    }
}

impl TryFrom<ResourcesFragment> for Resources {
    type Error = ResourcesError;

    fn try_from(fragment: ResourcesFragment) -> Result<Self, ResourcesError> {
        let mut tiers = fragment.tiers;
        let default_name = TierName(DEFAULT_TIER.to_owned());
        let default = tiers.remove(&default_name).unwrap_or_default();
        let other = |(name, tier): (TierName, TierFragment)| {
            let tier = default.clone().merge(tier).validate(&name)?;
            Ok((name, tier))
        };
        let others = tiers.into_iter().map(other).collect::<Result<_, _>>()?;
        Ok(Self { default: default.validate(&default_name)?, others })
    }
}

impl TierFragment {
    fn validate(self, name: &TierName) -> Result<Tier, ResourcesError> {
        let missing = ResourcesError::Missing;
        let storage = self.storage.unwrap_or_default();
        let limit = storage.limit.ok_or(missing("storage.limit"))?;
        if limit.0 == 0 {
            return Err(ResourcesError::Zero(name.clone()));
        }
        let Text(on_full) = storage.on_full.ok_or(missing("storage.on_full"))?;
        let network = self.network.unwrap_or_default().into();
        Ok(Tier { storage: StorageLimit { limit, on_full }, network })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_over(text: &str) -> Result<Resources, String> {
        let over: ResourcesFragment =
            serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        Resources::built_in()
            .merge(over)
            .try_into()
            .map_err(|error: ResourcesError| error.to_string())
    }

    #[test]
    fn the_built_in_tiers_are_whole() {
        let parsed: ResourcesFragment = serde_yaml::from_str(BUILT_IN).unwrap();
        assert_eq!(parsed, Resources::built_in());
        let tiers: Resources = parsed.try_into().unwrap();
        let shown = ["default", "premium", "minimal"].map(|name| {
            let StorageLimit { limit, on_full } = tiers.tier(name).unwrap().storage;
            format!("{limit} {on_full}")
        });
        assert_eq!(shown, ["20Gi warn", "100Gi warn", "5Gi freeze"]);
    }

    #[test]
    fn tiers_are_laid_over_each_other_and_new_ones_over_the_default() {
        let tiers = laid_over(
            "tiers:\n  default: {storage: {on_full: stop}}\n  minimal: {storage: {limit: 1000000}}\n  \
             huge: {storage: {limit: 1Ti}}",
        )
        .unwrap();
        let of = |name| tiers.tier(name).unwrap().storage;
        assert_eq!(
            of("default"),
            StorageLimit { limit: Quantity(20 << 30), on_full: OnFull::Stop }
        );
        let minimal = StorageLimit { limit: Quantity(1_000_000), on_full: OnFull::Freeze };
        assert_eq!(of("minimal"), minimal);
        assert_eq!(of("huge"), StorageLimit { limit: Quantity(1 << 40), on_full: OnFull::Stop });
        let unknown = tiers.tier("gold").unwrap_err();
        assert_eq!(unknown.known, ["default", "huge", "minimal", "premium"]);
    }

    #[test]
    fn what_is_asked_for_goes_before_the_tier() {
        let tiers = laid_over("").unwrap();
        let minimal = tiers.tier("minimal").unwrap();
        let asked = minimal.storage(Some(Quantity(1)), None);
        assert_eq!(asked, Storage::new(Quantity(1), LimitSource::Request, OnFull::Freeze));
        let asked = minimal.storage(None, Some(OnFull::Stop));
        assert_eq!(asked, Storage::new(Quantity(5 << 30), LimitSource::Tier, OnFull::Stop));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let cases = [
            "tiers:\n  default:\n    storage: {limit: lots}",
            "tiers:\n  default:\n    storage: {limit: -1}",
            "tiers:\n  default:\n    storage: {on_full: explode}",
            "tiers:\n  default:\n    memory: 1Gi",
            "tiers:\n  Gold: {}",
            "tiers:\n  a: {}\n  a: {}",
            "tiers: []",
            "tiers:\n  a:\n    network: {at_most: none}",
            "tiers: {minimal: {storage: {limit: 0}}}",
        ];
        let told: Vec<String> = cases.iter().map(|text| laid_over(text).unwrap_err()).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        tiers.default.storage.limit: "lots" is not an amount of bytes such as 10Gi, 512M or 4096 at line 3 column 22
        tiers.default.storage.limit: invalid type: integer `-1`, expected an amount of bytes such as 10Gi, 512M or 4096 at line 3 column 22
        tiers.default.storage.on_full: "explode" is none of warn, freeze and stop at line 3 column 24
        tiers.default: unknown field `memory`, expected `storage` or `network` at line 3 column 5
        tiers: "Gold" is no name of a tier: use up to 32 of a-z, 0-9 and dashes at line 2 column 3
        tiers: 'a' is there twice at line 3 column 3
        tiers: invalid type: sequence, expected values by their names at line 1 column 8
        tiers.a.network.at_most: "none" is none of isolated, restricted and open at line 3 column 24
        'tiers.minimal.storage.limit' is 0
        "#);
    }
}
