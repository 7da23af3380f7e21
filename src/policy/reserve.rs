//! How much room on the disk is never given to taskspaces.

use std::fmt;
use std::str::FromStr;

use crate::model::Quantity;

/// Room on the disk that is never given to taskspaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// So much of the file system, in percent.
    Percent(u8),
    /// So many bytes.
    Bytes(Quantity),
}

impl Reserve {
    /// Returns how much that is of a file system of this size.
    pub fn of(self, total: Quantity) -> Quantity {
        match self {
            Self::Percent(percent) => {
                let reserve = u128::from(total.0) * u128::from(percent) / 100;
                Quantity(u64::try_from(reserve).unwrap_or(u64::MAX))
            }
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl FromStr for Reserve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = |number: &str| number.parse().ok().filter(|percent| *percent <= 100);
        let parsed = match text.strip_suffix('%') {
            Some(number) => percent(number.trim_end()).map(Self::Percent),
            None => text.parse().ok().map(Self::Bytes),
        };
        parsed.ok_or_else(|| format!("{text:?} is no part of a disk such as 10Gi or 5%"))
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => bytes.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_an_amount_or_a_part() {
        let of = |text: &str| text.parse::<Reserve>().map(|it| it.of(Quantity(1000)).0);
        assert_eq!((of("5%"), of("100 %"), of("1k"), of("0")), (Ok(50), Ok(1000), Ok(1000), Ok(0)));
        for text in ["101%", "-1%", "%", "1.5%", "much"] {
            assert!(of(text).unwrap_err().contains("such as 10Gi or 5%"), "{text}");
        }
        assert_eq!(Reserve::Percent(5).of(Quantity(u64::MAX)).0, u64::MAX / 20);
    }
}
