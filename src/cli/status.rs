//! `taskspace status`

use clap::Args;

use super::arguments::Json;
use super::context::Context;
use super::output::span;
use super::show::Page;
use super::{Exit, Outcome};
use crate::model::{PodmanView, StatusView};

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
            context.output.print(&text(&status))?;
        }
        Ok(Exit::Done)
    }
}

fn text(status: &StatusView) -> String {
    let mut page = Page::default();
    let up = span(i64::try_from(status.uptime_seconds).unwrap_or(i64::MAX));
    page.line("Service", format!("{}, process {}, up {up}", status.version, status.pid));
    page.line("Taskspaces", format!("{} ({} running)", status.taskspaces, status.running));
    page.line("Operations", status.operations);
    page.line("Clients", status.clients);
    page.line("Ends after", format!("{}s without anything to do", status.idle_timeout_seconds));
    page.line("Registry", &status.registry);
    page.line("SSH config", &status.ssh_config);
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
    page.0
}
