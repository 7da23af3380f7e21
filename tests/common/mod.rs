//! What the end-to-end tests share: a user of their own for each test, on the real Podman.

pub mod agreement;
pub mod containers;
pub mod expectation;
pub mod http;
pub mod others;
pub mod own_podman;
pub mod podman;
pub mod podman_proxy;
pub mod processes;
pub mod repository;
mod sweep;

use std::ffi::OsStr;
use std::fs::File;
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podman::TestPodman;
use serde_json::Value;

/// The program under test.
pub const TASKSPACE: &str = env!("CARGO_BIN_EXE_taskspace");

/// One user with a home, settings, registry and service of their own. When it is dropped, everything
/// of it is removed, and it is an error if something is left in Podman.
pub struct User {
    directory: tempfile::TempDir,
    /// Tells other runs that this user is alive.
    _lock: File,
    container_host: String,
    own_ports: Option<(RangeInclusive<u16>, UnixListener)>,
}

/// The ports of those users who have some of their own: above the usual ones, below those that the
/// kernel gives to clients.
const OWN_PORTS: RangeInclusive<u16> = 30_100..=32_699;

/// How many each of them has, one half for each kind of container.
const PORTS_EACH: u16 = 20;

impl User {
    /// Makes a user who works with the test's Podman.
    pub fn new() -> Self {
        Self::with_podman(&TestPodman::shared().container_host)
    }

    /// Makes a user who works with whatever answers at `container_host`.
    pub fn with_podman(container_host: &str) -> Self {
        // Short, since the path of a Unix socket has 107 characters at most.
        let (directory, lock) = sweep::new_directory();
        let container_host = container_host.to_owned();
        let user = Self { directory, _lock: lock, container_host, own_ports: None };
        for name in ["home", "run", "config/symposium"] {
            std::fs::create_dir_all(user.path(name)).unwrap();
        }
        if let Ok(base) = std::env::var("TASKSPACE_TEST_BASE_IMAGE") {
            user.settings("images.yaml", &format!("base: {base}\n"));
        }
        user
    }

    /// Lets anybody start a taskspace's containers, as only the service can.
    pub fn permits(&self, id: &str) -> Vec<tempfile::NamedTempFile> {
        let place = self.path("run/symposium/permits");
        std::fs::create_dir_all(&place).unwrap();
        let permit = |part: &str| {
            let name = format!("{id}.{part}");
            let mut builder = tempfile::Builder::new();
            builder.prefix(&name).rand_bytes(0).tempfile_in(&place).unwrap()
        };
        ["agent", "dev"].map(permit).into()
    }

    /// Makes a user with ports that nobody else has, so that it shows what listens too long.
    pub fn with_own_ports(container_host: &str) -> Self {
        let mut user = Self::with_podman(container_host);
        user.take_own_ports();
        user
    }

    /// Gives the user ports that nobody else has.
    pub fn take_own_ports(&mut self) {
        let (ports, lock) = OWN_PORTS
            .step_by(PORTS_EACH.into())
            .find_map(|first| {
                // A name that is known wherever these ports are: in other hosts that have the same
                // network, too. See unix(7).
                let name = SocketAddr::from_abstract_name(format!("taskspace-tests/ports-{first}"));
                let lock = UnixListener::bind_addr(&name.unwrap()).ok()?;
                let ports = first..=first + PORTS_EACH - 1;
                let used = agreement::listening().iter().any(|port| ports.contains(port));
                (!used).then_some((ports, lock))
            })
            .expect("there are enough ports for all tests");
        let (first, half, last) = (*ports.start(), PORTS_EACH / 2, *ports.end());
        self.more_settings(
            "settings.yaml",
            &format!(
                "ports: {{dev: {first}-{}, agent: {}-{last}}}\n",
                first + half - 1,
                first + half
            ),
        );
        self.own_ports = Some((ports, lock));
    }

    /// The ports that nobody else has.
    pub fn own_ports(&self) -> Option<RangeInclusive<u16>> {
        self.own_ports.as_ref().map(|(ports, _)| ports.clone())
    }

    /// Returns a path below the user's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file of settings.
    pub fn settings(&self, file: &str, text: &str) {
        std::fs::write(self.path("config/symposium").join(file), text).unwrap();
    }

    /// Adds to a file of settings.
    pub fn more_settings(&self, file: &str, text: &str) {
        let path = self.path("config/symposium").join(file);
        let old = std::fs::read_to_string(path).unwrap_or_default();
        self.settings(file, &format!("{old}{text}"));
    }

