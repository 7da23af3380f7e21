//! `taskspace locks`

use clap::Args;
use comfy_table::Cell;
use jiff::Timestamp;

use super::arguments::Json;
use super::context::Context;
use super::output::{plain, span};
use super::table::{self, Column};
use super::{Exit, Outcome};
use crate::model::LockView;

/// `taskspace locks`
#[derive(Debug, Args)]
pub struct Locks {
    #[command(flatten)]
    json: Json,
}

const COLUMNS: [Column; 8] = [
    Column::new("TARGET").at_least(10),
    Column::new("OPERATION"),
    Column::new("KIND"),
    Column::new("AGENT").at_least(8),
    Column::new("TOKEN").rank(4),
    Column::new("HELD FOR").rank(2),
    Column::new("UNTIL").rank(3),
    Column::new("WAITING").at_least(8).rank(1),
];

impl Locks {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let locks = context.call(async |client| client.locks().await).await?;
        let output = context.output;
        if locks.is_empty() && !self.json.json {
            output.note("Nothing is held.");
            return Ok(Exit::Done);
        }
        output.table(self.json.json, &locks, |width| {
            text(&locks, Timestamp::now(), width, output.colour)
        })?;
        Ok(Exit::Done)
    }
}

/// Returns the table.
fn text(locks: &[LockView], now: Timestamp, width: Option<u16>, colour: bool) -> String {
    table::render(&COLUMNS, locks.iter().map(|lock| row(lock, now)).collect(), width, colour)
}

fn row(lock: &LockView, now: Timestamp) -> Vec<Cell> {
    vec![
        Cell::new(&lock.target),
        Cell::new(lock.operation),
        Cell::new(lock.kind),
        Cell::new(plain(&lock.agent.to_string())),
        Cell::new(lock.token),
        Cell::new(span(now.as_second() - lock.since.as_second())),
        Cell::new(until(lock, now)),
        Cell::new(waiting(&lock.waiting)),
    ]
}

/// Says when it ends at the latest: with a lease that is not renewed, or when it takes too long.
fn until(lock: &LockView, now: Timestamp) -> String {
    let lease = lock.lease.as_ref().and_then(|lease| lease.expires);
    match lock.until.into_iter().chain(lease).min() {
        Some(end) => format!("in {}", span(end.as_second() - now.as_second())),
        None => "-".to_owned(),
    }
}

/// Lists the operations that wait for it.
fn waiting(operations: &[u64]) -> String {
    if operations.is_empty() {
        return "-".to_owned();
    }
    operations.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{AgentName, Lease, OperationKind};

    /// What an agent holds under its lease, what one that is connected holds, and what the service
    /// holds itself.
    pub(in crate::cli) fn locks() -> Vec<LockView> {
        let at = |time: &str| format!("2026-01-01T{time}Z").parse().unwrap();
        let lease = |expires: Option<&str>| Some(Lease { seconds: 30, expires: expires.map(at) });
        let lock = |target: &str, operation, lease, waiting: &[u64]| LockView {
            target: target.parse().unwrap(),
            operation,
            kind: OperationKind::Config,
            agent: "a-rather-long-agent".parse().unwrap(),
            token: operation + 1_000,
            since: at("05:28:00"),
            until: Some(at("05:33:00")),
            lease,
            waiting: waiting.to_vec(),
        };
        vec![
            lock("api", 7, lease(Some("05:30:12")), &[9, 10]),
            lock("voice-interaction-service", 8, lease(None), &[]),
            LockView {
                kind: OperationKind::Restart,
                agent: AgentName::user(),
                until: None,
                ..lock("taskspace:fix/dev", 11, None, &[12])
            },
        ]
    }

    #[test]
    fn who_holds_what_and_for_how_long() {
        let now = "2026-01-01T05:30:00Z".parse().unwrap();
        let shown = |width| text(&locks(), now, Some(width), false);
        insta::assert_snapshot!(shown(120), @r"
        TARGET                     OPERATION  KIND     AGENT                TOKEN  HELD FOR  UNTIL   WAITING
        api                        7          config   a-rather-long-agent  1007   2m        in 12s  9, 10
        voice-interaction-service  8          config   a-rather-long-agent  1008   2m        in 3m   -
        taskspace:fix/dev          11         restart  user                 1011   2m        -       12
        ");
        insta::assert_snapshot!(shown(60), @r"
        TARGET      OPERATION  KIND     AGENT      HELD FOR  WAITING
        api         7          config   a-rather…  2m        9, 10
        voice-int…  8          config   a-rather…  2m        -
        taskspace…  11         restart  user       2m        12
        ");
    }
}
