//! The user's systemd.

use std::future::Future;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::unistd::getuid;
use zbus::connection::Builder;
use zbus::zvariant::DynamicType;
use zbus::{Connection, Message, OwnedObjectPath, OwnedVariant};

/// How long systemd may take to answer; it does so in milliseconds, or something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The manager's name on a bus, its object and its interfaces.
const NAME: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Why systemd did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// It refused.
    #[error("systemd: {0}")]
    Refused(#[from] zbus::Error),
    /// It did not answer in time.
    #[error("systemd does not answer")]
    Silent,
}

/// The user's service manager.
#[derive(Clone, Debug)]
pub struct UserManager {
    connection: Connection,
}

impl UserManager {
    /// Connects to the user's systemd, if there is one.
    ///
    /// `runtime_dir` is the user's `$XDG_RUNTIME_DIR`, where the session bus has its socket.
    pub async fn connect(runtime_dir: &Path) -> Option<Self> {
        let stream = UnixStream::connect(runtime_dir.join("bus")).ok()?;
        let connected = match within(Builder::unix_stream(stream).build()).await {
            Ok(connection) => {
                let manager = Self { connection };
                // A bus may be there without systemd on it.
                manager.version().await.map(|_| manager)
            }
            Err(error) => Err(error),
        };
        connected.inspect_err(|error| tracing::debug!(%error, "no systemd of the user")).ok()
    }

    /// Connects to the systemd of this user where it always listens, whatever `$XDG_RUNTIME_DIR` says.
    /// See user-runtime-dir@.service(5).
    pub async fn of_this_user() -> Option<Self> {
        Self::connect(Path::new(&format!("/run/user/{}", getuid()))).await
    }

    /// Returns systemd's version, as it tells it.
    pub async fn version(&self) -> Result<String, SystemdError> {
        let reply = self.call(PROPERTIES, "Get", &(MANAGER, "Version")).await?;
        let value: OwnedVariant = reply.body().deserialize()?;
        Ok(String::try_from(value)?)
    }

    /// Starts a unit; that it is up is for the caller to see.
    pub async fn start_unit(&self, name: &str) -> Result<(), SystemdError> {
        self.call(MANAGER, "StartUnit", &(name, "replace")).await.map(|_| ())
    }

    /// Stops a unit; that it is down is for the caller to see.
    pub async fn stop_unit(&self, name: &str) -> Result<(), SystemdError> {
        self.call(MANAGER, "StopUnit", &(name, "replace")).await.map(drop)
    }

    /// Returns the object of a unit that is loaded.
    async fn unit(&self, name: &str) -> Result<OwnedObjectPath, SystemdError> {
        let reply = self.call(MANAGER, "GetUnit", &(name,)).await?;
        Ok(reply.body().deserialize()?)
    }

    /// Returns the main process of a service that is loaded, if it has one.
    pub async fn main_process(&self, name: &str) -> Option<i32> {
        let unit = self.unit(name).await.ok()?;
        let asked = (SERVICE, "MainPID");
        let call = self.connection.call_method(Some(NAME), &unit, Some(PROPERTIES), "Get", &asked);
        let value: OwnedVariant = within(call).await.ok()?.body().deserialize().ok()?;
        let process = u32::try_from(value).ok()?;
        i32::try_from(process).ok().filter(|process| *process > 0)
    }

    /// Has it forget that a unit failed, and with that the unit, if it has no file.
    pub async fn reset_failed(&self, name: &str) -> Result<(), SystemdError> {
        self.call(MANAGER, "ResetFailedUnit", &(name,)).await.map(drop)
    }

    /// Whether there is a file for a unit.
    pub async fn unit_exists(&self, name: &str) -> bool {
        self.call(MANAGER, "GetUnitFileState", &(name,)).await.is_ok()
    }

    async fn call<B>(
        &self,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, SystemdError>
    where
        B: serde::Serialize + DynamicType,
    {
        within(self.connection.call_method(Some(NAME), OBJECT, Some(interface), method, body)).await
    }
}

async fn within<T>(call: impl Future<Output = Result<T, zbus::Error>>) -> Result<T, SystemdError> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(SystemdError::Silent),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn without_systemd_there_is_no_manager() {
        let dir = tempfile::tempdir().unwrap();
        assert!(UserManager::connect(dir.path()).await.is_none());
        UnixListener::bind(dir.path().join("bus")).map(drop).unwrap();
        assert!(UserManager::connect(dir.path()).await.is_none());
    }
}