    /// The environment that makes a program this user's.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.path(name).display().to_string();
        vec![
            ("HOME", path("home")),
            ("XDG_RUNTIME_DIR", path("run")),
            ("XDG_CONFIG_HOME", path("config")),
            ("XDG_STATE_HOME", path("state")),
            ("XDG_CACHE_HOME", path("cache")),
            ("CONTAINER_HOST", self.container_host.clone()),
            ("GIT_CONFIG_NOSYSTEM", "0".to_owned()),
        ]
    }

    /// Makes a command of any program, run as this user.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path("home")).stdin(Stdio::null());
        // No user manager: the client starts the service itself, on this user's own socket.
        command.env_remove("DBUS_SESSION_BUS_ADDRESS").env_remove("TASKSPACE_SOCKET");
        command.env_remove("SSH_AUTH_SOCK").env("NO_COLOR", "1");
        command.envs(self.environment());
        command
    }

    /// Makes a command of the program under test.
    pub fn taskspace(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(TASKSPACE);
        command.args(arguments);
        command
    }

    /// Starts a service with faults (see `src/fault.rs`), each the last part of the variable's name
    /// and its value. It listens when this returns, so that no client starts another one, or is gone.
    pub fn serve(&self, faults: &[(&str, String)]) -> Child {
        let directory = self.path("state/symposium");
        std::fs::create_dir_all(&directory).unwrap();
        let log = File::options().create(true).append(true).open(directory.join("taskspaced.log"));
        let log = log.unwrap();
        let mut serve = self.taskspace(&["serve"]);
        serve.envs(faults.iter().map(|(name, value)| (format!("TASKSPACE_FAULT_{name}"), value)));
        let mut service = serve.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        wait_until("the service listens, or is gone", || {
            self.is_served() || service.try_wait().unwrap().is_some()
        });
        service
    }

    /// Runs the program under test and returns what it printed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        succeed(&mut self.taskspace(arguments))
    }

    /// Runs the program under test with `--json`.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Runs the program under test, which must fail with `code`, and returns what it wrote.
    #[track_caller]
    pub fn fail(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.taskspace(arguments).output().unwrap();
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} wrote:\n{text}");
        text
    }

    /// Makes an `ssh` command that uses only what the program under test wrote.
    pub fn ssh(&self, host: &str, arguments: &[&str]) -> Command {
        let mut command = self.command("ssh");
        command.arg("-F").arg(self.ssh_config()).arg("-o").arg("BatchMode=yes");
        command.arg(host).args(arguments);
        command
    }

    /// Returns the path of the `ssh_config` that the program under test wrote.
    pub fn ssh_config(&self) -> PathBuf {
        self.path("home/.symposium/ssh_config")
    }

    /// Returns the registry's document.
    pub fn registry(&self) -> Value {
        let path = self.path("state/symposium/taskspace-registry.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// Returns the service's process, if it runs.
    pub fn service(&self) -> Option<i32> {
        if !self.is_served() {
            return None;
        }
        self.json(&["status"])["pid"].as_i64().map(|pid| pid.try_into().unwrap())
    }

    /// Whether a service listens.
    fn is_served(&self) -> bool {
        UnixStream::connect(self.path("run/symposium/taskspace.sock")).is_ok()
    }

    /// Ends the service at once, as a crash would.
    pub fn kill_service(&self) {
        let pid = self.service().expect("the service runs");
        end(pid, Signal::SIGKILL);
    }

    /// Returns the names of everything in Podman that carries this user's registry.
    pub fn left_in_podman(&self) -> Vec<String> {
        let Some(label) = sweep::label(self.directory.path()) else { return Vec::new() };
        let podman = TestPodman::shared();
        let lists: [&[&str]; 3] = [
            &["ps", "--all", "--format={{.Names}}"],
            &["pod", "ps", "--format={{.Name}}"],
            &["volume", "ls", "--format={{.Name}}"],
        ];
        let mut listed = lists.map(|list| podman.list(list, &label)).concat();
        let registry = label.rsplit('=').next().unwrap_or_default();
        listed.extend(podman.data_volumes(registry));
        listed
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.path("state/symposium/taskspaced.log");
            eprintln!("the service's log:\n{}", std::fs::read_to_string(log).unwrap_or_default());
        }
        if self.path("state/symposium/taskspace-registry.json").exists() {
            let ids = self.taskspace(&["list", "--json"]).output().ok();
            let ids: Vec<Value> = ids
                .and_then(|output| serde_json::from_slice(&output.stdout).ok())
                .unwrap_or_default();
            for id in ids.iter().filter_map(|entry| entry["id"].as_str()) {
                self.taskspace(&["delete", "--force", "--purge", id]).output().ok();
            }
        }
        if let Some(pid) = self.service() {
            end(pid, Signal::SIGTERM);
        }
        // Bases and kept agent states outlive their taskspaces.
        for name in self.left_in_podman() {
            TestPodman::shared().removal_of_volume(&name).output().ok();
        }
        let left = self.left_in_podman();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left in Podman: {left:?}");
        }
    }
}

/// Whether this is `make test-deep`: tests then take all variants of what they otherwise sample.
pub fn is_deep() -> bool {
    std::env::var_os("TASKSPACE_TEST_DEEP").is_some()
}

/// Ends a process and waits until it is gone.
pub fn end(pid: i32, signal: Signal) {
    let pidfd = Path::new("/proc").join(pid.to_string());
    kill(Pid::from_raw(pid), signal).ok();
    wait_until("the process is gone", || !pidfd.exists());
}

/// Asks a child to end, and waits for it.
pub fn terminate(child: &mut Child) {
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    child.wait().unwrap();
}

/// Waits until something holds, and fails with its name when it does not within a minute.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command that must succeed, and returns what it printed.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} wrote:\n{}", text_of(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns everything that a command wrote.
pub fn text_of(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}
