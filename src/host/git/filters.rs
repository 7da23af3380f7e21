//! Filters (gitattributes(5), `filter`): programs that make the files of a checkout from what a commit
//! has, such as git-crypt. A base is made without any, so files of a filter are as the commit has them.
//! Git LFS is no matter here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::local::LocalRepository;
use super::sibling::split;
use super::work_tree::some_of;
use super::{Git, GitError};
use crate::model::shell_word;

/// The filter of Git LFS.
const LFS: &str = "lfs";

/// The values that `git check-attr` writes for an attribute that names no filter.
const NO_FILTER: [&str; 3] = ["unspecified", "unset", "set"];

/// Filters beyond these are only counted: a repository can name as many as it has files.
const MOST_NAMED: usize = 5;

/// What a user's configuration says of a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Program {
    smudge: String,
    process: String,
}

impl Program {
    /// Whether files come out of a checkout as they are in the commit.
    fn keeps_files(&self) -> bool {
        self.process.is_empty() && ["", "cat"].contains(&self.smudge.trim())
    }
}

impl Git {
    /// Says which files of a commit a filter would change in the user's checkout. `above` is the path
    /// of its repository in the checkout, `clone` the user's own, which may configure filters.
    ///
    /// A filter that the user has configured to do nothing when files are checked out is passed over.
    pub(super) async fn unapplied_filters(
        &self,
        mirror: &Path,
        commit: &str,
        clone: Option<&LocalRepository>,
        above: &Path,
    ) -> Result<Vec<String>, GitError> {
        if !self.names_filters(mirror, commit).await {
            return Ok(Vec::new());
        }
        let mut files = self.filtered_files(mirror, commit).await?;
        let programs = self.programs(clone).await;
        files.retain(|name, _| programs.get(name).is_none_or(|program| !program.keeps_files()));
        Ok(warnings(&files, above))
    }

    /// Whether attributes of a commit name filters other than that of Git LFS.
    async fn names_filters(&self, mirror: &Path, commit: &str) -> bool {
        let search = ["grep", "-a", "-h", "-o", "-E", "-e", "filter=[^[:space:]]+", commit, "--"];
        let attributes = ":(glob)**/.gitattributes";
        let run = self.on_this_machine().dir(mirror).args(search).args([attributes]);
        // Where nothing is found, git fails.
        let found = run.output("look for filters").await.unwrap_or_default();
        let found = String::from_utf8_lossy(&found).into_owned();
        found.lines().any(|line| line.strip_prefix("filter=").is_some_and(|name| name != LFS))
    }

    /// Returns the files of a commit that have filters, by filter.
    async fn filtered_files(
        &self,
        mirror: &Path,
        commit: &str,
    ) -> Result<BTreeMap<String, Vec<PathBuf>>, GitError> {
        let doing = "list the files that have filters";
        let place = tempfile::tempdir().map_err(|error| GitError::Other {
            doing: doing.to_owned(),
            reason: error.to_string(),
            log: Vec::new(),
        })?;
        // Attributes of a commit are read through an index of it.
        let index = place.path().join("index");
        let run = || self.on_this_machine().dir(mirror).variable("GIT_INDEX_FILE", &index);
        run().args(["read-tree", "--end-of-options", commit]).output(doing).await?;
        let list = run().args(["ls-files", "--stage", "-z"]).output(doing).await?;
        // Filters apply to plain files only.
        let plain = split(&list).filter(|entry| entry.starts_with(b"100")).filter_map(|entry| {
            let tab = entry.iter().position(|&byte| byte == b'\t')?;
            Some([&entry[tab + 1..], b"\0"].concat())
        });
        let plain = plain.collect::<Vec<_>>().concat();
        let ask = ["check-attr", "--cached", "-z", "--stdin", "filter"];
        Ok(by_filter(&run().args(ask).input(plain).output(doing).await?))
    }

    /// Returns what the user's configuration says of filters, by name.
    async fn programs(&self, clone: Option<&LocalRepository>) -> BTreeMap<String, Program> {
        let run = match clone {
            Some(clone) => self.as_the_user().variable("GIT_DIR", &clone.git_dir),
            None => self.as_the_user().dir(Path::new("/")),
        };
        // Without such settings git fails.
        let run = run.args(["config", "-z", "--get-regexp", r"^filter\."]);
        parse(&run.output("read git's configuration").await.unwrap_or_default())
    }
}

