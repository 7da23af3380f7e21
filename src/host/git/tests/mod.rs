use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::model::{CommitSettings, Identity};

mod base;
mod carry;
mod fetch;
mod filters;
mod identity;
mod kinds;
mod lfs;
mod local;
mod mirror;
mod resolve;
mod rewrite;
mod sibling;
mod submodule_settings;
mod submodules;

/// A home directory with a configuration of its own, repositories, and mirrors.
struct World {
    root: tempfile::TempDir,
    git: Git,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let config = root.path().join("gitconfig");
        fs::write(
            &config,
            "[user]\n\tname = Ada \"L\" Lovelace\n\temail = ada@example.org\n[core]\n\tautocrlf = true\n\
             [init]\n\tdefaultBranch = trunk\n",
        )
        .unwrap();
        let variables = vec![
            ("GIT_CONFIG_GLOBAL", config.to_str().unwrap().to_owned()),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ];
        Self { git: Git { variables, ..Git::default() }, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Runs git by hand.
    fn run(&self, dir: &Path, args: &[&str]) -> String {
        let output = Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(args)
            .envs(self.git.variables.iter().map(|(name, value)| (name, value)))
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn init(&self, name: &str, args: &[&str]) -> PathBuf {
        let dir = self.path(name);
        fs::create_dir_all(&dir).unwrap();
        self.run(&dir, &[&["init", "--quiet", "--initial-branch=main"], args].concat());
        dir
    }

    fn commit(&self, dir: &Path, file: &str, text: &str) -> String {
        if let Some(parent) = dir.join(file).parent() {
            fs::create_dir_all(parent).unwrap();
        }
        fs::write(dir.join(file), text).unwrap();
        self.run(dir, &["add", "--all"]);
        let message: String = text.chars().take(20).collect();
        self.run(dir, &["commit", "--quiet", "--message", &message]);
        self.run(dir, &["rev-parse", "HEAD"])
    }

    /// A repository with a branch, a branch with a slash, and an annotated tag.
    fn repository(&self, name: &str) -> PathBuf {
        let dir = self.init(name, &[]);
        self.commit(&dir, "Cargo.toml", "one");
        self.run(&dir, &["tag", "-a", "-m", "first", "v1.0"]);
        self.run(&dir, &["branch", "feature/deep/x"]);
        self.commit(&dir, "src/with space", "two");
        dir
    }

    fn source(&self, path: &Path) -> Source {
        Source::parse(path.to_str().unwrap()).unwrap()
    }

    fn mirror(&self, source: &Source) -> PathBuf {
        mirror_path(&self.path("cache/mirrors"), source)
    }

    async fn fetch(&self, source: &Source) -> Result<PathBuf, GitError> {
        let mirror = self.mirror(source);
        self.git.update_mirror(source, &mirror, |_| {}).await.map(|()| mirror)
    }

    async fn resolve(&self, source: &Source, git_ref: &str) -> Result<String, GitError> {
        self.git.resolve(source, &self.mirror(source), Some(git_ref)).await
    }

    async fn make_base(
        &self,
        source: &Source,
        commit: &str,
        dir: &Path,
        sibling: Option<&Sibling>,
    ) -> Result<Option<String>, GitError> {
        let mirrors = &self.path("cache/mirrors");
        // What is in the mirrors by now.
        let git = self.git.clone().offline(true);
        let contents = git.fetch_contents(source, mirrors, commit, |_| {}).await?;
        let submodules = &contents.submodules;
        self.git.make_base(&BaseSpec { source, mirrors, commit, submodules, sibling }, dir).await
    }

    /// What lies beside the mirrors.
    fn left_in_cache(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("cache/mirrors")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".lock")).collect()
    }
}
