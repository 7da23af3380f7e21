//! What a commit says of its submodules.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::super::sibling::{is_plain, split};
use super::super::{Git, GitError, Source};
use super::{Listed, MOST, refused};

/// The file that names the submodules.
const FILE: &str = ".gitmodules";

/// What is said of a submodule, as it stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    path: Vec<u8>,
    url: String,
    update: String,
}

impl Git {
    /// Lists the submodules of a commit.
    pub(super) async fn submodules(
        &self,
        mirror: &Path,
        commit: &str,
    ) -> Result<Vec<Listed>, GitError> {
        let doing = "list the submodules";
        let run = || self.on_this_machine().dir(mirror);
        let list = ["ls-tree", "-z", "--end-of-options", commit, FILE];
        let found = run().args(list).output(doing).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        if !found.starts_with(b"100") {
            return Err(refused(FILE, "it is not a file"));
        }
        let blob = format!("--blob={commit}:{FILE}");
        let said = run().args(["config", &blob, "--null", "--list"]).output(doing).await?;
        let list = ["ls-tree", "-r", "-z", "--end-of-options", commit];
        let commits = links(&run().args(list).output(doing).await?);
        choose(&parse(&said)?, &commits)
    }
}

/// Finds the commits of other repositories in the output of `ls-tree`.
fn links(list: &[u8]) -> BTreeMap<PathBuf, String> {
    let entries = split(list).filter_map(|entry| {
        let entry = entry.strip_prefix(b"160000 commit ")?;
        let tab = entry.iter().position(|&byte| byte == b'\t')?;
        let path = PathBuf::from(OsStr::from_bytes(&entry[tab + 1..]));
        Some((path, String::from_utf8_lossy(&entry[..tab]).into_owned()))
    });
    entries.collect()
}

/// Reads the output of `git config --null --list`.
fn parse(output: &[u8]) -> Result<BTreeMap<String, Said>, GitError> {
    let mut all: BTreeMap<String, Said> = BTreeMap::new();
    for entry in split(output) {
        let end = entry.iter().position(|&byte| byte == b'\n').unwrap_or(entry.len());
        let (key, value) = (&entry[..end], entry.get(end + 1..).unwrap_or_default());
        let Some(key) = key.strip_prefix(b"submodule.") else { continue };
        let key = String::from_utf8_lossy(key);
        let Some((name, variable)) = key.rsplit_once('.') else { continue };
        let text = || match std::str::from_utf8(value) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(refused(name, "what is said of it is not UTF-8")),
        };
        // What comes last counts, as it does in git.
        match variable {
            "path" => all.entry(name.to_owned()).or_default().path = value.to_owned(),
            "url" => all.entry(name.to_owned()).or_default().url = text()?,
            "update" => all.entry(name.to_owned()).or_default().update = text()?,
            _ => {}
        }
    }
    Ok(all)
}

/// Picks the submodules that are there, and checks them.
fn choose(
    said: &BTreeMap<String, Said>,
    commits: &BTreeMap<PathBuf, String>,
) -> Result<Vec<Listed>, GitError> {
    let mut chosen: BTreeMap<&Path, Listed> = BTreeMap::new();
    for (name, said) in said {
        let path = Path::new(OsStr::from_bytes(&said.path));
        let Some(commit) = commits.get(path) else { continue };
        if name.starts_with('-') || name.contains(['\\', '\u{fffd}']) || !is_safe(name) {
            return Err(refused(name, "its name could lead elsewhere"));
        }
        if said.path.starts_with(b"-") || !is_plain(path) {
            return Err(refused(name, "its path could lead elsewhere"));
        }
        let submodule = Listed {
            name: name.clone(),
            path: path.to_owned(),
            commit: commit.clone(),
            url: said.url.clone(),
            update: said.update.clone(),
        };
        chosen.insert(path, submodule);
    }
    let chosen: Vec<Listed> = chosen.into_values().collect();
    if chosen.len() > MOST {
        return Err(refused(FILE, "it names too many"));
    }
    match chosen.iter().find(|one| chosen.iter().any(|other| is_within(&one.name, &other.name))) {
        Some(one) => Err(refused(&one.name, "its git directory would lie within another's")),
        None => Ok(chosen),
    }
}

/// Whether a name is a path that stays where it is.
fn is_safe(name: &str) -> bool {
    is_plain(Path::new(name)) && !name.chars().any(char::is_control)
}

/// Whether the directory `inner` is below the directory `outer`, for some file system.
fn is_within(inner: &str, outer: &str) -> bool {
    let parts = |name: &str| -> Vec<String> {
        let parts = Path::new(name).components();
        parts.map(|part| part.as_os_str().to_string_lossy().to_lowercase()).collect()
    };
    let (inner, outer) = (parts(inner), parts(outer));
    inner.len() > outer.len() && inner.starts_with(&outer)
}

