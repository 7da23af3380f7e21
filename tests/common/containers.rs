//! Containers in Podman that belong to no taskspace.

use super::podman::TestPodman;
use super::{User, succeed};

/// Containers of a test, removed with it.
#[derive(Default)]
pub struct Own(Vec<String>);

impl Own {
    /// Returns a name that no other test has.
    pub fn name(user: &User, name: &str) -> String {
        let unique = user.path("").file_name().unwrap().to_str().unwrap().to_lowercase();
        let unique: String = unique.chars().filter(char::is_ascii_alphanumeric).collect();
        format!("k-{unique}-{name}")
    }

    /// Takes one that is made or renamed elsewhere.
    pub fn adopt(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    /// Starts a container that does nothing until it is stopped.
    pub fn run(&mut self, name: &str, options: &[&str]) {
        let image = std::env::var("TASKSPACE_TEST_BASE_IMAGE");
        let image = image.unwrap_or_else(|_| "docker.io/library/debian:stable".to_owned());
        self.adopt(name);
        let mut run = TestPodman::shared().command();
        run.args(["run", "--detach", "--name", name]).args(options);
        succeed(run.args([&image, "sleep", "infinity"]));
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let mut remove = TestPodman::shared().command();
        remove.args(["rm", "--force", "--ignore", "--time=0"]).args(&self.0).output().ok();
    }
}
