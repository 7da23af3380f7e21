//! The names of policies, of groups of destinations and of services of the host.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::schema::described;

/// The longest name.
const MAX_LENGTH: usize = 40;

/// Whether a text is `[a-z]([a-z0-9-]{0,38}[a-z0-9])?`.
fn is_name(text: &str) -> bool {
    (1..=MAX_LENGTH).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !text.ends_with('-')
}

/// Makes the type of one kind of name.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// `[a-z]([a-z0-9-]{0,38}[a-z0-9])?`
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                if is_name(text) {
                    return Ok(Self(text.to_owned()));
                }
                let shown: String = text.chars().take(2 * MAX_LENGTH).collect();
                Err(format!(
                    concat!(
                        "{:?} is not the name of ", $what, ": that has up to {} of a-z, 0-9 and \
                         dashes, begins with a letter and does not end with a dash"
                    ),
                    shown, MAX_LENGTH
                ))
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name! {
    /// The name of a network policy.
    PolicyName, "a network policy"
}

impl PolicyName {
    /// Returns the name of the built-in policy that lets most through.
    pub fn open() -> Self {
        Self("open".to_owned())
    }

    /// Returns the name of the built-in policy that lets nothing through.
    pub fn isolated() -> Self {
        Self("isolated".to_owned())
    }
}

name! {
    /// The name of a group of destinations.
    GroupName, "a group"
}

name! {
    /// The name of a service of the host.
    ServiceName, "a service of the host"
}

described! {
    PolicyName: "The name of a network policy.", r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$";
    ServiceName: "The name of a service of the host.", r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_name_is_told() {
        insta::assert_snapshot!(
            ["", "Open", "-a", "a-", "7", "a_b"]
                .map(|text| text.parse::<PolicyName>().unwrap_err())
                .join("\n"),
            @r#"
        "" is not the name of a network policy: that has up to 40 of a-z, 0-9 and dashes, begins with a letter and does not end with a dash
        "Open" is not the name of a network policy: that has up to 40 of a-z, 0-9 and dashes, begins with a letter and does not end with a dash
        "-a" is not the name of a network policy: that has up to 40 of a-z, 0-9 and dashes, begins with a letter and does not end with a dash
        "a-" is not the name of a network policy: that has up to 40 of a-z, 0-9 and dashes, begins with a letter and does not end with a dash
        "7" is not the name of a network policy: that has up to 40 of a-z, 0-9 and dashes, begins with a letter and does not end with a dash
        "a_b" is not the name of a network policy: that has up to 40 of a-z, 0-9 and dashes, begins with a letter and does not end with a dash
        "#
        );
        assert!("a".repeat(MAX_LENGTH + 1).parse::<GroupName>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(text in "[a-z]([a-z0-9-]{0,38}[a-z0-9])?") {
            let name: ServiceName = text.parse().unwrap();
            prop_assert_eq!(name.to_string(), text);
        }
    }
}