/// Reads the output of `git check-attr -z`: path, attribute and value, over and over.
fn by_filter(output: &[u8]) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let fields: Vec<&[u8]> = split(output).collect();
    for entry in fields.chunks_exact(3) {
        let name = String::from_utf8_lossy(entry[2]);
        if name != LFS && !NO_FILTER.contains(&&*name) {
            let path = PathBuf::from(OsStr::from_bytes(entry[0]));
            found.entry(name.into_owned()).or_default().push(path);
        }
    }
    found
}

/// Reads the output of `git config -z --get-regexp`.
fn parse(output: &[u8]) -> BTreeMap<String, Program> {
    let mut found: BTreeMap<String, Program> = BTreeMap::new();
    for entry in split(output) {
        let entry = String::from_utf8_lossy(entry);
        let (key, value) = entry.split_once('\n').unwrap_or((&entry, ""));
        let named = key.strip_prefix("filter.").and_then(|rest| rest.rsplit_once('.'));
        let Some((name, key)) = named else { continue };
        let program = found.entry(name.to_owned()).or_default();
        // What comes last counts, as it does in git.
        match key {
            "smudge" => program.smudge = value.to_owned(),
            "process" => program.process = value.to_owned(),
            _ => {}
        }
    }
    found
}

/// Says of each filter which files it is not applied to.
fn warnings(files: &BTreeMap<String, Vec<PathBuf>>, above: &Path) -> Vec<String> {
    let said = |filter: &str, paths: &[PathBuf]| {
        let inside: Vec<PathBuf> = paths.iter().map(|path| above.join(path)).collect();
        let count = match paths.len() {
            1 => "1 file, which is as the commit has it".to_owned(),
            count => format!("{count} files, which are as the commit has them"),
        };
        format!(
            "{filter} not applied to {count}: {}; once it is set up inside, check them out anew",
            some_of(&inside)
        )
    };
    let named = files.iter().take(MOST_NAMED);
    let named =
        named.map(|(name, paths)| said(&format!("the filter {} is", shell_word(name)), paths));
    let others: BTreeSet<PathBuf> = files.values().skip(MOST_NAMED).flatten().cloned().collect();
    let rest = (!others.is_empty()).then(|| {
        let count = files.len() - MOST_NAMED;
        said(&format!("{count} more filters are"), &others.into_iter().collect::<Vec<_>>())
    });
    named.chain(rest).collect()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn filters_that_change_nothing_in_a_checkout_are_known() {
        let output = b"filter.a.clean\nx\0filter.b.smudge\ncat\0filter.c.d.smudge\nold\0\
            filter.c.d.smudge\ngit-crypt smudge\0filter.e.process\np\0filter.f.required\0";
        let found = parse(output);
        let keeping: Vec<_> = found.iter().filter(|(_, program)| program.keeps_files()).collect();
        let keeping: Vec<_> = keeping.into_iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(keeping, ["a", "b", "f"]);
        assert_eq!(found["c.d"].smudge, "git-crypt smudge");
    }

    #[test]
    fn files_are_told_by_filter() {
        let output =
            b"a\0filter\0git-crypt\0b\0filter\0lfs\0c\0filter\0unset\0d\n\0filter\0git-crypt\0\
            e\0filter\0x;y\0f\0filter\0unspecified\0";
        let told = warnings(&by_filter(output), Path::new("sub"));
        insta::assert_snapshot!(told.join("\n"), @r"
        the filter git-crypt is not applied to 2 files, which are as the commit has them: sub/a, sub/d?; once it is set up inside, check them out anew
        the filter 'x;y' is not applied to 1 file, which is as the commit has it: sub/e; once it is set up inside, check them out anew
        ");
        let many = (0..8).map(|number| (format!("f{number}"), vec!["x".into(), "y".into()]));
        let told = warnings(&many.collect(), Path::new(""));
        assert_eq!(told.len(), 6);
        let rest =
            "3 more filters are not applied to 2 files, which are as the commit has them: x, y;";
        assert!(told[5].starts_with(rest), "{}", told[5]);
    }
}
