//! What a line of an allow or deny list says.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::super::schema::described;
use super::{AddressRange, GroupName, NamePattern, PortSet, ServiceName};

/// The longest text that is looked at: a name with many ports fits.
const MAX_LENGTH: usize = 1_000;

/// One line of an allow or deny list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// `example.org:443`, `*.example.org`: hosts by their name.
    Name(NamePattern, PortSet),
    /// `192.0.2.0/24:443`, `[2001:db8::/32]:443`, `192.0.2.7`: hosts by their address.
    Address(AddressRange, PortSet),
    /// `@git-hosts`: all that is in a group.
    Group(GroupName),
    /// `host:postgres`: a service of the host.
    Service(ServiceName),
}

impl Destination {
    /// Whether another one is in it, as far as can be told without knowing the groups.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(own, ports), Self::Name(pattern, others)) => {
                own.covers(pattern) && ports.covers(others)
            }
            (Self::Address(own, ports), Self::Address(range, others)) => {
                own.covers(*range) && ports.covers(others)
            }
            _ => self == other,
        }
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("a destination has {MAX_LENGTH} characters at most"));
        }
        if text.contains(char::is_whitespace) {
            return Err(
                "a destination has no spaces in it: write each on a line of its own".to_owned()
            );
        }
        if let Some(group) = text.strip_prefix('@') {
            return group.parse().map(Self::Group);
        }
        if let Some(service) = text.strip_prefix("host:") {
            return service.parse().map(Self::Service);
        }
        refuse_urls(text)?;
        let (host, ports) = split(text)?;
        let ports = match ports {
            Some(ports) => ports.parse()?,
            None => PortSet::all(),
        };
        if is_address(host) {
            return Ok(Self::Address(host.parse()?, ports));
        }
        if let Some((name, _)) = host.split_once('/') {
            return Err(format!("a destination has no path: write {name}, with its ports"));
        }
        Ok(Self::Name(host.parse()?, ports))
    }
}

/// Refuses what is an address of a page and not of a host, without showing what may be a password.
fn refuse_urls(text: &str) -> Result<(), String> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let example = if host.is_empty() { "example.org" } else { host };
        return Err(format!(
            "a destination is no URL: leave {scheme:?} and what follows the host out, and write \
             {example}, with its ports"
        ));
    }
    if let Some((_, host)) = text.rsplit_once('@') {
        return Err(format!("a destination has no user and no password: write {host}"));
    }
    Ok(())
}

/// Parts the host from its ports; an address of IPv6 with ports stands in brackets.
fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return Err("a `]` is missing: write [2001:db8::1]:443".to_owned());
        };
        if !host.contains(':') {
            return Err(format!("brackets are for addresses of IPv6: write {host}{rest}"));
        }
        return match rest.strip_prefix(':') {
            Some(ports) => Ok((host, Some(ports))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("after `]` come a colon and ports: write [2001:db8::1]:443".to_owned()),
        };
    }
    match text.split_once(':') {
        // More than one colon is an address of IPv6.
        Some((_, rest)) if rest.contains(':') => match text.split_once('/') {
            Some((_, bits)) if bits.contains(':') => Err(
                "an address of IPv6 that has ports stands in brackets: write [2001:db8::/32]:443"
                    .to_owned(),
            ),
            _ => Ok((text, None)),
        },
        Some((host, ports)) => Ok((host, Some(ports))),
        None => Ok((text, None)),
    }
}

/// Whether a host is given by its address. What only looks like one is no name either, and refused as
/// such.
fn is_address(host: &str) -> bool {
    let address = host.split('/').next().unwrap_or_default();
    let is_dotted = !address.is_empty() && address.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    host.contains(':')
        || address.parse::<std::net::Ipv4Addr>().is_ok()
        || host.contains('/') && is_dotted
}

impl TryFrom<String> for Destination {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Group(name) => format!("@{name}"),
            Self::Service(name) => format!("host:{name}"),
            Self::Name(pattern, ports) if ports.is_all() => pattern.to_string(),
            Self::Name(pattern, ports) => format!("{pattern}:{ports}"),
            Self::Address(range, ports) if ports.is_all() => range.to_string(),
            Self::Address(range, ports) if range.first().is_ipv6() => format!("[{range}]:{ports}"),
            Self::Address(range, ports) => format!("{range}:{ports}"),
        };
        f.pad(&text)
    }
}

/// What destinations look like; internationalised names in their ASCII form (RFC 5890).
const PATTERN: &str = concat!(
    "^(",
    // A group, or a service of the host.
    "(@|host:)[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
    // A name, or all names below one.
    "|((\\*\\.)?([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?\\.)*",
    "[a-zA-Z]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\\.?",
    // An address or a range of IPv4, or in brackets of IPv6, which may stand without them.
    "|[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?|\\[[0-9a-fA-F:.]{2,45}(/[0-9]{1,3})?\\])",
    // Ports.
    "(:[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?(,[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?)*(/(tcp|udp))?)?",
    "|[0-9a-fA-F:.]{2,45}(/[0-9]{1,3})?",
    ")$",
);

