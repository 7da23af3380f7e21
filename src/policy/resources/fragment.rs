//! One layer of `resource-policies.yaml`, as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::TierName;
use crate::model::{OnFull, Quantity};
use crate::policy::named::each_once;
use crate::policy::network::BoundsFragment;
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
    pub(super) network: Option<BoundsFragment>,
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
            network: Some(self.network.unwrap_or_default().merge(over.network.unwrap_or_default())),
        }
    }
}
