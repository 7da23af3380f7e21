//! Which policy a taskspace has: what it asks for, within what its tier and its project allow.

use std::fmt;

use serde::Deserialize;

use super::{Networks, NoPolicy, Openness, Policy};
use crate::model::{Destination, PolicyName};
use crate::policy::text::Text;

/// What a tier or a project says about network policies, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundsFragment {
    default: Option<Text<PolicyName>>,
    at_most: Option<Text<Openness>>,
    fixed: Option<Text<PolicyName>>,
}

impl BoundsFragment {
    /// Lays `over` onto this fragment, value by value.
    #[must_use]
    pub fn merge(self, over: Self) -> Self {
        Self {
            default: over.default.or(self.default),
            at_most: over.at_most.or(self.at_most),
            fixed: over.fixed.or(self.fixed),
        }
    }
}

/// What a tier or a project says about network policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The policy of who asks for none.
    pub default: Option<PolicyName>,
    /// How open a policy may be.
    pub at_most: Option<Openness>,
    /// The only policy that there may be, with nothing added to what it allows.
    pub fixed: Option<PolicyName>,
}

impl From<BoundsFragment> for Bounds {
    fn from(fragment: BoundsFragment) -> Self {
        let name = |given: Option<Text<PolicyName>>| given.map(|Text(name)| name);
        Self {
            default: name(fragment.default),
            at_most: fragment.at_most.map(|Text(openness)| openness),
            fixed: name(fragment.fixed),
        }
    }
}

/// Who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// A tier.
    Tier(String),
    /// A project.
    Project(String),
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(name) => write!(f, "the tier '{name}'"),
            Self::Project(name) => write!(f, "the project '{name}'"),
        }
    }
}

/// What somebody says about network policies.
#[derive(Clone, Debug)]
pub struct Bound<'a> {
    /// Who.
    pub by: Authority,
    /// What.
    pub bounds: &'a Bounds,
}

/// What a taskspace asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// The policy, if it asks for one.
    pub name: Option<&'a PolicyName>,
    /// What it wants to reach as well.
    pub allow: &'a [Destination],
    /// Whether it wants to reach everything for a while, and have it listed.
    pub observe: bool,
}

/// Why a taskspace cannot have what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundsError {
    /// There is no such policy.
    #[error(transparent)]
    Policy(#[from] NoPolicy),
    /// Somebody names a policy that there is not.
    #[error("{by} has a network policy that there is not: {error}")]
    Unknown {
        /// Who.
        by: Authority,
        /// What there is.
        error: NoPolicy,
    },
    /// Two want different ones.
    #[error("{by} has the network policy {fixed} fixed, and {other_by} has {other}")]
    Contradiction {
        /// One.
        by: Authority,
        /// Its policy.
        fixed: PolicyName,
        /// The other one.
        other_by: Authority,
        /// Its policy.
        other: PolicyName,
    },
    /// Another one is fixed.
    #[error("{by} has the network policy {fixed} fixed, so it cannot be {asked}")]
    Fixed {
        /// Who.
        by: Authority,
        /// The policy.
        fixed: PolicyName,
        /// What was asked for.
        asked: PolicyName,
    },
    /// Nothing may be added to a fixed one.
    #[error("{by} has the network policy {fixed} fixed, so nothing can be added to what it allows")]
    Added {
        /// Who.
        by: Authority,
        /// The policy.
        fixed: PolicyName,
    },
    /// It is more open than it may be.
    #[error("{by} allows network policies up to {at_most}, and {asked} is like {like}")]
    TooOpen {
        /// Who.
        by: Authority,
        /// How open it may be.
        at_most: Openness,
        /// What was asked for.
        asked: PolicyName,
        /// How open that is.
        like: Openness,
    },
    /// To observe is to be open for a while.
    #[error(
        "{by} does not allow a network policy that is open, as one that observes is for a while"
    )]
    Observes {
        /// Who.
        by: Authority,
    },
}

