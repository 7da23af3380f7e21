//! Whether Podman, the ports, the keys, the directories and the SSH entries of a user agree with the
//! registry, exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::podman::TestPodman;
use super::{User, text_of};

/// How long the service may take to bring everything into order: a pause after a failure included.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long Podman's helpers may outlive their container.
const AFTERMATH: Duration = Duration::from_secs(30);

/// How often to look meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// How long an sshd may take to send its banner.
const BANNER: Duration = Duration::from_secs(5);

/// What a pod of a taskspace consists of: infra, agent and dev.
const PARTS: usize = 3;

/// Waits until the service has no operation under way and no record is on its way to another state,
/// and returns what is still so when that takes too long.
pub fn quiescent(user: &User) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let unrest = unrest(user);
        if unrest.is_empty() || Instant::now() > deadline {
            return unrest;
        }
        std::thread::sleep(PAUSE);
    }
}

/// What is under way, and what will be tried again.
fn unrest(user: &User) -> Vec<String> {
    let mut found = Vec::new();
    let (status, list) = match (answer(user, "status"), answer(user, "list")) {
        (Ok(status), Ok(list)) => (status, list),
        (Err(text), _) | (_, Err(text)) => return vec![text],
    };
    let operations = &status["operations"];
    if *operations != 0 {
        found.push(format!("{operations} operations are under way"));
    }
    for record in list.as_array().unwrap() {
        let [status, desired] = ["status", "desired"].map(|name| record[name].as_str().unwrap());
        let rests = match status {
            "running" | "stopped" => status == desired,
            // What is to be gone or stopped, and what Podman did not answer for, is tried again.
            "failed" => {
                let id = record["id"].as_str().unwrap();
                let will_be =
                    record["failure"]["code"] == "PODMAN_UNAVAILABLE" && !is_kept(user, id);
                desired != "absent" && !will_be && !(desired == "stopped" && runs(id))
            }
            _ => false,
        };
        if !rests {
            let (id, failure) = (&record["id"], &record["failure"]["detail"]);
            found.push(format!("{id} is {status} and to be {desired}: {failure}"));
        }
        // One whose making broke off is removed when all else is in order.
        let snapshots = record["snapshots"].as_object().into_iter().flatten();
        for (name, _) in snapshots.filter(|(_, entry)| entry["state"] != "ready") {
            found.push(format!("the snapshot {name} of {} is half made", record["id"]));
        }
    }
    found
}

/// Whether a creation failed, and what was made is kept for whoever wants to look at it.
fn is_kept(user: &User, id: &str) -> bool {
    let underway = &user.registry()["taskspaces"][id]["underway"];
    underway["kind"] == "create" && underway["keep"] == true
}

/// Whether a container of a taskspace runs.
fn runs(id: &str) -> bool {
    let filter = format!("%7B%22label%22%3A%5B%22io.symposium.taskspace={id}%22%5D%7D");
    let running =
        TestPodman::shared().get(&format!("/v5.0.0/libpod/containers/json?filters={filter}"));
    running.as_array().is_some_and(|running| !running.is_empty())
}

