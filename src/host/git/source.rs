//! Where a project comes from.

use std::fmt;
use std::path::{Path, PathBuf};

use super::GitError;

/// The protocols that git has built in. For others it runs a remote helper, if it may
/// (git-config(1), `protocol.allow`).
const SCHEMES: &[&str] = &["https", "http", "ssh", "git", "file"];

/// The longest name of a project; names of volumes are made of it.
const MAX_NAME: usize = 60;

/// A user name in an https URL that is as long as this is taken for a token.
const TOKEN_LENGTH: usize = 20;

/// Where a project comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A URL.
    Url {
        /// The URL without password and token.
        public: String,
        /// The password or token that it had, for https.
        credentials: Option<Credentials>,
    },
    /// `user@host:path`, that is ssh.
    Scp(String),
    /// A directory on this host, or a bundle.
    Local(PathBuf),
    /// `helper::address` or `scheme://…`, for which git runs a remote helper (gitremote-helpers(7)).
    Helper(String),
    /// A text that is a URL only by `url.*.insteadOf` of the user, such as `work/app`.
    Shorthand(String),
}

/// A user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Source {
    /// Tells what a text names, without touching anything.
    pub fn parse(text: &str) -> Result<Self, GitError> {
        let bad = |reason| GitError::BadSource { text: redact(text), reason };
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        if text.starts_with('-') {
            return Err(bad("it begins with a dash"));
        }
        if text.chars().any(char::is_control) {
            return Err(bad("it has control characters"));
        }
        if text.starts_with('/') {
            return Ok(Self::Local(PathBuf::from(text)));
        }
        let is_name = |name: &str| {
            let is_part = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
            name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_part)
        };
        if let Some((helper, address)) = text.split_once("::").filter(|(name, _)| is_name(name)) {
            return Self::parse_helper(text, helper, address).map_err(bad);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let is_built_in = SCHEMES.contains(&scheme.to_ascii_lowercase().as_str());
            return match is_name(scheme) && !is_built_in {
                true => Self::parse_helper(text, scheme, rest).map_err(bad),
                false => Self::parse_url(scheme, rest).map_err(bad),
            };
        }
        match text.split_once(':') {
            None => Ok(Self::Shorthand(text.to_owned())),
            Some((host, path)) if !host.is_empty() && !host.contains('/') => {
                let machine = host.rsplit_once('@').map_or(host, |(_, machine)| machine);
                if path.is_empty() || machine.is_empty() {
                    Err(bad("it lacks a host or a path"))
                } else if machine.starts_with('-') || path.starts_with('-') {
                    Err(bad("a part of it begins with a dash"))
                } else if path.split('/').next().is_some_and(|start| start.contains('@')) {
                    Err(bad("this form cannot hold a password"))
                } else {
                    Ok(Self::Scp(text.to_owned()))
                }
            }
            _ => Err(bad("it is neither a URL nor an absolute path")),
        }
    }

    fn parse_helper(text: &str, helper: &str, address: &str) -> Result<Self, &'static str> {
        if helper.eq_ignore_ascii_case("fd") {
            return Err("the files that it means are open in another program only");
        }
        if address.is_empty() {
            return Err("it lacks an address");
        }
        // Only a URL's has another way to git than by the command line.
        if has_secret(text) {
            return Err("a remote helper gets no password in its address");
        }
        Ok(Self::Helper(text.to_owned()))
    }

    fn parse_url(scheme: &str, rest: &str) -> Result<Self, &'static str> {
        let scheme = scheme.to_ascii_lowercase();
        if !SCHEMES.contains(&scheme.as_str()) {
            return Err("its protocol is not supported");
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if path.len() < 2 {
            return Err("it lacks a path");
        }
        if scheme == "file" {
            let local = authority.is_empty() || authority == "localhost";
            let public = format!("file://{path}");
            return if local {
                Ok(Self::Url { public, credentials: None })
            } else {
                Err("a file on another host cannot be read")
            };
        }
        let (user_info, host) = match authority.rsplit_once('@') {
            Some((user_info, host)) => (Some(user_info), host),
            None => (None, authority),
        };
        // A colon without a port is the end of a user name whose password holds a slash.
        let port = host.rsplit(']').next().and_then(|tail| tail.split_once(':'));
        if host.is_empty()
            || host.starts_with('-')
            || host.contains(char::is_whitespace)
            || port.is_some_and(|(_, port)| port.bytes().any(|byte| !byte.is_ascii_digit()))
        {
            return Err("its host is not the name of a host");
        }
        let (user, password) = match user_info.map(|text| text.split_once(':').ok_or(text)) {
            None | Some(Err("")) => (None, None),
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
        };
        if user.is_some_and(|user| user.starts_with('-')) {
            return Err("its user begins with a dash");
        }
        let keeps_user = !scheme.starts_with("http");
        let secret = password.is_some() || user.is_some_and(looks_like_a_token);
        let credentials = (!keeps_user && secret).then(|| Credentials {
            user: percent_decode(user.unwrap_or_default()),
            password: percent_decode(password.unwrap_or_default()),
        });
        let public = match user {
            Some(user) if credentials.is_none() => format!("{scheme}://{user}@{host}{path}"),
            _ => format!("{scheme}://{host}{path}"),
        };
        Ok(Self::Url { public, credentials })
    }

    /// Returns it as text, without password and token; a plain user name stays.
    pub fn public(&self) -> String {
        match self {
            Self::Url { public, .. } => public.clone(),
            Self::Scp(text) | Self::Helper(text) | Self::Shorthand(text) => text.clone(),
            Self::Local(path) => path.display().to_string(),
        }
    }

    /// Returns what git is given to fetch from.
    ///
    /// It has no password either: that goes another way than by the command line, where everybody
    /// could read it.
    pub fn fetch_url(&self) -> String {
        self.public()
    }

    /// Returns the directory, if the repository is on this host.
    pub fn local_path(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::Url { .. } | Self::Scp(_) | Self::Helper(_) | Self::Shorthand(_) => None,
        }
    }

    /// Whether it names a place on this host.
    pub fn is_on_this_host(&self) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Url { public, .. } => public.starts_with("file:"),
            Self::Scp(_) | Self::Helper(_) | Self::Shorthand(_) => false,
        }
    }

    /// Whether git reaches it without a setting or program of the user: only such a source may be named
    /// by a repository.
    pub(super) fn is_plain(&self) -> bool {
        !matches!(self, Self::Helper(_) | Self::Shorthand(_))
    }

    /// Resolves a URL that begins with `./` or `../`, as `git submodule` does.
    pub(super) fn relative(&self, url: &str) -> Result<Self, GitError> {
        let bad = |reason| GitError::BadSource { text: redact(url), reason };
        let public = self.public();
        let (place, path) = match self {
            Self::Local(_) => ("", public.as_str()),
            Self::Url { .. } => {
                let authority = public.find("://").map_or(0, |at| at + 3);
                let end = public[authority..].find('/').map_or(public.len(), |at| authority + at);
                public.split_at(end)
            }
            Self::Scp(text) => text.split_at(text.find(':').map_or(0, |colon| colon + 1)),
            Self::Shorthand(_) => ("", public.as_str()),
            Self::Helper(_) => {
                return Err(bad("it is relative to what only a remote helper knows"));
            }
        };
        let (root, path) = match path.strip_prefix('/') {
            Some(path) => ("/", path),
            None => ("", path),
        };
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let mut rest = url;
        loop {
            if let Some(after) = rest.strip_prefix("../") {
                parts.pop().ok_or_else(|| bad("it leads upward too far"))?;
                rest = after;
            } else if let Some(after) = rest.strip_prefix("./") {
                rest = after;
            } else {
                break;
            }
        }
        parts.extend(rest.split('/').filter(|part| !part.is_empty()));
        if rest.split('/').any(|part| part == "..") {
            return Err(bad("it leads upward"));
        }
        let mut found = Self::parse(&format!("{place}{root}{}", parts.join("/")))?;
        if let (Self::Url { credentials: own, .. }, Self::Url { credentials, .. }) =
            (self, &mut found)
        {
            credentials.clone_from(own);
        }
        Ok(found)
    }

    /// Returns the directory of a repository on this host, also when it is given as a URL.
    pub fn directory(&self) -> Option<PathBuf> {
        match self {
            Self::Local(path) => Some(path.clone()),
            Self::Url { public, .. } => {
                let path = public.strip_prefix("file://")?;
                Some(percent_decode(path).into())
            }
            Self::Scp(_) | Self::Helper(_) | Self::Shorthand(_) => None,
        }
    }

    /// Returns the project's name, `[a-z0-9][a-z0-9._-]*`: the last part of the path without
    /// `.git` or `.bundle`.
    pub fn project_name(&self) -> String {
        let public = self.public();
        let path = match self {
            Self::Url { .. } => public.split_once("://").map(|(_, rest)| rest),
            Self::Scp(_) => public.rsplit_once(':').map(|(_, path)| path),
            Self::Helper(_) => public.rsplit(['/', ':', '@']).find(|part| !part.is_empty()),
            Self::Local(_) | Self::Shorthand(_) => None,
        };
        let name = path
            .unwrap_or(&public)
            .split('/')
            .rev()
            .map(|part| {
                [".git", ".bundle"].iter().find_map(|it| part.strip_suffix(it)).unwrap_or(part)
            })
            .find(|part| !part.is_empty())
            .unwrap_or_default();
        let mut clean = String::new();
        for c in name.chars().map(|c| c.to_ascii_lowercase()) {
            if c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c) {
                clean.push(c);
            } else if !clean.ends_with('-') {
                clean.push('-');
            }
        }
        let outer = |c| "._-".contains(c);
        let mut clean = clean.trim_start_matches(outer).to_owned();
        clean.truncate(MAX_NAME);
        let clean = clean.trim_end_matches(outer);
        if clean.is_empty() { "project".to_owned() } else { clean.to_owned() }
    }
}