impl Networks {
    /// Returns the policy of a taskspace that asks for this; of those who say something about it, the
    /// first one has the first word.
    ///
    /// Nobody is refused who asks for nothing: a default that somebody else does not allow is passed
    /// over, and in the end it is the built-in policy that is as open as allowed.
    ///
    /// # Errors
    /// When somebody does not allow what is asked for, or there is no such policy.
    pub fn choose(
        &self,
        wanted: Wanted<'_>,
        bounds: &[Bound<'_>],
    ) -> Result<&PolicyName, BoundsError> {
        let fixed = fixed(bounds)?;
        if let Some((by, fixed)) = fixed {
            if let Some(asked) = wanted.name.filter(|asked| *asked != fixed) {
                let (fixed, asked) = (fixed.clone(), asked.clone());
                return Err(BoundsError::Fixed { by: by.clone(), fixed, asked });
            }
            if !wanted.allow.is_empty() {
                return Err(BoundsError::Added { by: by.clone(), fixed: fixed.clone() });
            }
        }
        let (name, policy) = match fixed.map(|(_, name)| name).or(wanted.name) {
            Some(name) => self.entry(name)?,
            None => self.default(bounds)?,
        };
        for bound in bounds {
            let at_most = bound.bounds.at_most.unwrap_or(Openness::Open);
            let (by, like) = (bound.by.clone(), policy.like);
            if like > at_most {
                return Err(BoundsError::TooOpen { by, at_most, asked: name.clone(), like });
            }
            let is_fixed = bound.bounds.fixed.is_some() && like != Openness::Open;
            if wanted.observe && (at_most != Openness::Open || is_fixed) {
                return Err(BoundsError::Observes { by });
            }
        }
        Ok(name)
    }

    /// Refuses policies that there are not.
    ///
    /// # Errors
    /// With the first one.
    pub fn check_bounds(&self, bound: &Bound<'_>) -> Result<(), BoundsError> {
        for name in [&bound.bounds.default, &bound.bounds.fixed].into_iter().flatten() {
            self.policy(name)
                .map_err(|error| BoundsError::Unknown { by: bound.by.clone(), error })?;
        }
        Ok(())
    }

    /// Returns the first default that everybody allows.
    fn default(&self, bounds: &[Bound<'_>]) -> Result<(&PolicyName, &Policy), BoundsError> {
        let at_most = bounds.iter().filter_map(|bound| bound.bounds.at_most).min();
        let at_most = at_most.unwrap_or(Openness::Open);
        for name in bounds.iter().filter_map(|bound| bound.bounds.default.as_ref()) {
            let (name, policy) = self.entry(name)?;
            if policy.like <= at_most {
                return Ok((name, policy));
            }
        }
        let built_in = self.policies.iter().find(|(name, _)| name.as_str() == at_most.name());
        Ok(built_in.ok_or_else(|| self.no_policy(at_most.to_string()))?)
    }

    fn entry(&self, name: &PolicyName) -> Result<(&PolicyName, &Policy), NoPolicy> {
        self.policies.get_key_value(name).ok_or_else(|| self.no_policy(name.to_string()))
    }
}

/// Returns the only policy that there may be, and who says so.
fn fixed<'a>(
    bounds: &'a [Bound<'_>],
) -> Result<Option<(&'a Authority, &'a PolicyName)>, BoundsError> {
    let mut all = bounds.iter().filter_map(|it| Some((&it.by, it.bounds.fixed.as_ref()?)));
    let first = all.next();
    if let Some((by, fixed)) = first
        && let Some((other_by, other)) = all.find(|(_, other)| *other != fixed)
    {
        return Err(BoundsError::Contradiction {
            by: by.clone(),
            fixed: fixed.clone(),
            other_by: other_by.clone(),
            other: other.clone(),
        });
    }
    Ok(first)
}
