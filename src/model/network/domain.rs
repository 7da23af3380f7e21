//! Names of hosts, and patterns for them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::schema::described;

/// The longest name and the longest label (RFC 1035).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// How much of a text is shown that is none.
const SHOWN: usize = 80;

/// The name of a host in the form in which names are compared: ASCII, in lower case, without the dot
/// at its end.
///
/// What is given in Unicode is converted (UTS 46, as browsers do it).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DomainName(String);

impl DomainName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DomainName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = || text.chars().take(SHOWN).collect::<String>();
        let ascii = idna::domain_to_ascii(text)
            .map_err(|_| format!("{:?} is not the name of a host", shown()))?;
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        if name.is_empty() {
            return Err("the name of a host is missing: write example.org or 192.0.2.7".to_owned());
        }
        if name.contains('*') {
            return Err(format!(
                "{:?} has a `*` elsewhere than alone before the first dot: write *.example.org for \
                 all names below example.org",
                shown()
            ));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
            return Err(format!(
                "{:?} is not the name of a host: {bad:?} cannot be in it",
                shown()
            ));
        }
        let is_label = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() > MAX_NAME || !name.split('.').all(is_label) {
            return Err(format!(
                "{:?} is not the name of a host: that has {MAX_NAME} characters at most, and \
                 between its dots 1 to {MAX_LABEL}, with no dash at their ends",
                shown()
            ));
        }
        if name.rsplit('.').next().is_some_and(is_number) {
            return Err(format!(
                "{:?} looks like an address, and is none: write all of it, such as 192.0.2.7 or \
                 192.0.2.0/24",
                shown()
            ));
        }
        if name == "localhost" || name.ends_with(".localhost") {
            return Err("localhost is the taskspace itself, which is always reached; write \
                        host:NAME for a service of the host"
                .to_owned());
        }
        Ok(Self(name.to_owned()))
    }
}

/// Whether programs would take a name that ends with this label for an IPv4 address.
fn is_number(label: &str) -> bool {
    let is_hex = |digits: &str| digits.bytes().all(|b| b.is_ascii_hexdigit());
    label.bytes().all(|b| b.is_ascii_digit()) || label.strip_prefix("0x").is_some_and(is_hex)
}

impl TryFrom<String> for DomainName {
    type Error = <Self as FromStr>::Err;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A name, or all names below one.
///
/// `*.example.org` stands for names of any depth below `example.org`, and not for that itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct NamePattern {
    name: DomainName,
    is_wildcard: bool,
}

impl NamePattern {
    /// Whether it stands for a name.
    pub fn matches(&self, name: &DomainName) -> bool {
        match self.is_wildcard {
            true => self.is_above(name),
            false => *name == self.name,
        }
    }

    /// Whether it stands for all names that another one stands for.
    pub fn covers(&self, other: &Self) -> bool {
        self == other || self.is_wildcard && self.is_above(&other.name)
    }

    fn is_above(&self, name: &DomainName) -> bool {
        name.as_str()
            .strip_suffix(self.name.as_str())
            .is_some_and(|below| below.len() > 1 && below.ends_with('.'))
    }
}

impl From<DomainName> for NamePattern {
    fn from(name: DomainName) -> Self {
        Self { name, is_wildcard: false }
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.to_string()
    }
}

impl FromStr for NamePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Err("`*` is every name: use the policy open for that, or write *.example.org"
                .to_owned());
        }
        let (name, is_wildcard) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        Ok(Self { name: name.parse()?, is_wildcard })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_wildcard { "*." } else { "" })?;
        self.name.fmt(f)
    }
}

