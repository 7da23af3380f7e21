//! The files of the network policies, as they are written.

use std::collections::BTreeMap;
use std::num::NonZero;

use serde::Deserialize;

use super::{Openness, PrivateRanges};
use crate::model::{Destination, GroupName, ServiceName};
use crate::policy::named::each_once;
use crate::policy::text::Text;

/// One file of one policy: everything in it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyFragment {
    pub(super) description: Option<String>,
    pub(super) like: Option<Text<Openness>>,
    pub(super) private_ranges: Option<PrivateRanges>,
    pub(super) allow: Option<Vec<Text<Destination>>>,
    pub(super) deny: Option<Vec<Text<Destination>>>,
    #[serde(default, deserialize_with = "each_once")]
    pub(super) host_services: BTreeMap<ServiceName, NonZero<u16>>,
}

/// One `network-groups.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupsFragment {
    #[serde(default, deserialize_with = "each_once")]
    pub(super) groups: BTreeMap<GroupName, Vec<Text<Destination>>>,
}
