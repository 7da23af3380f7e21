//! `taskspace list`

use clap::Args;
use comfy_table::{Cell, Color};
use jiff::Timestamp;

use super::arguments::Json;
use super::context::{Context, Reading};
use super::output::{plain, span};
use super::table::{self, Column};
use super::{Exit, Outcome, network, storage};
use crate::host::terminal;
use crate::model::{Document, NetworkPolicy, Record, Recorded, Status};

/// `taskspace list`
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    json: Json,
}

/// Narrower than this, a note says nothing.
const NOTE_WIDTH: u16 = 16;

const COLUMNS: [Column; 8] = [
    Column::new("ID"),
    Column::new("STATUS"),
    Column::new("PROJECT").at_least(8).rank(1),
    Column::new("REF").at_least(8).rank(4),
    Column::new("TYPE").rank(3),
    Column::new("DEV").rank(5),
    Column::new("AGENT").rank(6),
    Column::new("AGE").rank(2),
];

/// Only where something is limited.
const STORAGE: Column = Column::new("STORAGE").rank(3);

/// Only where one may not reach what others usually may.
const NETWORK: Column = Column::new("NETWORK").rank(3);

/// Only where there is something to note.
const NOTE: Column = Column::new("NOTE").at_least(NOTE_WIDTH).rank(0);

impl List {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let read =
            context.read(async |client| client.list().await, |document| Ok(recorded(document)));
        let Reading { answer: taskspaces, is_stale } = read.await?;
        let output = context.output;
        if taskspaces.is_empty() && !self.json.json {
            output.note("There are no taskspaces yet; `taskspace create` makes one.");
            return Ok(Exit::Done);
        }
        if self.json.json {
            output.json_read(&taskspaces, is_stale)?;
        } else {
            let width = terminal::size().map(|(columns, _)| columns);
            output.print(&text(&taskspaces, Timestamp::now(), width, output.colour))?;
        }
        Ok(Exit::Done)
    }
}

/// Returns the taskspaces as the registry has them.
pub(super) fn recorded(document: &Document) -> Vec<Recorded> {
    let taskspaces = document.taskspaces.iter();
    let recorded = taskspaces.map(|(id, record)| {
        let record = Record::clone(record);
        Recorded { id: id.clone(), record, written: None }
    });
    recorded.collect()
}

/// Returns the table.
fn text(taskspaces: &[Recorded], now: Timestamp, width: Option<u16>, colour: bool) -> String {
    let limited = taskspaces.iter().any(|taskspace| taskspace.record.storage.is_some());
    let policed =
        taskspaces.iter().any(|taskspace| taskspace.record.network != NetworkPolicy::default());
    let noted = taskspaces.iter().any(|taskspace| note(&taskspace.record, now).is_some());
    let row = |taskspace: &Recorded| {
        let mut cells = row(taskspace, now);
        cells.extend(limited.then(|| Cell::new(storage::cell(taskspace))));
        cells.extend(policed.then(|| network::cell(&taskspace.record.network, now)));
        cells.extend(note(&taskspace.record, now).map(Cell::new));
        cells
    };
    let mut columns = COLUMNS.to_vec();
    columns.extend(limited.then_some(STORAGE));
    columns.extend(policed.then_some(NETWORK));
    columns.extend(noted.then_some(NOTE));
    table::render(&columns, taskspaces.iter().map(row).collect(), width, colour)
}

/// Says why a taskspace is not as it should be, or what is being done to it.
fn note(record: &Record, now: Timestamp) -> Option<String> {
    let reason = record
        .failure
        .as_ref()
        .map(|failure| plain(failure.detail.lines().next().unwrap_or_default()).replace('\t', " "));
    let doing = record.underway.as_ref().map(|underway| match record.status {
        Status::Failed => format!("{} not finished", underway.kind),
        _ => {
            let since = now.as_second() - underway.since.as_second();
            format!("{} for {}", underway.kind, span(since))
        }
    });
    match (doing, reason) {
        (Some(doing), Some(reason)) => Some(format!("{doing}: {reason}")),
        (doing, reason) => doing.or(reason).or_else(|| storage::note(record)),
    }
}

fn row(Recorded { id, record, .. }: &Recorded, now: Timestamp) -> Vec<Cell> {
    let project = &record.spec.project;
    let git_ref = project.git_ref.as_deref().unwrap_or("HEAD");
    let age = now.as_second() - record.created.as_second();
    vec![
        Cell::new(id),
        Cell::new(record.status).fg(colour_of(record.status)),
        Cell::new(plain(&project.name)),
        Cell::new(plain(git_ref)),
        Cell::new(record.spec.project_type),
        Cell::new(record.dev_port),
        Cell::new(record.agent_port),
        Cell::new(span(age)),
    ]
}

