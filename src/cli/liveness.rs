//! Tells when the service, or Podman behind it, does not answer.
//!
//! Whatever is waited for, the service is asked now and then whether it is alive: a call that lasts is no
//! reason to say anything as long as that is answered, nor is the silence of a stream.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use super::context::Context;
use super::output::plain;
use crate::api;
use crate::host::processes::Process;
use crate::model::{LivenessView, UnansweredView};

/// How long something may take before it is asked whether the service is alive.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the service may take to say so. It does in less than a millisecond, and this much only on a
/// machine that is as good as stuck.
const ANSWER: Duration = Duration::from_secs(2);

/// The longest time between two of these questions; it doubles up to that.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long Podman may owe an answer before that is told: a busy one takes seconds for some.
const PODMAN_PATIENCE: u64 = 5;

/// What comes of the question whether the service is alive.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It is, or has ended, of which the call itself hears.
    Alive,
    /// It is, and waits for Podman.
    WaitsForPodman(UnansweredView),
    /// It does not answer.
    Silent,
}

impl Context {
    /// Waits for something of the service; says so on standard error when the service does not answer, and
    /// when Podman does not.
    pub(super) async fn attend<T>(&self, waited: impl Future<Output = T>) -> T {
        let mut waited = pin!(waited);
        // Most answers come at once.
        if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut waited).await {
            return answer;
        }
        tokio::select! {
            answer = waited => answer,
            never = self.tell_silence() => match never {},
        }
    }

    /// Waits for something of the service; returns nothing when the service does not answer.
    pub(super) async fn unless_silent<T>(&self, waited: impl Future<Output = T>) -> Option<T> {
        let mut waited = pin!(waited);
        if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut waited).await {
            return Some(answer);
        }
        tokio::select! {
            answer = waited => Some(answer),
            () = self.silence() => None,
        }
    }

    /// Returns what is known of a service that does not answer.
    pub(super) fn silent_service(&self) -> String {
        let process = api::instance(&self.paths.socket).and_then(Process::of);
        match process.and_then(|process| Some((process, process.activity()?))) {
            Some((process, activity)) => {
                format!("the service (process {}, {activity}) does not answer", process.number)
            }
            None => "the service does not answer".to_owned(),
        }
    }

    async fn silence(&self) {
        let mut pause = PATIENCE;
        while self.look().await != Found::Silent {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn tell_silence(&self) -> Infallible {
        let mut pause = PATIENCE;
        let mut told = Found::Alive;
        loop {
            let found = self.look().await;
            match (&found, &told) {
                (Found::Silent, Found::Silent)
                | (Found::WaitsForPodman(_), Found::WaitsForPodman(_))
                | (Found::Alive, Found::Alive) => {}
                (Found::Silent, _) => self.output.warn(&format!(
                    "{}; waiting for it. `taskspace service restart` ends it and starts another one; \
                     taskspaces run on",
                    self.silent_service()
                )),
                (Found::WaitsForPodman(UnansweredView { request, seconds }), _) => {
                    self.output.warn(&format!(
                        "Podman does not answer: the service has been waiting for {} for {seconds}s. \
                         `podman info` shows whether it works, and `systemctl --user restart \
                         podman.service` starts it anew",
                        plain(request)
                    ));
                }
                (Found::Alive, Found::Silent) => self.output.note("the service answers again"),
                (Found::Alive, Found::WaitsForPodman(_)) => self.output.note("Podman answers again"),
            }
            if found != told {
                pause = PATIENCE;
            }
            told = found;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn look(&self) -> Found {
        match self.client().liveness(ANSWER).await {
            Ok(LivenessView { podman: Some(request), .. })
                if request.seconds >= PODMAN_PATIENCE =>
            {
                Found::WaitsForPodman(request)
            }
            Err(error) if error.is_timeout() || error.is_full() => Found::Silent,
            Ok(_) | Err(_) => Found::Alive,
        }
    }
}
