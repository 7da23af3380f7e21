//! Points at which a test has the service killed, or an act fail. Without the feature
//! `fault-points`, which only the tests have, they do nothing.
//!
//! A point's name is followed by the number of times that it was passed: `create: pod: before#1`.

#[cfg(feature = "fault-points")]
use std::path::PathBuf;

/// What a test wants.
#[cfg(feature = "fault-points")]
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The point at which the process is killed.
    pub kill: Option<String>,
    /// The point at which what is about to be done fails.
    pub fail: Option<String>,
    /// Where the name of each point is noted when it is passed.
    pub log: Option<PathBuf>,
}

#[cfg(feature = "fault-points")]
mod armed {
    use std::collections::HashMap;
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use nix::sys::signal::{Signal, raise};

    use super::Faults;

    static FAULTS: OnceLock<Faults> = OnceLock::new();
    static PASSED: Mutex<Option<HashMap<String, u32>>> = Mutex::new(None);

    /// Takes up what a test wants; the first time counts.
    pub fn arm(faults: Faults) {
        FAULTS.get_or_init(|| faults);
    }

    fn pass(name: String) -> Option<(&'static Faults, String)> {
        let faults = FAULTS.get()?;
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let times = passed.get_or_insert_default().entry(name.clone()).or_default();
        *times += 1;
        let point = format!("{name}#{times}");
        if let Some(log) = &faults.log {
            let noted = OpenOptions::new().create(true).append(true).open(log);
            let written = noted.and_then(|mut file| writeln!(file, "{point}"));
            written.unwrap_or_else(|error| tracing::error!("cannot note {point}: {error}"));
        }
        Some((faults, point))
    }

    /// Passes a point: the process is killed there if a test wants it.
    pub(crate) fn point(name: impl FnOnce() -> String) {
        if let Some((faults, point)) = pass(name())
            && faults.kill.as_ref() == Some(&point)
        {
            let killed = raise(Signal::SIGKILL);
            tracing::error!(?killed, "survived {point}");
        }
    }

    /// Passes a point, and tells whether what comes next is to fail.
    pub(crate) fn fails(name: impl FnOnce() -> String) -> bool {
        pass(name()).is_some_and(|(faults, point)| faults.fail.as_ref() == Some(&point))
    }
}

#[cfg(feature = "fault-points")]
pub use armed::arm;
#[cfg(feature = "fault-points")]
pub(crate) use armed::{fails, point};

/// Passes a point.
#[cfg(not(feature = "fault-points"))]
#[inline]
pub(crate) fn point(_name: impl FnOnce() -> String) {}

/// Passes a point, and tells whether what comes next is to fail: never.
#[cfg(not(feature = "fault-points"))]
#[inline]
pub(crate) fn fails(_name: impl FnOnce() -> String) -> bool {
    false
}
