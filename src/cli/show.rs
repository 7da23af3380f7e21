//! `taskspace show`

use std::fmt::Display;

use clap::Args;
use jiff::Timestamp;

use super::arguments::Json;
use super::context::{Context, Reading};
use super::events::how;
use super::output::{plain, span};
use super::{Exit, Outcome, network, storage};
use crate::model::{
    Code, DetailView, Document, Ending, Problem, PublishedPort, Record, Recorded, Role, Status,
    TaskspaceId, Usage,
};
use crate::plan::detail::detail;

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
        let read = context.read(
            async |client| client.show(&self.id).await,
            |document| recorded(document, &self.id),
        );
        let Reading { answer: detail, is_stale } = read.await?;
        if self.json.json {
            context.output.json_read(&detail, is_stale)?;
        } else {
            context.output.print(&text(&detail, Timestamp::now()))?;
        }
        Ok(Exit::Done)
    }
}

/// Returns a taskspace as the registry has it.
///
/// # Errors
/// When there is none of this id.
pub(super) fn recorded(document: &Document, id: &TaskspaceId) -> Result<DetailView, Problem> {
    let record = document.taskspaces.get(id).ok_or_else(|| {
        Problem::new(Code::TaskspaceNotFound, format!("there is no taskspace '{id}'"))
            .hint("`taskspace list` shows what there is")
    })?;
    let record = Record::clone(record);
    Ok(detail(Recorded { id: id.clone(), record, written: None }))
}

/// Returns everything about a taskspace, in sections.
fn text(detail: &DetailView, now: Timestamp) -> String {
    let Recorded { id, record, .. } = &detail.recorded;
    let (project, agent) = (&record.spec.project, &record.spec.agent);
    let mut page = Page::default();
    page.line("ID", id);
    page.line("Status", format!("{} (wanted: {})", record.status, desired(detail)));
    if let Some(failure) = &record.failure {
        page.line("Reason", &failure.detail);
        page.lines("", &failure.log);
        page.lines("Hint", failure.hint.as_slice());
    }
    if let Some((reason, hint)) = storage::reason(id, record) {
        page.line("Storage", reason);
        page.line("Hint", hint);
    }
    match &record.underway {
        Some(underway) if record.status == Status::Failed => {
            let unfinished = format!("{}, not finished", underway.kind);
            page.line("Broke off", format!("{unfinished}; steps done: {}", underway.done.len()));
        }
        Some(underway) => {
            let since = now.as_second() - underway.since.as_second();
            page.line("Under way", format!("{} for {}", underway.kind, span(since)));
        }
        None => {}
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
    if project.dirty {
        page.line("Dirty", "what was not committed in the source came along");
    }
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

    let published = |it: &PublishedPort| format!("{}  (port {} in it)", it.address(), it.port);
    page.lines("Published", &record.published.iter().map(published).collect::<Vec<_>>());

    network::section(&mut page, &record.network, &detail.network_state, now);
    storage::section(&mut page, &detail.recorded, now);
    health(&mut page, detail, now);

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

/// Adds how its sshds are, and what became of its containers.
fn health(page: &mut Page, detail: &DetailView, now: Timestamp) {
    let record = &detail.recorded.record;
    if detail.health.is_empty() && record.restarts == 0 && record.endings.is_empty() {
        return;
    }
    page.section("Health");
    for (role, health) in &detail.health {
        let state = match (health.healthy, &health.reason) {
            (true, None) => "its sshd answers".to_owned(),
            (true, Some(reason)) => format!("its sshd was silent lately: {reason}"),
            (false, None) => "its sshd does not answer".to_owned(),
            (false, Some(reason)) => format!("its sshd does not answer: {reason}"),
        };
        let asked = span(now.as_second() - health.checked.as_second());
        page.line(title(*role), format!("{state} (asked {asked} ago)"));
    }
    if let Some(usage) = &detail.usage {
        page.line("Uses", usage_text(usage, now));
    }
    if record.restarts > 0 {
        page.line("Recoveries", record.restarts);
    }
    let ended =
        |ending: &Ending| format!("{} with {}, {}", ending.role, how(ending), when(ending.at, now));
    page.lines("Ended", &record.endings.iter().map(ended).collect::<Vec<_>>());
}

const fn title(role: Role) -> &'static str {
    match role {
        Role::Agent => "Agent",
        Role::Dev => "Dev",
    }
}

fn desired(detail: &DetailView) -> &'static str {
    use crate::model::Desired;
    match detail.recorded.record.desired {
        Desired::Running => "running",
        Desired::Stopped => "stopped",
        Desired::Absent => "absent",
    }
}

