//! The author and committer of commits, as the user's git names them in a directory.

use std::path::Path;

use super::base::section;
use super::{Git, Source};
use crate::model::{CommitSettings, Identity};

/// A directory in no repository, for sources that have none on this host.
const NO_REPOSITORY: &str = "/";

impl Git {
    /// Returns how the user's own commits in a source look: included files, the repository's own
    /// configuration and the caller's environment count (git-var(1), git-config(1)).
    ///
    /// For a repository elsewhere it is how they look in a new clone of it. An identity that git
    /// cannot tell is left out, as are settings that cannot be read.
    pub async fn commit_settings(&self, source: &Source) -> CommitSettings {
        let run = |arguments: &[&str]| {
            let dir = source.local_path().unwrap_or(Path::new(NO_REPOSITORY));
            let mut run = self.as_the_user().dir(dir);
            if source.local_path().is_none() {
                // So that `includeIf "hasconfig:remote.*.url:…"` matches.
                run = run.args(["-c", &format!("remote.origin.url={}", source.public())]);
            }
            run.args(arguments).output("read git's configuration")
        };
        let (author, committer, autocrlf) = tokio::join!(
            run(&["var", "GIT_AUTHOR_IDENT"]),
            run(&["var", "GIT_COMMITTER_IDENT"]),
            run(&["config", "--get", "core.autocrlf"]),
        );
        CommitSettings {
            author: author.ok().and_then(|output| parse(&output)),
            committer: committer.ok().and_then(|output| parse(&output)),
            crlf_to_lf: autocrlf.is_ok_and(|value| converts(&value)),
        }
    }
}

/// Reads `NAME <EMAIL> SECONDS ZONE`; git allows neither angle brackets nor line feeds in the first two.
fn parse(output: &[u8]) -> Option<Identity> {
    let text = decode(output);
    let (name, rest) = text.split_once('<')?;
    let (email, _) = rest.split_once('>')?;
    Some(Identity { name: name.trim_end().to_owned(), email: email.to_owned() })
}

/// Decodes UTF-8; bytes that are none are taken for Latin-1, as git does when it makes a commit of them
/// (`verify_utf8` in git's commit.c).
fn decode(bytes: &[u8]) -> String {
    let chunk = |chunk: std::str::Utf8Chunk<'_>| {
        chunk.valid().chars().chain(chunk.invalid().iter().map(|&byte| char::from(byte))).collect()
    };
    bytes.utf8_chunks().map(chunk).collect::<Vec<String>>().concat()
}

/// Whether a value of `core.autocrlf` has git convert what is committed.
fn converts(value: &[u8]) -> bool {
    let value = String::from_utf8_lossy(value).trim().to_ascii_lowercase();
    matches!(value.as_str(), "" | "true" | "yes" | "on" | "1" | "input")
}

/// Returns settings as they stand in a git configuration.
pub(super) fn configuration(settings: &CommitSettings) -> Vec<u8> {
    let CommitSettings { author, committer, crlf_to_lf } = settings;
    let identity = |of: &str, identity: &Identity| {
        let Identity { name, email } = identity;
        [section(of, "name", name), section(of, "email", email)].concat()
    };
    let user = author.as_ref().or(committer.as_ref());
    let mut text = user.map(|user| identity("user", user)).unwrap_or_default();
    if let Some(committer) = committer.as_ref().filter(|committer| Some(*committer) != user) {
        text.extend(identity("committer", committer));
    }
    if *crlf_to_lf {
        text.extend(section("core", "autocrlf", "input"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_as_git_var_writes_them() {
        let cases: [(&[u8], &str, &str); 5] = [
            (b"Ada \"L\" O'Hara <ada@x> 1 +0000\n", "Ada \"L\" O'Hara", "ada@x"),
            (b"-rf -- # ; \\ <-x@y> 1 +0000\n", "-rf -- # ; \\", "-x@y"),
            (b"Jos\xe9 <j> 1 +0000\n", "José", "j"),
            ("José 李 <j> 1 +0000\n".as_bytes(), "José 李", "j"),
            (b"A <> 1 +0000\n", "A", ""),
        ];
        for (output, name, email) in cases {
            let expected = Identity { name: name.to_owned(), email: email.to_owned() };
            assert_eq!(parse(output), Some(expected));
        }
        assert_eq!(parse(b"nothing"), None);
    }

    #[test]
    fn autocrlf_counts_as_git_reads_it() {
        for value in ["true\n", "input\n", "On\n", "1\n", "\n"] {
            assert!(converts(value.as_bytes()), "{value}");
        }
        for value in ["false\n", "0\n", "no\n", "nonsense\n"] {
            assert!(!converts(value.as_bytes()), "{value}");
        }
    }
}
