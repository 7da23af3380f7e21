//! Values by their names, each of which is there once.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads values by their names; one that is there twice is an error, which serde's maps pass over.
pub(crate) fn each_once<'de, D, K, V>(input: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: FromStr<Err = String> + Ord + fmt::Display,
    V: Deserialize<'de>,
{
    input.deserialize_map(Values(PhantomData))
}

struct Values<K, V>(PhantomData<(K, V)>);

impl<'de, K, V> Visitor<'de> for Values<K, V>
where
    K: FromStr<Err = String> + Ord + fmt::Display,
    V: Deserialize<'de>,
{
    type Value = BTreeMap<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values by their names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = BTreeMap::new();
        while let Some(name) = map.next_key_seed(NewName(&values))? {
            values.insert(name, map.next_value()?);
        }
        Ok(values)
    }
}

/// Reads a name that is not among these; what is wrong is reported at its very line and column.
struct NewName<'a, K, V>(&'a BTreeMap<K, V>);

impl<'de, K: FromStr<Err = String> + Ord + fmt::Display, V> DeserializeSeed<'de>
    for NewName<'_, K, V>
{
    type Value = K;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<K, D::Error> {
        input.deserialize_str(self)
    }
}

impl<K: FromStr<Err = String> + Ord + fmt::Display, V> Visitor<'_> for NewName<'_, K, V> {
    type Value = K;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<K, E> {
        let name: K = text.parse().map_err(E::custom)?;
        if self.0.contains_key(&name) {
            return Err(E::custom(format!("'{name}' is there twice")));
        }
        Ok(name)
    }
}