/// Whether a user name without a password is really a token.
fn looks_like_a_token(user: &str) -> bool {
    let address = user.contains("%40");
    !address && user.len() >= TOKEN_LENGTH
}

/// Whether a URL in a text has a password or token.
fn has_secret(text: &str) -> bool {
    text.match_indices("://").any(|(at, separator)| {
        let authority = until(&text[at + separator.len()..], |c| c == '/' || c.is_whitespace());
        match authority.rsplit_once('@') {
            Some((user, _)) => user.contains(':') || looks_like_a_token(user),
            // The slashes of a password may not have been encoded.
            None => authority
                .split_once(':')
                .is_some_and(|(_, port)| port.bytes().any(|byte| !byte.is_ascii_digit())),
        }
    })
}

/// Returns a text in which URLs have neither user nor password.
pub(super) fn redact(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let url = until(after, |c| c.is_whitespace() || "'\"<>".contains(c));
        let authority = until(url, |c| c == '/');
        // Someone may have forgotten to encode the slashes of a password.
        let cut_short = !authority.contains('@')
            && (authority.split_once(':'))
                .is_some_and(|(_, port)| port.bytes().any(|byte| !byte.is_ascii_digit()));
        let secret_in = if cut_short { url } else { authority };
        rest = secret_in.rfind('@').map_or(after, |at| &after[at + 1..]);
    }
    clean + rest
}

