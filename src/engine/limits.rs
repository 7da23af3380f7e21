//! How much a taskspace may use: what is asked for, or else what its tier says.

use super::Inner;
use crate::model::{Code, CreateRequest, ForkRequest, OnFull, Problem, Quantity, Record, Storage};
use crate::policy::resources::{DEFAULT_TIER, NoTier, Tier};

/// How much a new taskspace may use.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// The tier that decides what is not asked for.
    pub(super) tier: Option<String>,
    /// How much it may write.
    pub(super) storage: Option<Storage>,
}

impl Inner {
    /// Returns what a new taskspace may use.
    ///
    /// # Errors
    /// When there is no such tier, or nothing could be written.
    pub(super) fn limits(&self, request: &CreateRequest) -> Result<Limits, Problem> {
        self.limits_by_tier(request.tier.as_deref(), request.storage, request.on_full)
    }

    /// Returns what a copy of a taskspace may use: as much as that one, unless it is asked for others.
    ///
    /// # Errors
    /// When there is no such tier, or nothing could be written.
    pub(super) fn limits_of_fork(
        &self,
        request: &ForkRequest,
        of: &Record,
    ) -> Result<Limits, Problem> {
        let ForkRequest { tier, storage, on_full, .. } = request;
        if tier.is_some() {
            return self.limits_by_tier(tier.as_deref(), *storage, *on_full);
        }
        let storage = self.changed_storage(of, *storage, *on_full)?;
        // What was done to the other one was not done to this.
        let storage = storage.map(|it| Storage::new(it.limit, it.source, it.on_full));
        Ok(Limits { tier: of.tier.clone(), storage })
    }

    /// Returns how much a taskspace may write that is changed so.
    ///
    /// # Errors
    /// When nothing could be written.
    pub(super) fn changed_storage(
        &self,
        of: &Record,
        limit: Option<Quantity>,
        on_full: Option<OnFull>,
    ) -> Result<Option<Storage>, Problem> {
        check_limit(limit)?;
        if let Some(storage) = &of.storage {
            return Ok(Some(storage.changed(limit, on_full)));
        }
        // The settings may have lost its tier since.
        let known = of.tier.as_deref().and_then(|name| self.tier(name).ok());
        let tier = known.map_or_else(|| self.tier(DEFAULT_TIER), Ok)?;
        Ok(limit.map(|limit| tier.storage(Some(limit), on_full)))
    }

    fn limits_by_tier(
        &self,
        tier: Option<&str>,
        limit: Option<Quantity>,
        on_full: Option<OnFull>,
    ) -> Result<Limits, Problem> {
        check_limit(limit)?;
        let name = tier.unwrap_or(DEFAULT_TIER);
        let storage = self.tier(name)?.storage(limit, on_full);
        Ok(Limits { tier: Some(name.to_owned()), storage: Some(storage) })
    }

    fn tier(&self, name: &str) -> Result<Tier, Problem> {
        self.settings().resources.tier(name).cloned().map_err(|error| no_tier(&error))
    }
}

/// Checks a limit that is asked for.
fn check_limit(limit: Option<Quantity>) -> Result<(), Problem> {
    let detail = match limit {
        Some(Quantity(0)) => "a taskspace that may write nothing could not work",
        Some(Quantity(bytes)) if i64::try_from(bytes).is_err() => {
            "no file system has that much room"
        }
        _ => return Ok(()),
    };
    Err(Problem::new(Code::MessageFormatInvalid, detail).hint("give a limit such as 10Gi"))
}

fn no_tier(error: &NoTier) -> Problem {
    Problem::new(Code::NotFound, error.to_string())
        .hint(format!("there are: {}", error.known.join(", ")))
}
