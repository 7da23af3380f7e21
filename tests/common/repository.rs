//! Git repositories to make taskspaces from.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{User, succeed};

/// A repository in a user's home.
pub struct Repository {
    /// Where it is.
    pub path: PathBuf,
}

impl Repository {
    /// Makes a repository with one commit on `main`.
    pub fn new(user: &User, name: &str) -> Self {
        Self::with(user, name, &[])
    }

    /// The same, with arguments for `git init`.
    pub fn with(user: &User, name: &str, arguments: &[&str]) -> Self {
        let path = user.path("home").join(name);
        std::fs::create_dir_all(&path).unwrap();
        let repository = Self { path };
        repository.git(&[&["init", "--quiet", "--initial-branch=main"], arguments].concat());
        repository.git(&["config", "user.name", "Test"]);
        repository.git(&["config", "user.email", "test@example.org"]);
        // The same content in the same second would be the same commit, and the same base, for all
        // tests, which share one Podman.
        repository.commit("README.md", &format!("made in {}\n", repository.as_str()));
        repository
    }

    /// Returns its path as text.
    pub fn as_str(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Commits a file.
    pub fn commit(&self, file: &str, content: &str) -> String {
        let path = self.path.join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(path, content).unwrap();
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", file]);
        self.head()
    }

    /// Returns the commit that is checked out.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs git in it.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        succeed(Command::new("git").arg("-C").arg(&self.path).args(arguments))
    }
}
