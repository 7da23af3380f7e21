//! `taskspace images`

use clap::{Args, Subcommand};
use comfy_table::{Cell, Color};
use jiff::Timestamp;

use super::arguments::Json;
use super::context::Context;
use super::output::{Stop, plain, size, span};
use super::table::{self, Column};
use super::{Exit, Outcome, progress};
use crate::model::{BuildRequest, ImageState, ImageView};

/// `taskspace images`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Images {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the images (this is the default)
    List(List),
    /// Build images that are missing or outdated
    Build(Build),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct Build {
    /// The image: agent, dev-generic, dev-rust, dev-node, dev-python or dev-go (can be repeated)
    /// [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Build also what is current
    #[arg(long, short)]
    force: bool,
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
    /// Show what the builds write
    #[arg(long)]
    build_output: bool,
    #[command(flatten)]
    json: Json,
}

const COLUMNS: [Column; 5] = [
    Column::new("NAME"),
    Column::new("STATE"),
    Column::new("SIZE").rank(1),
    Column::new("AGE").rank(2),
    Column::new("BASE").at_least(12).rank(3),
];

impl Images {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        match self.action {
            None => self.list.run(context).await,
            Some(Action::List(list)) => list.run(context).await,
            Some(Action::Build(build)) => build.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Outcome {
        show(context, self.json.json).await?;
        Ok(Exit::Done)
    }
}

impl Build {
    async fn run(self, context: &Context) -> Outcome {
        let request = BuildRequest { images: self.names, force: self.force };
        let operation = context.call(async |client| client.build_images(&request).await).await?;
        let (no_wait, lines, json) = (self.no_wait, self.build_output, self.json.json);
        if let Some(exit) = progress::until_done(context, &operation, no_wait, lines, json).await? {
            return Ok(exit);
        }
        if json || !context.output.quiet {
            show(context, json).await?;
        }
        Ok(Exit::Done)
    }
}

async fn show(context: &Context, json: bool) -> Result<(), Stop> {
    let images = context.call(async |client| client.images().await).await?;
    let output = context.output;
    output.table(json, &images, |width| text(&images, Timestamp::now(), width, output.colour))
}

fn text(images: &[ImageView], now: Timestamp, width: Option<u16>, colour: bool) -> String {
    let row = |image: &ImageView| {
        let age = image.created.map(|created| span(now.as_second() - created.as_second()));
        let (state, colour) = match image.state {
            ImageState::Current => ("current", Color::Green),
            ImageState::Outdated => ("outdated", Color::Yellow),
            ImageState::Missing => ("missing", Color::DarkGrey),
        };
        vec![
            Cell::new(&image.name),
            Cell::new(state).fg(colour),
            Cell::new(image.size.map_or_else(|| "-".to_owned(), size)),
            Cell::new(age.as_deref().unwrap_or("-")),
            Cell::new(plain(&image.base)),
        ]
    };
    table::render(&COLUMNS, images.iter().map(row).collect(), width, colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_listed() {
        let now: Timestamp = "2026-01-01T05:30:00Z".parse().unwrap();
        let image = |name: &str, state, size| ImageView {
            name: name.to_owned(),
            reference: format!("localhost/symposium/{name}:latest"),
            base: "docker.io/library/debian:stable".to_owned(),
            state,
            size,
            created: size.map(|_| "2026-01-01T00:00:00Z".parse().unwrap()),
        };
        let images = [
            image("agent", ImageState::Current, Some(123_456_789)),
            image("dev-rust", ImageState::Missing, None),
        ];
        insta::assert_snapshot!(text(&images, now, Some(80), false), @r"
        NAME      STATE    SIZE    AGE  BASE
        agent     current  124 MB  5h   docker.io/library/debian:stable
        dev-rust  missing  -       -    docker.io/library/debian:stable
        ");
    }
}
