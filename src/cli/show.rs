//! `taskspace show`

use clap::Args;
use jiff::Timestamp;

use super::arguments::Json;
use super::context::Context;
use super::output::{plain, span};
use super::{Exit, Outcome};
use crate::model::{DetailView, Recorded, TaskspaceId};

/// `taskspace show`
#[derive(Debug, Args)]
pub struct Show {
    /// The taskspace
    id: TaskspaceId,
    #[command(flatten)]
    json: Json,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let detail = context.call(async |client| client.show(&self.id).await).await?;
        if self.json.json {
            context.output.json(&detail)?;
        } else {
            context.output.print(&text(&detail, Timestamp::now()))?;
        }
        Ok(Exit::Done)
    }
}

/// Returns everything about a taskspace, in sections.
fn text(detail: &DetailView, now: Timestamp) -> String {
    let Recorded { id, record } = &detail.recorded;
    let (project, agent) = (&record.spec.project, &record.spec.agent);
    let mut page = Page::default();
    page.line("ID", id);
    page.line("Status", format!("{} (wanted: {})", record.status, desired(detail)));
    if let Some(failure) = &record.failure {
        page.line("Failure", &failure.detail);
        page.lines("", &failure.log);
        page.lines("Hint", failure.hint.as_slice());
    }
    if let Some(underway) = &record.underway {
        let since = now.as_second() - underway.since.as_second();
        page.line("Under way", format!("{} for {}", underway.kind, span(since)));
    }
    page.lines("Warnings", &record.warnings);
    page.line("Created", when(record.created, now));
    page.line("Last used", when(record.last_activity, now));

    page.section("Project");
    page.line("Name", &project.name);
    page.line("Source", &project.source);
    page.line("Ref", project.git_ref.as_deref().unwrap_or("HEAD"));
    page.line("Commit", &project.commit);
    page.line("Branch", &project.branch);
    page.line("Type", record.spec.project_type);

    page.section("Agent");
    page.line("Type", &agent.kind);
    if !agent.command.is_empty() {
        page.line("Command", &agent.command);
    }
    page.lines("Prompt", agent.prompt.as_slice());
    page.line("State", &record.agent_state_volume);

    page.section("Access");
    page.line("Dev", format!("ssh {}  (port {})", detail.ssh_dev, record.dev_port));
    page.line("Agent", format!("ssh {}  (port {})", detail.ssh_agent, record.agent_port));

    for (role, health) in &detail.health {
        let state = match (health.healthy, &health.reason) {
            (true, None) => "answers".to_owned(),
            (_, reason) => reason.clone().unwrap_or_else(|| "does not answer".to_owned()),
        };
        let asked = span(now.as_second() - health.checked.as_second());
        page.line("Health", format!("{role}: {state} (asked {asked} ago)"));
    }
    page.line("Recoveries", record.restarts);
    for ending in &record.endings {
        let oom = if ending.oom_killed { ", out of memory" } else { "" };
        let ended = format!("{} with status {}{oom}", ending.role, ending.exit_code);
        page.line("Ended", format!("{ended}, {}", when(ending.at, now)));
    }

    page.section("In Podman");
    page.line("Pod", &detail.pod);
    for container in &detail.containers {
        let mut state = container.state.clone();
        if let Some(code) = container.exit_code {
            state = format!("{state}, status {code}");
        }
        if container.oom_killed {
            state.push_str(", out of memory");
        }
        page.line("Container", format!("{}  {}  ({state})", container.name, container.image));
    }
    for volume in &detail.volumes {
        page.line("Volume", format!("{}  ({})", volume.name, volume.role));
    }
    page.0
}

fn desired(detail: &DetailView) -> &'static str {
    use crate::model::Desired;
    match detail.recorded.record.desired {
        Desired::Running => "running",
        Desired::Stopped => "stopped",
        Desired::Absent => "absent",
    }
}

fn when(time: Timestamp, now: Timestamp) -> String {
    let ago = span(now.as_second() - time.as_second());
    format!("{} ({ago} ago)", time.strftime("%Y-%m-%d %H:%M:%SZ"))
}

/// Lines of keys and values.
#[derive(Debug, Default)]
pub(super) struct Page(pub(super) String);

impl Page {
    /// The keys' column.
    const KEYS: usize = 12;

    pub(super) fn section(&mut self, title: &str) {
        self.0.push_str(&format!("\n{title}\n"));
    }

    /// Adds one value; its own lines are kept below each other.
    pub(super) fn line(&mut self, key: &str, value: impl std::fmt::Display) {
        let value = plain(&value.to_string());
        let mut key = key;
        for line in value.lines() {
            let text = format!("  {key:<width$}{line}", width = Self::KEYS);
            self.0.push_str(text.trim_end());
            self.0.push('\n');
            key = "";
        }
    }

    /// Adds several values under one key.
    pub(super) fn lines(&mut self, key: &str, values: &[String]) {
        for (index, value) in values.iter().enumerate() {
            self.line(if index == 0 { key } else { "" }, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_lined_up_and_cannot_move_the_cursor() {
        let mut page = Page::default();
        page.line("Status", "running");
        page.section("Agent");
        page.line("Prompt", "one\ntwo\u{1b}[2J");
        page.lines("Warnings", &["first".to_owned(), "second".to_owned()]);
        insta::assert_snapshot!(page.0, @r"
          Status      running

        Agent
          Prompt      one
                      two�[2J
          Warnings    first
                      second
        ");
    }
}
