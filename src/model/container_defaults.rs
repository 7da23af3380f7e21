//! What is the same in all containers of taskspaces.

use std::collections::BTreeMap;

use super::Quantity;

/// What is the same in all containers of taskspaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerDefaults {
    /// How much `/dev/shm` can hold.
    pub shm_size: Quantity,
    /// A name of the time zone database (tzdata), or `local` for that of the host.
    pub timezone: String,
    /// Variables, beside those of the image.
    pub environment: BTreeMap<String, String>,
}

#[cfg(test)]
impl ContainerDefaults {
    /// Some defaults, for tests.
    pub(crate) fn example() -> Self {
        Self {
            shm_size: Quantity(1 << 30),
            timezone: "UTC".to_owned(),
            environment: BTreeMap::new(),
        }
    }
}
