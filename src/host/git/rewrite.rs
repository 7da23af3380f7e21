//! `url.*.insteadOf` and `url.*.pushInsteadOf` of the user (git-config(1)): which URL git takes for
//! another one. Git applies them by itself when it fetches; in a taskspace they are not set, so what
//! stands there has to be the outcome.

use super::run::Run;
use super::sibling::split;
use super::source::redact;
use super::{Git, Source};

/// The settings.
const SETTINGS: &str = r"^url\..*\.(insteadof|pushinsteadof)$";

/// The URLs of a remote, without any password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteUrls {
    /// The URL that is fetched from.
    pub fetch: String,
    /// The URL that is pushed to, if that is another one.
    pub push: Option<String>,
}

/// Which prefixes of URLs git takes for others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rewrites {
    /// Bases and the prefixes that they stand for.
    fetch: Vec<(String, String)>,
    push: Vec<(String, String)>,
}

impl Rewrites {
    /// Reads the output of `git config -z --get-regexp`.
    fn parse(output: &[u8]) -> Self {
        let mut all = Self::default();
        for entry in split(output) {
            let entry = String::from_utf8_lossy(entry);
            let Some((key, prefix)) = entry.split_once('\n') else { continue };
            let named = key.strip_prefix("url.").and_then(|rest| rest.rsplit_once('.'));
            let Some((base, variable)) = named else { continue };
            let list = if variable == "insteadof" { &mut all.fetch } else { &mut all.push };
            list.push((base.to_owned(), prefix.to_owned()));
        }
        all
    }

    /// Returns the URL that is fetched from instead of this one; none where that is itself.
    pub(super) fn instead_of(&self, url: &str) -> Option<String> {
        rewrite(&self.fetch, url)
    }

    /// Returns what a remote of this URL is fetched from and pushed to (`alias_all_urls` in git's
    /// remote.c).
    fn of_remote(&self, url: &str) -> RemoteUrls {
        let fetch = presentable(&self.instead_of(url).unwrap_or_else(|| url.to_owned()));
        let push = rewrite(&self.push, url).map(|url| presentable(&url));
        RemoteUrls { push: push.filter(|push| *push != fetch), fetch }
    }
}

/// Applies the longest prefix that matches; of several, the first one.
fn rewrite(list: &[(String, String)], url: &str) -> Option<String> {
    let mut longest: Option<(&str, &str)> = None;
    for (base, prefix) in list.iter().filter(|(_, prefix)| url.starts_with(prefix)) {
        if longest.is_none_or(|(_, known)| known.len() < prefix.len()) {
            longest = Some((base, prefix));
        }
    }
    longest.map(|(base, prefix)| format!("{base}{}", &url[prefix.len()..]))
}

/// Returns a URL without any password.
fn presentable(url: &str) -> String {
    Source::parse(url).map_or_else(|_| redact(url), |source| source.public())
}

impl Git {
    /// Reads the user's settings, as they are where a remote has this URL.
    pub(super) async fn rewrites(&self, url: &str) -> Rewrites {
        let anywhere = self.as_the_user().dir(std::path::Path::new("/"));
        rewrites_of(anywhere.setting("remote.taskspace.url", url)).await
    }

    /// Whether `url.*.insteadOf` makes a URL of a text.
    pub async fn is_shorthand(&self, text: &str) -> bool {
        self.rewrites(text).await.instead_of(text).is_some()
    }

    /// Returns the URLs of `origin` in a clone of a source: those that need no setting of the user.
    pub async fn remote_urls(&self, source: &Source) -> RemoteUrls {
        let url = source.public();
        match source {
            Source::Local(_) => RemoteUrls { fetch: url, push: None },
            _ => self.rewrites(&url).await.of_remote(&url),
        }
    }
}

/// Reads the settings by a run that is to read them.
pub(super) async fn rewrites_of(run: Run) -> Rewrites {
    let run = run.args(["config", "-z", "--get-regexp", SETTINGS]);
    // Without such settings git fails.
    Rewrites::parse(&run.output("read git's configuration").await.unwrap_or_default())
}
