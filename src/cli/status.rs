//! `taskspace status`

use clap::Args;
use jiff::Timestamp;

use super::arguments::Json;
use super::context::Context;
use super::output::{plain, span};
use super::show::Page;
use super::{Exit, Outcome};
use crate::model::{CoordinationView, LockView, PodmanView, SettingsView, StatusView, Totals};

/// `taskspace status`
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    json: Json,
}

impl Status {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let status = context.call(async |client| client.status().await).await?;
        if self.json.json {
            context.output.json(&status)?;
        } else {
            context.output.print(&text(&status, Timestamp::now()))?;
        }
        Ok(Exit::Done)
    }
}

fn text(status: &StatusView, now: Timestamp) -> String {
    let mut page = Page::default();
    let up = span(i64::try_from(status.uptime_seconds).unwrap_or(i64::MAX));
    page.line("Service", format!("{}, process {}, up {up}", status.version, status.pid));
    page.line("Taskspaces", format!("{} ({} running)", status.taskspaces, status.running));
    page.line("Operations", status.operations);
    page.line("Clients", status.clients);
    page.line("Ends after", format!("{}s without anything to do", status.idle_timeout_seconds));
    page.line("Registry", &status.registry);
    page.line("SSH config", &status.ssh_config);
    settings(&mut page, &status.settings, now);
    page.lines("Strays", &status.strays);
    match &status.podman {
        PodmanView::Available { socket, version, warnings } => {
            page.line("Podman", format!("{version} at {socket}"));
            page.lines("Warnings", warnings);
        }
        PodmanView::Unavailable { reason } => {
            page.line("Podman", format!("not available: {reason}"));
        }
    }
    coordination(&mut page, &status.coordination, now);
    page.0
}

/// Adds which settings are in force.
fn settings(page: &mut Page, settings: &SettingsView, now: Timestamp) {
    let read = span(now.as_second() - settings.read.as_second());
    page.line("Settings", format!("{}, read {read} ago", settings.directories.join(", ")));
    if let Some(problem) = &settings.problem {
        page.line("", format!("not those of the files now: {}", plain(&problem.detail)));
    }
    page.lines("", &settings.pending);
}

/// Adds who acts on what.
fn coordination(page: &mut Page, coordination: &CoordinationView, now: Timestamp) {
    let CoordinationView { containers, active, queued, queue_limit, .. } = coordination;
    page.section("Coordination");
    page.line("Containers", format!("{containers} registered"));
    page.line("Running", active);
    let longest = match queued {
        0 => String::new(),
        _ => format!(", the longest for {}", whole(coordination.longest_wait_seconds)),
    };
    page.line("Waiting", format!("{queued} of {queue_limit}{longest}"));
    page.line("Today", today(&coordination.today));
    let locks: Vec<String> = coordination.locks.iter().map(|lock| held(lock, now)).collect();
    page.lines("Locks", &locks);
}

/// Says what there was on a day; of how things may end, only what did.
fn today(totals: &Totals) -> String {
    let Totals { requested, queued, done, failed, timed_out, cancelled, rejected, .. } = totals;
    let counted = [
        (done, "done"),
        (failed, "failed"),
        (timed_out, "timed out"),
        (cancelled, "cancelled"),
        (rejected, "rejected"),
    ];
    let counted = counted.into_iter().filter(|(count, _)| **count > 0);
    let mut text = format!("{requested} asked for");
    counted.for_each(|(count, how)| text.push_str(&format!(", {count} {how}")));
    if *queued > 0 {
        let waited = whole(totals.waited_seconds);
        text.push_str(&format!("; {queued} had to wait, together for {waited}"));
    }
    text
}

fn held(lock: &LockView, now: Timestamp) -> String {
    let LockView { target, operation, kind, agent, since, waiting, .. } = lock;
    let time = span(now.as_second() - since.as_second());
    let waiting = match waiting.len() {
        0 => String::new(),
        1 => "; 1 waits for it".to_owned(),
        many => format!("; {many} wait for it"),
    };
    format!("{target}: operation {operation}, {kind} by {agent} for {time}{waiting}")
}

/// Returns a time span as people say it; what is too long for a number is said to be long.
#[expect(clippy::cast_possible_truncation, reason = "a cast from a float stops at the limits")]
fn whole(seconds: f64) -> String {
    span(seconds as i64)
}

#[cfg(test)]
mod tests {
    use super::super::locks::tests::locks;
    use super::*;

    #[test]
    fn who_acts_on_what() {
        let mut page = Page::default();
        let now = "2026-01-01T05:30:00Z".parse().unwrap();
        coordination(&mut page, &CoordinationView::default(), now);
        let busy = CoordinationView {
            containers: 8,
            active: 3,
            queued: 2,
            queue_limit: 100,
            locks: locks(),
            longest_wait_seconds: 75.9,
            today: Totals {
                day: "2026-01-01".to_owned(),
                requested: 12,
                queued: 4,
                done: 6,
                failed: 0,
                timed_out: 1,
                cancelled: 0,
                rejected: 2,
                waited_seconds: 130.0,
            },
        };
        coordination(&mut page, &busy, now);
        insta::assert_snapshot!(page.0, @r"

        Coordination
          Containers  0 registered
          Running     0
          Waiting     0 of 0
          Today       0 asked for

        Coordination
          Containers  8 registered
          Running     3
          Waiting     2 of 100, the longest for 1m
          Today       12 asked for, 6 done, 1 timed out, 2 rejected; 4 had to wait, together for 2m
          Locks       api: operation 7, config by a-rather-long-agent for 2m; 2 wait for it
                      voice-interaction-service: operation 8, config by a-rather-long-agent for 2m
                      taskspace:fix/dev: operation 11, restart by user for 2m; 1 waits for it
        ");
    }
}