/// Tells where a submodule comes from, if a repository from `above` may say so.
pub(super) fn resolve_url(above: &Source, url: &str) -> Result<Source, GitError> {
    let bad = |reason| GitError::BadSource { text: super::super::source::redact(url), reason };
    let source = if url.starts_with("./") || url.starts_with("../") {
        above.relative(url)?
    } else {
        let source = Source::parse(url)?;
        let public = source.public();
        if Path::new(&public).components().any(|part| part == Component::ParentDir) {
            return Err(bad("it leads upward"));
        }
        source
    };
    if source.is_on_this_host() && !above.is_on_this_host() {
        return Err(bad("a repository from elsewhere must not name one on this host"));
    }
    Ok(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    fn chosen(from: &str, entries: &[(&str, &str, &str)]) -> Result<Vec<String>, GitError> {
        let source = Source::parse(from).unwrap();
        let mut config = Vec::new();
        for (name, path, url) in entries {
            for (key, value) in [("path", path), ("url", url)] {
                config.extend_from_slice(format!("submodule.{name}.{key}\n{value}\0").as_bytes());
            }
        }
        let links: String = entries
            .iter()
            .map(|(_, path, _)| format!("160000 commit {COMMIT}\t{path}\0"))
            .collect();
        let found = choose(&parse(&config)?, &super::links(links.as_bytes()))?;
        let urls = found.iter().map(|found| resolve_url(&source, &found.url));
        urls.map(|url| url.map(|source| source.public())).collect()
    }

    #[test]
    fn urls_are_resolved_as_git_does() {
        let cases = [
            ("https://h/a/app.git", "../lib.git", "https://h/a/lib.git"),
            ("https://h/a/app.git/", "../lib.git/", "https://h/a/lib.git"),
            ("https://h/a/app.git", "../../b/lib", "https://h/b/lib"),
            ("https://h/a/app.git", "./lib", "https://h/a/app.git/lib"),
            ("https://h/a/app", "https://other/lib", "https://other/lib"),
            ("git@h:a/app.git", "../lib.git", "git@h:a/lib.git"),
            ("git@h:app.git", "../lib.git", "git@h:lib.git"),
            ("git@h:/srv/app.git", "../lib.git", "git@h:/srv/lib.git"),
            ("ssh://git@h:22/a/app", ".././lib", "ssh://git@h:22/a/lib"),
            ("/home/me/app", "../lib", "/home/me/lib"),
            ("/home/me/app", "/srv/lib", "/srv/lib"),
            ("/home/me/app", "file:///srv/lib", "file:///srv/lib"),
            ("file:///home/me/app", "../lib", "file:///home/me/lib"),
            ("/home/me/app", "https://h/lib", "https://h/lib"),
        ];
        for (from, url, expected) in cases {
            assert_eq!(chosen(from, &[("l", "l", url)]).unwrap(), [expected], "{from} {url}");
        }
        // A password goes where the superproject's goes, and nowhere else.
        let above = Source::parse("https://u:secret@h/a/app").unwrap();
        let credentials = |url: &str| match resolve_url(&above, url).unwrap() {
            Source::Url { credentials, .. } => credentials.is_some(),
            _ => false,
        };
        assert!(credentials("../lib") && !credentials("https://h/a/lib"));
    }

    #[test]
    fn what_could_harm_is_refused() {
        let from = "https://h/a/app.git";
        let urls = [
            "ext::sh -c id",
            "file:///etc",
            "/etc",
            "-u",
            "--upload-pack=id",
            "",
            "lib",
            "../../../lib",
            "../../../../x",
            "../a/../../x",
            "https://h/../x",
            "https://h/a/..",
            "ssh://-oProxyCommand=id/x",
            "fd::7",
            "https://h/a\nb",
        ];
        for url in urls {
            assert!(chosen(from, &[("l", "l", url)]).is_err(), "{url}");
        }
        for name in ["..", "../x", "a/../../x", "-x", "/abs", ".git", "a/.GIT/b", "a\\..\\b", ""] {
            let error = chosen(from, &[(name, "l", "../lib")]).unwrap_err();
            assert!(matches!(error, GitError::BadSubmodule { .. }), "{name}");
        }
        for path in ["../x", "-x", "/abs", ".git/hooks", "a/../b", ".GIT"] {
            assert!(chosen(from, &[("l", path, "../lib")]).is_err(), "{path}");
        }
        let within = chosen(from, &[("a", "x", "../lib"), ("A/hooks", "y", "../lib")]);
        assert!(within.unwrap_err().to_string().contains("within another's"));
        assert!(chosen(from, &[("a", "x", "../lib"), ("a-b", "y", "../lib")]).is_ok());
    }

    #[test]
    fn only_submodules_of_the_commit_are_listed() {
        let config = b"core.bare\nfalse\0submodule.a.path\nx y\0submodule.a.url\n../old\0\
            submodule.a.url\n../new\0submodule.a.active\0submodule.gone.path\ngone\0\
            submodule.gone.url\next::sh\0submodule.no.path\nno\0submodule.no.url\nbad\0\
            submodule.no.update\nnone\0submodule.s.p.ace.path\nb\0submodule.s.p.ace.url\n../c\0";
        let list = format!(
            "160000 commit {COMMIT}\tx y\x00160000 commit {COMMIT}\tno\x00100644 blob 1\tgone\0\
             160000 commit {COMMIT}\tb\x00160000 commit {COMMIT}\tunnamed\0"
        );
        let found = choose(&parse(config).unwrap(), &links(list.as_bytes())).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|found| (found.name.as_str(), found.url.as_str(), found.update.as_str()))
            .collect();
        assert_eq!(shown, [("s.p.ace", "../c", ""), ("no", "bad", "none"), ("a", "../new", "")]);
    }
}
