//! The Podman that the tests work with: in the test host its user's own, elsewhere one with storage
//! of its own, so that nothing on the machine is touched.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Where the tests keep what makes the next run quicker.
pub fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").expect("HOME is set");
    PathBuf::from(home).join(".cache/taskspace-tests")
}

/// A Podman service on a socket.
pub struct TestPodman {
    /// Its address.
    pub container_host: String,
    storage_conf: Option<PathBuf>,
    /// The service, where it had to be started.
    service: Option<Child>,
}

impl TestPodman {
    /// Returns the one that all tests share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<TestPodman> = OnceLock::new();
        SHARED.get_or_init(|| {
            if std::env::var_os("TASKSPACE_TEST_BASE_IMAGE").is_some() {
                Self::of_the_user()
            } else {
                Self::with_own_storage()
            }
        })
    }

    fn of_the_user() -> Self {
        let runtime = std::env::var("XDG_RUNTIME_DIR").expect("XDG_RUNTIME_DIR is set");
        let socket = format!("{runtime}/podman/podman.sock");
        std::os::unix::net::UnixStream::connect(&socket).unwrap_or_else(|error| {
            panic!("the end-to-end tests need Podman at {socket}: {error}")
        });
        Self { container_host: format!("unix://{socket}"), storage_conf: None, service: None }
    }

    fn with_own_storage() -> Self {
        let cache = cache();
        let runtime = std::env::var("XDG_RUNTIME_DIR").expect("XDG_RUNTIME_DIR is set");
        let run = PathBuf::from(runtime).join("taskspace-tests");
        for directory in [&cache, &run] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let conf = cache.join("storage.conf");
        let text = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            cache.join("storage"),
            run.join("containers")
        );
        std::fs::write(&conf, text).unwrap();
        let socket = run.join("podman.sock");
        let mut podman = Self {
            container_host: format!("unix://{}", socket.display()),
            storage_conf: Some(conf),
            service: None,
        };
        std::fs::remove_file(&socket).ok();
        // It ends by itself when nobody has used it for a minute.
        let mut service = podman.command();
        service.args(["system", "service", "--time=60", &podman.container_host]);
        let started = service.stdin(Stdio::null()).spawn();
        podman.service = Some(started.expect("the tests need rootless Podman 5 or newer"));
        super::wait_until("Podman answers", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        podman
    }

    /// Makes a `podman` command on the same storage.
    pub fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command.env_remove("CONTAINER_HOST");
        if let Some(conf) = &self.storage_conf {
            command.env("CONTAINERS_STORAGE_CONF", conf);
        }
        command
    }
}
