//! What a commit says of its submodules.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::super::sibling::{is_plain, split};
use super::super::work_tree::some_of;
use super::super::{Git, GitError, Source};
use super::{Listed, MOST};

/// The file that names the submodules.
const FILE: &str = ".gitmodules";

/// The submodules of a commit.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Those that can be checked out.
    pub(super) submodules: Vec<Listed>,
    /// Why others are left empty.
    pub(super) warnings: Vec<String>,
}

/// What is said of a submodule, as it stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    path: Vec<u8>,
    url: Vec<u8>,
    update: Vec<u8>,
}

/// Why submodules are left empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LeftOut {
    NotNamed,
    BadName,
    BadPath,
    BadEncoding,
    Within,
    TooMany,
}

impl LeftOut {
    const fn reason(self) -> &'static str {
        match self {
            Self::NotNamed => "does not name them",
            Self::BadName => "gives them names that could lead elsewhere",
            Self::BadPath => "gives them paths that could lead elsewhere",
            Self::BadEncoding => "does not describe them in UTF-8",
            Self::Within => "gives them git directories within those of others",
            Self::TooMany => "names too many",
        }
    }
}

impl Git {
    /// Lists the submodules of a commit; `above` is the path of its repository in the checkout.
    ///
    /// As for `git clone`, nothing in `.gitmodules` is an error: a submodule that it does not name, or
    /// that it describes in a way that git refuses, is left empty.
    pub(super) async fn submodules(
        &self,
        mirror: &Path,
        commit: &str,
        above: &Path,
    ) -> Result<Listing, GitError> {
        let doing = "list the submodules";
        let run = || self.on_this_machine().dir(mirror);
        let list = ["ls-tree", "-z", "--end-of-options", commit, FILE];
        let found = run().args(list).output(doing).await?;
        if found.is_empty() {
            return Ok(Listing::default());
        }
        let list = ["ls-tree", "-r", "-z", "--end-of-options", commit];
        let commits = links(&run().args(list).output(doing).await?);
        if commits.is_empty() {
            return Ok(Listing::default());
        }
        let file = above.join(FILE);
        let unreadable = |reason: &str| {
            let paths: Vec<PathBuf> = commits.keys().map(|path| above.join(path)).collect();
            let (file, paths) = (some_of(&[&file]), some_of(&paths));
            let warning = format!("submodules are left empty, since {file} {reason}: {paths}");
            Listing { submodules: Vec::new(), warnings: vec![warning] }
        };
        if !found.starts_with(b"100") {
            return Ok(unreadable("is not a file"));
        }
        let blob = format!("--blob={commit}:{FILE}");
        let said = match run().args(["config", &blob, "--null", "--list"]).output(doing).await {
            Err(GitError::Other { log, .. }) => {
                let first = log.first().map_or("", |line| line.trim_start_matches("error: "));
                return Ok(unreadable(&format!("cannot be read ({first})")));
            }
            said => said?,
        };
        let (submodules, left_out) = choose(&parse(&said), &commits);
        let warnings = left_out.into_iter().map(|(why, paths)| {
            let paths: Vec<PathBuf> = paths.iter().map(|path| above.join(path)).collect();
            let (file, paths, reason) = (some_of(&[&file]), some_of(&paths), why.reason());
            format!("submodules are left empty, since {file} {reason}: {paths}")
        });
        Ok(Listing { submodules, warnings: warnings.collect() })
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
fn parse(output: &[u8]) -> BTreeMap<String, Said> {
    let mut all: BTreeMap<String, Said> = BTreeMap::new();
    for entry in split(output) {
        let end = entry.iter().position(|&byte| byte == b'\n').unwrap_or(entry.len());
        let (key, value) = (&entry[..end], entry.get(end + 1..).unwrap_or_default());
        let Some(key) = key.strip_prefix(b"submodule.") else { continue };
        let key = String::from_utf8_lossy(key);
        let Some((name, variable)) = key.rsplit_once('.') else { continue };
        let value = value.to_owned();
        // What comes last counts, as it does in git.
        match variable {
            "path" => all.entry(name.to_owned()).or_default().path = value,
            "url" => all.entry(name.to_owned()).or_default().url = value,
            "update" => all.entry(name.to_owned()).or_default().update = value,
            _ => {}
        }
    }
    all
}

/// Picks the submodules that are there and can be checked out; the others are listed by the reason.
fn choose(
    said: &BTreeMap<String, Said>,
    commits: &BTreeMap<PathBuf, String>,
) -> (Vec<Listed>, BTreeMap<LeftOut, Vec<PathBuf>>) {
    let mut chosen: BTreeMap<&Path, Listed> = BTreeMap::new();
    let mut refused: BTreeMap<&Path, LeftOut> = BTreeMap::new();
    for (name, said) in said {
        let path = Path::new(OsStr::from_bytes(&said.path));
        let Some((path, commit)) = commits.get_key_value(path) else { continue };
        match check(name, said) {
            Ok((url, update)) => {
                let (name, path_inside) = (name.clone(), path.clone());
                let commit = commit.clone();
                chosen.insert(path, Listed { name, path: path_inside, commit, url, update });
            }
            Err(why) => {
                refused.insert(path, why);
            }
        }
    }
    // For a path that has two names, the good one counts.
    let mut left_out: BTreeMap<LeftOut, Vec<PathBuf>> = BTreeMap::new();
    for path in commits.keys().filter(|path| !chosen.contains_key(path.as_path())) {
        let why = refused.get(path.as_path()).copied().unwrap_or(LeftOut::NotNamed);
        left_out.entry(why).or_default().push(path.clone());
    }
    // The directory of the longer name would lie within the other one's.
    let outer: BTreeSet<Vec<String>> = chosen.values().map(|one| parts(&one.name)).collect();
    let mut submodules = Vec::new();
    for one in chosen.into_values() {
        let own = parts(&one.name);
        let is_within = (1..own.len()).any(|length| outer.contains(&own[..length]));
        let why = match submodules.len() {
            _ if is_within => LeftOut::Within,
            MOST.. => LeftOut::TooMany,
            _ => {
                submodules.push(one);
                continue;
            }
        };
        left_out.entry(why).or_default().push(one.path);
    }
    (submodules, left_out)
}

/// Checks what is said of a submodule, and returns its URL and how it is brought up to date.
fn check(name: &str, said: &Said) -> Result<(String, String), LeftOut> {
    if name.starts_with('-') || name.contains(['\\', '\u{fffd}']) || !is_safe(name) {
        return Err(LeftOut::BadName);
    }
    let path = Path::new(OsStr::from_bytes(&said.path));
    if said.path.starts_with(b"-") || !is_plain(path) {
        return Err(LeftOut::BadPath);
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).map_err(|_| LeftOut::BadEncoding);
    Ok((text(&said.url)?, text(&said.update)?))
}

/// Whether a name is a path that stays where it is.
fn is_safe(name: &str) -> bool {
    is_plain(Path::new(name)) && !name.chars().any(char::is_control)
}

/// Splits the path of a git directory, for a file system that may take upper for lower case.
fn parts(name: &str) -> Vec<String> {
    let parts = Path::new(name).components();
    parts.map(|part| part.as_os_str().to_string_lossy().to_lowercase()).collect()
}

/// Tells where a submodule comes from, if a repository from `above` may say so.
pub(super) fn resolve_url(above: &Source, url: &str) -> Result<Source, GitError> {
    let bad = |reason| GitError::BadSource { text: super::super::source::redact(url), reason };
    let source = if url.starts_with("./") || url.starts_with("../") {
        above.relative(url)?
    } else {
        let source = named_source(url)?;
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

/// Parses the URL of a submodule. Git fetches none from a remote helper (gitsubmodules(7) has it run
/// with `GIT_PROTOCOL_FROM_USER=0`), and needs `./` before a relative one.
pub(super) fn named_source(url: &str) -> Result<Source, GitError> {
    let bad = |reason| GitError::BadSource { text: super::super::source::redact(url), reason };
    Source::parse(url).and_then(|source| match source {
        Source::Helper(_) => Err(bad("submodules are not fetched by remote helpers")),
        Source::Shorthand(_) => Err(bad("it is neither a URL nor an absolute path")),
        source => Ok(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    /// Chooses of a list of names, paths and URLs, all of which the commit has.
    fn choose_of(entries: &[(&str, &str, &str)]) -> (Vec<Listed>, BTreeMap<LeftOut, Vec<PathBuf>>) {
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
        choose(&parse(&config), &super::links(links.as_bytes()))
    }

    fn resolved(from: &str, url: &str) -> Result<String, GitError> {
        let source = Source::parse(from).unwrap();
        resolve_url(&source, url).map(|source| source.public())
    }

    fn left_out(entries: &[(&str, &str, &str)]) -> Vec<LeftOut> {
        choose_of(entries).1.into_keys().collect()
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
            assert_eq!(resolved(from, url).unwrap(), expected, "{from} {url}");
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
            assert!(resolved(from, url).is_err(), "{url}");
        }
    }

    #[test]
    fn submodules_that_could_harm_are_left_empty() {
        for name in ["..", "../x", "a/../../x", "-x", "/abs", ".git", "a/.GIT/b", "a\\..\\b", ""] {
            let found = left_out(&[(name, "l", "../lib"), ("good", "good", "../lib")]);
            assert_eq!(found, [LeftOut::BadName], "{name}");
        }
        for path in ["../x", "-x", "/abs", ".git/hooks", "a/../b", ".GIT"] {
            let (chosen, others) = choose_of(&[("l", path, "../lib")]);
            assert!(chosen.is_empty(), "{path}");
            assert_eq!(others.into_keys().collect::<Vec<_>>(), [LeftOut::BadPath], "{path}");
        }
        let (chosen, others) = choose_of(&[("a", "x", "../lib"), ("A/hooks", "y", "../lib")]);
        assert_eq!(chosen[0].name, "a");
        assert_eq!(others, BTreeMap::from([(LeftOut::Within, vec!["y".into()])]));
        assert!(left_out(&[("a", "x", "../lib"), ("a-b", "y", "../lib")]).is_empty());
        // A second name of the same path cannot take the place of a good one.
        let (chosen, others) = choose_of(&[("good", "x", "../lib"), ("../x", "x", "../lib")]);
        assert_eq!((chosen.len(), others.len()), (1, 0));
        let many: Vec<String> = (0..=MOST).map(|number| format!("m{number:04}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), name.as_str(), "u")).collect();
        let (chosen, others) = choose_of(&many);
        assert_eq!(chosen.len(), MOST);
        assert_eq!(others, BTreeMap::from([(LeftOut::TooMany, vec!["m1000".into()])]));
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
        let (found, others) = choose(&parse(config), &links(list.as_bytes()));
        assert_eq!(others, BTreeMap::from([(LeftOut::NotNamed, vec!["unnamed".into()])]));
        let shown: Vec<_> = found
            .iter()
            .map(|found| (found.name.as_str(), found.url.as_str(), found.update.as_str()))
            .collect();
        assert_eq!(shown, [("s.p.ace", "../c", ""), ("no", "bad", "none"), ("a", "../new", "")]);
    }
}