/// Returns the colour in which a state is shown.
pub(super) const fn colour_of(status: Status) -> Color {
    match status {
        Status::Running => Color::Green,
        Status::Failed => Color::Red,
        Status::Degraded => Color::Magenta,
        Status::Stopped => Color::DarkGrey,
        Status::Creating | Status::Starting | Status::Stopping | Status::Deleting => Color::Yellow,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{
        Code, LimitSource, OnFull, OperationKind, Problem, Quantity, Storage, StorageAction,
        StorageHold, StorageUsage, Underway,
    };

    pub(in crate::cli) fn taskspace(
        id: &str,
        status: Status,
        name: &str,
        git_ref: Option<&str>,
    ) -> Recorded {
        let created: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut record = Record {
            status,
            created,
            last_updated: created,
            last_activity: created,
            ..Record::example()
        };
        let project = &mut record.spec.project;
        project.name = name.to_owned();
        project.git_ref = git_ref.map(str::to_owned);
        Recorded { id: id.parse().unwrap(), record, written: None }
    }

    fn shown(width: u16) -> String {
        let taskspaces = [
            taskspace(
                "fix-the-login-a1b2",
                Status::Running,
                "webshop",
                Some("feature/login-by-mail"),
            ),
            taskspace("x", Status::Failed, "a-rather-long-project-name", None),
        ];
        let now = "2026-01-01T05:30:00Z".parse().unwrap();
        text(&taskspaces, now, Some(width), false)
    }

    #[test]
    fn a_wide_terminal_shows_everything() {
        insta::assert_snapshot!(shown(200), @r"
        ID                  STATUS   PROJECT                     REF                    TYPE  DEV    AGENT  AGE
        fix-the-login-a1b2  running  webshop                     feature/login-by-mail  rust  10001  20001  5h
        x                   failed   a-rather-long-project-name  HEAD                   rust  10001  20001  5h
        ");
    }

    #[test]
    fn a_usual_terminal_shows_all_columns_shortened() {
        insta::assert_snapshot!(shown(80), @r"
        ID                  STATUS   PROJECT       REF           TYPE  DEV    AGENT  AGE
        fix-the-login-a1b2  running  webshop       feature/log…  rust  10001  20001  5h
        x                   failed   a-rather-lo…  HEAD          rust  10001  20001  5h
        ");
    }

    #[test]
    fn what_is_limited_shows_how_much_of_it_is_in_use() {
        let mut taskspaces =
            ["a", "b", "c"].map(|id| taskspace(id, Status::Running, "webshop", None));
        let now: Timestamp = "2026-01-01T05:30:00Z".parse().unwrap();
        let storage = Storage::new(Quantity(20 << 30), LimitSource::Tier, OnFull::Freeze);
        let [a, b, _] = &mut taskspaces;
        let used = Quantity(21 << 30);
        a.written = Some(StorageUsage { used, measured: now });
        let held = StorageHold { action: StorageAction::Frozen, since: now, used };
        a.record.storage = Some(Storage { held: Some(held), ..storage.clone() });
        b.record.storage = Some(Storage { hard: Some(7), ..storage });
        insta::assert_snapshot!(text(&taskspaces, now, Some(120), false), @r"
        ID  STATUS   PROJECT  REF   TYPE  DEV    AGENT  AGE  STORAGE      NOTE
        a   running  webshop  HEAD  rust  10001  20001  5h   21Gi/20Gi    paused, storage full
        b   running  webshop  HEAD  rust  10001  20001  5h   -/20Gi hard
        c   running  webshop  HEAD  rust  10001  20001  5h   -
        ");
    }

    #[test]
    fn a_network_policy_shows_where_one_differs() {
        let mut taskspaces = ["a", "b"].map(|id| taskspace(id, Status::Running, "webshop", None));
        let now: Timestamp = "2026-01-01T05:30:00Z".parse().unwrap();
        let until = "2026-01-01T06:12:00Z".parse().unwrap();
        let network = &mut taskspaces[1].record.network;
        (network.name, network.observe) = ("restricted".parse().unwrap(), true);
        network.observe_until = Some(until);
        insta::assert_snapshot!(text(&taskspaces, now, Some(120), false), @r"
        ID  STATUS   PROJECT  REF   TYPE  DEV    AGENT  AGE  NETWORK
        a   running  webshop  HEAD  rust  10001  20001  5h   open
        b   running  webshop  HEAD  rust  10001  20001  5h   restricted, OBSERVING 42m
        ");
    }

    fn troubled(width: u16) -> String {
        let mut taskspaces =
            ["a", "b", "c", "d"].map(|id| taskspace(id, Status::Running, "webshop", Some("main")));
        let since = "2026-01-01T05:29:48Z".parse().unwrap();
        let underway = |kind| Some(Underway::new(kind, 1, since));
        let failure = |detail: &str| Some(Problem::new(Code::NotReady, detail));
        let [a, b, c, _] = &mut taskspaces;
        (a.record.status, a.record.underway) = (Status::Creating, underway(OperationKind::Create));
        b.record.status = Status::Degraded;
        b.record.failure = failure("the dev container does not run");
        (c.record.status, c.record.underway) = (Status::Failed, underway(OperationKind::Create));
        c.record.failure = failure("dev container: Podman broke\nmore");
        text(&taskspaces, "2026-01-01T05:30:00Z".parse().unwrap(), Some(width), false)
    }

    #[test]
    fn what_is_under_way_and_what_is_wrong_is_noted() {
        insta::assert_snapshot!(troubled(120), @r"
        ID  STATUS    PROJECT  REF   TYPE  DEV    AGENT  AGE  NOTE
        a   creating  webshop  main  rust  10001  20001  5h   create for 12s
        b   degraded  webshop  main  rust  10001  20001  5h   the dev container does not run
        c   failed    webshop  main  rust  10001  20001  5h   create not finished: dev container: Podman broke
        d   running   webshop  main  rust  10001  20001  5h
        ");
        insta::assert_snapshot!(troubled(60), @r"
        ID  STATUS    PROJECT  REF   TYPE  AGE  NOTE
        a   creating  webshop  main  rust  5h   create for 12s
        b   degraded  webshop  main  rust  5h   the dev container…
        c   failed    webshop  main  rust  5h   create not finished…
        d   running   webshop  main  rust  5h
        ");
        insta::assert_snapshot!(troubled(40), @r"
        ID  STATUS    PROJECT  NOTE
        a   creating  webshop  create for 12s
        b   degraded  webshop  the dev containe…
        c   failed    webshop  create not…
        d   running   webshop
        ");
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters() {
        insta::assert_snapshot!(shown(40), @r"
        ID                  STATUS   PROJECT
        fix-the-login-a1b2  running  webshop
        x                   failed   a-rather-l…
        ");
    }
}