/// What the service says, or why it says nothing: one that could not begin ends after a while.
fn answer(user: &User, verb: &str) -> Result<Value, String> {
    let output = user.taskspace(&[verb, "--json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).map_err(|_| format!("{verb}: {}", text_of(&output)))
}

impl User {
    /// Waits until the service has come to rest and everything agrees with the registry; returns
    /// what does not, in the end. `ids` are all the taskspaces that this user ever had.
    pub fn disagreement(&self, ids: &[&str]) -> Vec<String> {
        let unrest = quiescent(self);
        if !unrest.is_empty() {
            return unrest;
        }
        let deadline = Instant::now() + AFTERMATH;
        loop {
            let differences = self.differences(ids);
            if differences.is_empty() {
                return differences;
            }
            if Instant::now() > deadline {
                return differences;
            }
            std::thread::sleep(PAUSE);
            // What the service has found out only now is its business, too.
            quiescent(self);
        }
    }

    /// Returns where something differs from what the registry says, now.
    pub fn differences(&self, ids: &[&str]) -> Vec<String> {
        let registry = self.registry();
        let mut look = Look {
            user: self,
            taskspaces: registry["taskspaces"].as_object().unwrap().clone().into_iter().collect(),
            registry,
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            differences: Vec::new(),
        };
        look.ids.extend(look.taskspaces.keys().cloned());
        look.pods();
        look.volumes();
        look.files();
        look.ssh_config();
        look.ports();
        look.processes();
        look.mounts();
        look.differences
    }
}

/// One look at everything.
struct Look<'a> {
    user: &'a User,
    registry: Value,
    taskspaces: BTreeMap<String, Value>,
    /// All taskspaces that there ever were.
    ids: BTreeSet<String>,
    differences: Vec<String>,
}

impl Look<'_> {
    fn tell(&mut self, difference: impl Into<String>) {
        self.differences.push(difference.into());
    }

    /// Tells what is missing and what is too much.
    fn compare(&mut self, what: &str, wanted: &BTreeSet<String>, found: &BTreeSet<String>) {
        for missing in wanted.difference(found) {
            self.tell(format!("missing: {what} {missing}"));
        }
        for superfluous in found.difference(wanted) {
            self.tell(format!("too much: {what} {superfluous}"));
        }
    }

    fn is(&self, id: &str, status: &str) -> bool {
        self.taskspaces.get(id).is_some_and(|record| record["status"] == status)
    }

    /// Whether everything of a taskspace has to be there: what has failed may lack something.
    fn is_whole(&self, id: &str) -> bool {
        self.is(id, "running") || self.is(id, "stopped")
    }

    fn objects(&self, kind: &str) -> Vec<Value> {
        let label =
            format!("io.symposium.registry={}", self.registry["registry"].as_str().unwrap());
        let filter = format!("%7B%22label%22%3A%5B%22{label}%22%5D%7D");
        let all = if kind == "containers" { "all=true&" } else { "" };
        let path = format!("/v5.0.0/libpod/{kind}/json?{all}filters={filter}");
        TestPodman::shared().get(&path).as_array().cloned().unwrap_or_default()
    }

    fn pods(&mut self) {
        let mut found = BTreeSet::new();
        let mut containers = BTreeSet::new();
        for pod in self.objects("pods") {
            let name = pod["Name"].as_str().unwrap().to_owned();
            let id = name.strip_prefix("taskspace-").unwrap_or_default().to_owned();
            let parts = pod["Containers"].as_array().cloned().unwrap_or_default();
            containers.extend(parts.iter().map(|part| part["Id"].as_str().unwrap().to_owned()));
            let states: Vec<&str> =
                parts.iter().map(|part| part["Status"].as_str().unwrap()).collect();
            let running = states.iter().filter(|state| **state == "running").count();
            let agrees = match self.taskspaces.get(&id).and_then(|record| record["status"].as_str())
            {
                Some("running") => parts.len() == PARTS && running == PARTS,
                Some("stopped") => parts.len() == PARTS && running == 0,
                _ => true,
            };
            if !agrees {
                self.tell(format!("the containers of {name} are {states:?}"));
            }
            found.insert(name);
        }
        let wanted = |only: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
            let ids = self.taskspaces.keys().filter(|id| only(id));
            ids.map(|id| format!("taskspace-{id}")).collect()
        };
        let (least, most) = (wanted(&|id| self.is_whole(id)), wanted(&|_| true));
        let found_of_the_failed: BTreeSet<String> = most.intersection(&found).cloned().collect();
        self.compare("pod", &least.union(&found_of_the_failed).cloned().collect(), &found);
        for container in self.objects("containers") {
            if !containers.contains(container["Id"].as_str().unwrap()) {
                self.tell(format!("too much: container {}", container["Names"]));
            }
        }
    }

    fn volumes(&mut self) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (mut least, mut most) = (BTreeSet::new(), BTreeSet::new());
        for (id, record) in &self.taskspaces {
            let mut own: Vec<String> = ["project", "changes", "build-cache"]
                .map(|part| format!("taskspace-{id}-{part}"))
                .into();
            own.push(text(&record["agent_state_volume"]));
            let project = &record["spec"]["project"];
            let (name, commit) = (text(&project["name"]), text(&project["commit"]));
            if self.registry["projects"][&name]["bases"][&commit].is_null() && self.is_whole(id) {
                self.differences.push(format!("the base of {id} is not in the registry"));
            }
            own.push(format!("project-base-{name}-{commit}"));
            for (snapshot, entry) in record["snapshots"].as_object().into_iter().flatten() {
                if entry["state"] != "ready" {
                    let difference = format!("the snapshot {snapshot} of {id} is half made");
                    self.differences.push(difference);
                }
                own.push(format!("taskspace-{id}-snapshot.{snapshot}"));
            }
            if !record["restoring"].is_null() && self.is_whole(id) {
                self.differences.push(format!("{id} is half restored"));
            }
            most.extend(own.clone());
            if self.is_whole(id) {
                least.extend(own);
            }
        }
        for kept in self.registry["agent_states"].as_object().unwrap().values() {
            least.insert(text(&kept["volume"]));
        }
        let mut odd = Vec::new();
        for (name, project) in self.registry["projects"].as_object().unwrap() {
            let bases = project["bases"].as_object().unwrap();
            let used = self.taskspaces.values().any(|it| it["spec"]["project"]["name"] == **name);
            if bases.is_empty() && !used {
                odd.push(format!("too much: project {name} in the registry"));
            }
            // The newest one is kept; older ones go with the last taskspace of the project.
            if !used && bases.len() > 1 {
                odd.push(format!("too much: {} bases of {name}", bases.len()));
            }
            for base in bases.values() {
                if base["state"] != "ready" {
                    odd.push(format!("the base {} is half made", base["volume"]));
                }
                least.insert(text(&base["volume"]));
            }
            for (volume, cache) in project["caches"].as_object().into_iter().flatten() {
                if cache["state"] != "ready" {
                    odd.push(format!("the build cache {volume} is half made"));
                }
                least.insert(volume.clone());
            }
        }
        self.differences.extend(odd);
        let mut found: BTreeSet<String> =
            self.objects("volumes").iter().map(|volume| text(&volume["Name"])).collect();
        let registry = text(&self.registry["registry"]);
        found.extend(TestPodman::shared().data_volumes(&registry));
        let allowed: BTreeSet<String> = most.intersection(&found).cloned().collect();
        self.compare("volume", &least.union(&allowed).cloned().collect(), &found);
    }

    fn files(&mut self) {
        let ids: BTreeSet<String> = self.taskspaces.keys().cloned().collect();
        let found = names(&self.user.path("state/symposium/taskspaces"));
        let failed = ids.iter().filter(|id| !self.is_whole(id));
        let lacking: BTreeSet<String> = failed.filter(|id| !found.contains(*id)).cloned().collect();
        self.compare("directory", &ids.difference(&lacking).cloned().collect(), &found);
        let key = ["", ".pub", "-cert.pub"].map(|end| format!("ssh_host_ed25519_key{end}"));
        let mut wanted: BTreeSet<String> = key.into();
        wanted.insert("authorized_keys".to_owned());
        for id in ids.iter().filter(|id| self.is_whole(id)).cloned().collect::<Vec<_>>() {
            for role in ["agent", "dev"] {
                let place = format!("state/symposium/taskspaces/{id}/{role}/ssh");
                let found = names(&self.user.path(&place));
                self.compare(&format!("{place}: file"), &wanted, &found);
            }
        }
        for place in
            ["state/symposium", "home/.symposium", "home/.symposium/ssh", "cache/symposium/mirrors"]
        {
            for name in names(&self.user.path(place)) {
                if name.starts_with('.') || name.ends_with(".making") {
                    self.tell(format!("too much: file {place}/{name}"));
                }
            }
        }
    }

    fn ssh_config(&mut self) {
        let (mut wanted, mut allowed) = (BTreeSet::new(), BTreeSet::new());
        for (id, record) in &self.taskspaces {
            let hosts = ["agent", "dev"]
                .map(|role| format!("{id}-{role} {}", record[format!("{role}_port")]));
            // One whose creation failed may have none.
            let of = if self.is_whole(id) { &mut wanted } else { &mut allowed };
            of.extend(hosts);
        }
        let text = std::fs::read_to_string(self.user.ssh_config()).unwrap_or_default();
        let mut found = BTreeSet::new();
        let mut host = "";
        for line in text.lines() {
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["Host", name] => host = name,
                ["Port", port] => drop(found.insert(format!("{host} {port}"))),
                _ => {}
            }
        }
        let found: BTreeSet<String> = found.difference(&allowed).cloned().collect();
        self.compare("SSH host", &wanted, &found);
    }

    fn ports(&mut self) {
        let mut of_running = BTreeSet::new();
        let listening = listening();
        for (id, record) in &self.taskspaces {
            for published in record["published"].as_array().into_iter().flatten() {
                let port = u16::try_from(published["host_port"].as_u64().unwrap()).unwrap();
                let runs = self.is(id, "running");
                if runs || record["status"] == "failed" {
                    of_running.insert(port);
                }
                if runs && !listening.contains(&port) {
                    self.differences.push(format!("nothing listens on {port}, published by {id}"));
                }
            }
            for name in ["dev_port", "agent_port"] {
                let port = u16::try_from(record[name].as_u64().unwrap()).unwrap();
                let runs = self.is(id, "running");
                if runs {
                    of_running.insert(port);
                }
                if record["status"] == "failed" {
                    of_running.insert(port);
                } else if runs != answers(port) {
                    let difference = if runs { "is silent" } else { "answers" };
                    self.differences.push(format!("the {name} {port} of {id} {difference}"));
                }
            }
        }
        let Some(own) = self.user.own_ports() else { return };
        for port in listening.into_iter().filter(|port| own.contains(port)) {
            if !of_running.contains(&port) {
                self.tell(format!("too much: something listens on {port}"));
            }
        }
    }

    /// Looks for the processes that Podman has for each container.
    fn processes(&mut self) {
        let ids = self.ids.clone();
        for (pid, words) in processes() {
            let Some(name) = words.iter().position(|word| word == "-n") else { continue };
            let is_monitor = words[0].ends_with("conmon");
            let Some(name) = words.get(name + 1).filter(|_| is_monitor) else { continue };
            let part = |id: &&String| {
                ["agent", "dev"].iter().any(|role| *name == format!("taskspace-{id}-{role}"))
            };
            if let Some(id) = ids.iter().find(part)
                && !self.is(id, "running")
                && !self.is(id, "failed")
            {
                self.tell(format!("too much: process {pid}, the monitor of {name}"));
            }
        }
    }

    /// Looks for checkouts that are mounted although nothing runs.
    fn mounts(&mut self) {
        let Some(mounts) = TestPodman::shared().mounts() else { return };
        for id in self.ids.clone() {
            let place = format!("/volumes/taskspace-{id}-project/_data");
            let mounted = mounts.iter().filter(|mount| mount.ends_with(&place)).count();
            let agrees = match self.taskspaces.get(&id).and_then(|record| record["status"].as_str())
            {
                Some("running") => mounted == 1,
                Some("failed") => true,
                _ => mounted == 0,
            };
            if !agrees {
                self.tell(format!("the checkout of {id} is mounted {mounted} times"));
            }
        }
    }
}

/// The names in a directory; none where there is none.
fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Whether an sshd greets on a port.
fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, BANNER) else { return false };
    stream.set_read_timeout(Some(BANNER)).unwrap();
    let mut banner = [0; 4];
    stream.read_exact(&mut banner).is_ok() && &banner == b"SSH-"
}

/// The ports that something listens on.
pub fn listening() -> BTreeSet<u16> {
    const LISTEN: &str = "0A";
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
    let text: String = tables.into_iter().flatten().collect();
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let port = fields.get(1)?.rsplit_once(':')?.1;
            (*fields.get(3)? == LISTEN).then(|| u16::from_str_radix(port, 16).ok())?
        })
        .collect()
}

/// The processes of this machine with their command lines.
fn processes() -> Vec<(u32, Vec<String>)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            Some((pid, line.split('\0').map(str::to_owned).collect()))
        })
        .collect()
}