/// Returns the beginning of a text, up to the first character that `ends` it.
fn until(text: &str, ends: impl Fn(char) -> bool) -> &str {
    text.split(ends).next().unwrap_or(text)
}

/// Whether a text is a full commit id, sha1 or sha256.
pub(super) fn is_full_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && is_hex(text)
}

/// Whether a text could be an abbreviated commit id; git wants four digits at least.
pub(super) fn is_short_id(text: &str) -> bool {
    (4..=64).contains(&text.len()) && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

pub(super) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = (byte == b'%').then(|| tail.get(..2)).flatten();
        let decoded = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match decoded {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &tail[2..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sources_are_told_apart_and_lose_their_secrets() {
        let cases = [
            ("https://example.org/a/Repo.git", "https://example.org/a/Repo.git", "repo"),
            ("https://alice@example.org/repo/", "https://alice@example.org/repo/", "repo"),
            ("https://alice:secret@example.org/r", "https://example.org/r", "r"),
            ("https://a:s%40c@b@example.org/r", "https://example.org/r", "r"),
            ("https://0123456789abcdef0123456789@example.org/r", "https://example.org/r", "r"),
            ("ssh://git@example.org:22/~me/x.y.git", "ssh://git@example.org:22/~me/x.y.git", "x.y"),
            ("ssh://git:secret@example.org/x", "ssh://git@example.org/x", "x"),
            ("git@example.org:group/repo.git", "git@example.org:group/repo.git", "repo"),
            ("host:repo", "host:repo", "repo"),
            ("me@[::1]:repo", "me@[::1]:repo", "repo"),
            ("ssh://me@[::1]:22/repo", "ssh://me@[::1]:22/repo", "repo"),
            ("file:///srv/My Repo", "file:///srv/My Repo", "my-repo"),
            ("/home/me/a,b: c", "/home/me/a,b: c", "a-b-c"),
            ("/home/me/proj/.git", "/home/me/proj/.git", "proj"),
            ("/media/proj.bundle", "/media/proj.bundle", "proj"),
            ("codecommit::eu-west-1://me@My-App", "codecommit::eu-west-1://me@My-App", "my-app"),
            ("codecommit://app", "codecommit://app", "app"),
            ("hg::https://example.org/x/", "hg::https://example.org/x/", "x"),
            ("ext::ssh %S host /srv/app.git", "ext::ssh %S host /srv/app.git", "app"),
            ("git+ssh://example.org/x", "git+ssh://example.org/x", "x"),
            ("work/app.git", "work/app.git", "app"),
            ("app", "app", "app"),
            ("/", "/", "project"),
            ("/-.-", "/-.-", "project"),
        ];
        for (text, public, name) in cases {
            let source = Source::parse(text).unwrap();
            assert_eq!((source.public().as_str(), source.project_name().as_str()), (public, name));
            assert!(!format!("{source:?}").contains("secret"));
        }
        let Source::Url { credentials: Some(found), .. } =
            Source::parse("https://a:s%40c@b@example.org/r").unwrap()
        else {
            panic!("the credentials are lost");
        };
        assert_eq!((found.user.as_str(), found.password.as_str()), ("a", "s@c@b"));
    }

    #[test]
    fn what_could_harm_is_refused() {
        let cases = [
            "",
            "-u",
            "a\nb",
            "fd::7",
            "FD::7",
            "fd://7",
            "ext::",
            "::x",
            "hg::https://me:secret@example.org/x",
            "hg::https://0123456789abcdef0123456789@example.org/x",
            "ftp://me:secret@example.org/x",
            "ftp://me:sec/ret@example.org/x",
            "-x://example.org/x",
            "https://example.org",
            "https:///x",
            "https://user:sec/ret@example.org/x",
            "ssh://-oProxyCommand=id/x",
            "ssh://-l@example.org/x",
            "file://other/x",
            "-host:x",
            "me@-host:x",
            "host:-x",
            "user:secret@host:x",
            ":x",
            "host:",
        ];
        for text in cases {
            let error = Source::parse(text).unwrap_err();
            assert!(matches!(error, GitError::BadSource { .. }), "{text}");
            assert!(error.hint().is_some());
        }
        let error = Source::parse("ftp://me:secret@example.org/x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"ftp://example.org/x\" names no repository: a remote helper gets no password in its address"
        );
    }

    #[test]
    fn urls_in_a_text_lose_user_and_password() {
        let text = "fatal: 'https://a:b@c/d@e' and ssh://x@y:1 or http://z, http://a:b/c@d/e";
        assert_eq!(redact(text), "fatal: 'https://c/d@e' and ssh://y:1 or http://z, http://d/e");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_names_are_clean(text in "\\PC{0,80}") {
            if let Ok(source) = Source::parse(&text) {
                let name = source.project_name();
                prop_assert!((1..=MAX_NAME).contains(&name.len()));
                prop_assert!(name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()));
                let inner = |c: char| {
                    c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c)
                };
                prop_assert!(name.chars().all(inner));
            }
        }

        #[test]
        fn a_password_is_never_shown(
            user in "[a-z]{1,8}", secret in "[A-Z0-9]{12}", path in "[a-z]{1,8}"
        ) {
            let text = format!("https://{user}:{secret}@example.org/{path}");
            let source = Source::parse(&text).unwrap();
            prop_assert!(!source.public().contains(&secret));
            prop_assert!(!source.fetch_url().contains(&secret));
            prop_assert!(!redact(&text).contains(&secret));
        }
    }
}
