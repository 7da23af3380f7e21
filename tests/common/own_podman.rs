//! A Podman service of a test's own on the storage that all tests share: one that can be killed.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::podman::{TestPodman, cache};
use super::{processes, wait_until};

/// A Podman service that the test starts and ends. Whatever it starts has its mark in the
/// environment.
pub struct OwnPodman {
    directory: tempfile::TempDir,
    service: Option<Child>,
    /// Settings that are over those of the user.
    settings: Option<PathBuf>,
    /// Variables beside those of the user.
    environment: Vec<(&'static str, String)>,
}

/// The mark of all that a Podman service of a test's own has started.
pub const MARK: &str = "TASKSPACE_TEST_PODMAN";

impl OwnPodman {
    /// Starts one.
    pub fn start() -> Self {
        let mut podman = Self::new();
        podman.revive();
        podman
    }

    /// Starts one that has a program of the test's monitor its containers.
    pub fn with_conmon(conmon: &Path) -> Self {
        let text = format!("[engine]\nconmon_path = [\"{}\"]\n", conmon.display());
        Self::with_settings(&text, &[])
    }

    /// Starts one with settings that are over those of the user (containers.conf(5)), and with variables
    /// beside those of the user.
    pub fn with_settings(text: &str, environment: &[(&'static str, String)]) -> Self {
        let mut podman = Self::new();
        podman.environment = environment.to_vec();
        podman.change_settings(text);
        podman
    }

    /// Starts it anew with other settings.
    pub fn change_settings(&mut self, text: &str) {
        self.kill();
        let settings = self.directory.path().join("containers.conf");
        std::fs::write(&settings, text).unwrap();
        self.settings = Some(settings);
        self.revive();
    }

    fn new() -> Self {
        std::fs::create_dir_all(cache()).unwrap();
        let directory = tempfile::Builder::new().prefix("p").tempdir_in(cache()).unwrap();
        Self { directory, service: None, settings: None, environment: Vec::new() }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    /// Returns its address.
    pub fn container_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Returns the mark of what it has started.
    pub fn mark(&self) -> String {
        format!("{MARK}={}", self.directory.path().display())
    }

    /// Ends it at once, in the middle of whatever it does.
    pub fn kill(&mut self) {
        let Some(mut service) = self.service.take() else { return };
        // The process that was started waits for another one, which is in the user namespace.
        for process in processes::with_argument(&self.container_host()) {
            kill(Pid::from_raw(process), Signal::SIGKILL).ok();
        }
        service.kill().ok();
        service.wait().unwrap();
    }

    /// Waits until somebody else has ended it.
    pub fn await_end(&mut self) {
        wait_until("Podman is ended", || {
            processes::with_argument(&self.container_host()).len() <= 1
        });
        self.kill();
    }

    /// Starts it (again).
    pub fn revive(&mut self) {
        if self.service.is_some() {
            return;
        }
        let socket = self.socket();
        std::fs::remove_file(&socket).ok();
        let mut serve = TestPodman::shared().command();
        serve.args(["system", "service", "--time=0", &self.container_host()]);
        serve.env(MARK, self.directory.path());
        serve.envs(self.environment.iter().cloned());
        serve.envs(self.settings.iter().map(|settings| ("CONTAINERS_CONF_OVERRIDE", settings)));
        let serve = serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.service = Some(serve.spawn().unwrap());
        wait_until("Podman answers", || answers(&socket));
    }
}

fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

impl Drop for OwnPodman {
    fn drop(&mut self) {
        self.kill();
    }
}
