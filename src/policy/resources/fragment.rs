//! One layer of `resource-policies.yaml`, as it is written.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::TierName;
use crate::model::{OnFull, Quantity};
use crate::policy::text::Text;

/// One `resource-policies.yaml`: everything in it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourcesFragment {
    #[serde(default, deserialize_with = "each_once")]
    pub(super) tiers: BTreeMap<TierName, TierFragment>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TierFragment {
    pub(super) storage: Option<StorageFragment>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StorageFragment {
    pub(super) limit: Option<Quantity>,
    pub(super) on_full: Option<Text<OnFull>>,
}

impl ResourcesFragment {
    /// Lays `over` onto this fragment: tiers by their names, value by value.
    #[must_use]
    pub fn merge(mut self, over: Self) -> Self {
        for (name, over) in over.tiers {
            let tier = self.tiers.remove(&name).unwrap_or_default();
            self.tiers.insert(name, tier.merge(over));
        }
        self
    }
}

impl TierFragment {
    /// Lays `over` onto this fragment.
    pub(super) fn merge(self, over: Self) -> Self {
        let (storage, over_storage) =
            (self.storage.unwrap_or_default(), over.storage.unwrap_or_default());
        Self {
            storage: Some(StorageFragment {
                limit: over_storage.limit.or(storage.limit),
                on_full: over_storage.on_full.or(storage.on_full),
            }),
        }
    }
}

/// Reads tiers; one that is written twice is an error, which serde's maps pass over.
fn each_once<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<BTreeMap<TierName, TierFragment>, D::Error> {
    input.deserialize_map(Tiers)
}

struct Tiers;

impl<'de> Visitor<'de> for Tiers {
    type Value = BTreeMap<TierName, TierFragment>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tiers by their names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut tiers = BTreeMap::new();
        while let Some(name) = map.next_key_seed(NewName(&tiers))? {
            tiers.insert(name, map.next_value()?);
        }
        Ok(tiers)
    }
}

/// Reads a name that is not among these; what is wrong is reported at its very line and column.
struct NewName<'a>(&'a BTreeMap<TierName, TierFragment>);

impl<'de> DeserializeSeed<'de> for NewName<'_> {
    type Value = TierName;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<TierName, D::Error> {
        input.deserialize_str(self)
    }
}

impl Visitor<'_> for NewName<'_> {
    type Value = TierName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a tier")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TierName, E> {
        let name: TierName = text.parse().map_err(E::custom)?;
        if self.0.contains_key(&name) {
            return Err(E::custom(format!("'{name}' is there twice")));
        }
        Ok(name)
    }
}
