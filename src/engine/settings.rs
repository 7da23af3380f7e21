//! The settings in force, which follow their files.
//!
//! Before each call it is looked whether a file is another one than when they were read (`stat`, no more);
//! and inotify tells of changes between calls, so that the policies of taskspaces that run change as well. A
//! file that is wrong changes nothing: the settings that were read last stay in force, and every answer of
//! the service says so.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;

use super::{Engine, Inner, ssh::blocking};
use crate::config::Settings;
use crate::config::settings::Fingerprint;
use crate::host::watch::Watch;
use crate::model::{Code, EventBody, Problem, SettingsView};

/// How long changes are gathered: an editor, or a checkout, changes several files at once.
const GATHER: Duration = Duration::from_millis(100);

/// How often files are looked at where they cannot be watched.
const UNWATCHED: Duration = Duration::from_secs(5);

/// The settings in force.
#[derive(Debug)]
pub(crate) struct LiveSettings {
    directories: Vec<PathBuf>,
    /// Those that the service began with: some are only looked at then.
    first: Arc<Settings>,
    state: RwLock<State>,
    /// One reading at a time.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    settings: Arc<Settings>,
    /// The files when they were looked at last, right or wrong.
    fingerprint: Fingerprint,
    /// When the settings in force were read.
    read: Timestamp,
    /// Why the files as they are now are not in force.
    problem: Option<Problem>,
}

/// What came of a reading.
enum Read {
    /// Nothing is new.
    Same,
    /// The settings are other ones.
    Changed(EventBody, Vec<&'static str>),
    /// The files are wrong.
    Refused(Problem),
}

impl LiveSettings {
    pub(crate) fn new(directories: Vec<PathBuf>, settings: Settings) -> Self {
        let fingerprint = Fingerprint::of(&directories);
        let first = Arc::new(settings);
        let settings = first.clone();
        let state = State { settings, fingerprint, read: Timestamp::now(), problem: None };
        let (state, reading) = (RwLock::new(state), tokio::sync::Mutex::default());
        Self { directories, first, state, reading }
    }

    /// Returns the settings in force.
    pub(crate) fn get(&self) -> Arc<Settings> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).settings.clone()
    }

    /// Returns why the files as they are now are not in force, if they are not.
    fn problem(&self) -> Option<Problem> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).problem.clone()
    }

    fn view(&self) -> SettingsView {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        SettingsView {
            directories: self.directories.iter().map(|it| it.display().to_string()).collect(),
            read: state.read,
            problem: state.problem.clone(),
            pending: pending(&self.first, &state.settings),
        }
    }

    /// Reads the files if they are others than before, or in any case. Looks at the disk.
    fn read(&self, in_any_case: bool) -> Read {
        let fingerprint = Fingerprint::of(&self.directories);
        let state = || self.state.write().unwrap_or_else(PoisonError::into_inner);
        if !in_any_case && state().fingerprint == fingerprint {
            return Read::Same;
        }
        // What changes from here on gives another fingerprint.
        let loaded = Settings::load(&self.directories);
        let mut state = state();
        state.fingerprint = fingerprint;
        let settings = match loaded {
            Ok(settings) => settings,
            Err(error) => {
                let detail = format!("the settings are wrong, and those of before stay: {error}");
                let problem = Problem::new(Code::SettingsInvalid, detail).hint(error.hint());
                state.problem = Some(problem.clone());
                return Read::Refused(problem);
            }
        };
        let was_wrong = state.problem.take().is_some();
        let changed = settings.differences(&state.settings);
        if changed.is_empty() && !was_wrong {
            return Read::Same;
        }
        state.settings = Arc::new(settings);
        state.read = Timestamp::now();
        let mut notes = pending(&self.first, &state.settings);
        if changed.contains(&"images.yaml") {
            notes.push(
                "images are built anew when they are needed next; taskspaces that there are keep theirs"
                    .to_owned(),
            );
        }
        let files = changed.iter().map(|name| (*name).to_owned()).collect();
        Read::Changed(EventBody::SettingsReloaded { files, notes }, changed)
    }
}

/// Says what of the settings only a new run of the service takes in.
fn pending(first: &Settings, now: &Settings) -> Vec<String> {
    let parts = [
        ("coordination.yaml", first.coordination != now.coordination),
        ("network.nameservers in settings.yaml", first.nameservers != now.nameservers),
    ];
    let pending = parts.into_iter().filter(|(_, differs)| *differs);
    pending
        .map(|(part, _)| {
            format!("{part} comes into force when the service is restarted (`taskspace service restart`)")
        })
        .collect()
}

impl Engine {
    /// Takes in the files of settings if they have changed.
    pub async fn follow_settings(&self) {
        // Of what is wrong every answer tells.
        let _told = self.inner.read_settings(false).await;
    }

    /// Takes in the files of settings, and has them in force when it returns.
    ///
    /// # Errors
    /// When they are wrong: then those of before stay in force.
    pub async fn reload_settings(&self) -> Result<SettingsView, Problem> {
        self.inner.read_settings(true).await?;
        Ok(self.inner.settings.view())
    }

    /// Returns why the files of settings as they are now are not in force, if they are not.
    pub fn settings_problem(&self) -> Option<Problem> {
        self.inner.settings.problem()
    }

    /// Returns after how long with nothing to do the service ends.
    pub fn idle_timeout(&self) -> Duration {
        self.inner.settings().service.idle_timeout
    }
}

impl Inner {
    /// Returns the settings in force.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.get()
    }

    pub(super) fn settings_view(&self) -> SettingsView {
        self.settings.view()
    }

    /// Follows the files of settings until the service ends.
    pub(super) async fn watch_settings(self: Arc<Self>) {
        loop {
            let paths = Fingerprint::watched(&self.settings.directories);
            let watch =
                blocking(move || Watch::new(paths).map_err(super::problems::internal)).await;
            // Changes from before the watch are seen here.
            let _told = self.read_settings(false).await;
            let changed = async {
                match &watch {
                    Ok(watch) if watch.changed().await.is_ok() => tokio::time::sleep(GATHER).await,
                    _ => tokio::time::sleep(UNWATCHED).await,
                }
            };
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = changed => {}
            }
        }
    }

    /// Reads the files if they have changed, or in any case, and brings about what follows.
    async fn read_settings(self: &Arc<Self>, in_any_case: bool) -> Result<(), Problem> {
        let _one = self.settings.reading.lock().await;
        let inner = self.clone();
        let read = blocking(move || Ok(inner.settings.read(in_any_case))).await?;
        match read {
            Read::Same => Ok(()),
            Read::Refused(problem) => {
                tracing::warn!("{problem}");
                let reason = problem.detail.clone();
                self.bus.publish(None, None, EventBody::SettingsRefused { reason });
                Err(problem)
            }
            Read::Changed(event, changed) => {
                tracing::info!("other settings are in force: {}", changed.join(", "));
                // Also a tier or a project says which policy a taskspace has.
                let changes_networks = changed.iter().any(|name| *name != "images.yaml");
                if changes_networks {
                    // A policy that is gone, or no longer allowed, is replaced next.
                    self.follow_policies().await;
                    self.networks.recheck();
                }
                self.bus.publish(None, None, event);
                self.look.notify_one();
                self.unused.notify_one();
                Ok(())
            }
        }
    }
}
