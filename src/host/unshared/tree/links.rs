//! Files with several names in a tree.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::find::Identity;

/// Where each file with several names was made, by its first name, in relation to the top.
#[derive(Default)]
pub(super) struct Links(Mutex<HashMap<Identity, First>>);

/// The first name; whoever holds the lock may be about to make it.
pub(super) type First = Arc<Mutex<Option<PathBuf>>>;

impl Links {
    /// Returns the place for the first name of a file.
    pub(super) fn first(&self, identity: Identity) -> First {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(identity).or_default())
    }
}
