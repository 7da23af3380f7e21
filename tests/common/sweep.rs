//! Removes what the users of earlier runs left because these were killed, so that such a run harms
//! none after it.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Once;

use fs4::FileExt;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::podman::{TestPodman, cache};
use super::{end, processes};

/// Makes the directory of a new user, and the lock that says that the user is alive.
pub fn new_directory() -> (TempDir, File) {
    static SWEEP: Once = Once::new();
    let parent = cache();
    fs::create_dir_all(&parent).unwrap();
    // Else a run that begins just now could find the directory before it is locked.
    let all = File::create(parent.join("users.lock")).unwrap();
    FileExt::lock(&all).unwrap();
    SWEEP.call_once(|| sweep(&parent));
    // Short, since the path of a Unix socket has 107 characters at most.
    let directory = tempfile::Builder::new().prefix("u").tempdir_in(parent).unwrap();
    let lock = File::create(directory.path().join("lock")).unwrap();
    FileExt::lock(&lock).unwrap();
    (directory, lock)
}

/// Returns the label of all that belongs to the registry of the user with a directory.
pub fn label(directory: &Path) -> Option<String> {
    let registry = fs::read(directory.join("state/symposium/taskspace-registry.json")).ok()?;
    let document: Value = serde_json::from_slice(&registry).ok()?;
    Some(format!("io.symposium.registry={}", document["registry"].as_str()?))
}

fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).unwrap().flatten() {
        let directory = entry.path();
        let Ok(lock) = File::open(directory.join("lock")) else { continue };
        if FileExt::try_lock(&lock).is_err() {
            continue;
        }
        for process in processes::with_variable(&format!(
            "XDG_RUNTIME_DIR={}",
            directory.join("run").display()
        )) {
            end(process, Signal::SIGKILL);
        }
        if let Some(label) = label(&directory) {
            remove_all(&label);
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}

fn remove_all(label: &str) {
    let podman = TestPodman::shared();
    let kinds: [(&[&str], &[&str]); 3] = [
        (&["pod", "ps", "--quiet"], &["pod", "rm", "--force", "--time=0"]),
        (&["ps", "--all", "--quiet"], &["rm", "--force", "--time=0"]),
        (&["volume", "ls", "--quiet"], &["volume", "rm", "--force"]),
    ];
    for (list, remove) in kinds {
        let names = podman.list(list, label);
        if !names.is_empty() {
            super::succeed(podman.command().args(remove).args(names));
        }
    }
    for name in podman.data_volumes(label.rsplit('=').next().unwrap_or_default()) {
        podman.remove_volumes(&[&name]);
    }
}
