//! Pairs of kinds of operations, as `coordination.yaml` has them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::model::{OperationClass, Severity};

/// Two kinds of operations, in either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair(pub(crate) OperationClass, pub(crate) OperationClass);

impl Pair {
    /// Makes one; the order does not matter.
    pub fn new(one: OperationClass, other: OperationClass) -> Self {
        Self(one.min(other), one.max(other))
    }

    /// Returns all of them.
    pub fn all() -> impl Iterator<Item = Self> {
        OperationClass::ALL.into_iter().flat_map(|one| {
            let others = OperationClass::ALL.into_iter().filter(move |other| *other >= one);
            others.map(move |other| Self(one, other))
        })
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.0, self.1)
    }
}

/// Pairs of kinds with their severities, written as a row for each kind.
///
/// A pair that is written twice, with different severities, is an error where it is written for the
/// second time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pairs(pub(crate) BTreeMap<Pair, Severity>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let mut pairs = Self::default();
        input.deserialize_map(Rows(&mut pairs))?;
        Ok(pairs)
    }
}

struct Rows<'a>(&'a mut Pairs);

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row for each kind of operation")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(row) = map.next_key()? {
            map.next_value_seed(Row(self.0, row))?;
        }
        Ok(())
    }
}

struct Row<'a>(&'a mut Pairs, OperationClass);

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kinds of operations with severities")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(column) = map.next_key()? {
            map.next_value_seed(Cell(self.0, Pair::new(self.1, column)))?;
        }
        Ok(())
    }
}

struct Cell<'a>(&'a mut Pairs, Pair);

impl<'de> DeserializeSeed<'de> for Cell<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_str(self)
    }
}

impl Visitor<'_> for Cell<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a severity")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let Self(Pairs(pairs), pair) = self;
        let severity = Severity::deserialize(StrDeserializer::new(text))?;
        match pairs.insert(pair, severity) {
            Some(before) if before != severity => {
                Err(E::custom(format!("{pair} is {before} and {severity}")))
            }
            _ => Ok(()),
        }
    }
}
