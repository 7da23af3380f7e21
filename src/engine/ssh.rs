//! The user's side of SSH: our CA and client key, and the files that are rendered whole from the
//! registry.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio::sync::Mutex;

use super::problems;
use crate::config::Paths;
use crate::host::{files, ssh_client, sshkeys};
use crate::model::{AgentSpec, Problem, Role, TaskspaceId};
use crate::plan::{names, pod};
use crate::registry::Registry;
use crate::render::{self, NEWER_SSH_OPTIONS, SshCommon, SshEntry};

/// Writes the user's SSH files; one writer at a time.
#[derive(Debug)]
pub(crate) struct Ssh {
    paths: Arc<Paths>,
    registry: Registry,
    writing: Mutex<()>,
    /// Those of the newer options that this host's client knows.
    understood: Arc<OnceLock<Vec<&'static str>>>,
}

impl Ssh {
    pub(crate) fn new(paths: Arc<Paths>, registry: Registry) -> Self {
        Self { paths, registry, writing: Mutex::new(()), understood: Arc::default() }
    }

    /// Removes what an earlier run of the service left that was killed while it wrote.
    pub(crate) async fn remove_leftovers(&self) -> Result<(), Problem> {
        let paths = self.paths.clone();
        blocking(move || {
            let files =
                [&paths.ssh_config, &paths.ssh_ca, &paths.ssh_client, &paths.ssh_known_hosts];
            let mut directories = files.into_iter().filter_map(|file| file.parent());
            directories
                .try_for_each(files::remove_leftovers)
                .map_err(|error| problems::file(&error))
        })
        .await
    }

    /// Writes `ssh_config` and `known_hosts` from what the registry says now.
    pub(crate) async fn publish(&self) -> Result<(), Problem> {
        let _one_at_a_time = self.writing.lock().await;
        let document = self.registry.read().await.map_err(problems::registry)?;
        let (paths, understood) = (self.paths.clone(), self.understood.clone());
        blocking(move || {
            let entries: Vec<SshEntry> = document
                .taskspaces
                .iter()
                .flat_map(|(id, record)| {
                    [Role::Dev, Role::Agent].map(|role| SshEntry {
                        id: id.clone(),
                        role,
                        port: record.ports().of(role),
                        user: role.user(),
                    })
                })
                .collect();
            let ca = sshkeys::ensure_ca(&paths.ssh_ca).map_err(problems::key)?;
            sshkeys::ensure_client(&paths.ssh_client).map_err(problems::key)?;
            let ca = sshkeys::ca_public_line(&ca).map_err(problems::key)?;
            let known_hosts = render::known_hosts(&ca).map_err(problems::internal)?;
            write_if_changed(&paths.ssh_known_hosts, &known_hosts, 0o644)?;
            files::private_dir(&paths.ssh_sockets).map_err(|error| problems::file(&error))?;
            let newer_options =
                understood.get_or_init(|| ssh_client::understood(NEWER_SSH_OPTIONS));
            let common = SshCommon {
                client_key: &paths.ssh_client,
                known_hosts: &paths.ssh_known_hosts,
                sockets: &paths.ssh_sockets,
                newer_options,
            };
            let config = render::ssh_config(&entries, &common).map_err(problems::internal)?;
            write_if_changed(&paths.ssh_config, &config, 0o600)
        })
        .await
    }

    /// Writes the files of a taskspace that are mounted into its containers.
    pub(crate) async fn write_taskspace_files(
        &self,
        id: &TaskspaceId,
        agent: &AgentSpec,
    ) -> Result<(), Problem> {
        let (paths, id, agent) = (self.paths.clone(), id.clone(), agent.clone());
        blocking(move || {
            let ca = sshkeys::ensure_ca(&paths.ssh_ca).map_err(problems::key)?;
            let client = sshkeys::ensure_client(&paths.ssh_client).map_err(problems::key)?;
            let authorized = sshkeys::authorized_keys(&client).map_err(problems::key)?;
            for directory in [&paths.auth, &paths.context] {
                files::private_dir(directory).map_err(|error| problems::file(&error))?;
            }
            let home = paths.taskspace(&id);
            files::private_dir(&home).map_err(|error| problems::file(&error))?;
            files::remove_leftovers(&home).map_err(|error| problems::file(&error))?;
            for role in Role::ALL {
                let directory = home.join(role.name());
                files::private_dir(&directory).map_err(|error| problems::file(&error))?;
                files::remove_leftovers(&directory).map_err(|error| problems::file(&error))?;
                let directory = directory.join("ssh");
                files::remove_leftovers(&directory).map_err(|error| problems::file(&error))?;
                let host = names::ssh_host(&id, role);
                sshkeys::make_host_key(&directory, &ca, &host).map_err(problems::key)?;
                let path = directory.join("authorized_keys");
                files::write_atomic(&path, authorized.as_bytes(), 0o644)
                    .map_err(|error| problems::file(&error))?;
            }
            let hosts = render::hosts(&id).map_err(problems::internal)?;
            files::private_dir(&home.join(pod::NO_SECRETS))
                .map_err(|error| problems::file(&error))?;
            let resolv_conf = render::resolv_conf().map_err(problems::internal)?;
            for (name, text) in [(pod::HOSTS, hosts), (pod::RESOLV_CONF, resolv_conf)] {
                files::write_atomic(&home.join(name), text.as_bytes(), 0o644)
                    .map_err(|error| problems::file(&error))?;
            }
            let config = render::agent_config(&id, &agent).map_err(problems::internal)?;
            let path = home.join(Role::Agent.name()).join("config.yaml");
            files::write_atomic(&path, config.as_bytes(), 0o644)
                .map_err(|error| problems::file(&error))
        })
        .await
    }
}

fn write_if_changed(path: &Path, content: &str, mode: u32) -> Result<(), Problem> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    files::write_atomic(path, content.as_bytes(), mode).map_err(|error| problems::file(&error))
}

/// Runs blocking work aside.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(problems::internal)?
}
