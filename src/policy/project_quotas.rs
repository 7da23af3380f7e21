//! The project quotas that an administrator has prepared for a user: ids, each with the limit by which
//! the file system holds to it whatever has this id.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::Quantity;

/// The format of the file; one of a newer format is refused.
const FORMAT_VERSION: u32 = 1;

/// The first id that is ever given out: low ids are what people write into `/etc/projects`, and what
/// container engines number their layers by.
const FIRST_ID: u32 = 1_500_000_000;

/// So many ids are set aside for each user.
pub const IDS_PER_USER: u32 = 1_000;

/// So many users have ranges that are told by their uid; further ones get what is free. Ids stay below
/// 2^31: quota tools take them for signed numbers.
const USERS: u32 = 500_000;

/// An id serves a limit when it holds to no less than this part of it, in percent: `20G` is meant as
/// well by who has prepared `20Gi`, but hardly `10Gi`.
const LEAST_PERCENT: u128 = 90;

/// What is prepared for one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    version: u32,
    /// The user, for people.
    pub user: String,
    /// The user's uid.
    pub uid: u32,
    /// The directory of the user's volumes, whose file system has the limits.
    pub volumes: PathBuf,
    /// The ids, with what each is limited to.
    pub ids: BTreeMap<u32, Quantity>,
}

/// Why a text describes no pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// It is not written as it should be.
    #[error("{0}")]
    Malformed(#[from] serde_yaml::Error),
    /// A newer program wrote it.
    #[error("it has format {0}, which this version does not know")]
    NewerVersion(u32),
}

impl Pool {
    /// Makes one without ids.
    pub const fn new(user: String, uid: u32, volumes: PathBuf) -> Self {
        Self { version: FORMAT_VERSION, user, uid, volumes, ids: BTreeMap::new() }
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the text describes none.
    pub fn parse(text: &str) -> Result<Self, PoolError> {
        let pool: Self = serde_yaml::from_str(text)?;
        if pool.version > FORMAT_VERSION {
            return Err(PoolError::NewerVersion(pool.version));
        }
        Ok(pool)
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written as YAML, which should not happen.
    pub fn render(&self) -> Result<String, PoolError> {
        let head = "# Prepared by `taskspace quota setup`. The limits themselves are in the file system.\n";
        Ok(format!("{head}{}", serde_yaml::to_string(self)?))
    }

    /// Returns how many ids hold to this very limit.
    pub fn count(&self, limit: Quantity) -> usize {
        self.ids.values().filter(|own| **own == limit).count()
    }

    /// Picks the free id that serves a limit best: its own is the same, or less by little.
    pub fn pick(&self, limit: Quantity, is_taken: impl Fn(u32) -> bool) -> Option<(u32, Quantity)> {
        let serves = |own: Quantity| {
            own <= limit && u128::from(own.0) * 100 >= u128::from(limit.0) * LEAST_PERCENT
        };
        let free = self.ids.iter().filter(|&(&id, own)| serves(*own) && !is_taken(id));
        // The lowest one of those that hold to the most.
        let best = free.max_by_key(|&(&id, own)| (*own, std::cmp::Reverse(id)));
        best.map(|(&id, own)| (id, *own))
    }

    /// Returns ids that it could get: of its own range, and neither in it nor in use elsewhere.
    pub fn candidates<'a>(&'a self, others: &'a [Self]) -> impl Iterator<Item = u32> + 'a {
        let mut range = self.range(others);
        std::iter::from_fn(move || range.next()).filter(|id| !self.ids.contains_key(id))
    }

    /// Returns its range: where its ids are, else what the uid tells, else what nobody has.
    fn range(&self, others: &[Self]) -> RangeInclusive<u32> {
        let of = |slot: u32| {
            let first = FIRST_ID + slot * IDS_PER_USER;
            first..=first + (IDS_PER_USER - 1)
        };
        if let Some(first) = self.ids.keys().next()
            && let Some(place) = first.checked_sub(FIRST_ID)
            && place / IDS_PER_USER < USERS
        {
            return of(place / IDS_PER_USER);
        }
        let is_free = |range: &RangeInclusive<u32>| {
            let has = |other: &&Self| other.ids.range(range.clone()).next().is_some();
            !others.iter().any(|other| other.uid != self.uid && has(&other))
        };
        let own = self.uid % USERS;
        let slots = (own..USERS).chain(0..own).map(of);
        slots.into_iter().find(is_free).unwrap_or_else(|| of(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GI: u64 = 1 << 30;

    fn pool(uid: u32, ids: &[(u32, u64)]) -> Pool {
        let ids = ids.iter().map(|&(id, bytes)| (id, Quantity(bytes))).collect();
        Pool { ids, ..Pool::new("u".to_owned(), uid, "/v".into()) }
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let pool = pool(1000, &[(1_501_000_000, 20 * GI), (1_501_000_001, 1_000)]);
        let text = pool.render().unwrap();
        assert_eq!(Pool::parse(&text).unwrap(), pool, "{text}");
        let by_hand = "{version: 1, user: u, uid: 1000, volumes: /v, ids: {7: 20Gi}}";
        assert_eq!(Pool::parse(by_hand).unwrap().count(Quantity(20 * GI)), 1);
        let newer = Pool::parse(&by_hand.replace("version: 1", "version: 2")).unwrap_err();
        assert!(matches!(newer, PoolError::NewerVersion(2)), "{newer}");
        for wrong in ["", "[]", "{version: 1}", &by_hand.replace("20Gi", "many")] {
            assert!(matches!(Pool::parse(wrong), Err(PoolError::Malformed(_))), "{wrong}");
        }
    }

    #[test]
    fn an_id_serves_its_own_limit_and_little_more() {
        let pool = pool(1000, &[(1, GI), (2, 20 * GI), (3, 20 * GI), (4, 20_000_000_000)]);
        let pick = |bytes: u64, taken: &[u32]| {
            pool.pick(Quantity(bytes), |id| taken.contains(&id)).map(|(id, _)| id)
        };
        assert_eq!(pick(20 * GI, &[]), Some(2));
        assert_eq!(pick(20 * GI, &[2]), Some(3));
        assert_eq!(pick(20 * GI, &[2, 3]), Some(4));
        assert_eq!(pick(20 * GI, &[2, 3, 4]), None);
        assert_eq!(pick(20_000_000_000, &[]), Some(4));
        assert_eq!(
            (pick(10 * GI, &[]), pick(GI - 1, &[]), pick(u64::MAX, &[])),
            (None, None, None)
        );
    }

    #[test]
    fn users_have_ranges_of_their_own() {
        let first = |pool: &Pool, others: &[Pool]| pool.candidates(others).next().unwrap();
        let one = pool(1000, &[]);
        assert_eq!(first(&one, &[]), 1_501_000_000);
        // Another uid of the same place, and one that would come next.
        let there = [pool(501_000, &[(1_501_000_000, GI)]), pool(1001, &[(1_501_001_999, GI)])];
        assert_eq!(first(&one, &there), 1_501_002_000);
        let begun = pool(1000, &[(1_501_000_000, GI), (1_501_000_002, GI)]);
        assert_eq!(first(&begun, &[]), 1_501_000_001);
        assert_eq!(begun.candidates(&[]).count(), 998);
        let last = pool(u32::MAX, &[]).candidates(&[]).last().unwrap();
        assert!(last < 1 << 31, "{last}");
    }
}