described! {
    DomainName: "The name of a host.", r"^[a-z0-9._-]{1,253}$";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    #[test]
    fn names_have_one_form() {
        let cases = [
            ("Example.ORG.", "example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("XN--bcher-kva.example", "xn--bcher-kva.example"),
            ("ｅｘａｍｐｌｅ。org", "example.org"),
            ("straße.example", "xn--strae-oqa.example"),
            ("_srv._tcp.example.org", "_srv._tcp.example.org"),
            ("intranet", "intranet"),
            ("7.example", "7.example"),
        ];
        for (text, ascii) in cases {
            assert_eq!(name(text).as_str(), ascii);
        }
    }

    #[test]
    fn a_wildcard_is_for_what_is_below() {
        let pattern: NamePattern = "*.example.org".parse().unwrap();
        for below in ["a.example.org", "a.b.example.org"] {
            assert!(pattern.matches(&name(below)), "{below}");
        }
        for other in ["example.org", "badexample.org", "example.org.evil.example", "org"] {
            assert!(!pattern.matches(&name(other)), "{other}");
        }
        assert!("example.org".parse::<NamePattern>().unwrap().matches(&name("example.org")));
    }

    #[test]
    fn what_is_no_name_is_told() {
        let cases = [
            "",
            ".",
            "*",
            "a.*.example",
            "*a.example",
            "**.example",
            "*.*.example",
            "a..b",
            "-a.b",
            "a b",
            "1.2.3",
            "192.0.2.256",
            "0x7f.1",
            "a.0x7f",
            "１.２.３.４",
            "localhost",
            "a.localhost",
            "xn--a.b",
            "a℀b.example",
            "*.",
        ];
        let told = cases.map(|text| text.parse::<NamePattern>().unwrap_err());
        insta::assert_snapshot!(told.join("\n"), @r#"
        the name of a host is missing: write example.org or 192.0.2.7
        the name of a host is missing: write example.org or 192.0.2.7
        `*` is every name: use the policy open for that, or write *.example.org
        "a.*.example" has a `*` elsewhere than alone before the first dot: write *.example.org for all names below example.org
        "*a.example" has a `*` elsewhere than alone before the first dot: write *.example.org for all names below example.org
        "**.example" has a `*` elsewhere than alone before the first dot: write *.example.org for all names below example.org
        "*.example" has a `*` elsewhere than alone before the first dot: write *.example.org for all names below example.org
        "a..b" is not the name of a host: that has 253 characters at most, and between its dots 1 to 63, with no dash at their ends
        "-a.b" is not the name of a host: that has 253 characters at most, and between its dots 1 to 63, with no dash at their ends
        "a b" is not the name of a host: ' ' cannot be in it
        "1.2.3" looks like an address, and is none: write all of it, such as 192.0.2.7 or 192.0.2.0/24
        "192.0.2.256" looks like an address, and is none: write all of it, such as 192.0.2.7 or 192.0.2.0/24
        "0x7f.1" looks like an address, and is none: write all of it, such as 192.0.2.7 or 192.0.2.0/24
        "a.0x7f" looks like an address, and is none: write all of it, such as 192.0.2.7 or 192.0.2.0/24
        "１.２.３.４" looks like an address, and is none: write all of it, such as 192.0.2.7 or 192.0.2.0/24
        localhost is the taskspace itself, which is always reached; write host:NAME for a service of the host
        localhost is the taskspace itself, which is always reached; write host:NAME for a service of the host
        "xn--a.b" is not the name of a host
        "a℀b.example" is not the name of a host: '/' cannot be in it
        the name of a host is missing: write example.org or 192.0.2.7
        "#);
        assert!(format!("{}.b", "a".repeat(64)).parse::<DomainName>().is_err());
        assert!("a.".repeat(127).parse::<DomainName>().is_ok());
        assert!("a.".repeat(128).parse::<DomainName>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic_and_a_name_is_its_own_form(text in "\\PC{0,80}") {
            if let Ok(name) = text.parse::<DomainName>() {
                prop_assert_eq!(name.as_str().parse(), Ok(name.clone()));
                prop_assert_eq!(name.as_str().to_ascii_lowercase(), name.as_str());
            }
        }
    }
}
