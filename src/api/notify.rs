//! What the service tells systemd (or the client that started it): readiness, state, being alive.

use std::convert::Infallible;
use std::time::Duration;

use sd_notify::NotifyState;

use super::app::Clients;
use super::serve::Change;
use crate::engine::Engine;
use crate::model::Problem;

/// The state changes often while much is done; it is told at most this often.
const STATUS_PAUSE: Duration = Duration::from_millis(200);

/// Tells; a listener that is gone, or none, is fine.
pub(crate) struct Notifier {
    /// The state that never changes: why there is no engine.
    broken: Option<String>,
}

impl Notifier {
    /// Makes one; `broken` is why the service cannot work.
    pub(crate) fn new(broken: Option<&Problem>) -> Self {
        Self { broken: broken.map(|problem| one_line(&format!("cannot work: {problem}"))) }
    }

    /// The service answers.
    pub(crate) fn ready(&self) {
        let status = self.broken.as_deref().unwrap_or("ready");
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The service ends.
    pub(crate) fn stopping(&self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("ending")]);
    }

    /// Tells the state whenever it changes, and that the service is alive as often as systemd
    /// wants to know.
    pub(crate) async fn keep_telling(
        &self,
        engine: Option<&Engine>,
        clients: &Clients,
    ) -> Infallible {
        let alive = async {
            let Some(every) = sd_notify::watchdog_enabled() else {
                return std::future::pending::<Infallible>().await;
            };
            let mut ticks = tokio::time::interval(every / 2);
            loop {
                ticks.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
        };
        let state = async {
            let mut change = Change::of(engine, clients);
            let mut told = String::new();
            loop {
                if let Some(engine) = engine {
                    let status = status(engine, clients.count());
                    if status != told {
                        tell(&[NotifyState::Status(&status)]);
                        told = status;
                    }
                }
                change.wait().await;
                tokio::time::sleep(STATUS_PAUSE).await;
            }
        };
        tokio::select! {
            never = alive => never,
            never = state => never,
        }
    }
}

fn status(engine: &Engine, clients: usize) -> String {
    let (up, operations) = engine.activity();
    let (up, operations) = (*up.borrow(), operations.borrow().all);
    format!("taskspaces up: {up}, operations under way: {operations}, clients: {clients}")
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("nobody to notify: {error}");
    }
}

/// The protocol has one assignment a line.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Code;

    #[test]
    fn a_state_is_one_line() {
        let problem = Problem::new(Code::RegistryUnusable, "not JSON:\nline 1");
        let notifier = Notifier::new(Some(&problem));
        assert_eq!(notifier.broken.as_deref(), Some("cannot work: not JSON: line 1"));
    }
}
