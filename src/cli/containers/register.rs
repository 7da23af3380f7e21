//! `taskspace containers register`

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, value_parser};

use crate::cli::arguments::Json;
use crate::cli::context::Context;
use crate::cli::{Exit, Outcome, usage};
use crate::model::{ContainerName, Problem, RegisterRequest, Registration, Target};
use crate::policy::registrations;

/// `taskspace containers register`
#[derive(Debug, Args)]
pub(super) struct Register {
    /// A YAML file with the containers; `-` for standard input
    #[arg(
        value_name = "FILE",
        required_unless_present = "name",
        conflicts_with_all = ["name", "ports", "depends_on", "container"]
    )]
    file: Option<PathBuf>,
    /// The name of the one container to register
    #[arg(long)]
    name: Option<ContainerName>,
    /// A port on which it answers on this host's loopback (can be repeated)
    #[arg(long = "port", value_name = "PORT", value_parser = value_parser!(u16).range(1..))]
    ports: Vec<u16>,
    /// What it cannot do without: NAME, taskspace:ID, taskspace:ID/dev or taskspace:ID/agent (can be
    /// repeated)
    #[arg(long, value_name = "TARGET")]
    depends_on: Vec<Target>,
    /// Its name in Podman [default: its name]
    #[arg(long, value_name = "PODMAN_NAME")]
    container: Option<ContainerName>,
    #[command(flatten)]
    json: Json,
}

impl Register {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let Self { file, name, ports, depends_on, container, json } = self;
        let request = match (file, name) {
            (Some(file), _) => read(&file)?,
            (None, Some(name)) => {
                let registration = Registration { container, ports, depends_on };
                RegisterRequest { containers: [(name, registration)].into() }
            }
            (None, None) => return Err(usage("give a FILE or --name").into()),
        };
        let registered = context.call(async |client| client.register(&request).await).await?;
        super::show(context, &registered, json.json)?;
        Ok(Exit::Done)
    }
}

/// Reads a file; what is wrong in it is told with its place.
fn read(file: &Path) -> Result<RegisterRequest, Problem> {
    let is_stdin = file.as_os_str() == "-";
    let shown = if is_stdin { "standard input".to_owned() } else { file.display().to_string() };
    let text = if is_stdin {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| usage(format!("cannot read {shown}: {error}")))?;
    registrations::parse(&text).map_err(|error| {
        usage(format!("{shown}:{error}"))
            .hint("see `taskspace containers register --help` for an example")
    })
}