described! {
    Destination: "One line of an allow or deny list: `example.org:443`, `*.example.org`, `192.0.2.0/24:443`, \
                  `[2001:db8::/32]:443`, `@GROUP`, `host:SERVICE`; see docs/network.md.",
        PATTERN, "destination";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn destinations_are_read_and_shown_in_one_form() {
        let cases = [
            ("github.com:22", "github.com:22"),
            ("*.Example.org.:443", "*.example.org:443"),
            ("example.org", "example.org"),
            ("example.org:443,80,8000-8100", "example.org:80,443,8000-8100"),
            ("example.org:53/udp", "example.org:53/udp"),
            ("example.org:1-65535", "example.org"),
            ("192.0.2.0/24:443", "192.0.2.0/24:443"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("[2001:db8::/32]:443", "[2001:db8::/32]:443"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("@git-hosts", "@git-hosts"),
            ("host:postgres", "host:postgres"),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_destination_is_told_with_what_to_write() {
        let cases = [
            "https://user:secret@example.org:8443/path",
            "user:secret@example.org",
            "ssh://",
            "example.org/path",
            "example.org:443/path",
            "a b",
            "",
            ":443",
            "*",
            "*:443",
            "1.2.3",
            "1.2.3/8",
            "010.0.0.1",
            "192.0.2.7/24:443",
            "example.org:0",
            "example.org:",
            "[2001:db8::1",
            "[2001:db8::1]443",
            "[192.0.2.7]:443",
            "[example.org]",
            "2001:db8::g",
            "fe80::1%eth0",
            "2001:db8::/32:443",
            "host:5432",
            "host:",
            "@",
            "@Git",
        ];
        let told = cases.map(|text| text.parse::<Destination>().unwrap_err());
        insta::assert_snapshot!(told.join("\n"), @r#"
        a destination is no URL: leave "https" and what follows the host out, and write example.org:8443, with its ports
        a destination has no user and no password: write example.org
        a destination is no URL: leave "ssh" and what follows the host out, and write example.org, with its ports
        a destination has no path: write example.org, with its ports
        "path" is no protocol that has ports: write tcp or udp
        a destination has no spaces in it: write each on a line of its own
        the name of a host is missing: write example.org or 192.0.2.7
        the name of a host is missing: write example.org or 192.0.2.7
        `*` is every name: use the policy open for that, or write *.example.org
        `*` is every name: use the policy open for that, or write *.example.org
        "1.2.3" looks like an address, and is none: write all of it, such as 192.0.2.7 or 192.0.2.0/24
        "1.2.3" is not an address such as 192.0.2.7 or 2001:db8::1
        "010.0.0.1" looks like an address, and is none: write all of it, such as 192.0.2.7 or 192.0.2.0/24
        192.0.2.7/24 has bits beyond its /24: write 192.0.2.0/24 for the range, or 192.0.2.7 for the address
        there is no port 0: leave the ports out to mean all of them
        leave the colon and the ports out to mean all of them
        a `]` is missing: write [2001:db8::1]:443
        after `]` come a colon and ports: write [2001:db8::1]:443
        brackets are for addresses of IPv6: write 192.0.2.7:443
        brackets are for addresses of IPv6: write example.org
        "2001:db8::g" is not an address such as 192.0.2.7 or 2001:db8::1
        "fe80::1%eth0" is not an address such as 192.0.2.7 or 2001:db8::1
        an address of IPv6 that has ports stands in brackets: write [2001:db8::/32]:443
        "5432" is not the name of a service of the host: that has up to 40 of a-z, 0-9 and dashes, begins with a letter and does not end with a dash
        "" is not the name of a service of the host: that has up to 40 of a-z, 0-9 and dashes, begins with a letter and does not end with a dash
        "" is not the name of a group: that has up to 40 of a-z, 0-9 and dashes, begins with a letter and does not end with a dash
        "Git" is not the name of a group: that has up to 40 of a-z, 0-9 and dashes, begins with a letter and does not end with a dash
        "#);
        assert!(!told.join("\n").contains("secret"));
    }

    /// Destinations as somebody may write them.
    fn written() -> impl Strategy<Value = String> {
        let host = prop_oneof![
            "(\\*\\.)?[a-z]{1,6}(\\.[a-z_]{1,8}){1,3}\\.?",
            "192\\.0\\.2\\.[1-9]",
            "(10|0)\\.0\\.0\\.0/[0-9]",
            "\\[2001:db8:[0-9a-f]{1,4}::\\]",
        ];
        let ports = prop_oneof![
            Just(String::new()),
            ":[1-9][0-9]{0,3}(,[1-9][0-9]{0,3}){0,3}(/tcp|/udp)?",
            ":[1-9]{2}-[1-9]{3}",
        ];
        prop_oneof![
            (host, ports).prop_map(|(host, ports)| host + &ports),
            "@[a-z]{1,9}",
            "host:[a-z]{1,9}",
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(text in written()) {
            if let Ok(destination) = text.parse::<Destination>() {
                prop_assert_eq!(destination.to_string().parse(), Ok(destination));
            } else {
                // Only the bits beyond a prefix can be wrong with these.
                prop_assert!(text.contains('/'), "{}", text);
            }
        }

        #[test]
        fn no_text_is_a_panic(text in "\\PC{0,60}|[\\[\\]0-9a-f:./@*,-]{0,40}") {
            if let Ok(destination) = text.parse::<Destination>() {
                prop_assert_eq!(destination.to_string().parse(), Ok(destination));
            }
        }
    }
}
