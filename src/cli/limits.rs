//! How much a new taskspace may use.

use clap::Args;

use crate::model::{OnFull, Quantity};

/// For verbs that make a taskspace.
#[derive(Clone, Debug, Args)]
pub(super) struct Limits {
    /// The tier, which decides the limits that are not given [default: default, or that of the
    /// taskspace that is copied]
    #[arg(long, value_name = "TIER")]
    pub(super) tier: Option<String>,
    /// How much it may write, such as 10Gi: the changes to its checkout and its own build cache
    #[arg(long, value_name = "SIZE")]
    pub(super) storage: Option<Quantity>,
    /// What is done when it has written as much: warn, freeze or stop
    #[arg(long, value_name = "ACTION")]
    pub(super) on_full: Option<OnFull>,
    /// Refuse to make it where the file system itself does not hold it to that (`taskspace quota`)
    #[arg(long)]
    pub(super) hard: bool,
}
