//! Where in a YAML text something is.

use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The line, from 1 on.
    pub line: usize,
    /// The column, from 1 on.
    pub column: usize,
    /// What is wrong there.
    pub reason: String,
}

/// What the reader says of `*.example.org` and `@git-hosts` without quotes.
const UNQUOTED: [&str; 3] = ["scanning an alias", "unknown anchor", "cannot start any token"];

impl From<serde_yaml::Error> for Flaw {
    fn from(error: serde_yaml::Error) -> Self {
        let (line, column) = place(&error);
        let said = format!(" at line {line} column {column}");
        let mut reason = error.to_string().replacen(&said, "", 1);
        if UNQUOTED.iter().any(|sign| reason.contains(sign)) {
            reason.push_str("; what begins with * or @ stands in quotes");
        }
        Self { line, column, reason }
    }
}

fn place(error: &serde_yaml::Error) -> (usize, usize) {
    error.location().map_or((1, 1), |at| (at.line(), at.column()))
}

/// Parses a text.
///
/// # Errors
/// When it is not what it should be.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Flaw> {
    Ok(serde_yaml::from_str(text)?)
}

/// A step on the way to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// The value of a key.
    Key(&'a str),
    /// An item of a list.
    Item(usize),
}

/// Returns the line and the column of a value; the beginning where there is none.
///
/// Values do not know where they were. Reading the text once more, with a reader that accepts
/// everything but this value, tells.
pub(crate) fn locate(text: &str, path: &[Step<'_>]) -> (usize, usize) {
    match Way(path).deserialize(serde_yaml::Deserializer::from_str(text)) {
        Ok(()) => (1, 1),
        Err(error) => place(&error),
    }
}

/// Reads up to where a path leads, and fails there.
struct Way<'a>(&'a [Step<'a>]);

impl<'de> DeserializeSeed<'de> for Way<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        match self.0.first() {
            None => input.deserialize_any(Self(&[])),
            Some(Step::Key(_)) => input.deserialize_map(self),
            Some(Step::Item(_)) => input.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Way<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something else")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("here"));
        };
        while let Some(key) = map.next_key::<String>()? {
            match key == *wanted {
                true => map.next_value_seed(Way(rest))?,
                false => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((Step::Item(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("here"));
        };
        for _ in 0..*wanted {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Way(rest))?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_quotes_is_told() {
        let flaw = |text: &str| parse::<Vec<String>>(text).unwrap_err();
        for text in ["- *.example.org:443", "- *example", "- @git-hosts"] {
            let Flaw { line, reason, .. } = flaw(text);
            assert!(reason.ends_with("; what begins with * or @ stands in quotes"), "{reason}");
            assert_eq!(line, 1);
        }
        assert_eq!(flaw("- [").reason.find("quotes"), None);
    }

    #[test]
    fn values_are_found() {
        let text = "a: 1\nb:\n  - x\n  - {k: v, l: [w]}\nc:\n";
        let [a, b, c] = ["a", "b", "c"].map(Step::Key);
        let cases: [(&[Step<'_>], _); 7] = [
            (&[a], (1, 4)),
            (&[b, Step::Item(0)], (3, 5)),
            (&[b, Step::Item(1), Step::Key("k")], (4, 9)),
            (&[b, Step::Item(1), Step::Key("l"), Step::Item(0)], (4, 16)),
            (&[c], (5, 3)),
            (&[b, Step::Item(7)], (1, 1)),
            (&[Step::Key("d")], (1, 1)),
        ];
        for (path, place) in cases {
            assert_eq!(locate(text, path), place, "{path:?}");
        }
    }
}
