//! The Podman that the tests work with: in the test host its user's own, elsewhere one with storage
//! of its own, so that nothing on the machine is touched.

use std::io::{Read, Write};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Where the tests keep what makes the next run quicker.
pub fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").expect("HOME is set");
    PathBuf::from(home).join(".cache/taskspace-tests")
}

/// A Podman service on a socket.
pub struct TestPodman {
    /// Its address.
    pub container_host: String,
    /// What makes `podman` use the same storage.
    arguments: Vec<String>,
    configuration: Option<PathBuf>,
    /// The service, where it had to be started.
    _service: Option<Child>,
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
        let socket = runtime_directory().join("podman/podman.sock");
        UnixStream::connect(&socket).unwrap_or_else(|error| {
            panic!("the end-to-end tests need Podman at {}: {error}", socket.display())
        });
        Self {
            container_host: format!("unix://{}", socket.display()),
            arguments: Vec::new(),
            configuration: None,
            _service: None,
        }
    }

    /// Starts one of our own. By arguments, since rootless Podman heeds neither `graphroot` nor
    /// `runroot` of `CONTAINERS_STORAGE_CONF`; with locks in files, since those in memory are
    /// numbered for each user and not for each storage.
    fn with_own_storage() -> Self {
        Self::with_storage(cache(), runtime_directory().join("taskspace-tests"), &[])
    }

    /// Starts one of the test's own, in which housekeeping hurts no other test. It sees the images of the
    /// shared one.
    pub fn alone() -> AlonePodman {
        std::fs::create_dir_all(cache()).unwrap();
        let new =
            |parent: PathBuf| tempfile::Builder::new().prefix("h").tempdir_in(parent).unwrap();
        let (storage, run) = (new(cache()), new(runtime_directory()));
        let info =
            Self::shared().command().args(["info", "--format={{.Store.GraphRoot}}"]).output();
        let images = String::from_utf8(info.unwrap().stdout).unwrap();
        let images = format!("--storage-opt=additionalimagestore={}", images.trim());
        let podman = Self::with_storage(storage.path().into(), run.path().into(), &[&images]);
        AlonePodman { podman, storage, _run: run }
    }

    fn with_storage(cache: PathBuf, run: PathBuf, more: &[&str]) -> Self {
        for directory in [&cache, &run] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let configuration = cache.join("containers.conf");
        std::fs::write(&configuration, "[engine]\nlock_type = \"file\"\n").unwrap();
        let argument = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
        let socket = run.join("podman.sock");
        std::fs::remove_file(&socket).ok();
        let mut arguments = vec![
            argument("root", cache.join("storage")),
            argument("runroot", run.join("containers")),
            argument("tmpdir", run.join("libpod")),
            // It warns of each connection that is upgraded.
            "--log-level=error".to_owned(),
        ];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let mut podman = Self {
            container_host: format!("unix://{}", socket.display()),
            arguments,
            configuration: Some(configuration),
            _service: None,
        };
        // It ends by itself when nobody has used it for a minute.
        let mut service = podman.command();
        service.args(["system", "service", "--time=60", &podman.container_host]);
        let started = service.stdin(Stdio::null()).spawn();
        podman._service = Some(started.expect("the tests need rootless Podman 5 or newer"));
        super::wait_until("Podman answers", || UnixStream::connect(&socket).is_ok());
        podman
    }

    /// Asks its service for a document.
    pub fn get(&self, path: &str) -> Value {
        let mut stream = UnixStream::connect(self.container_host.trim_start_matches("unix://"))
            .unwrap_or_else(|error| panic!("{}: {error}", self.container_host));
        // HTTP/1.0 has neither chunks nor further requests.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: d\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{path}: {reply}");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error} in {body}"))
    }

    /// Returns where something is mounted in Podman's own mount namespace, as far as that can be
    /// seen: it is that of the process that keeps the user namespace.
    pub fn mounts(&self) -> Option<Vec<String>> {
        let directory = match self.configuration {
            Some(_) => runtime_directory().join("taskspace-tests/libpod"),
            None => runtime_directory().join("libpod/tmp"),
        };
        let pid = std::fs::read_to_string(directory.join("pause.pid")).ok()?;
        let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", pid.trim())).ok()?;
        let place = |line: &str| line.split_whitespace().nth(4).map(str::to_owned);
        Some(mounts.lines().filter_map(place).collect())
    }

    /// Runs a `podman` command that lists what carries a label.
    pub fn list(&self, list: &[&str], label: &str) -> Vec<String> {
        let mut command = self.command();
        command.args(list).arg(format!("--filter=label={label}"));
        super::succeed(&mut command).lines().map(str::to_owned).collect()
    }

    /// Returns where Podman has its volumes, and taskspace its data volumes.
    pub fn volume_path(&self) -> PathBuf {
        let path = super::succeed(self.command().args(["info", "--format={{.Store.VolumePath}}"]));
        path.trim().into()
    }

    /// Returns the directory with the files of a volume.
    pub fn files(&self, volume: &str) -> PathBuf {
        self.volume_path().join(volume).join("_data")
    }

    /// Returns the names of the data volumes of a registry, which Podman does not know.
    pub fn data_volumes(&self, registry: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.volume_path()).into_iter().flatten().flatten();
        let is_ours = |entry: &std::fs::DirEntry| {
            let owner = std::fs::read(entry.path().join("taskspace.json")).unwrap_or_default();
            let owner: Value = serde_json::from_slice(&owner).unwrap_or_default();
            owner["labels"]["io.symposium.registry"] == registry
        };
        let names = entries.filter(is_ours).map(|entry| entry.file_name().into_string().unwrap());
        names.collect()
    }

    /// Makes a command that removes a volume, be it Podman's or not.
    pub fn removal_of_volume(&self, name: &str) -> Command {
        let directory = self.volume_path().join(name);
        let mut command = self.command();
        match directory.join("taskspace.json").exists() {
            true => command.args(["unshare", "rm", "-rf"]).arg(directory),
            false => command.args(["volume", "rm", "--force", "--time=0", name]),
        };
        command
    }

    /// Removes volumes, be they Podman's or not.
    pub fn remove_volumes(&self, names: &[&str]) {
        for name in names {
            super::succeed(&mut self.removal_of_volume(name));
        }
    }

    /// Whether a volume is there, be it Podman's or not.
    pub fn has_volume(&self, name: &str) -> bool {
        let mut exists = self.command();
        self.volume_path().join(name).join("taskspace.json").exists()
            || exists.args(["volume", "exists", name]).status().unwrap().success()
    }

    /// Returns a process in the network of a taskspace's pod.
    pub fn process_in_network(&self, id: &str) -> String {
        let ask =
            |arguments: &[&str]| super::succeed(self.command().args(arguments)).trim().to_owned();
        let pod = format!("taskspace-{id}");
        let infra = ask(&["pod", "inspect", "--format={{.InfraContainerID}}", &pod]);
        ask(&["inspect", "--format={{.State.Pid}}", &infra])
    }

    /// Makes a `podman` command on the same storage.
    pub fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command.args(&self.arguments).env_remove("CONTAINER_HOST");
        if let Some(configuration) = &self.configuration {
            command.env("CONTAINERS_CONF_OVERRIDE", configuration);
        }
        command
    }
}

/// A Podman with storage of the test's own, which goes with it.
pub struct AlonePodman {
    podman: TestPodman,
    storage: tempfile::TempDir,
    _run: tempfile::TempDir,
}

impl Deref for AlonePodman {
    type Target = TestPodman;

    fn deref(&self) -> &TestPodman {
        &self.podman
    }
}

impl Drop for AlonePodman {
    fn drop(&mut self) {
        let run = |arguments: &[&str]| {
            let mut command = self.podman.command();
            command.args(arguments).stdout(Stdio::null()).status().ok();
        };
        run(&["pod", "rm", "--all", "--force", "--time=0"]);
        let storage = self.storage.path().display().to_string();
        // The last command: it is on this storage.
        run(&[
            "unshare",
            "sh",
            "-c",
            "umount -l \"$0\"/storage/overlay; rm -rf \"$0\"/*",
            &storage,
        ]);
        if let Some(service) = &mut self.podman._service {
            service.kill().ok();
            service.wait().ok();
        }
    }
}

fn runtime_directory() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR").expect("XDG_RUNTIME_DIR is set").into()
}
