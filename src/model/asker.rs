//! Who asks for operations, and how urgently.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::schema::described;

/// The longest name.
const MAX_NAME: usize = 128;

/// Who asks for an operation: the name of an agent, or of whatever acts in a person's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentName(String);

impl AgentName {
    /// The service itself.
    pub fn service() -> Self {
        Self("taskspace".to_owned())
    }

    /// A person, or a program that does not say who it is.
    pub fn user() -> Self {
        Self("user".to_owned())
    }
}

impl FromStr for AgentName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = !text.is_empty()
            && text.len() <= MAX_NAME
            && text.chars().all(|c| c.is_ascii_graphic());
        if good {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(MAX_NAME).collect();
        Err(format!(
            "{shown:?} is not the name of an agent: use up to {MAX_NAME} visible ASCII characters"
        ))
    }
}

impl TryFrom<String> for AgentName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<AgentName> for String {
    fn from(name: AgentName) -> Self {
        name.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How urgent an operation is: from 1 to 10, the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// The least urgent.
    pub const MIN: Self = Self(1);
    /// The most urgent.
    pub const MAX: Self = Self(10);

    /// Returns it as a number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

impl TryFrom<u8> for Priority {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        if (Self::MIN.0..=Self::MAX.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err(format!("the priority {number} is not between {} and {}", Self::MIN, Self::MAX))
        }
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: u8 =
            text.parse().map_err(|_| format!("{text:?} is not a priority: 1 to 10"))?;
        number.try_into()
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who asks for something to be done to a taskspace, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// Who it is; [`AgentName::user`] for one that does not say.
    pub agent: Option<AgentName>,
    /// How urgent it is; the usual when not given.
    pub priority: Option<Priority>,
    /// The operation that is held, and under which it is to be done.
    pub lock: Option<Hold>,
}

/// An operation that one holds, under which something else is asked for: `12:7` as text, the
/// operation and the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The operation.
    pub operation: u64,
    /// The token of its lease.
    pub token: u64,
}

impl FromStr for Hold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once(':')
            .and_then(|(operation, token)| {
                Some(Self { operation: operation.parse().ok()?, token: token.parse().ok()? })
            })
            .ok_or_else(|| format!("{text:?} is not an operation and its token, such as 12:7"))
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.operation, self.token)
    }
}

described! {
    AgentName: "Who asks: an agent, or what acts in a person's name.", r"^[!-~]{1,128}$";
}

impl utoipa::PartialSchema for Priority {
    fn schema() -> RefOr<Schema> {
        let bounds = [Self::MIN, Self::MAX].map(|priority| f64::from(priority.0));
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .description(Some("How urgent an operation is: from 1 to 10, the most urgent."))
            .minimum(Some(bounds[0]))
            .maximum(Some(bounds[1]))
            .into()
    }
}

impl utoipa::ToSchema for Priority {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_out_of_range_is_refused() {
        assert!(Priority::try_from(0).is_err() && Priority::try_from(11).is_err());
        assert_eq!("10".parse(), Ok(Priority::MAX));
        assert!("a b".parse::<AgentName>().is_err() && "agent-1".parse::<AgentName>().is_ok());
        assert_eq!("12:7".parse(), Ok(Hold { operation: 12, token: 7 }));
        for text in ["", "12", "12:", ":7", "a:b", "1:2:3"] {
            assert!(text.parse::<Hold>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in ".{0,200}") {
            drop(text.parse::<AgentName>());
            drop(text.parse::<Hold>());
        }
    }
}
