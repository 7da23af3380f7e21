//! `taskspace port`

use std::num::NonZero;

use clap::Args;
use comfy_table::Cell;

use super::arguments::Json;
use super::context::Context;
use super::table::{self, Column};
use super::{Exit, Outcome};
use crate::model::{PortView, PublishRequest, TaskspaceId};

const EXAMPLES: &str = "\
Examples:
  taskspace port fix-login 3000
      publish its port 3000 on this host's loopback, and print where: 127.0.0.1:10123
  taskspace port fix-login 8080 --to 8080
  taskspace port fix-login
      list what is published
  taskspace port fix-login 3000 --close

Every user of this host reaches what is published, as with any server on the loopback.";

/// `taskspace port`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Port {
    /// The taskspace
    #[arg(value_name = "ID")]
    id: TaskspaceId,
    /// The TCP port on which something listens, or is to listen, in either container [default: list
    /// what is published]
    #[arg(value_name = "PORT")]
    port: Option<NonZero<u16>>,
    /// This host's port [default: a free one; the same as before for what is published already]
    #[arg(long, value_name = "PORT", requires = "port")]
    to: Option<NonZero<u16>>,
    /// Publish it no more; connections to it end
    #[arg(long, requires = "port", conflicts_with = "to")]
    close: bool,
    #[command(flatten)]
    json: Json,
}

const COLUMNS: [Column; 3] =
    [Column::new("PORT"), Column::new("ADDRESS"), Column::new("STATE").at_least(12)];

impl Port {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let Self { id, port, to, close, json } = self;
        let output = context.output;
        let Some(port) = port else {
            let views = context.call(async |client| client.ports(&id).await).await?;
            output.table(json.json, &views, |width| text(&views, width, output.colour))?;
            return Ok(Exit::Done);
        };
        let view = match close {
            true => context.call(async |client| client.close_port(&id, port).await).await?,
            false => {
                let request = PublishRequest { to };
                let publish =
                    context.call(async |client| client.publish_port(&id, port, request).await);
                publish.await?
            }
        };
        if json.json {
            output.json(&view)?;
        } else if close {
            output.note(&format!("port {port} of {id} is published no more"));
        } else {
            output.line(&view.address)?;
            if !view.open {
                output.warn(&format!("nothing listens there now: {}", reason(&view)));
            }
        }
        Ok(Exit::Done)
    }
}

fn reason(view: &PortView) -> &str {
    view.problem.as_deref().unwrap_or("the taskspace is stopped or paused")
}

fn text(views: &[PortView], width: Option<u16>, colour: bool) -> String {
    if views.is_empty() {
        return "no port is published; `taskspace port ID PORT` publishes one\n".to_owned();
    }
    let row = |view: &PortView| {
        let state = match view.open {
            true => "open".to_owned(),
            false => format!("closed: {}", reason(view)),
        };
        vec![Cell::new(view.port), Cell::new(&view.address), Cell::new(state)]
    };
    table::render(&COLUMNS, views.iter().map(row).collect(), width, colour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PublishedPort;

    #[test]
    fn each_is_a_line_with_its_state() {
        let view = |port: u16, open, problem: Option<&str>| {
            let port = NonZero::new(port).unwrap();
            let published = PublishedPort { port, host_port: 10_000 + port.get() };
            PortView::new(published, open, problem.map(str::to_owned))
        };
        let views = [
            view(80, true, None),
            view(3000, false, None),
            view(8080, false, Some("another program has it")),
        ];
        insta::assert_snapshot!(text(&views, None, false), @r"
        PORT  ADDRESS          STATE
        80    127.0.0.1:10080  open
        3000  127.0.0.1:13000  closed: the taskspace is stopped or paused
        8080  127.0.0.1:18080  closed: another program has it
        ");
        assert!(text(&[], None, false).contains("publishes one"));
    }
}