pub(super) fn when(time: Timestamp, now: Timestamp) -> String {
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
    pub(super) fn line(&mut self, key: &str, value: impl Display) {
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

/// Says what a taskspace uses; what the host does not measure is said to be so.
fn usage_text(usage: &Usage, now: Timestamp) -> String {
    let memory = match usage.memory_bytes {
        Some(bytes) => format!("{} MiB of memory", bytes >> 20),
        None => "memory that this host does not measure".to_owned(),
    };
    let load = usage.cpu_percent.map(|load| format!(", {load:.1} % of a processor"));
    let pids = usage.pids.map(|pids| format!(", {pids} processes"));
    let ago = span(now.as_second() - usage.measured.as_second());
    let (load, pids) = (load.unwrap_or_default(), pids.unwrap_or_default());
    format!("{memory}{load}{pids} (measured {ago} ago)")
}

#[cfg(test)]
mod tests {
    use super::super::list::tests::taskspace;
    use super::*;
    use crate::model::{
        Code, LimitSource, NetworkState, OnFull, OperationKind, Problem, Quantity, SshHealth,
        Storage, StorageAction, StorageHold, StorageLevel, StorageUsage, Underway,
    };

    fn shown(recorded: Recorded, health: &[(Role, SshHealth)]) -> String {
        let detail = DetailView {
            recorded,
            ssh_dev: "fix-dev".to_owned(),
            ssh_agent: "fix-agent".to_owned(),
            pod: "taskspace-fix".to_owned(),
            containers: Vec::new(),
            health: health.iter().cloned().collect(),
            usage: Some(Usage {
                measured: "2026-01-01T05:29:55Z".parse().unwrap(),
                memory_bytes: Some(123 << 20),
                cpu_percent: Some(2.5),
                pids: None,
            })
            .filter(|_| !health.is_empty()),
            volumes: Vec::new(),
            network_state: NetworkState::default(),
        };
        text(&detail, "2026-01-01T05:30:00Z".parse().unwrap())
    }

    /// Returns the part of a page from one line on, so long.
    fn part(page: &str, from: &str, lines: usize) -> String {
        let part = page.lines().skip_while(|line| !line.trim_start().starts_with(from));
        part.take(lines).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_half_made_one_tells_why_and_what_to_do() {
        let mut recorded = taskspace("fix", Status::Failed, "webshop", None);
        let record = &mut recorded.record;
        let mut underway = Underway::new(OperationKind::Create, 7, record.created);
        underway.done = vec!["one".to_owned(), "two".to_owned()];
        record.underway = Some(underway);
        let problem = Problem::new(Code::PodmanFailed, "dev container: no such image");
        record.failure =
            Some(problem.log(vec!["last line".to_owned()]).hint("what was made is kept"));
        insta::assert_snapshot!(part(&shown(recorded, &[]), "Status", 5), @r"
        Status      failed (wanted: running)
        Reason      dev container: no such image
                    last line
        Hint        what was made is kept
        Broke off   create, not finished; steps done: 2
        ");
    }

    #[test]
    fn storage_tells_what_was_done_and_what_to_do() {
        let at: Timestamp = "2026-01-01T05:29:55Z".parse().unwrap();
        let used = Quantity((20 << 30) + (1 << 29));
        let mut recorded = taskspace("fix", Status::Running, "webshop", None);
        recorded.written = Some(StorageUsage { used, measured: at });
        recorded.record.tier = Some("default".to_owned());
        recorded.record.storage = Some(Storage {
            level: StorageLevel::Full,
            held: Some(StorageHold { action: StorageAction::Frozen, since: at, used }),
            ..Storage::new(Quantity(20 << 30), LimitSource::Tier, OnFull::Freeze)
        });
        let page = shown(recorded, &[]);
        insta::assert_snapshot!(part(&page, "Storage", 2), @r"
        Storage     it is paused: it has written 20.5Gi of 20Gi
        Hint        let it write more: `taskspace resize fix --storage …`; or have it run all the same to tidy up: `taskspace resize fix --on-full warn`
        ");
        insta::assert_snapshot!(part(&page, "Used", 3), @r"
        Used        20.5Gi of 20Gi (102 %; measured 5s ago)
        Limit       20Gi by the tier 'default', measured; when full it is paused
        Paused      2026-01-01 05:29:55Z (5s ago)
        ");
    }

    #[test]
    fn what_may_be_reached_is_told() {
        let mut recorded = taskspace("fix", Status::Running, "webshop", None);
        let network = &mut recorded.record.network;
        network.name = "restricted".parse().unwrap();
        network.allow = ["example.org:443", "git"].map(|it| it.parse().unwrap()).into();
        network.deny = vec!["192.0.2.7".parse().unwrap()];
        network.observe = true;
        network.observe_until = Some("2026-01-01T06:12:00Z".parse().unwrap());
        insta::assert_snapshot!(part(&shown(recorded, &[]), "Network", 6), @r"
        Network
          Policy      restricted
          Denied      192.0.2.7
          Allowed     example.org:443
                      git
          Observing   NOT ENFORCED: what the policy would refuse is let through, and listed, for another 42m (or until `enforce`)
        ");
    }

    #[test]
    fn health_tells_how_it_is_and_how_it_has_been() {
        let now: Timestamp = "2026-01-01T05:29:55Z".parse().unwrap();
        let mut recorded = taskspace("fix", Status::Degraded, "webshop", None);
        assert!(!shown(recorded.clone(), &[]).contains("Health"));
        let record = &mut recorded.record;
        record.restarts = 2;
        record.endings =
            vec![Ending { role: Role::Dev, at: record.created, exit_code: 137, oom_killed: true }];
        record.failure = Some(Problem::new(Code::NotReady, "the sshd of fix-dev does not answer"));
        let health = |healthy, failures, reason: Option<&str>| SshHealth {
            healthy,
            checked: now,
            failures,
            reason: reason.map(str::to_owned),
        };
        let health = [
            (Role::Agent, health(true, 0, None)),
            (Role::Dev, health(false, 3, Some("nobody listens"))),
        ];
        let page = shown(recorded, &health);
        insta::assert_snapshot!(part(&page, "Status", 2), @r"
        Status      degraded (wanted: running)
        Reason      the sshd of fix-dev does not answer
        ");
        insta::assert_snapshot!(part(&page, "Health", 6), @r"
        Health
          Agent       its sshd answers (asked 5s ago)
          Dev         its sshd does not answer: nobody listens (asked 5s ago)
          Uses        123 MiB of memory, 2.5 % of a processor (measured 5s ago)
          Recoveries  2
          Ended       dev with status 137, out of memory, 2026-01-01 00:00:00Z (5h ago)
        ");
    }

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
