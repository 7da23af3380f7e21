//! Amounts of bytes, written as `10Gi`, `512M` or `4096`.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};

/// An amount of bytes.
///
/// It is read from a number, or from a text with one of the suffixes `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`
/// (powers of 1024) and `k`, `M`, `G`, `T`, `P`, `E` (powers of 1000), after which there may be a `B` for
/// bytes. In JSON it is the number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct Quantity(pub u64);

/// The suffixes, with what they stand for.
const SUFFIXES: [(&str, u64); 13] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("", 1),
];

/// How many of them are the powers of 1024, by which amounts are shown.
const BINARY: usize = 6;

/// So many digits after the point say more than anybody means.
const FRACTION_DIGITS: usize = 9;

impl Quantity {
    /// Describes a limit that is asked for: a number, or a text, of a byte at least.
    pub(crate) fn limit_schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(1));
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("An amount with a suffix, such as `10Gi` or `512M`."))
            .pattern(Some(r"^[1-9][0-9]{0,5}(\.[0-9]{1,9})?([kMGT]|[KMGT]i)B?$"));
        let absent = ObjectBuilder::new().schema_type(Type::Null);
        OneOfBuilder::new()
            .description(Some("How much it may write, in bytes."))
            .item(number)
            .item(text)
            .item(absent)
            .into()
    }
}

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not an amount of bytes such as 10Gi, 512M or 4096"))
    }
}

fn parse(text: &str) -> Option<u64> {
    let text = match text.strip_suffix('B') {
        Some(amount) if amount.ends_with(|c: char| c.is_ascii_alphabetic()) => amount,
        _ => text,
    };
    let (number, unit) =
        SUFFIXES.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > FRACTION_DIGITS {
        return None;
    }
    let unit = u128::from(unit);
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let whole = u128::from(whole.parse::<u64>().ok()?).checked_mul(unit)?;
    let fraction = u128::from(fraction.parse::<u64>().ok()?) * unit / scale;
    u64::try_from(whole.checked_add(fraction)?).ok()
}

impl fmt::Display for Quantity {
    /// Shows it in the greatest unit of which there is one, with a digit after the point if need be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = SUFFIXES[..BINARY].iter().rev();
        let Some((suffix, unit)) = units.into_iter().find(|(_, unit)| self.0 >= *unit) else {
            return f.pad(&self.0.to_string());
        };
        let (whole, rest) = (self.0 / unit, self.0 % unit);
        // Cut off, not rounded: what is below a limit must not look as if it had reached it.
        let tenths = u128::from(rest) * 10 / u128::from(*unit);
        match tenths {
            0 => f.pad(&format!("{whole}{suffix}")),
            tenths => f.pad(&format!("{whole}.{tenths}{suffix}")),
        }
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(QuantityVisitor)
    }
}

struct QuantityVisitor;

impl Visitor<'_> for QuantityVisitor {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of bytes such as 10Gi, 512M or 4096")
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<Quantity, E> {
        Ok(Quantity(bytes))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Quantity, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn suffixes_are_read_and_the_best_one_is_shown() {
        let cases = [
            ("0", 0, "0"),
            ("4096", 4096, "4Ki"),
            ("10Gi", 10 << 30, "10Gi"),
            ("512M", 512_000_000, "488.2Mi"),
            ("1.5Gi", 3 << 29, "1.5Gi"),
            ("1k", 1000, "1000"),
            ("2GiB", 2 << 30, "2Gi"),
            ("1kB", 1000, "1000"),
            ("15Ei", 15 << 60, "15Ei"),
        ];
        for (text, bytes, shown) in cases {
            let parsed: Quantity = text.parse().unwrap();
            assert_eq!((parsed, parsed.to_string().as_str()), (Quantity(bytes), shown), "{text}");
        }
        assert_eq!(Quantity((1 << 30) - 1).to_string(), "1023.9Mi");
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in
            ["", "Gi", "-1", "1 Gi", "1gi", "1B", "B", "1KiBB", "1.", ".5Gi", "1e3", "16Ei", "0x10"]
        {
            assert!(text.parse::<Quantity>().unwrap_err().contains("such as 10Gi"), "{text}");
        }
    }

    #[test]
    fn json_has_numbers_and_takes_texts() {
        let read = |json: &str| serde_json::from_str::<Quantity>(json);
        assert_eq!(read("1024").unwrap(), read("\"1Ki\"").unwrap());
        assert_eq!(serde_json::to_string(&Quantity(1024)).unwrap(), "1024");
        assert!(read("-1").is_err() && read("1.5").is_err() && read("null").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_hardly_less(bytes: u64) {
            let shown = Quantity(bytes).to_string();
            let again = shown.parse::<Quantity>().unwrap().0;
            prop_assert!(again <= bytes && bytes - again <= bytes / 10, "{bytes}: {shown}");
        }
    }
}
