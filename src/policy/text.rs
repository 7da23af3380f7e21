//! Values that are written as text in a file, such as `5m`.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A value that is written as text.
///
/// What serde derives for such a value reports errors at the surrounding mapping; this reports them at
/// the very line and column of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text<T>(pub(crate) T);

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_str(TextVisitor(PhantomData)).map(Self)
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// A time that is written as `5m`, `90s`, `500ms` and the like; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period(pub(crate) Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<SignedDuration>()
            .ok()
            .and_then(|parsed| Duration::try_from(parsed).ok())
            .filter(|parsed| !parsed.is_zero())
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a duration such as 90s or 5m"))
    }
}
