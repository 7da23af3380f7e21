//! The hosts of URLs.

use crate::model::{AddressRange, Destination, PortSet, Protocol};

/// Why a URL gives no destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is of this host.
    ThisHost,
    /// It is no URL, or one with a host that is none.
    NotUnderstood,
}

/// Returns the host and the port of a URL, and nothing else of it; none for what is a file.
pub(super) fn destination(url: &str) -> Result<Option<Destination>, Unusable> {
    let (scheme, rest) = url.trim().split_once(':').ok_or(Unusable::NotUnderstood)?;
    // `sparse+https`, `mirror+http`.
    let scheme = scheme.rsplit('+').next().unwrap_or_default().to_ascii_lowercase();
    let port: u16 = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        "ssh" => 22,
        "git" => 9418,
        "ftp" => 21,
        "socks4" | "socks4a" | "socks5" | "socks5h" => 1080,
        "file" | "copy" | "cdrom" => return Ok(None),
        _ => return Err(Unusable::NotUnderstood),
    };
    let rest = rest.strip_prefix("//").ok_or(Unusable::NotUnderstood)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (host, given) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
    };
    let port = match given {
        None | Some("") => port,
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(Unusable::NotUnderstood)?,
    };
    let ports = PortSet::one(Protocol::Tcp, port);
    if let Ok(range) = host.parse::<AddressRange>() {
        return match range.first().is_loopback() {
            true => Err(Unusable::ThisHost),
            false => Ok(Some(Destination::Address(range, ports))),
        };
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Err(Unusable::ThisHost);
    }
    // A registry is one host, so a pattern is no name of one.
    match host.parse() {
        Ok(pattern) if !host.starts_with('*') => Ok(Some(Destination::Name(pattern, ports))),
        _ => Err(Unusable::NotUnderstood),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_gives_its_host_and_port() {
        let cases = [
            ("https://crates.example.org/index/", Ok("crates.example.org:443/tcp")),
            ("sparse+https://crates.example.org/", Ok("crates.example.org:443/tcp")),
            ("mirror+http://DEB.example.org./list", Ok("deb.example.org:80/tcp")),
            ("http://u:s%40cret@proxy.example.org:3128", Ok("proxy.example.org:3128/tcp")),
            ("ssh://git@git.example.org/x.git", Ok("git.example.org:22/tcp")),
            ("https://192.0.2.7:8443/x?y=z#w", Ok("192.0.2.7:8443/tcp")),
            ("https://[2001:db8::1]/x", Ok("[2001:db8::1]:443/tcp")),
            ("file:///srv/mirror", Ok("")),
            ("cdrom:[Debian]/", Ok("")),
            ("http://localhost:4873/", Err(Unusable::ThisHost)),
            ("http://127.0.0.1:4873/", Err(Unusable::ThisHost)),
            ("http://[::1]:4873/", Err(Unusable::ThisHost)),
            ("https://${HOST}/", Err(Unusable::NotUnderstood)),
            ("https://*.example.org/", Err(Unusable::NotUnderstood)),
            ("https://a.example:0/", Err(Unusable::NotUnderstood)),
            ("https:a.example", Err(Unusable::NotUnderstood)),
            ("https://", Err(Unusable::NotUnderstood)),
            ("simple", Err(Unusable::NotUnderstood)),
        ];
        for (url, expected) in cases {
            let found = destination(url).map(|it| it.map_or_else(String::new, |it| it.to_string()));
            assert_eq!(found, expected.map(str::to_owned), "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(https?:)?/{0,2}\\PC{0,40}") {
            let _either = destination(&text);
        }

        #[test]
        fn what_is_before_the_host_is_not_kept(user in "[a-z]{1,9}", secret in "SECRET[!-.0-9;->A-~]{0,9}") {
            let url = format!("https://{user}:{secret}@a.example/{secret}?{secret}");
            if let Ok(Some(found)) = destination(&url) {
                prop_assert_eq!(found.to_string(), "a.example:443/tcp");
            }
        }
    }
}
