//! Entries that unchanged copies of a document share.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Error, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// A value that is copied when it is changed, and rendered once for each time it is changed.
///
/// Every change of the registry works on a copy of the whole document and writes all of it; this
/// is what keeps that cheap where only one of many entries changes. It can be rendered as JSON only.
#[derive(Clone, Debug)]
pub struct Shared<T>(Arc<Rendered<T>>);

#[derive(Debug)]
struct Rendered<T> {
    value: T,
    json: OnceLock<Box<RawValue>>,
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(Rendered { value, json: OnceLock::new() }))
    }
}

impl<T: Clone> Clone for Rendered<T> {
    /// Copies the value to be changed: its JSON would no longer be right.
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), json: OnceLock::new() }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        let rendered = Arc::make_mut(&mut self.0);
        rendered.json.take();
        &mut rendered.value
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = match self.0.json.get() {
            Some(json) => json,
            None => {
                let json = to_raw_value(&self.0.value).map_err(S::Error::custom)?;
                self.0.json.get_or_init(|| json)
            }
        };
        json.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_rendered_and_reaches_no_other_copy() {
        let render = |value: &Shared<Vec<u8>>| serde_json::to_string(value).unwrap();
        let first = Shared::from(vec![1]);
        assert_eq!(render(&first), "[1]");
        let mut second = first.clone();
        second.push(2);
        assert_eq!((render(&first), render(&second)), ("[1]".to_owned(), "[1,2]".to_owned()));
        // The only one, and rendered already.
        second.push(3);
        assert_eq!(render(&second), "[1,2,3]");
        assert_eq!(serde_json::from_str::<Shared<_>>("[1,2,3]").unwrap(), second);
        assert_ne!(first, second);
    }
}
